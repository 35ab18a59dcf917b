"""vercel.json as a text: the keys of the bundle are added, everything else stays as it is written.

The order of the keys, the indentation, the values and the line ends of the project are kept.
"""

import json
import re
import shlex
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..errors import ConfigurationError
from .changes import Merged

NAME = "vercel.json"
_SCHEMA = "https://openapi.vercel.sh/vercel.json"
_DECODER = json.JSONDecoder()
_OUR_GLOB = re.compile(r"\{!\(api\|\w+\|[\w-]+\)/\*\*,!\(vercel\.json\),")
_GLOB = "excludeFiles"
_PATTERN = re.compile(r"[*?{\[(!]")
_BLANKS = re.compile(r"[ \t\r\n]*")
# The schema of vercel.json allows this many characters for `buildCommand`.
_LONGEST_COMMAND = 256
_OURS = re.compile(r"(?:FRONTEND_BUILD_COMMAND=(?P<wrapped>.*) )?bash (?:\./)?build\.sh", re.DOTALL)


@dataclass(frozen=True)
class Site:
    """What Vercel has to know of a project: its preset, its build command, what that fills."""

    framework: str | None = None
    build: str | None = None
    output: str | None = None


def build_command(build: str | None) -> str:
    """Return the build command that migrates first, and then runs `build`."""
    return (
        f"FRONTEND_BUILD_COMMAND={shlex.quote(build)} bash build.sh" if build else "bash build.sh"
    )


def merged(before: bytes | None, site: Site, functions: Mapping[str, Any]) -> Merged:
    """Add the keys of the bundle; ConfigurationError if that would be a guess."""
    if before is None:
        document = {"$schema": _SCHEMA, **_added({}, site), "functions": dict(functions)}
        return Merged(f"{json.dumps(document, indent=2)}\n".encode(), document)
    text, document = _read(before)
    wrote = _added(document, site)
    for key, value in wrote.items():
        text = _with(text, (key,), value)
    theirs = document.get("functions", {})
    # Vercel takes the first pattern that matches, and theirs may match the two functions as well.
    is_first = any(_PATTERN.search(key) for key in theirs)
    for path in reversed(tuple(functions)) if is_first else functions:
        for key, value in functions[path].items() if path in theirs else ():
            text = _with(text, ("functions", path, key), value)
        if path not in theirs:
            text = _with(text, ("functions", path), functions[path], is_first=is_first)
    # So that a command of the project comes back, and one that was made up does not.
    was = {"was": document["buildCommand"]} if document.get("buildCommand") else {}
    return Merged(text.encode(), {**wrote, "functions": dict(functions), **was})


def without(current: bytes, wrote: Any) -> bytes | None:
    """Take the keys of the bundle out again; None if nothing else is left."""
    text, document = _read(current)
    theirs = set(document.get("functions", {})) - set(wrote.get("functions", {}))
    for path in wrote.get("functions", {}):
        text = _without(text, ("functions", path))
    if "functions" in document and not theirs:
        text = _without(text, ("functions",))
    command = _OURS.fullmatch(document.get("buildCommand") or "")
    is_added = document.get("buildCommand") == wrote.get("buildCommand") and "was" not in wrote
    if command and command["wrapped"] and not is_added:
        text = _with(text, ("buildCommand",), " ".join(shlex.split(command["wrapped"])))
    elif command:
        text = _without(text, ("buildCommand",))
    for key in ("$schema", "framework", "outputDirectory"):
        if key in wrote and key in document and document[key] == wrote[key]:
            text = _without(text, (key,))
    return text.encode() if json.loads(text) else None


def renewed(
    current: bytes,
    site: Site,
    functions: Mapping[str, Any],
    *,
    wrote: Any,
    kept: Collection[str] = (),
) -> Merged:
    """Bring the bundle's part up to date, but for the keys `kept`, named as by `changed_keys`."""
    text, document = _read(current)
    added = _added(document, site)
    for key, value in added.items():
        text = _with(text, (key,), value)
    is_first = any(_PATTERN.search(key) for key in document.get("functions", {}))
    for path, settings in functions.items():
        theirs = document.get("functions", {}).get(path)
        if theirs is None:
            text = _with(text, ("functions", path), settings, is_first=is_first)
            continue
        old = wrote.get("functions", {}).get(path, {})
        for key, value in settings.items():
            if theirs.get(key) == value or _key(path, key) in kept:
                continue
            # The glob belongs to the bundle; of the rest the project may have its own.
            if key == _GLOB or key not in theirs or theirs[key] == old.get(key):
                text = _with(text, ("functions", path, key), value)
    return Merged(text.encode(), {**wrote, **added, "functions": dict(functions)})


