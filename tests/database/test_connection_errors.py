"""Why a connection failed: recognized in any language, final or retried, quoted without secrets."""

import os
import time
from collections.abc import Callable
from dataclasses import replace

import psycopg
import pytest
from conftest import Bundle, Database
from refusing_server import refusing_server

from lib.actions.migrate import migrate
from lib.actions.run_parameters import RunContext
from lib.database import login
from lib.database.connection_errors import UNKNOWN, quotation, recognize
from lib.errors import DatabaseUnavailableError
from lib.masking import cleaned
from lib.settings.connection_target import ConnectionTarget
from lib.settings.connection_url import read_target

MakeContext = Callable[..., RunContext]
AT = 'connection failed: connection to server at "db.example.com" (10.0.0.1), port 5432 failed: '
NO_ENTRY = f'{AT}FATAL:  no pg_hba.conf entry for host "1.2.3.4", user "u", database "d", '
ALL = "\nMultiple connection attempts failed. All failures were:\n"
V6 = 'connection failed: connection to server at "{}" (2600:1f18::1), port 5432 failed: '
SUPABASE = "db.abcdefghijklmnop.supabase.co"

only_with_a_trace = pytest.mark.skipif(
    not hasattr(os, "memfd_create"), reason="libpq's trace is kept on Linux alone"
)


def failure(target: ConnectionTarget, timeout: float = 8.0) -> DatabaseUnavailableError:
    """The error of a failed connection, whose public text names no place and no user."""
    with pytest.raises(DatabaseUnavailableError, match="can't be reached: ") as raised:
        login.connect(target, application_name="test", timeout=timeout)
    error = raised.value
    parameters = target.parameters
    for value in (parameters.get("user"), parameters.get("password"), target.host, "FATAL"):
        assert not value or value not in error.public
    for key in ("user", "password"):
        assert not parameters.get(key) or parameters[key] not in str(error).replace(
            target.place, ""
        )
    return error


