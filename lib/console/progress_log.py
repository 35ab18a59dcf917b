"""A run as it goes, line by line: what is applied on standard output, all else on the other."""

from ..errors import RunInProgressError
from ..files.folder import MigrationFile
from ..plan.blockers import Blocker, IndexProgress, describe_blockers
from ..plan.progress_listener import Position, Progress
from ..plan.reports import AppliedNow, Renumbered
from ..settings.connection_target import ConnectionTarget
from ..time_limits import SIGN_OF_LIFE
from .output_streams import Console
from .terminal import progress_bar, route_text


class ProgressLog(Progress):
    """Prints each event of a run when it happens. `doing` is what is done, as in "Migrating"."""

    def __init__(self, console: Console, doing: str) -> None:
        self.console = console
        self.doing = doing
        # What the line of a statement that runs shows, so that it is written once a second.
        self._sign: tuple[str, Position | None, int] | None = None
        self._building = ""

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

    def renumbered(self, migration: Renumbered) -> None:
        tick = self.console.style.tick
        self.console.say(f"{migration.version}  was {migration.former}, not run again", sign=tick)

    def retrying(self, file: MigrationFile, reason: str, pause: float) -> None:
        self.console.tell(
            f"{file.path}: {reason}. It was rolled back; "
            f"trying again in {pause:.1f} s at the earliest."
        )

    def working(self, file: MigrationFile, position: Position | None, seconds: float) -> None:
        # The bar of an index says more.
        if seconds < SIGN_OF_LIFE or not self.console.is_live or self._building == file.version:
            return
        sign = (file.version, position, int(seconds))
        if sign != self._sign:
            self._sign = sign
            where = f"statement {position[0]} of {position[1]}, " if position else ""
            self.console.show_bar(f"{file.version}: {where}{_running_time(seconds)}", stays=False)

    def still_running(
        self, file: MigrationFile, blockers: tuple[Blocker, ...], seconds: float
    ) -> None:
        if not blockers and self.console.is_live:
            # A line that counts the seconds is there already.
            return
        held_up = f", held up by {describe_blockers(blockers)}" if blockers else ""
        self.console.tell(f"{file.path}: still running after {seconds:.0f} s{held_up}.")

    def building(self, file: MigrationFile, index: IndexProgress, seconds: float) -> None:
        # In a log, a line that overwrites itself would be a line of many thousand characters.
        self._building = file.version
        if self.console.is_live:
            bar = progress_bar(index, self.console.style)
            self.console.show_bar(f"{bar} {file.version}: {index.phase}")
        else:
            share = f" {index.percent}%" if index.total else ""
            self.console.tell(f"{file.path}: {index.phase}{share}, {seconds:.0f} s.")

    def notice(self, file: MigrationFile | None, severity: str, message: str) -> None:
        # A notice without a file is about a statement of the runner itself, and of no interest.
        if file is not None:
            self.console.tell(f"{file.path}: {severity}: {message}")


def _running_time(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