def recognized(current: bytes) -> Any:
    """Return what somebody has copied from the bundle by hand, as far as that can be told."""
    _, document = _read(current)
    functions = {
        path: {_GLOB: settings[_GLOB]}
        for path, settings in document.get("functions", {}).items()
        if _OUR_GLOB.match(str(settings.get(_GLOB)))
    }
    return {"functions": functions}


def _key(path: str, key: str) -> str:
    return f"functions, {path}, {key}"


def changed_keys(current: bytes, wrote: Any, functions: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what the project has changed of the keys that `functions` would change now."""
    theirs = _read(current)[1].get("functions", {})
    olds = wrote.get("functions", {})
    return tuple(
        _key(path, _GLOB)
        for path, settings in functions.items()
        if path in theirs
        # Nobody is asked about a change that the bundle has not made.
        if olds.get(path, {}).get(_GLOB) != settings[_GLOB]
        if theirs[path].get(_GLOB) not in (olds.get(path, {}).get(_GLOB), settings[_GLOB])
    )


def _read(content: bytes) -> tuple[str, dict[str, Any]]:
    try:
        text = content.decode()
        document = json.loads(text, object_pairs_hook=_object)
    except UnicodeDecodeError:
        raise ConfigurationError(f"{NAME} is not UTF-8.") from None
    except json.JSONDecodeError as fault:
        raise ConfigurationError(
            f"{NAME}:{fault.lineno}:{fault.colno}: {fault.msg}. Vercel reads plain JSON, "
            "without comments; correct the file first."
        ) from None
    except (ValueError, RecursionError) as fault:
        raise ConfigurationError(f"{NAME}: {fault}; correct the file first.") from None
    if not isinstance(document, dict) or not isinstance(document.get("functions", {}), dict):
        raise ConfigurationError(f"{NAME}: it, and its `functions`, have to be JSON objects.")
    if any(not isinstance(value, dict) for value in document.get("functions", {}).values()):
        raise ConfigurationError(f"{NAME}: each value in `functions` has to be a JSON object.")
    if document.get("builds"):
        raise ConfigurationError(
            f"{NAME} has `builds`: with it Vercel ignores `buildCommand`, and nothing would be "
            "migrated. Replace it by `functions` first; Vercel's page on `builds` says how."
        )
    return text, document


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) < len(pairs):
        raise ValueError("a key stands twice in an object")
    return dict(pairs)


def _added(document: Mapping[str, Any], site: Site) -> dict[str, Any]:
    """Return the keys at the top level that the project lacks, or that have to be replaced."""
    wrote: dict[str, Any] = {}
    # Without a preset, Vercel would take the project for a Flask application.
    if "framework" not in document:
        wrote["framework"] = site.framework
    theirs = document.get("buildCommand")
    if not isinstance(theirs, str) or not _OURS.fullmatch(theirs):
        # An empty one asks for no build, null for that of the preset.
        command = build_command(theirs if isinstance(theirs, str) else site.build)
        if len(command) > _LONGEST_COMMAND:
            raise ConfigurationError(
                f"{NAME}: the `buildCommand` is too long to be handed to build.sh in "
                f"{_LONGEST_COMMAND} characters. Put it into a script of package.json first."
            )
        wrote["buildCommand"] = command
    is_static = document.get("framework", site.framework) is None
    if is_static and site.output and "outputDirectory" not in document:
        wrote["outputDirectory"] = site.output
    return wrote


# --- Editing ---


@dataclass(frozen=True)
class _Member:
    """A key with its value, by their places in the text."""

    key: str
    start: int
    value: int
    end: int


def _members(text: str, start: int) -> tuple[tuple[_Member, ...], int]:
    """Return the members of the object that begins at `start`, and the place of its brace."""
    found: list[_Member] = []
    place = _skip(text, start + 1)
    while text[place] != "}":
        key, end = _DECODER.raw_decode(text, place)
        value = _skip(text, _skip(text, end) + 1)
        value_end = _DECODER.raw_decode(text, value)[1]
        found.append(_Member(key, place, value, value_end))
        place = _skip(text, value_end)
        if text[place] == ",":
            place = _skip(text, place + 1)
    return tuple(found), place


def _skip(text: str, place: int) -> int:
    blanks = _BLANKS.match(text, place)
    return blanks.end() if blanks else place


def _find(text: str, path: Sequence[str]) -> int:
    """Return the place of the object at `path`."""
    place = _skip(text, 0)
    for key in path:
        place = next(each.value for each in _members(text, place)[0] if each.key == key)
    return place


def _with(text: str, path: tuple[str, ...], value: Any, *, is_first: bool = False) -> str:
    """Set a value; a new key is added at the end of its object, or at its beginning."""
    root, _ = _members(text, _skip(text, 0))
    if len(path) > 1 and path[0] not in {each.key for each in root}:
        return _with(text, path[:1], {path[1]: value})
    start = _find(text, path[:-1])
    members, _ = _members(text, start)
    old = next((each for each in members if each.key == path[-1]), None)
    if old is None:
        return _with_new(text, start, path[-1], value, is_first=is_first)
    written = _Layout.of(text).written(value, _indent_of(text, old.start))
    return f"{text[: old.value]}{written}{text[old.end :]}"


def _with_new(text: str, start: int, key: str, value: Any, *, is_first: bool) -> str:
    """Add a key to the object that begins at `start`."""
    members, close = _members(text, start)
    layout = _Layout.of(text)
    outer = _indent_of(text, start)
    between = text[start + 1 : members[0].start] if members else ""
    if members and "\n" not in between:
        layout = replace(layout, unit="", is_one_line=True)
    indent = between.rpartition("\n")[2] if members else f"{outer}{layout.unit}"
    member = f"{json.dumps(key)}: {layout.written(value, indent)}"
    if not members and layout.is_one_line:
        return f"{text[: start + 1]}{member}{text[close:]}"
    if not members:
        end = layout.line_end
        return f"{text[: start + 1]}{end}{indent}{member}{end}{outer}{text[close:]}"
    pause = " " if layout.is_one_line else f"{layout.line_end}{indent}"
    if is_first:
        return f"{text[: members[0].start]}{member},{pause}{text[members[0].start :]}"
    last = members[-1].end
    return f"{text[:last]},{pause}{member}{text[last:]}"


def _without(text: str, path: tuple[str, ...]) -> str:
    """Take out a member with the comma and the blanks that belong to it."""
    try:
        start = _find(text, path[:-1])
    except StopIteration:
        return text
    members, close = _members(text, start)
    at = next((at for at, each in enumerate(members) if each.key == path[-1]), None)
    if at is None:
        return text
    if len(members) == 1:
        return f"{text[: start + 1]}{text[close:]}"
    if at == len(members) - 1:
        return f"{text[: members[at - 1].end]}{text[members[at].end :]}"
    return f"{text[: members[at].start]}{text[members[at + 1].start :]}"


def _indent_of(text: str, place: int) -> str:
    """Return the blanks at the beginning of the line."""
    line = text[text.rfind("\n", 0, place) + 1 : place]
    return line[: len(line) - len(line.lstrip(" \t"))]


@dataclass(frozen=True)
class _Layout:
    """How a text is laid out: its line ends, its indentation, or that all is in one line."""

    line_end: str
    unit: str
    is_one_line: bool = False

    @classmethod
    def of(cls, text: str) -> "_Layout":
        start = _skip(text, 0)
        members, _ = _members(text, start)
        before = text[start + 1 : members[0].start] if members else "\n  "
        unit = before.rpartition("\n")[2].removeprefix(_indent_of(text, start)) or "  "
        return cls("\r\n" if "\r\n" in text else "\n", unit, is_one_line="\n" not in before)

    def written(self, value: Any, indent: str) -> str:
        if self.is_one_line:
            return json.dumps(value, ensure_ascii=False)
        lines = json.dumps(value, ensure_ascii=False, indent=self.unit).split("\n")
        return f"{self.line_end}{indent}".join(lines)
