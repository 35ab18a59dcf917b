"""The files that the bundle and the project share: what is added, renewed and taken out again.

They are vercel.json, .gitignore, and the file from which Vercel takes the packages.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import ConfigurationError
from . import package_lines, vercel_json
from .bundle import Bundle, Names, digest
from .changes import Merged, contents
from .package_manifest import find_manifest, packages_of
from .project import Project, program

REQUIREMENTS = "requirements.txt"
_OF_API = f"api/{REQUIREMENTS}"
_LIKE_REQUIREMENTS = (REQUIREMENTS, "requirements.frozen.txt", "requirements-frozen.txt")
_NEEDED = {"flask", "psycopg", "psycopg-binary", "certifi"}
# What the functions cannot do without; certifi depends on the database.
_ADD = "flask 'psycopg[binary]' certifi"
# Every file that may be shared: a record that names another one is not ours.
SHARED = frozenset(
    (
        vercel_json.NAME,
        package_lines.IGNORE_FILE,
        *(f"{folder}{name}" for folder in ("", "api/") for name in _LIKE_REQUIREMENTS),
        *(f"{folder}{name}" for folder in ("", "api/") for name in ("pyproject.toml", "Pipfile")),
    )
)


@dataclass(frozen=True)
class Shared:
    """A file of the project with a part of the bundle.

    `before` is the file as it was, None if there was none; `after` the digest with that part.
    """

    before: bytes | None
    after: str
    wrote: Any


@dataclass(frozen=True)
class _Packages:
    """The files of one project that name packages."""

    project: Project
    bundle: Bundle
    names: Names

    def merged(self) -> dict[str, Merged]:
        """Return the files from which Vercel and the build command take the packages."""
        # The build command installs requirements.txt, whatever Vercel reads.
        of_build = {REQUIREMENTS: self._requirements(REQUIREMENTS)}
        manifest = find_manifest(self.project.folder)
        if manifest is None:
            return of_build
        path = manifest.relative_to(self.project.folder).as_posix()
        if manifest.name in _LIKE_REQUIREMENTS:
            return {path: self._requirements(path), **of_build}
        named = packages_of(manifest)
        if manifest.name == "pyproject.toml":
            return {**self._in_project(path, named), **of_build}
        # At the root, a requirements.txt would hide the files that come after it.
        if (named or set()) >= _NEEDED and (path.startswith("api/") or "Pipfile" in path):
            return of_build
        if manifest.name == "Pipfile":
            before = contents(self.project.folder, path) or b""
            return {
                path: package_lines.with_pipfile_packages(path, before, named or set()),
                **of_build,
            }
        raise ConfigurationError(_by_hand(path))

    def _requirements(self, path: str) -> Merged:
        place = self.project.folder / path
        before = contents(self.project.folder, path)
        # What it includes counts too.
        named = packages_of(place) if place.is_file() else None
        return package_lines.with_requirements(path, before, self.bundle.requirements, named or ())

    def _in_project(self, path: str, named: set[str] | None) -> dict[str, Merged]:
        """Return what a pyproject.toml needs: dependencies, or a nearer file that has them."""
        before = contents(self.project.folder, path) or b""
        document = package_lines.read_toml(path, before)
        project = document.get("project")
        tools = document.get("tool", {})
        is_poetry = "poetry" in tools and "dependencies" not in (project or {})
        if project is None or is_poetry:
            return self._nearer(
                path, is_poetry=is_poetry and bool(tools["poetry"].get("dependencies"))
            )
        if "dependencies" in project.get("dynamic", ()) or (named or set()) >= _NEEDED:
            return {}
        if (self.project.folder / path).with_name("uv.lock").is_file():
            raise ConfigurationError(
                f"Vercel takes the packages from {path}, and there is a uv.lock, which only uv "
                f"can change: `uv add {_ADD}`, commit, and install again."
            )
        _check_build_system(path, document, self.project.folder)
        return {path: package_lines.with_project_packages(path, before, named or set())}

    def _nearer(self, path: str, *, is_poetry: bool) -> dict[str, Merged]:
        others = [
            each.name
            for each in sorted((self.project.folder / "api").glob("*.py"))
            if f"api/{each.name}" not in self.bundle.files(self.names)
        ]
        if path.startswith("api/") or (is_poetry and others):
            raise ConfigurationError(
                f"Vercel takes the packages of the functions from {path}. They would need an "
                f"api/requirements.txt, which {', '.join(others) or 'this file'} hides or would no "
                f"longer see: write one with the packages of all functions, and with {_ADD}."
            )
        return {_OF_API: self._requirements(_OF_API)}


@dataclass(frozen=True)
class Merging:
    """The shared files of one project."""

    project: Project
    bundle: Bundle
    names: Names

    def all(self, *, without: tuple[str, ...] = ()) -> tuple[Mapping[str, Merged], tuple[str, ...]]:
        """Return the shared files but for some, and all faults at once."""
        found: dict[str, Merged] = {}
        faults: list[str] = []
        for path, merge in (
            (REQUIREMENTS, _Packages(self.project, self.bundle, self.names).merged),
            (vercel_json.NAME, self.vercel_json),
            (package_lines.IGNORE_FILE, self._ignore_file),
        ):
            if path in without:
                continue
            try:
                found |= merge()
            except ConfigurationError as error:
                faults += error.faults
        return found, tuple(faults)

    def renewed(
        self, recorded: Mapping[str, Shared], *, keeps_changes: bool
    ) -> tuple[Mapping[str, Merged], tuple[str, ...], list[str]]:
        """Return the shared files as this version has them, all faults, and what both have changed.

        `recorded` is what an earlier version has done. With `keeps_changes`, what both have changed
        stays as the project has it.
        """
        fresh, faults = self.all(without=(vercel_json.NAME,))
        found = dict(fresh)
        conflicts: tuple[str, ...] = ()
        try:
            before = self._read(vercel_json.NAME)
            if before is None:
                found |= self.vercel_json()
            else:
                old = recorded.get(vercel_json.NAME)
                wrote = old.wrote if old else {}
                functions = self.bundle.functions(self.names)
                conflicts = vercel_json.changed_keys(before, wrote, functions)
                kept = conflicts if keeps_changes else ()
                found[vercel_json.NAME] = vercel_json.renewed(
                    before, self.project.site, functions, kept=kept, wrote=wrote
                )
        except ConfigurationError as error:
            faults = (*faults, *error.faults)
        for path, shared in recorded.items():
            content = self._read(path)
            if content is None:
                continue
            if path.endswith(".txt") and path in fresh:
                found[path] = package_lines.renewed_requirements(
                    path, content, shared.wrote, self.bundle.requirements
                )
            if path == package_lines.IGNORE_FILE:
                found.pop(path, None)
                lines = self.bundle.ignored(self.names)
                found |= _renewed_ignore_file(content, shared, lines)
        return found, faults, [f"{vercel_json.NAME} ({key})" for key in conflicts]

    def _read(self, path: str) -> bytes | None:
        return contents(self.project.folder, path)

    def vercel_json(self) -> dict[str, Merged]:
        """Return vercel.json, or nothing if a program that configures Vercel has what it needs."""
        functions = self.bundle.functions(self.names)
        configured = program(self.project.folder)
        if configured is None:
            before = self._read(vercel_json.NAME)
            return {vercel_json.NAME: vercel_json.merged(before, self.project.site, functions)}
        text = configured.read_text(encoding="utf-8", errors="replace")
        if not all(each in text for each in ("bash build.sh", *functions)):
            needed = vercel_json.merged(None, self.project.site, functions).wrote
            keys = json.dumps({key: needed[key] for key in needed if key != "$schema"}, indent=2)
            raise ConfigurationError(
                f"{configured.name} configures Vercel, and is a program that this command does "
                f"not edit. Add these keys to it, commit, and try again:\n{keys}"
            )
        return {}

    def notes(self) -> tuple[str, ...]:
        """Return what only the project can see to."""
        configured = program(self.project.folder)
        if configured is None:
            return ()
        text = configured.read_text(encoding="utf-8", errors="replace")
        globs = {each["excludeFiles"] for each in self.bundle.functions(self.names).values()}
        return tuple(
            f"{configured.name}: see that excludeFiles of both functions is {glob}"
            for glob in sorted(globs)
            if glob not in text
        )

    def _ignore_file(self) -> dict[str, Merged]:
        path = package_lines.IGNORE_FILE
        merged = package_lines.with_ignored(self._read(path), self.bundle.ignored(self.names))
        return {path: merged} if merged else {}


def _renewed_ignore_file(content: bytes, shared: Shared, lines: Sequence[str]) -> dict[str, Merged]:
    """Return .gitignore with these lines; nothing if it has the same ones."""
    merged = package_lines.with_ignored(package_lines.without_ignored(content), lines)
    is_renewed = merged and set(merged.wrote) != set(shared.wrote)
    return {package_lines.IGNORE_FILE: merged} if merged and is_renewed else {}


def _by_hand(path: str) -> str:
    how = {
        "Pipfile.lock": f"`pipenv install {_ADD}`",
        "requirements.in": f"add {_ADD} to it and compile it into requirements.txt",
    }.get(Path(path).name, f"add {_ADD} to it, and let requirements.txt have its lines")
    return (
        f"Vercel takes the packages of the functions from {path}, which this command does not "
        f"edit: {how}, commit, and install again."
    )


def _check_build_system(path: str, document: Mapping[str, Any], folder: Path) -> None:
    """Refuse a project that setuptools could not build, with the folders of the bundle in it."""
    system = document.get("build-system")
    if system is None or "setuptools" not in str(system.get("build-backend", "setuptools")):
        return
    settings = document.get("tool", {}).get("setuptools", {})
    if not {"packages", "py-modules"} & settings.keys() and not (folder / "src").is_dir():
        raise ConfigurationError(
            f"{path} has [build-system] and does not name its packages: setuptools would fail "
            "because of the folders api and of the bundle. Name them first, as in "
            '`[tool.setuptools]` `packages = ["shop"]`.'
        )


# --- Taken out ---


def restored(path: str, content: bytes, shared: Shared) -> bytes | None:
    """Return what an uninstallation leaves; ConfigurationError if that would be a guess."""
    if digest(content) == shared.after:
        return _with_line_ends_of(content, shared.before)
    return _without(path, content, shared)


def original(path: str, content: bytes, shared: Shared) -> bytes | None:
    """Return the file as it was before, for the record of an update."""
    return shared.before if digest(content) == shared.after else _without(path, content, shared)


def _without(path: str, content: bytes, shared: Shared) -> bytes | None:
    """Take our part out of a file that the project has changed since."""
    if path == vercel_json.NAME:
        return vercel_json.without(content, shared.wrote)
    if path == package_lines.IGNORE_FILE:
        return package_lines.without_ignored(content)
    if path.endswith(".txt"):
        return package_lines.without_lines(path, content, shared.wrote)
    raise ConfigurationError(f"{path}: take out {', '.join(shared.wrote)} yourself.")


def _with_line_ends_of(content: bytes, before: bytes | None) -> bytes | None:
    """Return what stood there; git may have changed all line ends since, on another system."""
    if before is None or b"\n" not in content:
        return before
    if b"\r\n" not in content:
        return before.replace(b"\r\n", b"\n")
    if content.count(b"\r\n") == content.count(b"\n"):
        return before.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    return before
