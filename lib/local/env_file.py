"""The line of `.env.local` that gives the URL of the embedded server to the application.

All other bytes of the file stay as they are: its line ends, its comments, its byte order mark.
"""

import io
import os
import re
import stat
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from ..errors import ConfigurationError

NAME = ".env.local"
VARIABLE = "DATABASE_URL"
# Next.js reads this file before NAME.
FIRST_IN_DEVELOPMENT = ".env.development.local"

_BOM = "\ufeff"
# A line that sets the variable: what stands before its name, and what follows its value.
_LINE = re.compile(
    r"(?P<before>\s*(?:export[^\S\r\n]+)?)"
    r"(?:DATABASE_URL|'DATABASE_URL')[^\S\r\n]*=[^\S\r\n]*"
    r"(?:'(?:\\'|[^'])*'|\"(?:\\\"|[^\"])*\"|[^\r\n]*?)"
    r"(?P<after>(?:[^\S\r\n]+#[^\r\n]*)?[^\S\r\n]*(?:\r\n|\n|\r)?)"
)


def write_url(
    root: Path, url: str, is_replaceable: Callable[[str], bool], environ: Mapping[str, str]
) -> bool:
    """Set the variable to `url`; False if it is so already.

    Raise ConfigurationError where that would replace another database, or where git would commit
    the password. `environ` is for git.
    """
    path = _real_path(root)
    before = _read(path)
    after = with_url(before, url, is_replaceable)
    _refuse_if_committed(path, environ)
    if after == before:
        return False
    _write(path, after)
    return True


def sets_variable(root: Path, name: str, *, to_other_than: str) -> bool:
    """True if the file `name` sets the variable, and not to that value."""
    path = root / name
    try:
        values = _values(_read(path)) if path.is_file() else []
    except ConfigurationError:
        return False
    return any(value and value != to_other_than for value in values)


def with_url(text: str, url: str, is_replaceable: Callable[[str], bool]) -> str:
    """Return the text of the file with a line that sets the variable to `url`.

    Raise ConfigurationError if it sets the variable to what is not replaceable.
    """
    if any(value and value != url and not is_replaceable(value) for value in _values(text)):
        raise ConfigurationError(
            f"{NAME} sets {VARIABLE} to another database, which stays; remove that line if the "
            "application is to use the local database."
        )
    mark = _BOM if text.startswith(_BOM) else ""
    text = text.removeprefix(_BOM)
    if VARIABLE in (key for key, _, _ in _bindings(text)):
        return mark + "".join(
            _replaced(original, url) if key == VARIABLE and value != url else original
            for key, value, original in _bindings(text)
        )
    end = "\r\n" if re.match(r"[^\n]*\r\n", text) else "\n"
    line = f"{VARIABLE}={url}"
    if text and not text.endswith(("\n", "\r")):
        return f"{mark}{text}{end}{line}"
    return f"{mark}{text}{line}{end}"


def _values(text: str) -> list[str]:
    return [value or "" for key, value, _ in _bindings(text.removeprefix(_BOM)) if key == VARIABLE]


def _bindings(text: str) -> Iterator[tuple[str | None, str | None, str]]:
    """Yield name, value and text of each piece; the texts joined are the whole."""
    try:
        from dotenv.parser import parse_stream
    except ImportError:
        raise ConfigurationError(
            f"python-dotenv, which reads {NAME}, is not installed: "
            "pip install -r requirements-local.txt"
        ) from None
    for binding in parse_stream(io.StringIO(text, newline="")):
        yield binding.key, binding.value, binding.original.string


def _replaced(original: str, url: str) -> str:
    found = _LINE.fullmatch(original)
    # What the pattern does not cover is an odd way to write a value that was read all the same.
    before, after = (found["before"], found["after"]) if found else ("", "\n")
    return f"{before}{VARIABLE}={url}{after}"


def _real_path(root: Path) -> Path:
    """Return the path of the file, through a link that stays in the project."""
    path = (root / NAME).resolve()
    if not path.is_relative_to(root.resolve()):
        raise ConfigurationError(f"{NAME} is a link out of the project, and is left as it is.")
    return path


def _read(path: Path) -> str:
    """Return the text of the file; empty if there is none."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise ConfigurationError(f"{path.name} is not a file.")
        return path.read_bytes().decode()
    except FileNotFoundError:
        return ""
    except UnicodeError:
        raise ConfigurationError(
            f"{path.name} can't be read; it has to be a UTF-8 text file of NAME=value lines."
        ) from None


def _write(path: Path, text: str) -> None:
    """Replace the file by one that only its owner can read: with the URL comes a superuser."""
    # Beside it, so that it is replaced as a whole. The name is as private as that of the file.
    with tempfile.NamedTemporaryFile(
        "w", dir=path.parent, prefix=f"{NAME}.", suffix=".local", delete=False, newline=""
    ) as file:
        try:
            file.write(text)
            file.flush()
            _give_to_the_owner(path, file.fileno())
            os.replace(file.name, path)
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise


def _give_to_the_owner(path: Path, descriptor: int) -> None:
    """Leave the file to its owner, or a new one to that of the folder, if root writes it."""
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        found = (path if path.exists() else path.parent).stat()
        os.fchown(descriptor, found.st_uid, found.st_gid)


def _refuse_if_committed(path: Path, environ: Mapping[str, str]) -> None:
    """Raise ConfigurationError unless git ignores the file, or there is no git."""
    # In a hook of git, they name another repository.
    others = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE")
    try:
        # A file that git has in its index is not ignored, whatever .gitignore says.
        found = subprocess.run(
            ["git", "check-ignore", "--quiet", "--", path.name],
            cwd=path.parent,
            env={**{k: v for k, v in environ.items() if k not in others}, "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )
    except OSError:
        return
    if found.returncode == 1:
        raise ConfigurationError(
            f"git would commit {NAME}, and with it the password of the local database. Add a line "
            f"{NAME} to .gitignore; if git has the file already: git rm --cached {NAME}."
        )
    said = found.stderr.decode("utf-8", "replace")
    # Without these brackets, the repository is there, but not within reach, as in a container.
    if found.returncode != 0 and "not a git repository (or any" not in said:
        raise ConfigurationError(
            f"git does not tell whether it would commit {NAME}: {' '.join(said.split())}"
        )
