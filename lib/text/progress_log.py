"""A run as it goes, line by line: what is applied on standard output, all else on the other."""

from ..errors import RunInProgressError
from ..files.folder import MigrationFile
from ..plan.blockers import Blocker, IndexProgress, describe_blockers
from ..plan.progress_listener import Progress
from ..plan.reports import AppliedNow
from ..settings.connection_target import ConnectionTarget
from .output_streams import Console
from .terminal import progress_bar, route_text


class ProgressLog(Progress):
    """Prints each event of a run when it happens. `doing` is what is done, as in "Migrating"."""

    def __init__(self, console: Console, doing: str) -> None:
        self.console = console
        self.doing = doing

    def retrying_connection(self, reason: str) -> None:
        self.console.tell(f"{reason} Trying again.")

    def connected(self, target: ConnectionTarget, *, is_direct: bool | None) -> None:
        route = "" if is_direct is None else f"; {route_text(is_direct=is_direct)}"
        dropped = (f"left out of its URL: {', '.join(target.dropped)}",) if target.dropped else ()
        path = (f"search_path {target.search_path}",) if target.search_path else ()
        more = "".join(f"; {each}" for each in (*path, *target.remarks, *dropped))
        self.console.tell(f"{self.doing} {target.place} ({target.choice}{route}{more}).")

    def warning(self, text: str) -> None:
        self.console.tell(f"Warning: {text}")

    def recovering(self, text: str) -> None:
        self.console.tell(text)

    def waiting(self, holder: RunInProgressError) -> None:
        who = f" ({holder.holder})" if holder.holder else ""
        since = f", since {holder.since}" if holder.since else ""
        self.console.tell(f"Waiting for another migration run{who}{since}.")

    def applied(self, migration: AppliedNow) -> None:
        # At once, and not at the end: a build log is read while the run lasts.
        tick = self.console.style.tick
        self.console.say(f"{migration.version}  {migration.execution_time_ms} ms", sign=tick)

    def retrying(self, file: MigrationFile, reason: str, pause: float) -> None:
        self.console.tell(
            f"{file.path}: {reason}. It was rolled back; "
            f"trying again in {pause:.1f} s at the earliest."
        )

    def still_running(
        self, file: MigrationFile, blockers: tuple[Blocker, ...], seconds: float
    ) -> None:
        held_up = f", held up by {describe_blockers(blockers)}" if blockers else ""
        self.console.tell(f"{file.path}: still running after {seconds:.0f} s{held_up}.")

    def building(self, file: MigrationFile, index: IndexProgress, seconds: float) -> None:
        # In a log, a line that overwrites itself would be a line of many thousand characters.
        if self.console.err.isatty():
            bar = progress_bar(index, self.console.style)
            self.console.show_bar(f"{bar} {file.version}: {index.phase}")
        else:
            share = f" {index.percent}%" if index.total else ""
            self.console.tell(f"{file.path}: {index.phase}{share}, {seconds:.0f} s.")

    def notice(self, file: MigrationFile | None, severity: str, message: str) -> None:
        # A notice without a file is about a statement of the runner itself, and of no interest.
        if file is not None:
            self.console.tell(f"{file.path}: {severity}: {message}")
