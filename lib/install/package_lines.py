"""The packages of the functions in the file from which Vercel takes them, and .gitignore.

Both are edited as text: lines are added, and the lines of the project stay as they are.
"""

import re
import tomllib
from collections.abc import Collection, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from ..errors import ConfigurationError
from .changes import Merged
from .package_manifest import of_requirements

IGNORE_FILE = ".gitignore"
_BEGIN = "# Migrations: what the commands and Vercel leave behind, and what git must keep"
_END = "# End of the lines for the migrations"

# By name, as `packages_of` has it. Without versions: a lock file, or another package of the
# project, may decide on them.
_TOML_PACKAGES = {
    "flask": "flask",
    "psycopg-binary": "psycopg[binary]>=3.2",
    "certifi": "certifi",
}
_PIPFILE_LINES = {
    "flask": 'flask = "*"',
    "psycopg-binary": 'psycopg = {version = ">=3.2", extras = ["binary"]}',
    "certifi": 'certifi = "*"',
}
_NAME = re.compile(r"\s*([A-Za-z0-9][\w.-]*)\s*(?:\[[^\]]*\])?\s*([^;#]*)")
_VERSION = re.compile(r"(==|<=|<|~=)\s*(\d+)(?:\.(\d+)(\.\d+)?)?")


def with_requirements(
    path: str, before: bytes | None, lines: Sequence[str], named: Collection[str] = ()
) -> Merged:
    """Add each line whose package neither the file nor `named`, what it includes, names."""
    text = _decoded(path, before or b"")
    if re.search(r"^[^#\n]*--(?:require-hashes|hash)\b", text, re.MULTILINE):
        raise ConfigurationError(
            f"{path} has hashes, with which pip accepts no package without one. "
            f"Add these with their hashes first: {', '.join(lines)}"
        )
    named = {*named, *of_requirements(text.removeprefix("\ufeff").splitlines())}
    _check_psycopg(path, text, named)
    added = tuple(line for line in lines if not of_requirements([line]) & named)
    return Merged(_appended(text, added).encode(), list(added))


def renewed_requirements(
    path: str, current: bytes, wrote: Sequence[str], lines: Sequence[str]
) -> Merged:
    """Replace each line that is still as it was written, and add what is missing."""
    text = _decoded(path, current)
    new = {_package(line): line for line in lines}
    kept = []
    for old in wrote:
        line = new.get(_package(old), old)
        text, count = re.subn(rf"^{re.escape(old)}(?=\r?$)", line, text, flags=re.MULTILINE)
        kept += [line] if count else []
    again = with_requirements(path, text.encode(), lines)
    return Merged(again.content, [*kept, *again.wrote])


def without_lines(path: str, current: bytes, wrote: Sequence[str]) -> bytes | None:
    """Take out the lines that are still as they were written; None if nothing is left."""
    text = _decoded(path, current)
    for line in wrote:
        text = re.sub(rf"^{re.escape(line)}(?:\r?\n|\Z)", "", text, count=1, flags=re.MULTILINE)
    return text.encode() or None


def with_project_packages(path: str, before: bytes, named: set[str]) -> Merged:
    """Add what is missing to `project.dependencies` of a pyproject.toml."""
    missing = [text for name, text in _TOML_PACKAGES.items() if name not in named]
    text, document = _toml(path, before)
    theirs = document["project"].get("dependencies")
    if theirs is None:
        items = ", ".join(f'"{item}"' for item in missing)
        edited = _below_heading(text, "project", [f"dependencies = [{items}]"])
    else:
        edited = _in_array(text, missing, is_empty=not theirs)
    expected = _deepcopy(document)
    expected["project"]["dependencies"] = [*(theirs or ()), *missing]
    return _checked(path, edited, expected, missing)


def with_pipfile_packages(path: str, before: bytes, named: set[str]) -> Merged:
    """Add what is missing to `[packages]` of a Pipfile."""
    text, document = _toml(path, before)
    lines = [line for name, line in _PIPFILE_LINES.items() if name not in named]
    if "packages" in document:
        edited = _below_heading(text, "packages", lines)
    else:
        edited = _appended(text, ["", "[packages]", *lines])
    added = tomllib.loads("\n".join(lines))
    expected = _deepcopy(document)
    expected["packages"] = {**document.get("packages", {}), **added}
    return _checked(path, edited, expected, list(added))


def with_ignored(before: bytes | None, lines: Sequence[str]) -> Merged | None:
    """Add the lines that .gitignore lacks, in a marked block; None if it has all of them."""
    text = (before or b"").decode("utf-8", "surrogateescape")
    present = {line.strip() for line in text.splitlines()}
    missing = [line for line in lines if line not in present]
    if not missing:
        return None
    block = [_BEGIN, *missing, _END]
    edited = _appended(text, ["", *block] if text.strip() else block)
    return Merged(edited.encode("utf-8", "surrogateescape"), block)


