"""`adopt`: from the files and the records of a tool to ours, proven, written and recorded."""

import hashlib
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, Bundle, Database, new_database

from lib.actions.migrate import migrate
from lib.actions.run_parameters import RunContext
from lib.adopt.adopting import Request, adopt
from lib.adopt.adoption import Adoption
from lib.errors import GuardError, IntegrityError, LedgerError, LockError, MigratorError
from lib.ledger.run_lock import RunLock
from lib.plan.migration_plan import LEDGER_FILE, make_plan
from lib.settings.connection_target import ConnectionTarget

MakeContext = Callable[..., RunContext]
INIT, NAME = "20240101000000_init", "20240102000000_add_name"
FILES = {
    INIT: (
        "create table users (id serial primary key, email text not null);\n"
        "insert into users (email) values ('a@example.com');\n"
    ),
    NAME: "alter table users add column name text;\n",
}
LEDGER = """
create table _prisma_migrations (
    id varchar(36) primary key, checksum varchar(64) not null, finished_at timestamptz,
    migration_name varchar(255) not null, logs text, rolled_back_at timestamptz,
    started_at timestamptz not null default now(), applied_steps_count integer not null default 0
)
"""


def no_question(_: Adoption) -> None:
    pass


class Project:
    """A project whose databases Prisma has migrated."""

    def __init__(self, bundle: Bundle, root: Path, make_context: MakeContext) -> None:
        self.bundle, self.root, self.make_context = bundle, root, make_context
        self.folder = bundle.root / "prisma" / "migrations"
        self.folder.mkdir(parents=True)

    def write(self, name: str, sql: str | bytes) -> None:
        (self.folder / name).mkdir(exist_ok=True)
        content = sql if isinstance(sql, bytes) else sql.encode()
        (self.folder / name / "migration.sql").write_bytes(content)

    def apply(self, database: Database, files: Mapping[str, str]) -> None:
        """As Prisma does."""
        database.query(LEDGER)
        for number, (name, sql) in enumerate(files.items()):
            self.write(name, sql)
            database.query(sql)
            digest = hashlib.sha256(sql.encode()).hexdigest()
            database.query(
                "insert into _prisma_migrations (id, checksum, finished_at, migration_name, "
                f"started_at, applied_steps_count) values ('{number}', '{digest}', now(), "
                f"'{name}', now() + interval '{number} seconds', 1)"
            )

    def adopt(self, *, tool: str = "prisma", **changes: Any) -> Adoption:
        of_request = {
            key: changes.pop(key) for key in list(changes) if key in Request.__dataclass_fields__
        }
        confirm = changes.pop("confirm", no_question)
        request = Request(tool=tool, root=self.root, folder=str(self.folder))
        return adopt(self.make_context(**changes), replace(request, **of_request), confirm)

    @property
    def names(self) -> list[str]:
        return sorted(path.name for path in self.bundle.migrations.iterdir())

    def is_untouched(self, database: Database) -> bool:
        return self.names == [] and not database.has("public.schema_migrations")


@pytest.fixture
def project(bundle: Bundle, scratch_root: Path, make_context: MakeContext) -> Project:
    return Project(bundle, scratch_root, make_context)


@pytest.fixture
def migrated(project: Project, db: Database) -> Project:
    project.apply(db, FILES)
    return project


@pytest.fixture
def second(server: ConnectionTarget) -> Iterator[Database]:
    with new_database(server) as database:
        yield database


