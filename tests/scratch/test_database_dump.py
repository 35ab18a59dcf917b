"""pg_dump of a live database: what it logs in with, what it is asked for, and how it fails."""

import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from conftest import NEON_HOST, Database, wait_until
from tls_postgres import TlsServer

from lib.database.connection import Connection
from lib.database.login import connect
from lib.errors import ConfigurationError, DatabaseUnavailableError, OutOfTimeError
from lib.scratch import database_dump
from lib.scratch.database_dump import check_version, dump_schema

TABLE = "create table users (id bigint primary key, email text)"


@contextmanager
def opened(database: Database) -> Iterator[Connection]:
    with connect(database.target, application_name="test", timeout=5) as connection:
        yield connection


def dump(database: Database, **options: object) -> str:
    with opened(database) as connection:
        return dump_schema(connection, os.environ, **options)  # type: ignore[arg-type]


def test_the_schema_is_read_without_rows_owners_and_what_is_left_out(db: Database) -> None:
    db.query(f"{TABLE}; insert into users values (1, 'a@example.com'); create schema other")
    db.query('create table "Odd.Name*" (id int); create table other.kept (id int)')
    text = dump(db, without_tables=[("public", "Odd.Name*")])
    assert "CREATE TABLE public.users" in text
    assert "CREATE TABLE other.kept" in text
    assert not any(word in text for word in ("Odd.Name", "a@example.com", "OWNER TO"))
    assert "other.kept" not in dump(db, without_schemas=["other"])


def test_a_server_that_wants_tls_is_dumped_over_tls(
    tls_db: Database, tls_server: TlsServer
) -> None:
    tls_db.query(TABLE)
    assert "CREATE TABLE public.users" in dump(tls_db.under(NEON_HOST))


def test_the_password_is_on_no_command_line(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[list[str], dict[str, str]]] = []
    started = subprocess.Popen

    def start(command: list[str], **options: object) -> "subprocess.Popen[bytes]":
        seen.append((command, options["env"]))  # type: ignore[arg-type]
        return started(command, **options)  # type: ignore[call-overload, no-any-return]

    monkeypatch.setattr(subprocess, "Popen", start)
    # The last two would lead it elsewhere.
    others = {"DATABASE_URL": db.url, "PGHOSTADDR": "192.0.2.1", "PGSERVICE": "other"}
    with opened(db) as connection:
        dump_schema(connection, {**os.environ, **others})
    [(command, variables)] = seen
    password = db.target.parameters["password"]
    assert not any(password in word for word in command)
    assert [name for name, value in variables.items() if password in value] == ["PGPASSWORD"]


def test_a_role_that_may_only_read_is_enough(db: Database) -> None:
    db.query(TABLE)
    with db.another_role() as reader:
        with pytest.raises(ConfigurationError, match=r"permission denied for table users.*pg_read"):
            dump(reader)
        db.query(f"grant pg_read_all_data to {reader.target.parameters['user']}")
        assert "CREATE TABLE public.users" in dump(reader)


def test_a_locked_table_is_waited_for_briefly(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_dump, "DUMP_LOCK", 0.1)
    db.query(TABLE)
    with db.connect(autocommit=False) as other:
        other.execute("lock table users in access exclusive mode")
        with pytest.raises(DatabaseUnavailableError, match="locked by another session"):
            dump(db)


def locked_dump_of(db: Database) -> str:
    return (
        "select pid from pg_stat_activity where application_name = 'adopt' "
        f"and datname = '{db.target.database}'"
    )


def test_past_its_time_pg_dump_is_stopped(db: Database) -> None:
    db.query(TABLE)
    with db.connect(autocommit=False) as other:
        other.execute("lock table users in access exclusive mode")
        with pytest.raises(OutOfTimeError, match="took too long"):
            dump(db, limit=0.5)
        wait_until(lambda: not db.query(locked_dump_of(db)), "the end of pg_dump's session")


def test_an_interruption_stops_pg_dump(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    # The lock must not run into its own limit first.
    monkeypatch.setattr(database_dump, "DUMP_LOCK", 60.0)
    db.query(TABLE)
    main = threading.get_ident()

    def interrupt() -> None:
        wait_until(lambda: db.query(locked_dump_of(db)), "pg_dump")
        signal.pthread_kill(main, signal.SIGINT)

    with db.connect(autocommit=False) as other:
        other.execute("lock table users in access exclusive mode")
        # What a shell runs in its background ignores the signal from the start.
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        threading.Thread(target=interrupt).start()
        try:
            with pytest.raises(KeyboardInterrupt):
                dump(db)
        finally:
            signal.signal(signal.SIGINT, before)
        wait_until(lambda: not db.query(locked_dump_of(db)), "the end of pg_dump's session")


def test_what_pg_dump_says_is_quoted_without_the_password(db: Database) -> None:
    password = db.target.parameters["password"]
    failure = database_dump._failure(
        f"pg_dump: error: connection failed: {password}\nmore", {"PGPASSWORD": password}
    )
    assert str(failure) == "pg_dump failed: connection failed: ***"


def test_a_newer_server_is_told_before_anything_is_asked() -> None:
    check_version(180006)
    with pytest.raises(ConfigurationError, match="PostgreSQL 19, and the pg_dump"):
        check_version(190001)
