"""The run's second session: it sees what a statement waits for, and whether the server still works.

The session that migrates is busy while a statement runs. This one is made only when a statement
takes longer than a moment, and asks the server about it: who holds the lock, how far the index is,
whether the server works on it at all. The progress of a file outside a transaction is noted here
too, whatever role or setting the file has given its own session.

The run lock's transaction is not used for that: a look would keep a snapshot there, and every
catalog that it reads would stay locked.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from psycopg import sql

from ..database.connection import Connection
from ..database.send_and_receive import Row
from ..database.server_error import AFTER_A_LOST_CONNECTION, StatementError
from ..deadline import Deadline
from ..errors import DatabaseUnavailableError, MigratorError, OutOfTimeError
from ..masking import masked
from ..plan.blockers import Blocker, IndexProgress
from ..sql.lexer import without_strings
from ..time_limits import RunLimits

# Characters of another session's query that are shown.
# Enough to recognize it; a query may be megabytes long.
QUERY_SHOWN = 80

# A role with few rights sees no backend_type. Of the sessions without a user, only an autovacuum
# worker has a database.
_LOOK = """
select pg_catalog.bool_or(
         a.wait_event is null or a.wait_event not in ('ClientRead', 'ClientWrite')
       )
  from pg_catalog.pg_stat_activity a where {ours};
select distinct b.pid, extract(epoch from pg_catalog.clock_timestamp() - o.xact_start)::integer,
       o.application_name, o.state, o.query, extract(epoch from o.xact_start),
       coalesce(
         o.backend_type,
         case when o.usesysid is null and o.datid is not null then 'autovacuum worker' end
       )
  from pg_catalog.pg_stat_activity a
 cross join lateral pg_catalog.unnest(pg_catalog.pg_blocking_pids(a.pid)) as b (pid)
  left join pg_catalog.pg_stat_activity o on o.pid = b.pid
 where {ours} order by 2 desc nulls last limit 5;
select p.phase, greatest(p.blocks_total, p.tuples_total, p.lockers_total),
       case when p.lockers_total > 0 then p.lockers_done
            when p.blocks_total > p.tuples_total then p.blocks_done
            else p.tuples_done end
  from pg_catalog.pg_stat_progress_create_index p
  join pg_catalog.pg_stat_activity a using (pid) where {ours};
