"""The relay: TLS with the server as libpq would verify it, plain bytes with the program."""

import socket
from collections.abc import Mapping

import psycopg
import pytest
from conftest import NEON_HOST, Database
from tls_postgres import TlsServer

from lib.errors import DatabaseUnavailableError
from lib.scratch.tls_relay import Server, tls_relay


def server_of(database: Database, **parameters: str) -> Server:
    known = database.target.parameters
    return Server("127.0.0.1", int(known["port"]), {"host": NEON_HOST, **parameters})


def ask(database: Database, port: int) -> tuple[str, bool]:
    with database.but(port=str(port), sslmode="disable").connect() as connection:
        [row] = connection.execute(
            "select repeat('x', 300000), ssl from pg_stat_ssl where pid = pg_backend_pid()"
        ).fetchall()
    return row[0], row[1]


@pytest.mark.parametrize("negotiation", ["postgres", "direct"])
def test_a_program_without_tls_is_served_over_tls(
    tls_db: Database, tls_server: TlsServer, negotiation: str
) -> None:
    if negotiation == "direct" and int(tls_db.server_version.split(".")[0]) < 17:
        pytest.skip("this server knows no TLS without being asked")
    parameters = {"sslmode": "verify-full", "sslrootcert": str(tls_server.ca)}
    with tls_relay(server_of(tls_db, **parameters, sslnegotiation=negotiation)) as port:
        assert ask(tls_db, port) == ("x" * 300000, True)


VERIFIED: Mapping[str, Mapping[str, str]] = {
    "another authority": {"sslmode": "verify-ca", "sslrootcert": "other_ca"},
    "another name": {"sslmode": "verify-full", "sslrootcert": "ca", "host": "db.example.com"},
    "root certificates with require": {"sslmode": "require", "sslrootcert": "other_ca"},
    "public authorities": {"sslmode": "verify-full", "sslrootcert": "system"},
    "a channel binding, which can't be had": {"sslmode": "require", "channel_binding": "require"},
}


@pytest.mark.parametrize("case", VERIFIED)
def test_a_server_that_proves_nothing_gets_no_login(
    tls_db: Database, tls_server: TlsServer, case: str
) -> None:
    parameters = dict(VERIFIED[case])
    if (name := parameters.get("sslrootcert")) in ("ca", "other_ca"):
        parameters["sslrootcert"] = str(getattr(tls_server, str(name)))
    server = server_of(tls_db, **parameters)
    with pytest.raises(DatabaseUnavailableError, match="TLS with the database"), tls_relay(server):
        pass


def test_without_verification_any_certificate_will_do_as_in_libpq(tls_db: Database) -> None:
    with tls_relay(server_of(tls_db, sslmode="require")) as port:
        assert ask(tls_db, port)[1]


def test_a_server_without_tls_is_told(db: Database) -> None:
    server = Server("127.0.0.1", int(db.target.port), {"sslmode": "require"})
    with pytest.raises(DatabaseUnavailableError, match="offers none"), tls_relay(server):
        pass


def test_nothing_listens_once_the_block_has_ended(tls_db: Database) -> None:
    with tls_relay(server_of(tls_db, sslmode="require")) as port:
        assert ask(tls_db, port)[1]
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))


def test_a_second_client_is_not_served(tls_db: Database) -> None:
    with tls_relay(server_of(tls_db, sslmode="require")) as port:
        assert ask(tls_db, port)
        with pytest.raises(psycopg.OperationalError):
            tls_db.but(port=str(port), sslmode="disable").connect(connect_timeout=2)