def without_ignored(current: bytes) -> bytes | None:
    """Take the marked block out of .gitignore; None if nothing is left."""
    text = current.decode("utf-8", "surrogateescape")
    block = rf"(?:\r?\n)?^{re.escape(_BEGIN)}\r?$.*?^{re.escape(_END)}(?:\r?\n|\Z)"
    text = re.sub(block, "", text, count=1, flags=re.MULTILINE | re.DOTALL)
    return text.encode("utf-8", "surrogateescape") or None


def _check_psycopg(path: str, text: str, named: set[str]) -> None:
    if "psycopg" not in named and "psycopg-binary" not in named:
        return
    if "psycopg-binary" not in named:
        raise ConfigurationError(
            f"{path} names psycopg without its binary, which the functions need: "
            "write psycopg[binary] there first."
        )
    for line in text.splitlines():
        found = _NAME.match(line)
        limit = found and _VERSION.search(found[2])
        if not found or not limit or not found[1].lower().startswith("psycopg"):
            continue
        # `~= 3.1` allows 3.2, `~= 3.1.4` does not.
        is_limit = limit[1] != "~=" or limit[4]
        highest = (int(limit[2]), int(limit[3] or 0))
        if is_limit and (highest < (3, 2) or (limit[1] == "<" and highest == (3, 2))):
            raise ConfigurationError(
                f"{path} asks for {line.strip()}, and psycopg 3.2 or newer is needed: "
                "change the line first."
            )


def _heading(text: str, table: str) -> re.Match[str] | None:
    return re.search(rf"^\[{table}\][ \t]*(?:#[^\n]*)?\r?\n", text, re.MULTILINE)


def _below_heading(text: str, table: str, lines: Sequence[str]) -> str | None:
    """Add lines to a table; None if its heading is not plain to see."""
    found = _heading(text, table)
    added = "".join(f"{line}{_end(text)}" for line in lines)
    return f"{text[: found.end()]}{added}{text[found.end() :]}" if found else None


def _in_array(text: str, items: Sequence[str], *, is_empty: bool) -> str | None:
    """Add to the array `dependencies` below `[project]`; None if its end is not plain to see."""
    table = _heading(text, "project")
    opening = re.compile(r"^dependencies\s*=\s*\[", re.MULTILINE)
    found = opening.search(text, table.end()) if table else None
    if not found:
        return None
    # Strings and comments are skipped, in which a bracket means nothing.
    part = re.compile(r"\"(?:[^\"\\\n]|\\.)*\"|'[^'\n]*'|#[^\n]*|[^\"'#\]]").match
    end = last = found.end()
    while piece := part(text, end):
        end = piece.end()
        if not piece[0].startswith("#") and piece[0].strip():
            last = end
    if text[end : end + 1] != "]":
        return None
    is_lines = "\n" in text[found.end() : end]
    indent = re.search(r"\n([ \t]*)[\"']", text[found.end() : end])
    pause = f"{_end(text)}{indent[1] if indent else '    '}" if is_lines else " "
    comma = "" if is_empty or text[last - 1] == "," else ","
    written = f",{pause}".join(f'"{item}"' for item in items)
    closing = "," if is_lines else ""
    start = pause if is_lines or not is_empty else ""
    return f"{text[:last]}{comma}{start}{written}{closing}{text[last:]}"


def _checked(path: str, edited: str | None, expected: Any, missing: Sequence[str]) -> Merged:
    """Return the edited file if it means what was there, with the packages."""
    try:
        if edited is not None and tomllib.loads(edited.replace("\r\n", "\n")) == expected:
            return Merged(edited.encode(), list(missing))
    except tomllib.TOMLDecodeError:
        pass
    raise ConfigurationError(
        f"{path} is written in a way that cannot be edited safely. "
        f"Add to it first: {', '.join(missing)}"
    )


def _toml(path: str, content: bytes) -> tuple[str, dict[str, Any]]:
    text = _decoded(path, content)
    try:
        return text, tomllib.loads(text.replace("\r\n", "\n"))
    except tomllib.TOMLDecodeError as fault:
        raise ConfigurationError(f"{path}: {fault}; correct the file first.") from None


def read_toml(path: str, content: bytes) -> dict[str, Any]:
    """Read a file of TOML; ConfigurationError if it is malformed."""
    return _toml(path, content)[1]


def _deepcopy(document: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: dict(value) if isinstance(value, dict) else value for key, value in document.items()
    }


def _decoded(path: str, content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise ConfigurationError(f"{path} is not UTF-8; save it in that encoding first.") from None


def _appended(text: str, lines: Sequence[str]) -> str:
    end = _end(text)
    start = f"{text}{end}" if lines and text and not text.endswith("\n") else text
    return start + "".join(f"{line}{end}" for line in lines)


def _end(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"


def _package(line: str) -> str:
    found = _NAME.match(line)
    return PurePosixPath(found[1] if found else line).name.lower()
