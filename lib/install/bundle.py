"""The files of this clone that a project gets, under the names that the project gives them."""

import hashlib
import json
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from .. import __version__
from ..errors import ConfigurationError
from .git import Git
from .package_manifest import FUNCTIONS

# The name of the package in this clone; the rest of the code does not know it.
PACKAGE = __package__.partition(".")[0]
MIGRATIONS = "migrations"
FIRST_MIGRATION = "000-create-migration-table.sql"
RECORD = "installed.json"
PYTHON_VERSION = ".python-version"

AT_THE_ROOT = (*FUNCTIONS, "build.sh", "migrate", "requirements-local.txt", PYTHON_VERSION)
# Files and folders.
_COPIED = (*AT_THE_ROOT, PACKAGE, f"{MIGRATIONS}/{FIRST_MIGRATION}")
_EXECUTABLE = ("build.sh", "migrate")
# In these files, the package is named.
_NAMES_THE_PACKAGE = (*FUNCTIONS, "build.sh", "migrate")

# The schema of vercel.json allows this many characters for `excludeFiles`.
_LONGEST_GLOB = 256
# Of the changelog, as many lines as a screen has beside the rest.
_NEWS = 16
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_FOLDER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
# Names that something else at the root of a project, or an import, would mean.
_TAKEN = {
    *("api", "app", "src", "public", "pages", "frontend", "node_modules", "tests", "test", "docs"),
    *("migrations", "components", "supabase", "prisma", "drizzle", "scripts", "dist", "build"),
    *("flask", "psycopg", "psycopg_binary", "psycopg_pool", "certifi", "dotenv", "boto3"),
    *("botocore", "werkzeug", "jinja2", "click", "blinker", "itsdangerous", "markupsafe"),
    *("typing_extensions", "vercel", "vercel_runtime", "pip", "setuptools", "site", "main"),
}
_TAKEN_FOLDERS = {
    *("api", "app", "src", "public", "pages", "frontend", "node_modules", "dist", "build", "out"),
}

# What .gitignore gets: what the commands and Vercel's CLI leave behind.
_IGNORED = (
    *(".venv/", ".local/", ".vercel/", ".vercel_python_packages/", "__pycache__/"),
    ".env*.local",
)


@dataclass(frozen=True)
class Names:
    """What the project calls the package and the folder of the migrations."""

    package: str = PACKAGE
    migrations: str = MIGRATIONS


@dataclass(frozen=True)
class Copied:
    """A file for the project, with LF at the ends of its lines."""

    content: bytes
    is_executable: bool = False


