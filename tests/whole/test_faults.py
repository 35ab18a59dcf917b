"""Whatever happens at whatever moment: the next run works, and each file has taken effect once.

`./test.sh --faults` runs them all, the ordinary suite a part. The seed is in the header:
FAULT_SEED repeats it.
"""

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import memory
import pytest
from conftest import ROOT, Database, local_environ, new_database, wait_until
from fault_proxy import Fault, FaultProxy, Trouble

from lib.local import embedded_server as embedded
from lib.local.cluster_files import Cluster
from lib.settings.connection_target import ConnectionTarget

SEED = os.environ.get("FAULT_SEED", "0")
# How often each kind of fault strikes.
ALL, SHARE = 18, 1
# What a run sends and receives, in bytes.
TRAFFIC = 60_000
# Files that are sent before those in front of them are answered.
QUICK = 20

INDEXES = """\
-- Transaction: none
set search_path = public;
create index concurrently if not exists t_y on t (y);
vacuum t;
create unique index concurrently t_xy on t (x, y);
drop index concurrently if exists t_y;
"""
# What a pooler takes in its place.
ONE_INDEX = "create unique index concurrently t_xy on t (x, y);"
CHAIN = {
    "000-effects": "create table effects (seq serial, version text);",
    "001-table": (
        "create table t (x int, y text);\n"
        "insert into t select g, g::text from generate_series(1, 5000) g;"
    ),
    "002-index": "create index concurrently t_x on t (x);",
    "003-indexes": INDEXES,
    "004-slow": "alter table t add column z int;\nselect pg_sleep(0.2);",
    "005-more": "begin;\nupdate t set z = x where x < 500;",
    **{f"{n + 6:03d}-quick": f"create table quick_{n} (x int);" for n in range(QUICK)},
    "090-last": "alter table t alter column y set not null;\nselect pg_sleep(0.1);",
}
VERSIONS = list(CHAIN)
# Most of those that run in a transaction note their effect in it; the quick ones would fail if they
# ran twice.
NOTED = [version for version in VERSIONS if "index" not in version and "quick" not in version]