class TestARealServer:
    @pytest.mark.parametrize(
        ("parameters", "told", "said"),
        [
            (
                {"password": "wrong-hunter2"},
                "the password was refused",
                'authentication failed for user "***"',
            ),
            (
                {"user": "no-such-hunter2"},
                "the user or the password was refused",
                'failed for user "***"',
            ),
            (
                {"dbname": "nowhere"},
                "there is no such database",
                'FATAL: database "nowhere" does not exist',
            ),
            (
                {"options": "endpoint=ep-x"},
                "the options that the URL",
                "invalid command-line argument",
            ),
            (
                {"options": "-c no_such=1"},
                "the options that the URL",
                'unrecognized configuration parameter "no_such"',
            ),
            (
                {"options": "-c work_mem=lots"},
                "the options that the URL",
                'invalid value for parameter "work_mem"',
            ),
            (
                {"options": "-c port=1"},
                "the options that the URL",
                'parameter "port" cannot be changed',
            ),
            (
                {"channel_binding": "require"},
                "channel_binding=require can't be met",
                "channel binding required, but SSL",
            ),
            (
                {"target_session_attrs": "standby"},
                "target_session_attrs",
                "server is not in hot standby mode",
            ),
            (
                {"target_session_attrs": "read-only"},
                "target_session_attrs",
                "session is not read-only",
            ),
            (
                {"sslmode": "require"},
                "the server does not support TLS",
                "server does not support SSL",
            ),
            (
                {"require_auth": "md5"},
                "a value that PostgreSQL's client can't use",
                "authentication method requirement",
            ),
            (
                {"require_auth": "hunter3"},
                "a value that PostgreSQL's client can't use",
                "invalid require_auth value",
            ),
            (
                {"gssencmode": "hunter3"},
                "a value that PostgreSQL's client can't use",
                "invalid gssencmode value",
            ),
            ({"service": "no-such"}, "the service that the URL names", ""),
        ],
    )
    def test_a_final_failure_is_raised_at_once_and_quotes_the_server(
        self, db: Database, parameters: dict[str, str], told: str, said: str
    ) -> None:
        began = time.monotonic()
        error = failure(db.but(**parameters).target, timeout=60)
        assert time.monotonic() - began < 20
        assert error.final
        assert told in error.public
        assert told in str(error)
        assert said in str(error)
        assert "Retries ended after" not in str(error)

    def test_a_database_that_accepts_no_connections_is_final(self, db: Database) -> None:
        db.query("create database closed_one allow_connections false")
        try:
            error = failure(db.named("closed_one").target)
        finally:
            db.query("drop database closed_one")
        assert error.final
        assert "the database accepts no connections" in str(error)

    def test_a_role_that_may_not_connect_is_reported(self, db: Database) -> None:
        db.query(f"revoke connect on database {db.target.database} from public")
        with db.another_role() as role:
            error = failure(role.target)
        assert error.final
        assert (
            "the role may not connect to this database (FATAL: permission denied for database"
            in str(error)
        )

    def test_a_user_and_a_password_of_the_environment_are_not_quoted(
        self, db: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PGUSER", "hunter-of-the-environment")
        monkeypatch.setenv("PGPASSWORD", "hunter2")
        kept = {
            key: value
            for key, value in db.target.parameters.items()
            if key not in ("user", "password")
        }
        error = failure(replace(db.target, parameters=kept))
        assert 'authentication failed for user "***"' in str(error)
        assert "hunter" not in str(error)

    def test_a_port_without_a_server_is_retried_and_then_reported(self, db: Database) -> None:
        error = failure(db.through(1).target, timeout=0.5)
        assert not error.final
        assert "nothing listens there (Connection refused). Retries ended after 0.5 s" in str(error)


class TestInAnyLanguage:
    @only_with_a_trace
    @pytest.mark.parametrize(
        ("sqlstate", "message", "told", "final"),
        [
            (
                "28P01",
                "Passwort-Authentifizierung für Benutzer »hunter« fehlgeschlagen",
                "the password was refused",
                True,
            ),
            (
                "28000",
                "kein pg_hba.conf-Eintrag für Host »10.0.0.9«, Benutzer »hunter«",
                "by its pg_hba.conf",
                True,
            ),
            ("3D000", "Datenbank »shop« existiert nicht", "there is no such database", True),
            ("42704", "unbekannter Konfigurationsparameter »x«", "options that the URL", True),
            (
                "55000",
                "Datenbank »shop« akzeptiert gegenwärtig keine Verbindungen",
                "accepts no connections",
                True,
            ),
            ("53300", "tut mir leid, schon zu viele Verbindungen", "no connection left", False),
            ("57P03", "das Datenbanksystem startet", "accepts no connections now", False),
            ("XX000", "etwas ging schief", "for a reason that is not recognized", False),
        ],
    )
    def test_the_sqlstate_gives_the_reason_in_any_language(
        self, sqlstate: str, message: str, told: str, *, final: bool
    ) -> None:
        with refusing_server(sqlstate, message) as port:
            target = read_target(
                "DATABASE_URL", f"postgres://hunter:hunter2@127.0.0.1:{port}/shop?sslmode=prefer"
            )
            error = failure(target, timeout=0.5)
        assert error.final is final
        assert told in str(error)
        assert f"(FATAL: {message.replace('hunter', '***')})" in str(error)

    def test_what_a_server_says_breaks_no_line_and_moves_no_cursor(self) -> None:
        with refusing_server("XX000", "\x1b[2Jhunter2\n::error::hunter\r\u202egone") as port:
            error = failure(
                read_target("DATABASE_URL", f"postgres://hunter:hunter2@127.0.0.1:{port}/shop"),
                timeout=0.5,
            )
        assert all(letter.isprintable() for letter in str(error))


class TestByWords:
    @pytest.mark.parametrize(
        ("text", "told", "final"),
        [
            (NO_ENTRY + "no encryption", "only connections with TLS", True),
            (NO_ENTRY + "SSL off", "only connections with TLS", True),
            (
                NO_ENTRY + "SSL encryption\n" + NO_ENTRY + "no encryption",
                "pg_hba.conf does not admit",
                True,
            ),
            (
                AT + "ERROR:  connection is insecure (try using `sslmode=require`)",
                "only connections with TLS",
                True,
            ),
            (
                AT + "FATAL:  SSL connection is required. Please specify SSL options and retry.",
                "only connections with TLS",
                True,
            ),
            (AT + "FATAL:  SSL required", "only connections with TLS", True),
            (
                AT
                + "channel binding is required, but server did not offer an authentication method",
                "binding",
                True,
            ),
            (
                AT + "FATAL:  unsupported startup parameter in options: search_path",
                "refuses a parameter",
                True,
            ),
            (AT + "FATAL:  Tenant or user not found", "the user or the project is unknown", True),
            (
                AT + "FATAL:  MaxClientsInSessionMode: max clients reached",
                "no connection left",
                False,
            ),
            (
                AT + "FATAL:  no more connections allowed (max_client_conn)",
                "no connection left",
                False,
            ),
            (
                AT + 'FATAL:  too many connections for role "u"',
                "a run needs two connections",
                False,
            ),
            (
                AT + "FATAL:  the database system is not yet accepting connections",
                "starting up",
                False,
            ),
            (
                AT + "server closed the connection unexpectedly\n\tThis probably means",
                "before the login",
                False,
            ),
            (AT + "Network is unreachable", "the network is unreachable", False),
            (
                V6.format("h") + "Network is unreachable\n\tIs the server running",
                "only an IPv6 address",
                True,
            ),
            (V6.format("h") + "Cannot assign requested address", "only an IPv6 address", True),
            (V6.format("h") + "Connection refused", "nothing listens there", False),
            (
                f"{AT}Connection refused{ALL}- host: 'h': {V6.format('h')}"
                f"Network is unreachable\n- host: 'h': {AT}Connection refused",
                "nothing listens there",
                False,
            ),
            (
                f"{AT}session is read-only{ALL}- host: 'a': {AT}"
                f"Connection refused\n- host: 'b': {AT}session is read-only",
                "nothing listens there",
                False,
            ),
        ],
    )
    def test_the_words_give_the_reason(self, text: str, told: str, *, final: bool) -> None:
        reason = recognize(psycopg.OperationalError(text))
        assert told in reason.text
        assert reason.final is final

    def test_other_words_give_the_unknown_reason(self) -> None:
        assert recognize(psycopg.OperationalError(AT + "FATAL:  etwas")) is UNKNOWN

    @pytest.mark.parametrize(
        ("host", "way_out"),
        [
            (SUPABASE, "aws-0-REGION.pooler.supabase.com:5432"),
            ("db.example.com", "an address that has IPv4"),
        ],
    )
    def test_without_ipv6_the_address_to_use_is_named(
        self, monkeypatch: pytest.MonkeyPatch, host: str, way_out: str
    ) -> None:
        def unreachable(*_: object, **__: object) -> None:
            raise psycopg.OperationalError(V6.format(host) + "Network is unreachable")

        monkeypatch.setattr(psycopg, "connect", unreachable)
        error = failure(ConnectionTarget("DATABASE_URL", {"host": host, "user": "hunter2"}))
        assert error.final
        assert way_out in str(error)


class TestWhatIsQuoted:
    @pytest.mark.parametrize("password", ["hunter2", "a.b*c(", "xyz"])
    def test_no_secret_and_no_name_is(self, password: str) -> None:
        error = psycopg.OperationalError(
            f'{AT}FATAL:  no "{password}" for user "app" (app), »app«; it is an apple\nHINT:  x'
        )
        said = quotation(error, secrets=[password, ""], names=["app", ""])
        assert said == 'FATAL: no "***" for user "***" (app), »***«; it is an apple; HINT: x'

    def test_of_a_longer_secret_nothing_is_left(self) -> None:
        assert cleaned("xhunter2hunter2y", secrets=["hunter2", "hunter2hunter2"]) == "x***y"

    def test_what_the_client_can_not_read_is_not(self) -> None:
        error = psycopg.ProgrammingError(
            'missing "=" after "postgres://app:hunter2@h" in connection info string'
        )
        assert quotation(error, secrets=[], names=[]) == ""


class TestALimitOfOneConnection:
    @pytest.mark.parametrize("owner", ["role", "database"])
    def test_that_a_run_needs_two_connections_is_reported_at_once(
        self, make_context: MakeContext, bundle: Bundle, db: Database, owner: str
    ) -> None:
        bundle.write("000-a.sql", "create table a (x int)")
        with db.another_role("connection limit 1" if owner == "role" else "") as role:
            if owner == "database":
                db.query(f"alter database {db.target.database} connection limit 1")
            began = time.monotonic()
            report = migrate(make_context(target=role.target, connect_timeout=60.0))
            assert time.monotonic() - began < 20
        assert isinstance(report.error, DatabaseUnavailableError)
        assert (
            f"The {owner} that DATABASE_URL names may have one connection at a time, "
            "and a run needs two" in str(report.error)
        )
        assert "connection limit 5" in str(report.error)
        assert (
            report.error.public
            == f"The {owner} may have one connection at a time, and a run needs two."
        )
        assert not db.has("a")

    def test_two_connections_are_enough(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        bundle.write("000-a.sql", "create table a (x int)")
        with db.another_role("connection limit 2") as role:
            report = migrate(make_context(target=role.target))
            assert report.error is None

    def test_a_limit_that_is_reached_is_reported_too(self, db: Database) -> None:
        with db.another_role("connection limit 1") as role, role.connect():
            error = failure(role.target, timeout=0.5)
        assert (
            "its connection limit, and a run needs two connections "
            "(FATAL: too many connections for role" in str(error)
        )
        assert error.sqlstate == "53300"


def test_the_error_names_all_hosts_of_a_target(db: Database) -> None:
    both = {
        "host": "127.0.0.1,127.0.0.1",
        "hostaddr": "127.0.0.1,127.0.0.1",
        "port": f"1,{db.target.port}",
    }
    target = replace(db.target, parameters={**db.target.parameters, **both, "password": "wrong"})
    error = failure(target)
    assert error.final
    assert f"127.0.0.1:1,127.0.0.1:{db.target.port}" in str(error)
    assert "the user or the password was refused" in str(error)
