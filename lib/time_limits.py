"""Every limit on time in one place, each with its unit and its reason. In seconds, unless said.

How a function spends the time that Vercel gives it, with `maxDuration` = 300:

    0     the request arrives; the time counts from here
    285   the deadline: no file begins, and the statement under way is canceled
          up to 3 s   for the server to confirm the cancellation        (CANCEL)
          up to 3 s   to roll back                                      (CANCEL)
          up to 3 s   to see whether the file is on record              (CANCEL)
          up to 3 s   to record the run's end, on a new connection too  (RECORD)
    297   the hard end (MARGIN × CLEANUP_SHARE after the deadline): no clean-up goes past it, even
          if some of the above is still to be done
          3 s for the answer to travel
    300   Vercel ends the function

The server keeps to the deadline as well, GRACE later: that is for a client that is frozen.
"""

from dataclasses import dataclass

# --- Connecting ---

# To get connected, retries included, unless MIGRATION_CONNECT_TIMEOUT says otherwise: a database
# that is suspended, as Neon's and Aurora's are after a pause, takes several seconds to wake up.
CONNECT = 30.0
# The status page answers somebody who looks on, and a CDN asks again soon.
STATUS_CONNECT = 3.0
# libpq waits for one answer at least this long, whatever connect_timeout says (its manual).
SHORTEST_CONNECT = 2.0
# One attempt: more attempts, each short, find a database that has just woken up sooner.
CONNECT_ATTEMPT = 10.0
# The pause after a failed attempt doubles from the first value to the second.
RECONNECT_PAUSE = (0.1, 2.0)
# For a pooler to find a second server connection: where it has one alone, there is none to find.
SECOND_CONNECTION = 15.0

# --- Asking AWS for a login ---

# Two attempts, each of at most a connect and an answer, leave a request time for its work.
AWS_ATTEMPTS = 2
AWS_CONNECT = 2.0
AWS_ANSWER = 3.0
# Credentials are refreshed this long before they expire: a login token that they sign is valid no
# longer than they are.
AWS_REFRESH = 300.0
# If AWS does not answer, they are used until this long before they expire.
AWS_LAST_USE = 30.0

# --- Judging ---

# Requests that wait for longer than this fail, or somebody gives up: that is a stop.
STALL = 5.0

# --- Waiting for an answer ---

# A wait for the server is cut into slices, between which a deadline or a signal is noticed.
SLICE = 0.25
# What the runner itself asks is answered in milliseconds; past this the database counts as away.
ANSWER = 30.0
# One survey of the ledger: with CONNECT, a command that only reads ends within 45 s.
SURVEY = 10.0
# To ask who locks the ledger's tables, once a survey was not answered.
LOCKERS = 2.0
# To note for later what has come of a comparison with the last run: nothing depends on it.
VERDICT = 2.0
# To read the schema from the catalog: beyond it the schema is unknown, and nothing waits for it.
SNAPSHOT = 1.0
# The same for a comparison with the files: nobody waits behind it.
COMPARED_SNAPSHOT = 20.0
# To read the sizes of all tables: of ten thousand, over a slow line. And for whoever locks one
# meanwhile: without that table's size functions there is an answer at once.
SIZES = 15.0
SIZES_LOCK = 0.5
# To look up what pending files name, before they run: without an answer, they run all the same.
REVIEWED_OBJECTS = 5.0
# A deployed application that is asked for them may have to start, to wake its database and to read;
# and its whole answer may be some megabytes.
DEPLOYED_ANSWER = 60.0
DEPLOYED_SIZES = 60.0
# To note the statement that is next: a file waits for it.
NOTE_STATEMENT = 15.0
# To note what a run waits for: it is there for whoever looks, and nothing depends on it.
NOTE_OBSTACLE = 2.0

# --- Waiting for others ---

# Between two polls for the run lock, at random, so that two runs do not poll in step.
LOCK_POLL = (0.1, 0.5)
# A run that left its row unfinished may have ended just now: its lock is waited for this long.
STALE_RUN = 2.0
# Between two tries for a table, in lock timeouts: long, so that the application's queries have most
# of the time.
TABLE_PAUSE = (4.0, 6.0)
# Between two looks, after that pause, whether the same transaction still holds the table.
STILL_HELD_POLL = 0.5
# A session speaks this often while it pauses: idle_session_timeout would end a silent one.
SPEAK_EVERY = 1.0
# A try against an autovacuum outlasts deadlock_timeout, after which the autovacuum gives way, by
# this much. A longer deadlock_timeout is not waited for: the application queues behind the try.
OUTLAST_DEADLOCK_TIMEOUT = 1.0
LONGEST_DEADLOCK_TIMEOUT = 10.0
# Between two looks whether the server has ended what an earlier run began.
EARLIER_RUN_POLL = 0.5