@dataclass
class Scene:
    """A database of a fault's own, the chain to bring there, and the fault's own chance."""

    db: Database
    folder: Path
    chance: random.Random
    tell: Callable[[str, object], None]
    longest: float

    def start(
        self, through: Database | None = None, words: Sequence[str] = ("migrate",)
    ) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-m", "lib", *words],
            cwd=ROOT,
            env=local_environ(
                DATABASE_URL=(through or self.db).url,
                MIGRATIONS_DIR=str(self.folder),
                MIGRATION_LOCK_TIMEOUT="300ms",
                MIGRATION_CONNECT_TIMEOUT="15s",
            ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def wait_for_the_moment(
        self, process: "subprocess.Popen[str]", earliest: float = 0.15, more: float = 0.0
    ) -> None:
        """Some instant of the run; it is noted whether the run was under way by then."""
        time.sleep(self.chance.uniform(earliest, self.longest + more))
        self.tell("struck", process.poll() is None)

    def the_next_run_works(self, through: Database | None = None) -> None:
        process = self.start(through)
        output = process.communicate(timeout=90)[0]
        assert process.returncode == 0, output

    def verify(self) -> None:
        """Each file once, in order; nothing half-built, nothing locked, no run left under way."""
        assert self.db.versions() == VERSIONS
        assert [
            row[0] for row in self.db.query("select version from effects order by seq")
        ] == NOTED
        applied = [version for run in self.db.runs() for version in run["applied"]]
        assert applied == VERSIONS
        indexes = self.db.query(
            "select indexrelid::regclass::text, indisvalid from pg_index "
            "where indrelid = 't'::regclass"
        )
        assert sorted(indexes) == [("t_x", True), ("t_xy", True)]
        assert self.db.query(
            "select count(*) from pg_class where relname ~ '^quick_' and relkind = 'r'"
        ) == [(QUICK,)]
        assert "running" not in [run["outcome"] for run in self.db.runs()]
        assert [run for run in self.db.runs() if run["in_progress_version"]] == []
        wait_until(lambda: self.db.advisory_locks() == 0, "the advisory locks are gone", 5)


def write_chain(folder: Path) -> None:
    folder.mkdir()
    for version, sql in CHAIN.items():
        note = f"\ninsert into effects (version) values ('{version}');" if version in NOTED else ""
        (folder / f"{version}.sql").write_text(sql + note + "\ncommit;" * sql.startswith("begin"))


@pytest.fixture(scope="module")
def longest(server: ConnectionTarget, tmp_path_factory: pytest.TempPathFactory) -> float:
    """How long a run of the chain takes here and now, in seconds, from the start of its process."""
    folder = tmp_path_factory.mktemp("chain") / "migrations"
    write_chain(folder)
    with new_database(server) as database:
        scene = Scene(database, folder, random.Random(), lambda *_: None, 0.0)
        began = time.monotonic()
        scene.the_next_run_works()
        return time.monotonic() - began


@pytest.fixture
def scene(
    db: Database,
    tmp_path: Path,
    longest: float,
    request: pytest.FixtureRequest,
    record_property: Callable[[str, object], None],
) -> Scene:
    write_chain(tmp_path / "migrations")
    return Scene(
        db,
        tmp_path / "migrations",
        random.Random(f"{SEED} {request.node.name}"),
        record_property,
        longest,
    )


def faults(all_of_them: int = ALL, share: int = SHARE) -> pytest.MarkDecorator:
    """So many rounds: with --faults all, else a share of them."""
    count = all_of_them if os.environ.get("FAULTS") else share
    return pytest.mark.parametrize("fault", range(count))


def end(process: "subprocess.Popen[str]") -> str:
    try:
        return process.communicate(timeout=90)[0]
    except subprocess.TimeoutExpired:
        process.kill()
        raise


@faults()
@pytest.mark.parametrize(
    "signum", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT], ids=lambda signum: signum.name
)
@pytest.mark.parametrize("way", ["direct", "pooled"])
def test_a_run_that_is_killed(
    scene: Scene, fault: int, signum: int, way: str, request: pytest.FixtureRequest
) -> None:
    through = scene.db if way == "direct" else scene.db.through(request.getfixturevalue("pooler"))
    if way == "pooled":
        (scene.folder / "003-indexes.sql").write_text(ONE_INDEX)
    process = scene.start(through)
    scene.wait_for_the_moment(process)
    process.send_signal(signum)
    output = end(process)
    assert process.returncode in (0, -signum, 128 + signum), output
    scene.the_next_run_works(through)
    scene.verify()


@faults()
def test_runs_that_race_and_one_of_them_is_killed(scene: Scene, fault: int) -> None:
    processes = [scene.start() for _ in range(3)]
    scene.wait_for_the_moment(processes[0])
    processes[0].kill()
    outputs = [end(process) for process in processes]
    assert [process.returncode for process in processes[1:]] == [0, 0], outputs
    scene.the_next_run_works()
    scene.verify()


@faults(5, 1)
@pytest.mark.parametrize("way", ["direct", "pooled"])
def test_eight_runs_that_race_all_succeed(
    scene: Scene, fault: int, way: str, request: pytest.FixtureRequest
) -> None:
    through = scene.db if way == "direct" else scene.db.through(request.getfixturevalue("pooler"))
    if way == "pooled":
        (scene.folder / "003-indexes.sql").write_text(ONE_INDEX)
    scene.tell("struck", True)
    processes = [scene.start(through) for _ in range(8)]
    outputs = [end(process) for process in processes]
    assert [process.returncode for process in processes] == [0] * 8, outputs
    assert [run["outcome"] for run in scene.db.runs()] == ["succeeded"]
    scene.verify()


OURS = "datname = current_database() and application_name like 'migrations %'"
THE_LOCKS = f"{OURS} and pid in (select pid from pg_locks where locktype = 'advisory' and granted)"
THE_FILES = f"{OURS} and pid not in (select pid from pg_locks where locktype = 'advisory')"


@faults()
@pytest.mark.parametrize(
    "whose", [OURS, THE_LOCKS, THE_FILES], ids=["any", "the lock's", "the file's"]
)
def test_a_backend_that_is_terminated(scene: Scene, fault: int, whose: str) -> None:
    process = scene.start()
    time.sleep(scene.chance.uniform(0.3, scene.longest))
    ended = scene.db.query(
        f"select pg_terminate_backend(pid) from pg_stat_activity "
        f"where {whose} order by random() limit 1"
    )
    scene.tell("struck", bool(ended))
    output = end(process)
    assert process.returncode in (0, 1), output
    scene.the_next_run_works()
    scene.verify()