@dataclass(frozen=True)
class Bundle:
    """A clone of the bundle: where it is, and what git knows of it, if there is a git."""

    root: Path
    git: Git | None

    @classmethod
    def at(cls, root: Path, environ: Mapping[str, str]) -> "Bundle":
        """Find the bundle at `root`; ConfigurationError if that is a project with the bundle."""
        if (root / PACKAGE / RECORD).is_file():
            raise ConfigurationError(
                f"{root} is a project into which the bundle was installed. "
                "Run this command in a clone of the bundle itself."
            )
        git = Git(root, environ)
        # A folder that was unpacked from an archive may stand in the repository of something else.
        return cls(root, git if (root / ".git").exists() and git.top() else None)

    @property
    def version(self) -> str:
        return __version__

    @cached_property
    def origin(self) -> str | None:
        """The address of the repository, without credentials; None if it is a path."""
        return self.git.origin() if self.git else None

    @cached_property
    def commit(self) -> str | None:
        """The commit of this clone, if its files are those of the commit."""
        return self.git.commit() if self.git else None

    @cached_property
    def has_history(self) -> bool:
        """Whether git can tell the contents of every earlier version."""
        return self.git is not None and self.git.has_whole_history()

    def known(self, contents: Iterable[bytes]) -> tuple[bool, ...]:
        """Tell which of these are contents of a file of this or of an earlier version."""
        ids = [blob_id(content) for content in contents]
        if not self.git or not self.has_history or not ids:
            return (False,) * len(ids)
        return self.git.has_objects(ids)

    def ever_had(self, names: Names) -> frozenset[str]:
        """Return the paths of copied files in this and in all earlier versions."""
        earlier = self.git.ever_tracked(*_COPIED) if self.git and self.has_history else frozenset()
        return frozenset(_place(path, names) for path in {*self.paths, *earlier})

    @cached_property
    def paths(self) -> tuple[str, ...]:
        """The files of this clone that are copied, without any that git does not have."""
        if self.git:
            found = self.git.tracked(*_COPIED)
        else:
            found = tuple(
                path.relative_to(self.root).as_posix()
                for name in _COPIED
                for path in (self.root / name, *sorted((self.root / name).rglob("*")))
                if path.suffix != ".pyc"
            )
        return tuple(name for name in found if (self.root / name).is_file())

    @cached_property
    def wings(self) -> frozenset[str]:
        """The folders of the package."""
        parts = (PurePosixPath(path).parts for path in self.paths)
        return frozenset(each[1] for each in parts if each[0] == PACKAGE and len(each) > 2)

    def files(self, names: Names) -> Mapping[str, Copied]:
        """Return what is copied, by its path in a project with these names."""
        return {
            _place(path, names): Copied(self._content(path, names), path in _EXECUTABLE)
            for path in self.paths
        }

    def _content(self, path: str, names: Names) -> bytes:
        content = (self.root / path).read_bytes().replace(b"\r\n", b"\n")
        if path in _NAMES_THE_PACKAGE and names.package != PACKAGE:
            named = rf"(?<![/\w.-]){PACKAGE}\b".encode()
            content = re.sub(named, names.package.encode(), content)
        return content

    @cached_property
    def requirements(self) -> tuple[str, ...]:
        """The lines of requirements.txt that name packages."""
        text = (self.root / "requirements.txt").read_text(encoding="utf-8")
        return tuple(line for line in text.splitlines() if line and not line.startswith("#"))

    def functions(self, names: Names) -> dict[str, Any]:
        """Return `functions` of vercel.json."""
        document = json.loads((self.root / "vercel.json").read_bytes())
        return {
            path: {**settings, "excludeFiles": _renamed(settings["excludeFiles"], names)}
            for path, settings in document["functions"].items()
        }

    def ignored(self, names: Names) -> tuple[str, ...]:
        """Return the lines of .gitignore."""
        # Templates of .gitignore may leave out a folder of this name, or *.sql.
        kept = (f"{names.package}/", f"{names.package}/**/*.sql", f"{names.migrations}/*.sql")
        return (*_IGNORED, *(f"!/{each}" for each in kept))

    def checked_names(self, package: str, migrations: str) -> Names:
        """Return the names if a project can use them; ConfigurationError with all faults."""
        names = Names(package, migrations)
        faults = [*self._faults_of_package(names), *_faults_of_folder(names)]
        if faults:
            raise ConfigurationError(*faults)
        return names

    def longest_name(self, migrations: str = MIGRATIONS) -> int:
        """Return how long the name of the package may be, in characters."""
        # How long each glob is without the name, and with a name of one character.
        without, with_one = (
            [len(each["excludeFiles"]) for each in self.functions(names).values()]
            for names in (Names("", migrations), Names("x", migrations))
        )
        return min(
            (_LONGEST_GLOB - others) // (longer - others)
            for others, longer in zip(without, with_one, strict=True)
        )

    def _faults_of_package(self, names: Names) -> list[str]:
        package = names.package
        if not _IDENTIFIER.fullmatch(package):
            return [
                f"--package {package}: the name of a Python package consists of letters, digits "
                "and underscores of ASCII, and does not begin with a digit."
            ]
        if package.lower() in _TAKEN or package in sys.stdlib_module_names:
            return [f"--package {package}: the name is taken; choose another, such as migrator."]
        longest = self.longest_name(names.migrations)
        if len(package) > longest:
            return [
                f"--package {package}: the name has {len(package)} characters, and may have "
                f"{longest}: vercel.json allows {_LONGEST_GLOB} for excludeFiles, which names it "
                "several times."
            ]
        return []


def _faults_of_folder(names: Names) -> list[str]:
    migrations = names.migrations
    # Some file systems do not tell upper case from lower case.
    if migrations.lower() == names.package.lower():
        return [
            f"--migrations {migrations}: the folder of the package has this name; choose another."
        ]
    if not _FOLDER.fullmatch(migrations) or migrations.lower() in _TAKEN_FOLDERS:
        return [
            f"--migrations {migrations}: the folder is at the root of the project, and its name "
            "consists of letters, digits, hyphens and underscores of ASCII; names such as api, "
            "src and public are taken."
        ]
    return []


def news(root: Path, since: str) -> tuple[str, ...]:
    """Return the changelog from this version down to the one that a project has."""
    path = root / "CHANGELOG.md"
    if not path.is_file():
        return ()
    lines: list[str] = []
    text = path.read_text(encoding="utf-8")
    for section in re.split(r"^(?=## )", text, flags=re.MULTILINE)[1:]:
        heading = section.partition("\n")[0].removeprefix("## ")
        if number(heading.split()[0]) <= number(since):
            break
        points = re.findall(r"^- (.*(?:\n  .*)*)", section, re.MULTILINE)
        lines += [heading, *(f"- {' '.join(each.split())}" for each in points)]
    more = len(lines) - _NEWS
    return (*lines[:_NEWS], f"… and {more} more: CHANGELOG.md") if more > 0 else tuple(lines)


def number(version: str) -> tuple[int, ...]:
    """Return a version as numbers that can be compared."""
    return tuple(map(int, re.findall(r"\d+", version)[:3]))


def digest(content: bytes) -> str:
    """Return the SHA-256 of a text, the same whatever ends its lines."""
    return hashlib.sha256(content.replace(b"\r\n", b"\n")).hexdigest()


def blob_id(content: bytes) -> str:
    """Return the id under which git keeps a text with LF at the ends of its lines."""
    text = content.replace(b"\r\n", b"\n")
    return hashlib.sha1(b"blob %d\0%s" % (len(text), text), usedforsecurity=False).hexdigest()


def _place(path: str, names: Names) -> str:
    folder, slash, rest = path.partition("/")
    renamed = {PACKAGE: names.package, MIGRATIONS: names.migrations}
    return f"{renamed.get(folder, folder)}{slash}{rest}"


def _renamed(glob: str, names: Names) -> str:
    glob = re.sub(rf"\b{MIGRATIONS}\b", names.migrations, glob)
    return re.sub(rf"\b{PACKAGE}\b", names.package, glob)
