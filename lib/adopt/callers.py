"""Where a project still calls another tool: its scripts, its workflows, its builds."""

import json
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..masking import without_credentials
from ..tools.tool import Tool
from .adoption import Caller

# Nobody calls a tool in a larger file, such as a lock file or a bundle.
LARGEST_FILE = 1 << 20
LONGEST_LINE = 200
MOST_FOLDERS = 2_000
# Deeper folders hold no package of a workspace.
_DEPTH = 4
_SKIPPED = ("node_modules", "vendor", "venv", "dist", "build")
_WORKFLOWS = ".github/workflows"
# Files at the root of a project, or of a package in it.
_BUILDS = re.compile(
    r"package\.json|vercel\.json|turbo\.json|Procfile|Makefile|justfile|Justfile|Taskfile\.ya?ml"
    r"|(?:.+\.)?(?:Dockerfile|Containerfile)(?:\..+)?|(?:docker-)?compose(?:\..+)?\.ya?ml"
    r"|fly\.toml|railway\.(?:json|toml)|render\.ya?ml|netlify\.toml|\.gitlab-ci\.yml|.+\.sh"
)
_COMMENT = re.compile(r"\s*(?:#|//)")


def find_callers(tool: Tool, root: Path, build_command: str | None) -> tuple[Caller, ...]:
    """Return the lines that call the tool. `build_command` is FRONTEND_BUILD_COMMAND."""
    calls = [re.compile(pattern) for pattern in tool.calls]
    found = [
        caller
        for path in _files(root)
        for caller in _in_file(path, path.relative_to(root).as_posix(), calls)
    ]
    if build_command and _is_call(build_command, calls):
        found.append(Caller("FRONTEND_BUILD_COMMAND", 1, _shown(build_command)))
    return tuple(found)


def _files(root: Path) -> Iterator[Path]:
    for seen, (folder, names, files) in enumerate(os.walk(root)):
        place = Path(folder)
        depth = len(place.relative_to(root).parts)
        is_full = depth >= _DEPTH or seen > MOST_FOLDERS
        names[:] = [] if is_full else sorted(filter(_is_project, names))
        yield from (place / name for name in sorted(files) if _BUILDS.fullmatch(name))
    workflows = root / _WORKFLOWS
    # A link would lead out of the project.
    if workflows.resolve() == root.resolve() / _WORKFLOWS:
        for pattern in ("*.yml", "*.yaml"):
            yield from sorted(workflows.glob(pattern))


def _is_project(name: str) -> bool:
    return not name.startswith(".") and name not in _SKIPPED


def _in_file(path: Path, name: str, calls: Sequence[re.Pattern[str]]) -> Iterator[Caller]:
    text = _text(path)
    lines = text.splitlines()
    scripts = _scripts(text) if path.name == "package.json" else None
    for number, line in enumerate(lines, 1):
        # In package.json the packages are named, too, which calls nothing.
        if scripts is not None and not any(json.dumps(each) in line for each in scripts):
            continue
        if not _COMMENT.match(line) and _is_call(line, calls):
            yield Caller(name, number, _shown(line))


def _is_call(line: str, calls: Sequence[re.Pattern[str]]) -> bool:
    return any(call.search(line) for call in calls)


def _text(path: Path) -> str:
    try:
        if path.is_symlink() or not path.is_file() or path.stat().st_size > LARGEST_FILE:
            return ""
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _scripts(text: str) -> tuple[str, ...]:
    try:
        document = json.loads(text)
        scripts = document.get("scripts") or {}
        return tuple(each for each in scripts.values() if isinstance(each, str) and each)
    # Whatever the file holds in place of what npm expects.
    except (ValueError, AttributeError, RecursionError):
        return ()


def _shown(line: str) -> str:
    shown = without_credentials(" ".join(line.split()))
    return shown if len(shown) <= LONGEST_LINE else f"{shown[: LONGEST_LINE - 1]}…"