# --- Watched by the server, for a client that is frozen or gone ---

# In milliseconds: the server checks this often whether the client of a statement is still there.
CONNECTION_CHECK_MS = 1000
# A living client sends the next statement of a file's own transaction sooner than this.
IDLE_IN_FILE = 60.0
# The server keeps to a deadline this much later than the client.
GRACE = 5.0

# --- Cleaning up ---

# For a canceled statement to end, or a transaction to roll back, before the connection is dropped.
CANCEL = 3.0
# To send the request to cancel: also once no time is left, since the server still obeys it.
SHORTEST_CANCEL = 0.1
# To record a run's end, over a new connection where the old one is gone.
RECORD = 3.0
# To let the run lock go: the server does so anyway once the connection is gone.
RELEASE = 1.0
# To drop an index that a failed build has left invalid: the next run drops it otherwise.
DROP_INDEX = 10.0

# --- Showing ---

# On a terminal, a statement that takes longer shows that it still runs.
SIGN_OF_LIFE = 2.0

# --- Serving ---

# Vercel's default for `maxDuration`, and how long before it the work ends.
DEFAULT_MAX_DURATION = 300.0
MARGIN = 15.0
# This share of the margin may go to rolling back and recording; the rest is the answer's.
CLEANUP_SHARE = 0.8
# A look at the database that takes longer, connecting included, counts as the database being away.
STATUS = 8.0
# A connection kept since the last look answers within this, or a new one is made.
KEPT_CONNECTION = 2.0
# An answer, or a failure, serves every request of this process for as long: a flood of requests
# costs the database one look.
REMEMBERED = 2.0
# On a laptop: for the port of the embedded server to accept a connection.
EMBEDDED_PORT = 2.0
# And for a server on the port that `serve` would take.
TAKEN_PORT = 1.0
# What scratch servers share, for a version of the wheel that none has used for this long, goes.
UNUSED_VERSION = 14 * 86400.0


@dataclass(frozen=True)
class RunLimits:
    """The limits that a run is handed, since tests need shorter ones.

    The run lock is polled and held by a connection of its own. That one speaks every `heartbeat`,
    is answered within `heartbeat_answer`, and is let go by the server after `lock_idle`, which
    leaves room for a heartbeat that is late.

    A statement is looked at after `first_look`, or after `first_look_share` of its lock timeout,
    which is sooner; then after as long as it has taken so far, at most `look_every`. A look takes
    up to `look`; one that failed is made again after `look_again`. Past `stuck`, a server that
    waits for us while we wait for it never answers. What takes long is reported every
    `report_every`.
    """

    heartbeat: float = 15.0
    heartbeat_answer: float = 15.0
    lock_idle: float = 60.0

    first_look: float = 0.5
    first_look_share: float = 0.4
    look_every: float = 5.0
    look: float = 2.0
    look_again: float = 10.0
    stuck: float = 60.0
    # A lock timeout of a millisecond must not keep this process busy.
    shortest_slice: float = 0.02
    report_every: float = 15.0


# --- Adopting another tool's history ---

# For pg_dump to read the schema: thousands of tables, over a slow line.
DUMP = 600.0
# For pg_dump to get at the tables: a lock that waits behind another one stops the application.
DUMP_LOCK = 3.0
# For pg_dump to end once it is asked to.
DUMP_STOP = 3.0

# --- Installing into a project ---

# One question to git: only a file system over a network takes more than a moment.
GIT = 60.0

# --- Rehearsing ---

# For squawk to read all pending files: a hundred of them take a third of a second.
LINT = 20.0


@dataclass(frozen=True)
class RehearsalLimits:
    """What a stranger's files may take of the machine; sizes are in bytes.

    A file that is longer under way than `file`, on tables without rows, is not going to end. `disk`
    is looked at every `disk_poll` seconds; a server writes less than a gigabyte between two looks.
    """

    file: float = 30.0
    total: float = 300.0
    disk: int = 1024**3
    disk_poll: float = 0.25
    temporary_files: int = 256 * 1024**2
    # Of each session. The memory that all sessions share counts.
    memory: int = 2 * 1024**3


# --- Telling of a rehearsal on GitHub ---

# One answer of GitHub's API; it ends its own work after ten.
GITHUB_ANSWER = 20.0
# All requests of one comment: a rate limit asks for a minute's patience.
GITHUB_TOTAL = 150.0
# Before a request is repeated, if GitHub does not say when; it doubles.
GITHUB_PAUSE = 1.0