class TestAWholeAdoption:
    def test_from_the_plan_to_the_next_migration(self, migrated: Project, db: Database) -> None:
        plan = migrated.adopt().to_dict()
        assert plan["files"] == [
            {
                "from": f"{name}/migration.sql",
                "to": to,
                "verified": True,
                "state": "applied",
            }
            for name, to in ((INIT, "001-init.sql"), (NAME, "002-add-name.sql"))
        ]
        assert (plan["proven"], plan["applied"], plan["differences"]) == (True, False, [])
        assert migrated.is_untouched(db)
        assert migrated.adopt(applies=True).is_done
        assert migrated.names == ["001-init.sql", "002-add-name.sql"]
        assert (migrated.bundle.migrations / "001-init.sql").read_text() == (
            f"-- Version: 001\n-- From: prisma {INIT}\n-- Description: init\n\n{FILES[INIT]}"
        )
        assert db.versions() == ["001-init", "002-add-name"]
        [run] = db.runs()
        assert (run["outcome"], run["applied"]) == ("succeeded", ["001-init", "002-add-name"])
        again = migrated.adopt(applies=True)
        assert (again.is_done, again.recorded, again.has_just_applied) == (True, (), False)
        assert len(db.runs()) == 1
        migrated.bundle.write("003-next.sql", "create table next (x int)")
        assert migrate(migrated.make_context()).error is None
        assert db.query("select count(*) from users") == [(1,)]

    def test_the_file_that_creates_the_ledger_is_recorded_too(
        self, migrated: Project, db: Database
    ) -> None:
        shutil.copy(ROOT / "migrations" / f"{LEDGER_FILE}.sql", migrated.bundle.migrations)
        assert migrated.adopt(applies=True).is_done
        assert db.versions() == [LEDGER_FILE, "001-init", "002-add-name"]
        assert migrate(migrated.make_context(strict_order=True)).error is None

    def test_a_ledger_that_holds_nothing_is_in_nobodys_way(
        self, project: Project, db: Database
    ) -> None:
        project.apply(db, {})
        project.write(INIT, FILES[INIT])
        [note] = project.adopt(applies=True).notes
        assert "public._prisma_migrations holds nothing that was applied" in note
        assert project.names == ["001-init.sql"]
        db.query("drop table _prisma_migrations")
        assert migrate(project.make_context()).error is None

    def test_each_database_is_adopted_by_itself(
        self, migrated: Project, db: Database, second: Database
    ) -> None:
        migrated.adopt(applies=True)
        before = {path.name: path.read_bytes() for path in migrated.bundle.migrations.iterdir()}
        # The second one is a migration behind.
        migrated.apply(second, {INIT: FILES[INIT]})
        assert isinstance(
            migrate(migrated.make_context(target=second.target)).error, IntegrityError
        )
        adopted = migrated.adopt(applies=True, target=second.target)
        assert (adopted.is_done, adopted.written) == (True, ())
        assert adopted.recorded == ("001-init",)
        assert second.versions() == ["001-init"]
        after = {path.name: path.read_bytes() for path in migrated.bundle.migrations.iterdir()}
        assert before == after
        # What Prisma has not applied there is a pending file like any other.
        assert migrate(migrated.make_context(target=second.target)).error is None
        assert second.versions() == ["001-init", "002-add-name"]
        assert db.versions() == second.versions()

    def test_what_is_pending_is_written_and_not_recorded(
        self, migrated: Project, db: Database
    ) -> None:
        migrated.write("20240103000000_later", "create table later (x int);\n")
        done = migrated.adopt(applies=True)
        assert [each.state for each in done.files] == ["applied", "applied", "pending"]
        assert db.versions() == ["001-init", "002-add-name"]
        assert migrate(migrated.make_context()).error is None
        assert db.has("later")


