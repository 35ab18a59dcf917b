"""The commands about the schema that the files make: `schema`, and what keeps its file current."""

import difflib
from collections.abc import Callable, Iterator, Mapping
from itertools import islice

from .. import COMMAND
from ..actions.run_parameters import RunContext
from ..calls.command_setup import environ_with_files
from ..calls.invocation import Invocation
from ..errors import IntegrityError, MigratorError
from ..escaping import PREFIX, table
from ..files.folder import SCHEMA, discover
from ..plan.reports import Document
from ..scratch.schema_file import (
    FileState,
    Origin,
    build,
    is_ours,
    read,
    refresh,
    schema_path,
    state_of,
)
from ..settings.loader import local_platform, migrations_dir

# Of a difference, as many lines as a log can bear.
_MOST_LINES = 60


def _schema(call: Invocation) -> int:
    origin = _origin(call)
    if call.arguments.check:
        return _check(call, origin)
    text = build(origin)
    if call.arguments.json:
        call.console.print_json({"success": True, "action": "schema", "schema": text})
    else:
        call.console.show_file(text)
    return 0


def _origin(call: Invocation) -> Origin:
    environ = environ_with_files(call)
    folder = migrations_dir(environ, root=call.root)
    # Before the server is started.
    schema_path(call.root, folder)
    return Origin(call.root, folder, discover(folder), local_platform(environ))


def _check(call: Invocation, origin: Origin) -> int:
    text = read(origin.path)
    # For the other two, nothing has to be built.
    expected = build(origin) if text is not None and is_ours(text) else ""
    state = state_of(text, expected)
    is_current = state is FileState.CURRENT
    said = _said(state, origin.shown_path)
    if call.arguments.json:
        error = {} if is_current else {"error": said}
        call.console.print_json(
            {"success": is_current, "action": "schema", "state": state.value, **error}
        )
        return 0 if is_current else IntegrityError.exit_code
    if is_current:
        call.console.say(said, sign=call.console.style.tick)
        return 0
    if expected and text:
        call.console.show(table(_difference(text, expected)))
    raise IntegrityError(said)


def _said(state: FileState, path: str) -> str:
    # If it fails, the shell leaves an empty file, which the next `migrate` fills.
    make = f"`{COMMAND} schema > {path}`"
    return {
        FileState.CURRENT: f"{path} is what the files make.",
        FileState.STALE: f"{path} is not what the files make. {make} makes it again.",
        FileState.CONFLICT: f"{path} holds the marks of a merge conflict. {make} makes it again.",
        FileState.MISSING: f"There is no {path}. {make} makes it.",
        FileState.FOREIGN: f"{path} was not made by `{COMMAND} schema`, and is left as it is. If "
        f"nothing needs it, {make} replaces it.",
    }[state]


def _difference(text: str, expected: str) -> Iterator[str]:
    """Yield lines that show how the file differs, at most as many as a log can bear."""
    lines = difflib.unified_diff(
        text.splitlines(), expected.splitlines(), SCHEMA, "the files", n=1, lineterm=""
    )
    # The prefix keeps a line of a file from being one that a CI system obeys.
    yield from (f"{PREFIX}{line}" for line in islice(lines, _MOST_LINES))
    if next(lines, None) is not None:
        yield f"{PREFIX}…"


def refresh_file(call: Invocation, context: RunContext) -> Document:
    """Bring the file up to date after a run, and tell of it; a failure does not fail the run.

    Return the part of a JSON document, which is empty if there is no file of ours.
    """
    folder = context.settings.migrations_dir
    shown = SCHEMA
    try:
        platform = local_platform(environ_with_files(call))
        origin = Origin(call.root, folder, discover(folder), platform)
        shown = origin.shown_path
        before = refresh(origin)
    except (MigratorError, OSError) as error:
        reason = str(error) if isinstance(error, MigratorError) else error.strerror or str(error)
        if not call.arguments.json:
            call.console.tell(f"{shown} was not brought up to date: {reason}")
        return {"schemaFile": {"path": shown, "written": False, "error": reason}}
    if before is None:
        return {}
    is_written = before is not FileState.CURRENT
    if is_written and not call.arguments.json:
        call.console.tell(_written(before, shown))
    return {"schemaFile": {"path": shown, "written": is_written}}


def _written(before: FileState, path: str) -> str:
    if before is FileState.CONFLICT:
        return f"Made {path} again, which held the marks of a merge conflict: commit it."
    return f"Brought {path} up to date with the files: commit it with them."


COMMANDS: Mapping[str, Callable[[Invocation], int]] = {"schema": _schema}
