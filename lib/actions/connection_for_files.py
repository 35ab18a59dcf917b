"""The connection that a run's files go over: made, checked, and told from one through a pooler."""

from collections.abc import Callable
from contextlib import ExitStack, suppress
from types import TracebackType
from typing import Self

from ..database.connection import Connection
from ..database.connection_errors import TOO_MANY_CONNECTIONS
from ..database.login import no_search_path
from ..database.notices import Listener
from ..database.server_error import StatementError
from ..database.sql_composition import reset_script
from ..errors import ConfigurationError, DatabaseUnavailableError, MigratorError
from ..ledger.ledger_state import Survey, read_backend
from ..settings.search_path import first_schema
from ..time_limits import ANSWER, SECOND_CONNECTION
from .run_parameters import RunContext
from .status import survey_database

NO_ANSWER = (
    "The database stopped answering, outside of any migration: run it again, and what is still "
    "pending is applied."
)
_NO_SECOND_CONNECTION = (
    "The database stopped answering once the run lock was held. A run needs two server connections "
    "at a time, and the pooler may have one alone: set MIGRATION_DATABASE_URL to a direct "
    "connection."
)
# -1 in either stands for no limit.
_CONNECTION_LIMITS = """
select r.rolconnlimit, d.datconnlimit from pg_catalog.pg_roles r, pg_catalog.pg_database d
 where r.rolname = session_user and d.datname = current_database()
"""
_SEARCH_PATH = "select pg_catalog.current_setting('search_path'), pg_catalog.current_schema()"
# How often a pooler is asked for its server process: a busy one may give the same one twice.
_BACKEND_PROBES = 10


class RunConnection:
    """Keeps one connection for the files of a run; `current` is that connection.

    `is_pooled` is known once `detect_pooler` has been called.
    """

    def __init__(self, context: RunContext, *, on_notice: Listener) -> None:
        self._context = context
        self._on_notice = on_notice
        self._connections = ExitStack()
        # The server processes that the connection has had, each time the database was read.
        self._backends: set[str | None] = set()
        self._first_backend: str | None = None
        self._lacked_tables = False
        self.is_pooled = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._connections.close()

    def connect(self) -> None:
        """Connect, again if need be, and check what the files rely on."""
        self.current = self._connections.enter_context(
            self._context.connect(
                on_notice=self._on_notice, for_files=True, cleanup_sql=reset_script()
            )
        )
        self._backends = set()
        _check_strings(self.current)
        self._check_search_path()

    def connect_for_lock(self) -> Connection:
        """Make the second connection of a run, which holds the run lock."""
        try:
            # Without retries first: if only one connection is allowed, waiting does not help.
            return self._context.connect(timeout=0.0)
        except DatabaseUnavailableError as error:
            if error.sqlstate == TOO_MANY_CONNECTIONS:
                self._check_connection_limits()
        return self._context.connect()

    def survey(self) -> Survey:
        """Take a survey, and remember which server process answered."""
        survey = survey_database(
            self.current,
            self._context,
            may_lack_tables=self._lacked_tables,
            timeout=ANSWER,
            otherwise=NO_ANSWER,
        )
        self._lacked_tables = survey.ledger is None
        self._backends.add(survey.backend)
        self._first_backend = self._first_backend or survey.backend
        return survey

    def survey_under_lock(self) -> Survey:
        """Take another survey once the run lock is held.

        If a pool has only one server connection, the lock has that one, and no answer comes.
        """
        if not self.current.is_alive():
            # It was idle while another run was waited for.
            self.connect()
        if self.current.announced_backend == self._first_backend:
            return self.survey()
        with self.current.limit_to(SECOND_CONNECTION, _NO_SECOND_CONNECTION):
            return self.survey()

    def write_somewhere(self, write: Callable[[Connection], None], *, timeout: float) -> bool:
        """Write over this connection or, if that fails, a new one made within `timeout` seconds.

        False if nothing was written.
        """
        with suppress(StatementError, MigratorError):
            # Seen without a round trip, so that no time is lost on a dead connection.
            if self.current.is_alive():
                write(self.current)
                return True
        with suppress(StatementError, MigratorError):
            if self._context.may_still_connect:
                with self._context.connect_for_cleanup(timeout) as connection:
                    write(connection)
                return True
        return False

    def backend(self) -> str | None:
        """The server process that answers now."""
        with self.current.limit_to(ANSWER, NO_ANSWER):
            return read_backend(self.current)

    def detect_pooler(self, *, matters: bool, lock_backend: str | None) -> None:
        """Find out whether a transaction pooler is in between; `is_pooled` says so.

        Behind such a pooler each transaction may get another server process. Unless it `matters`
        that a pooler in session mode is none, the server is not asked for its process.
        """
        self.is_pooled = self._has_pooler(matters=matters, lock_backend=lock_backend)

    def _has_pooler(self, *, matters: bool, lock_backend: str | None) -> bool:
        # A server announces the pid of its own process on connecting, a pooler some other number.
        if {self.current.announced_backend} == self._backends:
            return False
        if not matters:
            return not self._context.target.is_known_direct
        self._backends |= {read_backend(self.current) for _ in range(_BACKEND_PROBES)}
        # A process that has served this connection and now holds the lock belongs to a pooler.
        return len(self._backends) > 1 or lock_backend in self._backends

    def _check_connection_limits(self) -> None:
        with self.current.limit_to(ANSWER, NO_ANSWER):
            [[limits]] = self.current.query(_CONNECTION_LIMITS, read_only=True)
        for limit, owner in zip(limits, ("role", "database"), strict=True):
            if limit == "1":
                raise DatabaseUnavailableError(
                    f"The {owner} that {self._context.target.source} names may have one connection "
                    "at a time, and a run needs two, now and then a third: "
                    f"alter {owner} … connection limit 5.",
                    final=True,
                    public=f"The {owner} may have one connection at a time, and a run needs two.",
                )

    def _check_search_path(self) -> None:
        """Check that the URL's search_path is in force: a pooler may drop it, unknown to it."""
        target = self._context.target
        if not target.search_path:
            return
        with self.current.limit_to(ANSWER, NO_ANSWER):
            # `run`, since `query` would set a search_path of its own.
            [[found, schema]] = self.current.run(_SEARCH_PATH)
        if found != target.search_path:
            raise ConfigurationError(no_search_path(target))
        wanted = first_schema(target.search_path)
        if wanted and schema != wanted:
            where = f"lands in {schema}" if schema else "fails"
            self._context.progress.warning(
                f"The schema {wanted}, which {target.source} names, is not there or not open to "
                "this role: until a file makes it, what is made without naming a schema "
                f"{where}."
            )


def _check_strings(connection: Connection) -> None:
    if not connection.has_standard_strings:
        raise ConfigurationError(
            "The database has standard_conforming_strings off, under which the server would read "
            "the files otherwise than they were checked: alter database … set "
            "standard_conforming_strings = on."
        )
