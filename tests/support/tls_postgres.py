"""A real PostgreSQL with TLS, under the host names of a provider, with IAM logins as in RDS.

It is Debian's: the embedded one was built without TLS and without LDAP. Its certificate is valid
for names that lead elsewhere; `hostaddr` of libpq (PGHOSTADDR) leads to this machine, while
`sslmode=verify-full` verifies the name.
"""

import secrets
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
from certificates import Authority
from daemon import demoted, free_port, give, private_folder, running
from ldap_bind import bind_responder
from psycopg.conninfo import make_conninfo
from rds_login import IamLogins

from lib.settings.connection_target import ConnectionTarget

TLS_POSTGRES = max(
    (path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/postgres")),
    key=lambda binaries: float(binaries.parent.name),
    default=None,
)

_HERE = "127.0.0.1"
# LDAPNOINIT: what this machine has set for its own LDAP doesn't count here.
_ENVIRONMENT = {"LC_ALL": "C", "LDAPNOINIT": "1"}


@dataclass(frozen=True)
class TlsServer:
    """The server. `target` is for a superuser with a password; members of `rds_iam` need a token.

    `ca` is the file with the authority that signed the certificate of the server; `other_ca` signed
    nothing here.
    """

    target: ConnectionTarget
    iam: IamLogins
    ca: Path
    other_ca: Path
    log: Path


@contextmanager
def tls_postgres(*names: str, force_tls: bool = True) -> Iterator[TlsServer]:
    """The server under these names besides its address and localhost, for as long as it is wanted.

    Without `force_tls` (`rds.force_ssl` of RDS) who has a password may log in without TLS too.
    """
    port = free_port()
    password = secrets.token_urlsafe(24)
    iam = IamLogins(tuple(f"{name}:{port}" for name in names))
    with private_folder("tls-postgres") as folder, bind_responder(iam.refusal) as ldap_port:
        _write_certificates(folder, names)
        _write_rules(folder / "pg_hba.conf", ldap_port, force_tls=force_tls)
        _initialize(folder, password)
        server = TlsServer(
            _target(port, password, folder),
            iam,
            folder / "ca.pem",
            folder / "other_ca.pem",
            folder / "server.log",
        )
        with running(_command(folder, port), folder, lambda: _is_ready(folder), _ENVIRONMENT):
            _create_rds_role(server.target)
            yield server


def _write_certificates(folder: Path, names: tuple[str, ...]) -> None:
    authority = Authority("tests")
    authority.write(folder / "ca.pem")
    Authority("nobody's").write(folder / "other_ca.pem")
    certificate, key = authority.issue("localhost", _HERE, *names)
    (folder / "server.crt").write_bytes(certificate)
    (folder / "server.key").touch(mode=0o600)
    (folder / "server.key").write_bytes(key)


def _write_rules(path: Path, ldap_port: int, *, force_tls: bool) -> None:
    """Ask members of rds_iam for a clear-text password, over TLS alone: as in RDS, through PAM."""
    ldap = f'ldap ldapserver={_HERE} ldapport={ldap_port} ldapprefix=""'
    others = "hostssl all all 127.0.0.1/32 scram-sha-256"
    if not force_tls:
        others = "hostnossl all +rds_iam all reject\nhost all all 127.0.0.1/32 scram-sha-256"
    path.write_text(f"hostssl all +rds_iam 127.0.0.1/32 {ldap}\n{others}\n")


def _initialize(folder: Path, password: str) -> None:
    assert TLS_POSTGRES is not None
    (folder / "password").touch(mode=0o600)
    (folder / "password").write_text(password)
    give(folder)
    subprocess.run(
        [
            *(
                TLS_POSTGRES / "initdb",
                "-D",
                folder / "data",
                "--username",
                "postgres",
                "--pwfile",
                folder / "password",
            ),
            *(
                "--auth",
                "scram-sha-256",
                "--encoding",
                "UTF8",
                "--locale",
                "C",
                "--no-sync",
                "--no-instructions",
            ),
        ],
        cwd=folder,
        env=_ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        check=True,
        **demoted(),
    )


def _command(folder: Path, port: int) -> list[str | Path]:
    assert TLS_POSTGRES is not None
    settings = {
        "listen_addresses": _HERE,
        "port": port,
        "unix_socket_directories": "",
        "hba_file": folder / "pg_hba.conf",
        "ssl": "on",
        "ssl_cert_file": folder / "server.crt",
        "ssl_key_file": folder / "server.key",
        "fsync": "off",
        "synchronous_commit": "off",
        "full_page_writes": "off",
    }
    options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
    return [TLS_POSTGRES / "postgres", "-D", folder / "data", *options]


def _target(port: int, password: str, folder: Path) -> ConnectionTarget:
    parameters = {
        "host": _HERE,
        "hostaddr": _HERE,
        "port": str(port),
        "dbname": "postgres",
        "user": "postgres",
        "password": password,
        "sslmode": "verify-full",
        "sslrootcert": str(folder / "ca.pem"),
    }
    return ConnectionTarget("the PostgreSQL with TLS", parameters)


def _is_ready(folder: Path) -> bool:
    """True if it takes connections: pg_ctl, too, looks at the eighth line of this file."""
    try:
        lines = (folder / "data" / "postmaster.pid").read_text().splitlines()
    except FileNotFoundError:
        return False
    return len(lines) > 7 and lines[7].strip() == "ready"


def _create_rds_role(target: ConnectionTarget) -> None:
    """Create the role that RDS has from the start."""
    with psycopg.connect(make_conninfo(**target.parameters), autocommit=True) as connection:
        connection.execute("create role rds_iam")