@faults()
@pytest.mark.parametrize("kind", ["cut", "delay", "freeze"])
def test_a_stream_in_trouble(scene: Scene, fault: int, kind: Fault) -> None:
    seconds = {
        "cut": 0.0,
        "delay": scene.chance.uniform(0.01, 0.05),
        "freeze": scene.chance.uniform(0.2, 3.0),
    }[kind]
    with FaultProxy(
        scene.db.target.port, Trouble(kind, scene.chance.randrange(TRAFFIC), seconds)
    ) as proxy:
        process = scene.start(scene.db.through(proxy.port))
        output = end(process)
        scene.tell("struck", proxy.struck)
        assert process.returncode in ((0, 1) if kind != "delay" else (0,)), output
    scene.the_next_run_works()
    scene.verify()


@pytest.fixture(scope="module")
def fragile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A server that nobody else needs."""
    cluster = memory.locate(ROOT, name=f"faults-{os.environ.get('PYTEST_XDIST_WORKER', 'one')}")
    yield cluster
    memory.stop(cluster)
    shutil.rmtree(cluster.home, ignore_errors=True)


@faults()
def test_a_server_that_stops_in_the_middle(fragile: Cluster, scene: Scene, fault: int) -> None:
    scene.db = Database(embedded.start(fragile)).new(f"stopped_{fault}")
    process = scene.start()
    scene.wait_for_the_moment(process)
    # SIGQUIT is the immediate shutdown: PostgreSQL manual, "Shutting Down the Server".
    os.kill(int((fragile.data / "postmaster.pid").read_text().split("\n")[0]), signal.SIGQUIT)
    wait_until(lambda: not embedded.is_running(fragile), "the server is down", 20)
    scene.db = Database(embedded.start(fragile)).named(scene.db.target.database)
    output = end(process)
    assert process.returncode in (0, 1), output
    scene.the_next_run_works()
    scene.verify()


def plain_statements(rounds: int = 3) -> tuple[str, dict[int, str]]:
    """Return a file of statements and blocks, and the effect that begins at each statement."""
    statements: list[str] = []
    effect_of: dict[int, str] = {}
    for number in range(rounds):
        effect_of[len(statements) + 1] = f"s{number}"
        statements += [
            f"insert into effects (version) values ('s{number}')",
            "select pg_sleep(0.05)",
        ]
        effect_of[len(statements) + 1] = f"b{number}"
        statements += [
            "begin",
            f"insert into effects (version) values ('b{number}')",
            "select pg_sleep(0.05)",
            "commit",
        ]
    return "-- Transaction: none\n" + "".join(
        f"{statement};\n" for statement in statements
    ), effect_of


@faults()
def test_plain_statements_outside_a_transaction_are_never_doubled_nor_skipped(
    scene: Scene, fault: int
) -> None:
    """What can't be known is named, with one way on for each answer; here the truth is known."""
    text, effect_of = plain_statements()
    (scene.folder / "099-plain.sql").write_text(text)
    process = scene.start()
    scene.wait_for_the_moment(process, 0.7, 0.5)
    process.send_signal(scene.chance.choice([signal.SIGKILL, signal.SIGTERM]))
    end(process)
    second = scene.start()
    output = end(second)
    if second.returncode != 0:
        [(first, last)] = re.findall(
            r"whether (?:the block of )?statements? (\d+)(?: to (\d+))? of 18", output
        )
        commands = re.findall(r"^[ |]*python -m lib (resolve \S+ --\S+)$", output, re.MULTILINE)
        has_run, has_not = commands
        effect = effect_of.get(int(first))
        assert bool(last) == (effect is not None and effect.startswith("b"))
        # What has no effect has slept.
        took_effect = effect is None or scene.db.query(
            f"select 1 from effects where version = '{effect}'"
        )
        verdict = scene.start(words=(has_run if took_effect else has_not).split())
        end(verdict)
        assert verdict.returncode == 0
        scene.the_next_run_works()
    effects = [
        row[0]
        for row in scene.db.query(
            "select version from effects where version ~ '^[sb]' order by seq"
        )
    ]
    assert effects == [effect_of[number] for number in sorted(effect_of)]
    assert scene.db.versions() == [*VERSIONS, "099-plain"]