"""
_DEADLOCK_TIMEOUT = "select setting from pg_catalog.pg_settings where name = 'deadlock_timeout'"
_STILL_HELD = "select 1 from pg_catalog.pg_stat_activity where {any_of}"
_STILL_IN = "pid = {pid} and extract(epoch from xact_start) = {began}"
_BY_PID = "a.pid = {pid}"
# Through a transaction pooler any server process may run the statement; the last one to do so keeps
# the name.
_BY_NAME = (
    "a.application_name = {name} and a.datname = current_database() "
    "and a.pid not in ({lock}, pg_catalog.pg_backend_pid())"
)


@dataclass(frozen=True)
class Sight:
    """What one look saw. `is_at_work` is None if the server has no such session."""

    is_at_work: bool | None = None
    blockers: tuple[Blocker, ...] = ()
    index: IndexProgress | None = None


class _State:
    """A state that was seen now and again, and for how long it has lasted without a break."""

    def __init__(self) -> None:
        self._began: float | None = None

    def see(self, *, holds: bool) -> None:
        self._began = (self._began or time.monotonic()) if holds else None

    def lasts(self, seconds: float, *, not_before: float = 0.0) -> bool:
        """True if it has lasted for `seconds`, counted from `not_before` at the earliest."""
        if self._began is None:
            return False
        return time.monotonic() - max(self._began, not_before) >= seconds


class Observer:
    """Watches the session that migrates, over a connection that is made when it is first needed.

    `backend` is that session's server process; through a transaction pooler it is None, and the
    session is found by its `application_name`. `lock_backend` is the run lock's. `is_lock_silent`
    returns true once a heartbeat of the run lock was not answered.
    """

    def __init__(
        self,
        connect: Callable[[float], Connection],
        *,
        backend: str | None,
        application_name: str,
        lock_backend: str | None,
        is_lock_silent: Callable[[], bool],
        limits: RunLimits,
    ) -> None:
        if backend is None:
            ours = sql.SQL(_BY_NAME).format(
                name=sql.Literal(application_name), lock=sql.SQL(str(int(lock_backend or 0)))
            )
        else:
            ours = sql.SQL(_BY_PID).format(pid=sql.SQL(str(int(backend))))
        self._look_query = sql.SQL(_LOOK).format(ours=ours)
        self._knows_pid = backend is not None
        self._connect = connect
        self._is_lock_silent = is_lock_silent
        self._limits = limits
        self._connection: Connection | None = None
        # Nobody answers this session; the server waits for us while we wait for it.
        self._silence = _State()
        self._idleness = _State()
        self.blockers: tuple[Blocker, ...] = ()

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()

    def session(self, *, timeout: float | None = None) -> Connection:
        """Return the connection, a new one if it is gone. Raises DatabaseUnavailableError.

        `timeout` is for connecting, in seconds; a look's own if it is not given.
        """
        if self._connection is None or not self._connection.is_alive():
            self._connection = self._connect(self._limits.look if timeout is None else timeout)
        return self._connection

    def still_hold(self) -> bool:
        """True if a session that blocked the last statement is still in the same transaction."""
        # A session may serve many transactions: the same start means that it is still the one.
        held = [
            sql.SQL(_STILL_IN).format(
                pid=sql.SQL(str(blocker.pid)), began=sql.Literal(blocker.began)
            )
            for blocker in self.blockers
            if blocker.began is not None
        ]
        if not held:
            return False
        look = sql.SQL(_STILL_HELD).format(any_of=sql.SQL(" or ").join(held))
        with suppress(MigratorError, StatementError):
            session = self.session()
            # Whatever the run's deadline: a look is short, and is not part of the work.
            with session.extend_deadline(self._limits.look):
                return bool(session.query(look, read_only=True)[0])
        return False

    def deadlock_timeout(self) -> float | None:
        """Return the server's deadlock_timeout in seconds, after which autovacuum gives way."""
        with suppress(MigratorError, StatementError):
            session = self.session()
            with session.extend_deadline(self._limits.look):
                return int(session.query(_DEADLOCK_TIMEOUT)[0][0][0] or 0) / 1000
        return None

    @contextmanager
    def watching(
        self, watched: Connection, *, first: float, report: Callable[[Sight | None, float], None]
    ) -> Iterator[None]:
        """Look at what `watched` carries out: after `first` seconds, and then now and again.

        `report` is called with what was seen and the seconds since the beginning; several times a
        second with None, for there was no look. If no answer will come, the connection is closed,
        and DatabaseUnavailableError ends the wait.
        """
        self.blockers = ()
        self._idleness = _State()
        limits, began, next_look = self._limits, time.monotonic(), Deadline.after(first)

        def look() -> None:
            nonlocal next_look
            now = time.monotonic()
            report(None, now - began)
            if not next_look.has_passed():
                return
            sight = self._look()
            self._give_up_if_stuck(watched, sight)
            if sight is not None:
                # The last ones seen stay: a statement that has just failed waits for nobody.
                self.blockers = sight.blockers or self.blockers
                report(sight, now - began)
            pause = min(limits.look_every, max(first, now - began))
            # Ever rarer, the longer a statement takes.
            next_look = Deadline.after(limits.look_again if sight is None else pause)

        with watched.waking(look, every=max(limits.shortest_slice, first)):
            yield

    def _look(self) -> Sight | None:
        """Look once; None if there was no answer or no connection."""
        try:
            session = self.session()
            with session.extend_deadline(self._limits.look):
                sight = _sight(*session.query(self._look_query, read_only=True))
        except OutOfTimeError:
            # Another look on this connection would read the answer to this one.
            self._silence.see(holds=True)
            self.close()
            return None
        except DatabaseUnavailableError as error:
            self._silence.see(holds=error.silent)
            return None
        except (StatementError, MigratorError):
            return None
        self._silence.see(holds=False)
        return sight

    def _give_up_if_stuck(self, watched: Connection, sight: Sight | None) -> None:
        """End a wait without end: the server waits for us too, or is silent on all connections."""
        stuck, limit = False, self._limits.stuck
        if sight is not None:
            self._idleness.see(holds=self._is_idle(sight))
            # What has arrived proves that the stream was not stuck then.
            stuck = self._idleness.lasts(limit, not_before=watched.heard_at)
        # This session alone may be cut off; if the run lock's is silent too, the server is.
        if stuck or (self._silence.lasts(limit) and self._is_lock_silent()):
            watched.close()
            raise DatabaseUnavailableError(
                "The server's answer did not come: the connection to the database is stuck. "
                f"{AFTER_A_LOST_CONNECTION}"
            )

    def _is_idle(self, sight: Sight) -> bool:
        """True if the server is known not to work for us.

        That no session has the PID proves it; that none has the name does not.
        """
        return sight.is_at_work is False or (sight.is_at_work is None and self._knows_pid)


def query_head(query: str) -> str:
    """Return the beginning of another session's query, without its strings: they may be data."""
    head = masked(without_strings(query))
    return head if len(head) <= QUERY_SHOWN else head[: QUERY_SHOWN - 1] + "…"


def _sight(activity: list[Row], blockers: list[Row], index: list[Row]) -> Sight:
    at_work = activity[0][0]
    return Sight(
        is_at_work=None if at_work is None else at_work == "t",
        blockers=tuple(_blocker(row) for row in blockers),
        index=IndexProgress(index[0][0] or "", int(index[0][1] or 0), int(index[0][2] or 0))
        if index
        else None,
    )


def _blocker(row: Row) -> Blocker:
    pid, seconds, name, state, query, began, backend_type = row
    return Blocker(
        pid=int(pid or 0),
        seconds=None if seconds is None else int(seconds),
        application=name,
        state=state,
        query=query_head(query or ""),
        began=began,
        backend_type=backend_type,
        prevents_wraparound=(query or "").endswith("(to prevent wraparound)"),
    )
