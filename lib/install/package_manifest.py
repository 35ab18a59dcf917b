"""Which file Vercel installs the packages of the functions from, and whether it names all of them.

Vercel reads one file, the nearest to the functions, and ignores the others without a message: with
a `pyproject.toml` that is only for tools, the build succeeds and the functions fail at their first
request. The order is that of Vercel's builder (`discoverPythonPackage` in
`@vercel/python-analysis`), as of its CLI 64.0.2.
"""

import json
import re
import tomllib
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from ..errors import ConfigurationError

FUNCTIONS = ("api/migrate.py", "api/migration-status.py")

# The function's own folder comes before the root.
_FOLDERS = ("api", ".")
_NAMES = (
    "pyproject.toml",
    "Pipfile.lock",
    "Pipfile",
    "requirements.frozen.txt",
    "requirements-frozen.txt",
    "requirements.txt",
    "requirements.in",
    "requirements/prod.txt",
)
# The extra counts also if its package, psycopg-binary, is named by itself.
_NEEDED = {"flask": "flask", "psycopg": "psycopg[binary]", "psycopg-binary": "psycopg[binary]"}
# The name and the extras; versions, markers and hashes do not matter here.
_REQUIREMENT = re.compile(r"\s*([A-Za-z0-9][\w.-]*)\s*(?:\[([^\]]*)\])?")
_INCLUDED = re.compile(r"\s*(?:-r|--requirement)[ =]\s*(\S+)")


def check_manifest(root: Path, *, packages: Collection[str] = ()) -> None:
    """Raise ConfigurationError if Vercel would build a function without a package that it imports.

    `packages` are those that this database needs, besides those that every database needs.
    """
    # A bundle whose functions were removed needs no packages for them.
    if not any((root / name).is_file() for name in FUNCTIONS):
        return
    manifest = find_manifest(root)
    if manifest is None:
        raise ConfigurationError(
            "There is no requirements.txt, from which Vercel takes the packages of the functions."
        )
    named = packages_of(manifest)
    needed = {**_NEEDED, **{name: name for name in packages}}
    # A list that only the build can make (`dynamic`) is trusted: a wrong alarm would stop builds.
    missing = (
        []
        if named is None
        else sorted({wanted for name, wanted in needed.items() if name not in named})
    )
    if missing:
        place = manifest.relative_to(root)
        raise ConfigurationError(
            f"Vercel takes the packages of the functions from {place}, "
            f"which does not name {' and '.join(missing)}: "
            f"add {'it' if len(missing) == 1 else 'them'} there; "
            "docs/adopting.md of the bundle says how."
        )


def find_manifest(root: Path) -> Path | None:
    """Return the file that is nearest to the functions."""
    places = (root / folder / name for folder in _FOLDERS for name in _NAMES)
    return next((path for path in places if path.is_file()), None)


def packages_of(manifest: Path) -> set[str] | None:
    """Return the packages, extras as `name-extra`; None if the file does not list them plainly."""
    try:
        if manifest.name == "pyproject.toml":
            return _of_project(tomllib.loads(manifest.read_text(encoding="utf-8")))
        if manifest.name == "Pipfile":
            return _of_table(
                tomllib.loads(manifest.read_text(encoding="utf-8")).get("packages", {})
            )
        if manifest.name == "Pipfile.lock":
            return _of_table(json.loads(manifest.read_bytes())["default"])
        return of_requirements(_lines(manifest, set()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        # A malformed file: Vercel reports what is wrong with it.
        return None


def _of_project(document: dict[str, Any]) -> set[str] | None:
    project = document.get("project", {})
    return (
        None
        if "dependencies" in project.get("dynamic", ())
        else of_requirements(project.get("dependencies", ()))
    )


def _of_table(table: dict[str, Any]) -> set[str]:
    # In a Pipfile, a value is a version or a table.
    extras = {
        name: value.get("extras", ()) if isinstance(value, dict) else ()
        for name, value in table.items()
    }
    return set().union(*(_with_extras(name, extras[name]) for name in table))


def of_requirements(requirements: Iterable[str]) -> set[str]:
    """Return the packages that lines of a requirements file name."""
    matches = filter(None, map(_REQUIREMENT.match, requirements))
    return set().union(*(_with_extras(match[1], (match[2] or "").split(",")) for match in matches))


def _with_extras(name: str, extras: Iterable[str]) -> set[str]:
    return {_normal(name), *(_normal(f"{name}-{extra.strip()}") for extra in extras)}


def _lines(path: Path, seen: set[Path]) -> Iterable[str]:
    """Yield the lines of a requirements file and of the files that it includes."""
    seen.add(path)
    for line in path.read_text(encoding="utf-8-sig").splitlines():
        included = _INCLUDED.match(line)
        if included and (other := path.parent / included[1]) not in seen:
            yield from _lines(other, seen)
        # Each file once, since requirements files may include each other.
        elif not included:
            yield line


def _normal(name: str) -> str:
    """Normalize a name as PEP 503 defines."""
    return re.sub(r"[-_.]+", "-", name.strip()).lower()
