"""The errors, each with the data that a caller needs.

    MigratorError                     exit 1
    ├── ConfigurationError            exit 2   a variable is missing or unreadable
    ├── MigrationFileError            exit 2   a file is malformed or refused, before anything ran
    ├── GuardError                    exit 2   this database belongs to another environment
    ├── IntegrityError                exit 3   the applied files and the ledger disagree
    │   └── OrderError                         a late file, under MIGRATION_STRICT_ORDER
    ├── LockError                     exit 4
    │   ├── RunInProgressError                 another run holds the lock
    │   └── BusyTableError                     a table lock was not granted within the retries
    ├── MigrationFailedError          exit 1   the server refused a statement of a file
    ├── DatabaseUnavailableError      exit 1   no connection, or it was lost
    │   └── WebTokenRefusedError               AWS refused the token of the request
    ├── LedgerError                   exit 1   the ledger belongs to another tool, or is unreadable
    └── OutOfTimeError                exit 1   the deadline passed; the file was rolled back

`Interrupted` stands apart: a signal raises it. It is a `KeyboardInterrupt`, on which psycopg
cancels the running query.
"""

import signal
from collections.abc import Iterator, Sequence
from typing import Self

# At most this many files with the same fault are named.
NAMED_FILES = 3


class MigratorError(Exception):
    """An error whose text says what happened and what to do next; it never contains a secret."""

    # The exit code of every subclass that does not set another; README.md lists them.
    exit_code = 1
    _record: str | None = None

    def details(self) -> dict[str, object]:
        """Return the machine-readable part for the JSON documents."""
        return {}

    @property
    def public(self) -> str:
        """The text for HTTP, without details of the connection."""
        return str(self)

    @property
    def record(self) -> str:
        """The text for the journal, without data of any row."""
        return self.public if self._record is None else self._record

    def recorded_as(self, text: str) -> Self:
        """Record another text in the journal than in the log."""
        self._record = text
        return self


class ConfigurationError(MigratorError):
    """All faults of the configuration at once; each names its variable."""

    exit_code = 2

    def __init__(self, *faults: str) -> None:
        # All at once: whoever has to set variables in a dashboard should have to do it once.
        super().__init__("\n".join(faults))
        self.faults = faults


def not_installed(fault: ImportError) -> ConfigurationError:
    """The error for a package that could not be imported."""
    if (fault.name or "").partition(".")[0] == __name__.partition(".")[0]:
        return ConfigurationError(
            f"{fault.name} can't be imported: the files of the bundle are of several versions, or "
            "some are missing. Check them out again, or update the bundle."
        )
    # An ImportError without a name: psycopg is installed, but not its libpq.
    what = (
        f"{fault.name} is not installed"
        if fault.name
        else "psycopg is installed without its binary"
    )
    return ConfigurationError(
        f"{what}: see that requirements.txt names flask and psycopg[binary], and run ./build.sh."
    )


class MigrationFileError(MigratorError):
    """A file that can't run as it is. `line` counts from 1.

    `fault` says what is wrong, in the same words for every file with the same fault; `way_out` says
    what to do about this file.
    """

    exit_code = 2

    def __init__(
        self,
        fault: str,
        *,
        file: str,
        line: int | None = None,
        version: str | None = None,
        way_out: str = "",
    ) -> None:
        place = file if line is None else f"{file}:{line}"
        super().__init__(f"{place}: {fault}{'; ' if way_out else ''}{way_out}")
        self.fault = fault
        self.file = file
        self.line = line
        self.version = version
        self.faults: tuple[MigrationFileError, ...] = (self,)

    @classmethod
    def together(cls, faults: "Sequence[MigrationFileError]") -> "MigrationFileError":
        """Return one error with all `faults`, one on each line, and the file and line of the first.

        Of many files with the same fault, three are named, and the others are counted.
        """
        each = tuple(single for fault in faults for single in fault.faults)
        # Each fault may itself hold several, from a single file.
        together = cls("", file=each[0].file, line=each[0].line, version=each[0].version)
        together.faults = each
        together.args = ("\n".join(_grouped(each)),)
        return together

    def details(self) -> dict[str, object]:
        return _given(version=self.version, line=self.line)


