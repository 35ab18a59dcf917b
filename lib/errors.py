"""Everything that can go wrong, each with the data a caller needs.

    MigratorError                     exit 1
    ├── ConfigurationError            exit 2   a variable is missing or unreadable
    ├── MigrationFileError            exit 2   a file is malformed or refused, before anything ran
    ├── GuardError                    exit 2   this database belongs to another environment
    ├── IntegrityError                exit 3   the applied files and the ledger disagree
    │   └── OrderError                         a late file, under MIGRATION_STRICT_ORDER
    ├── LockError                     exit 4
    │   ├── RunInProgressError                 another run holds the lock
    │   └── BusyTableError                     a table lock could not be had within its retries
    ├── MigrationFailedError          exit 1   the server refused a statement of a file
    ├── DatabaseUnavailableError      exit 1   no connection, or it was lost
    │   └── WebTokenRefusedError               AWS refused what the request brought
    ├── LedgerError                   exit 1   the ledger is another tool's, or may not be read
    └── OutOfTimeError                exit 1   the caller's deadline passed; the file was rolled back

`Interrupted` stands apart: a signal raises it. It is a `KeyboardInterrupt`, on which psycopg cancels the query under way.
"""

import signal
from collections.abc import Iterator, Sequence
from typing import Self

# Of many files with the same fault, so many are named.
TOLD = 3


class MigratorError(Exception):
    """What happened and what to do next, in words for a person; never a secret."""

    exit_code = 1
    _record: str | None = None

    def details(self) -> dict[str, object]:
        """The machine-readable part, as the JSON documents carry it."""
        return {}

    @property
    def public(self) -> str:
        """The text without any detail of the connection, for HTTP."""
        return str(self)

    @property
    def record(self) -> str:
        """The text for the journal, which holds no data of any row."""
        return self.public if self._record is None else self._record

    def recorded_as(self, text: str) -> Self:
        """Give the journal another text than the log has."""
        self._record = text
        return self


class ConfigurationError(MigratorError):
    """All faults of the configuration at once, each naming its variable."""

    exit_code = 2

    def __init__(self, *faults: str) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults


class MigrationFileError(MigratorError):
    """A file that can't be run as it is. `line` counts from 1.

    `fault` is what is wrong, in words that are the same for every file of which the same is true, and `way_out` what to
    do about this one.
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
        """One error that tells of all `faults`, a line each, and carries the first one's place.

        Of many files with the same fault three are named, and how many there are.
        """
        each = tuple(single for fault in faults for single in fault.faults)
        together = cls("", file=each[0].file, line=each[0].line, version=each[0].version)
        together.faults = each
        together.args = ("\n".join(_told_once(each)),)
        return together

    def details(self) -> dict[str, object]:
        return _given(version=self.version, line=self.line)


def _told_once(faults: "Sequence[MigrationFileError]") -> Iterator[str]:
    alike: dict[str, list[MigrationFileError]] = {}
    for fault in faults:
        alike.setdefault(fault.fault, []).append(fault)
    for group in alike.values():
        yield from map(str, group[:TOLD])
        if len(group) > TOLD:
            yield f"  … and {len(group) - TOLD} more with the same fault, {len(group)} in all."


class GuardError(MigratorError):
    """A run of one environment met a database that another one has claimed."""

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
    """A lock was not to be had in the time allowed."""

    exit_code = 4


class RunInProgressError(LockError):
    """Another run holds the run lock. `holder` says who, `since` when (ISO 8601, UTC), as far as the role may see."""

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
    """A file gave up waiting for a lock on a table; it was rolled back each time."""

    def __init__(self, message: str, *, version: str, sqlstate: str) -> None:
        super().__init__(message)
        self.version = version
        self.sqlstate = sqlstate

    def details(self) -> dict[str, object]:
        return _given(version=self.version, sqlstate=self.sqlstate)


class MigrationFailedError(MigratorError):
    """The server refused a statement. `line` and `column` count from 1, in characters of the file."""

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
    """No connection could be made, or it was lost. `public` is the text for HTTP.

    `final` when trying again would not help, `silent` when there was no answer at all.
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
        self._public = public

    @property
    def public(self) -> str:
        return self._public or str(self)


class WebTokenRefusedError(DatabaseUnavailableError):
    """AWS gave nothing for a web token, for good. Another request's may do."""


class LedgerError(MigratorError):
    """The ledger can't be used: another tool's table, or no right to read it."""


class OutOfTimeError(MigratorError):
    """The deadline passed. What was under way was rolled back; what had committed stays."""


class Interrupted(KeyboardInterrupt):
    """A signal arrived that ends the run. `exit_code` is the shell's: 128 plus the signal's number."""

    def __init__(self, signum: int) -> None:
        super().__init__(f"Interrupted by {signal.Signals(signum).name}.")
        self.exit_code = 128 + signum


def _given(**details: object) -> dict[str, object]:
    return {key: value for key, value in details.items() if value is not None}
