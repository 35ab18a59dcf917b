"""What TLS proves of a server, with which authority, and the errors where it proves nothing."""

import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import certifi
import pytest
from conftest import NEON_HOST, SECRET, Bundle, Database
from tls_postgres import TlsServer
from werkzeug.test import Client

from lib.actions.migrate import migrate
from lib.actions.run_parameters import RunContext
from lib.errors import ConfigurationError, DatabaseUnavailableError
from lib.settings.connection_target import ConnectionTarget
from lib.settings.loader import load_settings
from lib.settings.tls import relies_on_public_authorities, tls_parameters
from lib.web.admin_endpoint import create_migrate_app
from lib.web.endpoint_setup import MIGRATE_PATH, STATUS_PATH, Service
from lib.web.status_endpoint import create_status_app

PLAIN_HOST = "db.example.com"
CERTIFI = certifi.where()
NEON = f"postgresql://u:p@{NEON_HOST}/d"
PLAIN = f"postgresql://u:p@{PLAIN_HOST}/d"
UNTRUSTED = (
    "from an authority that is not trusted here; "
    "set PGSSLROOTCERT to the file of its root certificate"
)


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home without the files of libpq, and host names that lead to this machine."""
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("PGHOSTADDR", "127.0.0.1")
    for name in ("PGSSLMODE", "PGSSLROOTCERT"):
        monkeypatch.delenv(name, raising=False)
    return home


def target_of(root: Path, url: str, **variables: str) -> ConnectionTarget:
    target = load_settings({"DATABASE_URL": url, **variables}, root=root).migration_target
    assert target
    return target


class TestParameters:
    @pytest.mark.parametrize(
        ("url", "mode"),
        [
            ("postgresql://u:p@localhost/d", "prefer"),
            ("postgresql://u:p@127.0.0.1/d", "prefer"),
            ("postgresql://u:p@[::1]/d", "prefer"),
            ("postgresql://u:p@/d?host=/var/run/postgresql", "prefer"),
            ("postgresql://u:p@/d", "prefer"),
            (PLAIN, "require"),
            ("postgresql://u:p@10.0.0.7/d", "require"),
            ("postgresql://u:p@localhost.example.com/d", "require"),
            ("postgresql://u:p@db.abcdefghij.supabase.co/d", "require"),
            ("postgresql://u:p@aws-0-eu-west-1.pooler.supabase.com:6543/d", "require"),
            ("postgresql://u:p@db.prisma.io/d", "require"),
            ("postgresql://u:p@eu-central-1.db.thenile.dev/d", "require"),
            ("postgresql://u:p@shop.cluster-abc123.eu-west-1.rds.amazonaws.com/d", "require"),
            (NEON, "verify-full"),
            ("postgresql://u:p@ep-x-1-pooler.eu-central-1.aws.neon.tech/d", "verify-full"),
            ("postgresql://u:p@EP-X-1.eu-central-1.aws.neon.tech./d", "verify-full"),
            ("postgresql://u:p@ep-x-1.neon.tech.example.com/d", "require"),
            ("postgresql://u:p@shop.proxy-abc123.eu-west-1.rds.amazonaws.com/d", "verify-full"),
        ],
    )
    def test_tls_depends_on_the_name_of_the_host(self, tmp_path: Path, url: str, mode: str) -> None:
        expected = {"sslmode": mode} | ({"sslrootcert": CERTIFI} if mode == "verify-full" else {})
        assert tls_parameters(target_of(tmp_path, url)) == expected

    @pytest.mark.parametrize(
        ("url", "variable", "mode"),
        [
            (f"{NEON}?sslmode=require", "", "require"),
            (f"{NEON}?sslmode=require", "verify-full", "require"),
            (f"{PLAIN}?sslmode=disable", "require", "disable"),
            (f"{PLAIN}?ssl=true", "disable", "require"),
            (NEON, "require", "require"),
            (PLAIN, "disable", "disable"),
            (PLAIN, "verify-full", "verify-full"),
            ("postgresql://u:p@localhost/d", "require", "require"),
        ],
    )
    def test_the_url_takes_precedence_over_pgsslmode(
        self, tmp_path: Path, url: str, variable: str, mode: str
    ) -> None:
        target = target_of(tmp_path, url, PGSSLMODE=variable)
        assert tls_parameters(target)["sslmode"] == mode
        assert tls_parameters(target).get("sslrootcert") == (
            CERTIFI if mode == "verify-full" else None
        )

    def test_root_certificates_of_the_user_replace_the_public_ones(self, tmp_path: Path) -> None:
        (tmp_path / "own.pem").touch()
        target = target_of(tmp_path, NEON, PGSSLROOTCERT="own.pem")
        assert target.parameters["sslrootcert"] == str(tmp_path / "own.pem")
        assert tls_parameters(target) == {"sslmode": "verify-full"}
        assert not relies_on_public_authorities(target)
        in_url = target_of(tmp_path, f"{NEON}?sslrootcert=/other.pem", PGSSLROOTCERT="own.pem")
        assert in_url.parameters["sslrootcert"] == "/other.pem"

    def test_root_certificates_alone_do_not_turn_verification_on(self, tmp_path: Path) -> None:
        (tmp_path / "own.pem").touch()
        assert tls_parameters(target_of(tmp_path, PLAIN, PGSSLROOTCERT="own.pem")) == {
            "sslmode": "require"
        }

    @pytest.mark.parametrize(
        ("url", "variable"),
        [(f"{PLAIN}?sslrootcert=system", ""), (PLAIN, "system"), (NEON, "system")],
    )
    def test_the_system_certificates_are_those_of_certifi(
        self, tmp_path: Path, url: str, variable: str
    ) -> None:
        target = target_of(tmp_path, url, PGSSLROOTCERT=variable)
        assert tls_parameters(target) == {"sslmode": "verify-full", "sslrootcert": CERTIFI}

    def test_the_default_file_of_libpq_is_left_to_libpq(self, tmp_path: Path, home: Path) -> None:
        (home / ".postgresql").mkdir()
        (home / ".postgresql" / "root.crt").touch()
        assert tls_parameters(target_of(tmp_path, NEON)) == {"sslmode": "verify-full"}

    def test_a_user_without_a_home_has_no_default_file(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def unknown(_: object) -> None:
            raise KeyError

        monkeypatch.delenv("HOME")
        monkeypatch.setattr("pwd.getpwuid", unknown)
        assert tls_parameters(target_of(tmp_path, NEON))["sslrootcert"] == CERTIFI

    def test_a_user_with_an_unreadable_home_has_no_default_file(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HOME", f"/{'x' * 300}")
        assert tls_parameters(target_of(tmp_path, NEON))["sslrootcert"] == CERTIFI

    def test_without_certifi_the_error_says_how_to_add_it(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "certifi", None)
        target = target_of(tmp_path, NEON)
        with pytest.raises(ConfigurationError, match=r"add certifi to requirements\.txt"):
            tls_parameters(target)
        assert tls_parameters(target_of(tmp_path, PLAIN)) == {"sslmode": "require"}

    @pytest.mark.parametrize(
        "path",
        [
            "missing.pem",
            "/missing/too.pem",
            "migrations",
            f"-----BEGIN CERTIFICATE-----\n{'MIIB' * 100}",
        ],
        ids=["relative", "absolute", "a folder", "the certificate itself"],
    )
    def test_a_missing_file_is_reported_by_the_variable(self, bundle: Bundle, path: str) -> None:
        with pytest.raises(
            ConfigurationError, match="PGSSLROOTCERT names a file that does not exist"
        ) as raised:
            target_of(bundle.root, PLAIN, PGSSLROOTCERT=path)
        assert path not in str(raised.value).removeprefix("PGSSLROOTCERT")


class Connection:
    """A connection to the server under a host name, from the variables of a deployment."""

    def __init__(self, database: Database, bundle: Bundle) -> None:
        self._database = database
        self._bundle = bundle

    def environ(self, host: str, query: str = "", **variables: str) -> dict[str, str]:
        p = self._database.target.parameters
        url = f"postgresql://{p['user']}:{quote(p['password'])}@{host}:{p['port']}/{p['dbname']}{query}"
        return {
            "DATABASE_URL": url,
            "MIGRATION_SECRET": SECRET,
            "MIGRATION_CONNECT_TIMEOUT": "5s",
            **variables,
        }

    def is_encrypted(self, host: str, query: str = "", **variables: str) -> bool:
        settings = load_settings(self.environ(host, query, **variables), root=self._bundle.root)
        assert settings.migration_target
        with RunContext(
            settings, settings.migration_target, connect_timeout=5
        ).connect() as connection:
            [[[is_encrypted]]] = connection.query(
                "select ssl from pg_stat_ssl where pid = pg_backend_pid()"
            )
            return is_encrypted == "t"

    def failure(self, host: str, query: str = "", **variables: str) -> str:
        """The error of a run; the functions answer without its details."""
        environ = self.environ(host, query, **variables)
        settings = load_settings(environ, root=self._bundle.root)
        assert settings.migration_target
        error = migrate(RunContext(settings, settings.migration_target, connect_timeout=5)).error
        assert isinstance(error, DatabaseUnavailableError)
        assert error.final
        self._tells_nothing(str(error))
        self._is_answered_in_private(environ, host)
        return str(error)

    def _is_answered_in_private(self, environ: dict[str, str], host: str) -> None:
        service = Service(environ, self._bundle.root)
        headers = {"Authorization": f"Bearer {SECRET}"}
        admin = create_migrate_app(service).test_client().post(MIGRATE_PATH, headers=headers)
        public = Client(create_status_app(service)).get(STATUS_PATH)
        assert (admin.status_code, public.status_code) == (503, 503)
        assert public.get_json() == {"success": False, "error": "The database can't be reached."}
        self._tells_nothing(admin.text, host, "127.0.0.1")

    def _tells_nothing(self, text: str, *others: str) -> None:
        p = self._database.target.parameters
        for secret in (p["user"], p["password"], *others):
            assert secret not in text


@pytest.fixture
def tls(tls_db: Database, bundle: Bundle) -> Iterator[Connection]:
    """To a server with TLS, and a certificate for names of Neon and RDS."""
    with tls_db.another_role() as role:
        yield Connection(role, bundle)


@pytest.fixture
def plain(db: Database, bundle: Bundle) -> Connection:
    """To a server without TLS."""
    if db.query("show ssl") == [("on",)]:
        pytest.skip("the server of TEST_DATABASE_URL has TLS")
    return Connection(db, bundle)


class TestAServerWithTls:
    @pytest.mark.parametrize("host", [PLAIN_HOST, "localhost"])
    def test_tls_is_used_if_the_server_has_it(self, tls: Connection, host: str) -> None:
        assert tls.is_encrypted(host)

    def test_a_host_of_neon_is_verified_with_the_file_in_pgsslrootcert(
        self, tls: Connection, tls_server: TlsServer, bundle: Bundle
    ) -> None:
        (bundle.root / "certificates").mkdir()
        (bundle.root / "certificates" / "ca.pem").write_bytes(tls_server.ca.read_bytes())
        assert tls.is_encrypted(NEON_HOST, PGSSLROOTCERT="certificates/ca.pem")
        assert UNTRUSTED in tls.failure(NEON_HOST)
        assert UNTRUSTED in tls.failure(NEON_HOST, PGSSLROOTCERT=str(tls_server.other_ca))

    def test_a_host_of_neon_is_verified_with_certifi(
        self, tls: Connection, tls_server: TlsServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("certifi.where", lambda: str(tls_server.ca))
        assert tls.is_encrypted(NEON_HOST)
        assert tls.is_encrypted(NEON_HOST, PGSSLROOTCERT="system")

    def test_a_host_of_neon_is_verified_with_the_default_file_of_libpq(
        self, tls: Connection, tls_server: TlsServer, home: Path
    ) -> None:
        (home / ".postgresql").mkdir()
        (home / ".postgresql" / "root.crt").write_bytes(tls_server.ca.read_bytes())
        assert tls.is_encrypted(NEON_HOST)

    @pytest.mark.parametrize("query", ["?sslmode=verify-full", ""])
    def test_a_certificate_for_another_host_is_reported_as_such(
        self, tls: Connection, tls_server: TlsServer, query: str
    ) -> None:
        variables = {"PGSSLROOTCERT": str(tls_server.ca)} | (
            {} if query else {"PGSSLMODE": "verify-full"}
        )
        assert "the server's certificate is for another host" in tls.failure(
            PLAIN_HOST, query, **variables
        )

    def test_verify_ca_accepts_any_name_in_the_certificate(
        self, tls: Connection, tls_server: TlsServer
    ) -> None:
        assert tls.is_encrypted(PLAIN_HOST, "?sslmode=verify-ca", PGSSLROOTCERT=str(tls_server.ca))
        assert UNTRUSTED in tls.failure(PLAIN_HOST, "?sslmode=verify-ca")

    def test_a_missing_file_in_the_url_is_reported_as_such(self, tls: Connection) -> None:
        assert "the file of root certificates that sslrootcert names is missing" in tls.failure(
            NEON_HOST, "?sslrootcert=/missing.pem"
        )

    def test_a_file_without_certificates_is_reported_as_such(
        self, tls: Connection, bundle: Bundle
    ) -> None:
        (bundle.root / "empty.pem").touch()
        assert "sslrootcert names is missing or empty" in tls.failure(
            NEON_HOST, PGSSLROOTCERT="empty.pem"
        )

    def test_a_mode_too_weak_for_the_system_certificates_is_reported_as_such(
        self, tls: Connection
    ) -> None:
        assert "sslrootcert=system needs sslmode=verify-full" in tls.failure(
            PLAIN_HOST, "?sslmode=require&sslrootcert=system"
        )

    def test_an_unknown_mode_is_reported_as_such(self, tls: Connection) -> None:
        assert (
            "the sslmode of the URL, or PGSSLMODE, is not known to PostgreSQL's client"
            in tls.failure(PLAIN_HOST, "?sslmode=yes")
        )


class TestAServerWithoutTls:
    def test_for_a_remote_host_the_error_says_what_to_do(self, plain: Connection) -> None:
        assert (
            "the server does not support TLS; if its network is private, add ?sslmode=disable"
            in plain.failure(PLAIN_HOST)
        )

    def test_hostaddr_does_not_change_the_name_that_is_verified(
        self, plain: Connection, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("PGHOSTADDR")
        assert "the server does not support TLS" in plain.failure(PLAIN_HOST, "?hostaddr=127.0.0.1")
        assert not plain.is_encrypted(PLAIN_HOST, "?hostaddr=127.0.0.1&sslmode=disable")

    @pytest.mark.parametrize("variables", [{"PGSSLMODE": "disable"}, {"PGSSLMODE": "prefer"}])
    def test_the_advice_leads_to_a_connection(
        self, plain: Connection, variables: dict[str, str]
    ) -> None:
        assert not plain.is_encrypted(PLAIN_HOST, **variables)
        assert not plain.is_encrypted(PLAIN_HOST, f"?sslmode={variables['PGSSLMODE']}")

    def test_a_local_server_needs_no_tls(self, plain: Connection) -> None:
        assert not plain.is_encrypted("localhost")