def _grouped(faults: "Sequence[MigrationFileError]") -> Iterator[str]:
    # A dictionary keeps the order of the files, in which people will read the list.
    alike: dict[str, list[MigrationFileError]] = {}
    for fault in faults:
        alike.setdefault(fault.fault, []).append(fault)
    for group in alike.values():
        yield from map(str, group[:NAMED_FILES])
        if len(group) > NAMED_FILES:
            others = len(group) - NAMED_FILES
            yield f"  … and {others} more with the same fault, {len(group)} in all."


class GuardError(MigratorError):
    """Another environment has claimed the database of this run."""

    exit_code = 2


class IntegrityError(MigratorError):
    """An applied file was modified, renamed or removed."""

    exit_code = 3

    def __init__(self, message: str, *, version: str | None = None) -> None:
        super().__init__(message)
        self.version = version

    def details(self) -> dict[str, object]:
        return _given(version=self.version)


class OrderError(IntegrityError):
    """A pending file is numbered below an applied one and `MIGRATION_STRICT_ORDER` is set."""


class LockError(MigratorError):
    """A lock was not granted in time."""

    exit_code = 4


class RunInProgressError(LockError):
    """Another run holds the run lock.

    `holder` is that run, `since` the time (ISO 8601, UTC); None where the role may not see them.
    """

    def __init__(self, holder: str | None, since: str | None) -> None:
        who = f" ({holder})" if holder else ""
        when = f" since {since}" if since else ""
        super().__init__(
            f"Another migration run{who} is under way{when}. Try again when it has ended."
        )
        self.holder = holder
        self.since = since

    def details(self) -> dict[str, object]:
        return _given(holder=self.holder, since=self.since)


class BusyTableError(LockError):
    """A file did not get a lock on a table; it was rolled back at each attempt."""

    def __init__(self, message: str, *, version: str, sqlstate: str) -> None:
        super().__init__(message)
        self.version = version
        self.sqlstate = sqlstate

    def details(self) -> dict[str, object]:
        return _given(version=self.version, sqlstate=self.sqlstate)


class MigrationFailedError(MigratorError):
    """The server refused a statement. `line` and `column` count from 1, in characters."""

    def __init__(
        self,
        message: str,
        *,
        version: str,
        sqlstate: str | None = None,
        line: int | None = None,
        column: int | None = None,
    ) -> None:
        super().__init__(message)
        self.version = version
        self.sqlstate = sqlstate
        self.line = line
        self.column = column

    def details(self) -> dict[str, object]:
        return _given(version=self.version, sqlstate=self.sqlstate, line=self.line)


class DatabaseUnavailableError(MigratorError):
    """No connection could be made, or the connection was lost. `public` is the text for HTTP.

    `final` is true if trying again would not help, `silent` if there was no answer at all.
    """

    def __init__(
        self,
        message: str,
        *,
        final: bool = False,
        silent: bool = False,
        public: str | None = None,
        sqlstate: str | None = None,
    ) -> None:
        super().__init__(message)
        self.final = final
        self.silent = silent
        self.sqlstate = sqlstate
        # Host and user stay out of an answer that goes over HTTP.
        self._public = public

    @property
    def public(self) -> str:
        return self._public or str(self)


class WebTokenRefusedError(DatabaseUnavailableError):
    """AWS refused a web token for good; the token of another request may be accepted."""


class LedgerError(MigratorError):
    """The ledger can't be used: the table belongs to another tool, or may not be read."""


class ForeignLedgerError(LedgerError):
    """A table with the ledger's name belongs to another tool, likely to one of `tools`."""

    def __init__(self, message: str, *, tools: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.tools = tuple(tools)


class OutOfTimeError(MigratorError):
    """The deadline passed. The transaction was rolled back; what had committed stays."""


class Interrupted(KeyboardInterrupt):
    """A signal ended the run. `exit_code` is that of a shell: 128 plus the number of the signal."""

    def __init__(self, signum: int) -> None:
        super().__init__(f"Interrupted by {signal.Signals(signum).name}.")
        self.exit_code = 128 + signum


def _given(**details: object) -> dict[str, object]:
    return {key: value for key, value in details.items() if value is not None}