class TestTheProof:
    def test_differences_are_named_and_nothing_is_recorded_unless_they_are_accepted(
        self, migrated: Project, db: Database
    ) -> None:
        db.query("alter table users add column by_hand int; create table more (x int)")
        db.query("create schema elsewhere; create table elsewhere.not_in_question (x int)")
        found = migrated.adopt(applies=True)
        assert [change.to_dict() for change in found.proof.differences] == [
            {"kind": "column", "identity": "public.users.by_hand", "change": "added"},
            {"kind": "table", "identity": "public.more", "change": "added"},
        ]
        assert list(found.obstacles()) == ["the files make another schema than the database has"]
        assert migrated.is_untouched(db)
        assert migrated.adopt(applies=True, accepts_differences=True).is_done
        assert db.versions() == ["001-init", "002-add-name"]

    def test_what_the_files_need_is_built_first_from_a_file_of_ours(
        self, project: Project, db: Database
    ) -> None:
        db.query("create schema app")
        project.apply(db, {INIT: "create table app.users (id int);\n"})
        reason = project.adopt().proof.reason
        assert 'schema "app" does not exist' in reason
        assert "a file in front of them" in reason
        needed = "create schema if not exists app; create table if not exists app.ours (x int);\n"
        project.bundle.write("001-schema.sql", needed)
        found = project.adopt(applies=True)
        # What is still to be made here is no difference.
        assert (found.proof.is_equal, found.recorded) == (True, ("002-init",))
        assert migrate(project.make_context()).error is None
        assert db.versions() == ["002-init", "001-schema"]

    def test_a_schema_that_the_snapshot_leaves_out_is_no_difference(
        self, project: Project, db: Database
    ) -> None:
        files = {INIT: "create schema if not exists extensions; create table a (x int);\n"}
        project.apply(db, files)
        db.query("create extension pgcrypto schema extensions")
        assert project.adopt().proof.is_equal

    def test_files_that_cannot_be_built_are_no_proof(self, project: Project, db: Database) -> None:
        project.apply(db, {INIT: "create table a (x int);\n"})
        ledger = "update _prisma_migrations set checksum = ''"
        db.query(ledger)
        project.write(INIT, "create extension nosuch;\n")
        found = project.adopt(applies=True)
        assert found.proof.is_equal is None
        assert found.proof.reason.startswith("The files could not be built: ")
        assert "migrations/001-init.sql" in found.proof.reason
        assert "--accept-differences" in found.proof.reason
        assert list(found.obstacles()) == [
            "it is not proven that the files make what the database has"
        ]
        assert project.is_untouched(db)


class TestWhatIsInTheWay:
    def test_a_tampered_file(self, migrated: Project, db: Database) -> None:
        migrated.write(INIT, "create table users (id serial primary key);\n")
        found = migrated.adopt(applies=True)
        assert found.files[0].to_dict()["verified"] is False
        assert [problem.place for problem in found.problems] == [f"{INIT}/migration.sql"]
        assert list(found.obstacles()) == ["a problem is in the way"]
        assert migrated.is_untouched(db)

    def test_a_failed_migration(self, migrated: Project, db: Database) -> None:
        db.query(
            f"update _prisma_migrations set finished_at = null where migration_name = '{NAME}'"
        )
        found = migrated.adopt(applies=True, accepts_differences=True)
        assert [problem.place for problem in found.problems] == [NAME]
        assert migrated.is_untouched(db)

    def test_sql_that_is_refused_is_named_by_its_line(
        self, migrated: Project, db: Database
    ) -> None:
        migrated.write("20240103000000_bad", "select 1;\n\n\\connect other\n")
        [problem] = migrated.adopt(applies=True).problems
        assert problem.place == "20240103000000_bad/migration.sql:3"
        assert "is a command of psql" in problem.fault
        assert "-- From: prisma 20240103000000_bad" in problem.remedy
        assert migrated.is_untouched(db)

    def test_a_database_without_the_ledger(self, project: Project, db: Database) -> None:
        [problem] = project.adopt(applies=True).problems
        assert problem.fault == (
            "it has no ledger of Prisma, so nothing tells what has been applied"
        )
        assert "adopt database" in problem.remedy
        assert project.is_untouched(db)

    def test_a_database_that_the_runner_has_built(self, project: Project, db: Database) -> None:
        project.bundle.write("001-a.sql", "-- From: prisma 2023_a\ncreate table a (x int);\n")
        assert project.adopt().problems
        assert migrate(project.make_context()).error is None
        found = project.adopt(applies=True)
        assert found.is_done
        assert not found.problems
        assert "the runner has built this database" in found.notes[0]
        assert db.has("a")

    def test_a_database_with_the_ledger_of_another_tool(
        self, migrated: Project, db: Database
    ) -> None:
        db.query("create table knex_migrations (id int, name text, batch int, migration_time int)")
        [problem] = migrated.adopt(tool="tern").problems
        assert "public._prisma_migrations of prisma, which `" in problem.remedy
        assert "adopt prisma`" in problem.remedy
        assert "public.knex_migrations of knex, which `" in problem.remedy

    def test_a_migration_that_is_gone_while_its_file_is_pending(
        self, migrated: Project, db: Database
    ) -> None:
        migrated.bundle.write("001-lost.sql", "-- From: prisma 2023_lost\nselect 1;\n")
        [problem] = migrated.adopt(applies=True).problems
        assert problem.place == "migrations/001-lost.sql"
        assert "it was made of 2023_lost" in problem.fault
        assert not db.has("public.schema_migrations")


