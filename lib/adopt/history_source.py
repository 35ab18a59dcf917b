"""Where a history comes from: the folder and the ledger of a tool, judged by the tool itself."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .. import COMMAND
from ..actions.run_parameters import RunContext
from ..catalog.other_ledgers import OtherLedger, find_other_ledgers
from ..database.connection import Connection
from ..tools.known_tools import TOOLS
from ..tools.tool import History, Problem, Tool, ToolFiles
from .tool_folder import shown
from .tool_records import ToolRecords, read_records

_MOST_NAMED = 3


@dataclass(frozen=True)
class Source:
    """A history that is to be adopted, and what was read of it.

    `folder` is what messages call the place of the files. `records` is None if the database has
    no ledger of the tool.
    """

    tool: Tool
    folder: str
    records: ToolRecords | None = None
    read: ToolFiles = field(default_factory=lambda: ToolFiles(()))
    history: History = field(default_factory=lambda: History(()))

    @property
    def problems(self) -> tuple[Problem, ...]:
        # Reading a folder and judging it may find the same fault.
        return tuple(dict.fromkeys((*self.read.problems, *self.history.problems)))

    @property
    def notes(self) -> tuple[str, ...]:
        return (*self.read.notes, *self.history.notes, *_left_out(self.read.left_out))


def read_source(
    context: RunContext, connection: Connection, tool: Tool, root: Path, folder: Path
) -> Source:
    """Read the files and the records of a tool."""
    name = shown(folder, root)
    read = tool.read_folder(folder)
    records = read_records(connection, tool, read.ledger, context.target.search_path)
    if records is None:
        others = find_other_ledgers(connection)
        return Source(tool, name, history=History((), (_no_ledger(tool, others),)))
    return Source(tool, name, records, read, tool.judge(read, records.rows))


def _no_ledger(tool: Tool, others: Sequence[OtherLedger]) -> Problem:
    return Problem(
        "the database",
        f"it has no ledger of {tool.title}, so nothing tells what has been applied",
        f"{''.join(map(_carried_on, others))}if the database is empty, `{COMMAND} migrate` builds "
        f"it from the files; if its tables were made without {tool.title}'s migrations, as `prisma "
        f"db push` makes them, `{COMMAND} adopt database` makes one first file of them; if the "
        "ledger is in another database, correct the URL",
    )


def _carried_on(other: OtherLedger) -> str:
    word = other.tool if other.tool in {tool.word for tool in TOOLS} else "database"
    return f"it has {other.name} of {other.tool}, which `{COMMAND} adopt {word}` carries on; "


def _left_out(names: Sequence[str]) -> list[str]:
    if not names:
        return []
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return [f"Left out, as no part of a way forward: {', '.join(names[:_MOST_NAMED])}{more}."]