class TestAFileOfOurs:
    def test_a_corrected_one_is_taken_in_place_of_the_tools(
        self, project: Project, db: Database
    ) -> None:
        project.apply(db, {INIT: "create table a (x int);\n"})
        db.query("update _prisma_migrations set checksum = ''")
        project.write(INIT, "\\echo hello\ncreate table a (x int);\n")
        project.bundle.write("000-first.sql", f"-- From: prisma {INIT}\ncreate table a (x int);\n")
        done = project.adopt(applies=True)
        assert done.is_done
        assert "it is taken as it is" in done.notes[-1]
        assert db.versions() == ["000-first"]


class TestTheRecording:
    def test_production_is_guarded(self, migrated: Project, db: Database) -> None:
        migrate(migrated.make_context(environment="production"))
        with pytest.raises(GuardError):
            migrated.adopt(applies=True)
        assert migrated.names == []
        assert db.versions() == []

    def test_a_failure_takes_the_files_away_again(self, migrated: Project, db: Database) -> None:
        context = migrated.make_context()
        lock = RunLock(context.connect, timeout=5, limits=context.limits)
        with lock, pytest.raises(LockError):
            migrated.adopt(applies=True)
        assert migrated.is_untouched(db)

    def test_what_the_tool_does_meanwhile_is_noticed(self, migrated: Project, db: Database) -> None:
        def apply_one_more(_: Adoption) -> None:
            db.query("update _prisma_migrations set rolled_back_at = now()")

        with pytest.raises(IntegrityError, match="Prisma has changed its own records"):
            migrated.adopt(applies=True, confirm=apply_one_more)
        assert migrated.is_untouched(db)

    def test_a_refusal_writes_nothing(self, migrated: Project, db: Database) -> None:
        def refuse(_: Adoption) -> None:
            raise MigratorError("no")

        with pytest.raises(MigratorError, match="no"):
            migrated.adopt(applies=True, confirm=refuse)
        assert migrated.is_untouched(db)

    def test_of_two_at_once_one_adopts_and_the_other_finds_it_done(
        self, migrated: Project, db: Database
    ) -> None:
        done: list[Adoption] = []
        threads = [
            threading.Thread(target=lambda: done.append(migrated.adopt(applies=True)))
            for _ in range(2)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(each.has_just_applied for each in done) == [False, True]
        assert all(each.is_done for each in done)
        assert len(db.runs()) == 1


class TestTheLedgerOfTheTool:
    @pytest.mark.parametrize(
        "code",
        [
            "create rule r as on update to _prisma_migrations do also nothing",
            "create index i on _prisma_migrations (lower(logs))",
            "alter table _prisma_migrations add check (logs is null)",
            "create type mood as enum ('a'); alter table _prisma_migrations add column mood mood",
        ],
    )
    def test_one_that_may_run_code_is_not_read(
        self, migrated: Project, db: Database, code: str
    ) -> None:
        db.query(code)
        with pytest.raises(LedgerError, match=r"public._prisma_migrations is not read"):
            migrated.adopt()

    def test_a_view_is_none(self, project: Project, db: Database) -> None:
        db.query(LEDGER.replace("_prisma_migrations", "kept"))
        db.query("create view _prisma_migrations as select * from kept")
        assert project.adopt().problems[0].place == "the database"

    def test_that_in_the_schema_of_the_url_counts(
        self, migrated: Project, db: Database, second: Database
    ) -> None:
        second.query("create schema app; create schema other")
        for schema in ("app", "other"):
            parameters = {"options": f"-c search_path={schema}"}
            migrated.apply(second.but(**parameters), FILES if schema == "app" else {})
        target = replace(second.target, search_path="app")
        done = migrated.adopt(applies=True, target=target)
        assert (done.ledger, done.is_done) == ("app._prisma_migrations", True)
        with pytest.raises(LedgerError, match=r"app._prisma_migrations, other._prisma_migrations"):
            migrated.adopt(target=second.target)


DBMATE = {
    "1_users.sql": (
        "-- migrate:up\ncreate table users (id int);\n-- migrate:down\ndrop table users;\n"
    ),
    "2_index.sql": (
        "-- migrate:up transaction:false\ncreate index concurrently users_id on users (id);\n"
        "-- migrate:down\ndrop index users_id;\n"
    ),
    "3_later.sql": "-- migrate:up\ncreate table later (x int);\n",
}


class TestALedgerWithTheNameOfOurs:
    @pytest.fixture
    def dbmate(self, project: Project, db: Database) -> Project:
        """A project of dbmate's, whose last file is not applied yet."""
        for name, text in DBMATE.items():
            (project.folder / name).write_text(text)
        db.query(
            "create table schema_migrations (version varchar primary key);"
            "insert into schema_migrations values ('1'), ('2');"
            "create table users (id int); create index users_id on users (id)"
        )
        return project

    def test_one_that_holds_nothing_is_named_as_it_is_renamed(
        self, dbmate: Project, db: Database
    ) -> None:
        db.query("truncate schema_migrations; drop table users")
        done = dbmate.adopt(tool="dbmate", applies=True)
        assert any("drop the table public.schema_migrations_dbmate" in each for each in done.notes)
        db.query("drop table public.schema_migrations_dbmate")
        assert migrate(dbmate.make_context()).error is None

    def test_one_that_is_in_use_is_busy(self, dbmate: Project, db: Database) -> None:
        with db.connect(autocommit=False) as user:
            user.execute("select from schema_migrations")
            with pytest.raises(LockError, match="in use by another session"):
                dbmate.adopt(tool="dbmate", applies=True)
        assert dbmate.names == []
        assert dbmate.adopt(tool="dbmate", applies=True).is_done

    def test_it_is_renamed_with_the_recording(self, dbmate: Project, db: Database) -> None:
        refused = migrate(dbmate.make_context()).error
        assert isinstance(refused, LedgerError)
        assert "adopt dbmate" in str(refused)
        done = dbmate.adopt(tool="dbmate", applies=True)
        assert done.to_dict()["renames"] == {
            "from": "public.schema_migrations",
            "to": "schema_migrations_dbmate",
        }
        kept = db.query("select version from schema_migrations_dbmate order by 1")
        assert kept == [("1",), ("2",)]
        assert db.versions() == ["001-users", "002-index"]
        assert "-- Transaction: none\n" in (dbmate.bundle.migrations / "002-index.sql").read_text()
        again = dbmate.adopt(tool="dbmate", applies=True)
        assert (again.is_done, again.has_just_applied) == (True, False)
        assert migrate(dbmate.make_context()).error is None
        assert db.versions() == ["001-users", "002-index", "003-later"]

    def test_a_failure_leaves_it_as_it_was(self, dbmate: Project, db: Database) -> None:
        db.query("create table schema_migrations_dbmate (x int)")
        with pytest.raises(LedgerError, match="already exists"):
            dbmate.adopt(tool="dbmate", applies=True, accepts_differences=True)
        assert dbmate.names == []
        assert db.query("select count(*) from public.schema_migrations") == [(2,)]
        assert not db.has("public.schema_migration_runs")


def test_a_chain_of_1500_files(project: Project, db: Database) -> None:
    files = {f"2024{number:010}_step_{number}": "select 1;\n" for number in range(1500)}
    project.apply(db, {})
    for name, text in files.items():
        project.write(name, text)
    made = project.adopt(applies=True).files
    assert [made[0].file.version, made[-1].file.version] == ["0001-step-0", "1500-step-1499"]
    assert len(project.names) == 1500
    assert make_plan([each.file for each in made], None, environment="preview").state == "pending"
