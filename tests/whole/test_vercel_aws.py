"""Aurora on Vercel, as docs/providers/aws.md describes it: built by Vercel, logged in by tokens."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import RDS_HOST, ROOT, SECRET, VERSIONS, Database
from rds_login import aws_stand_in
from tls_postgres import TlsServer
from vercel_cli import Built, Function, Project, copy_clone, require_machine

require_machine()

pytestmark = pytest.mark.timeout(400)
BUNDLE = "global-bundle.pem"
OIDC = "x-vercel-oidc-token"


@pytest.fixture(scope="module")
def aws() -> Iterator[str]:
    """The address of what stands in for AWS."""
    with aws_stand_in() as address:
        yield address


@dataclass(frozen=True)
class Aurora:
    """A project that has followed the page, and what the integration has set for it."""

    project: Project
    variables: dict[str, str]
    machine: dict[str, str]

    def build(self) -> Built:
        return self.project.build(VERCEL_OIDC_TOKEN="a.build.token", **self.machine)

    def function(self, built: Built, name: str, to: Path) -> Function:
        """A cold instance; its token comes with the requests."""
        environ = {
            "VERCEL": "1",
            "VERCEL_ENV": "production",
            "MIGRATION_SECRET": SECRET,
            **self.variables,
            **self.machine,
        }
        return Function(built.unpack(name, to), built.python, built.environ(name, **environ))


@pytest.fixture
def aurora(tls_server: TlsServer, tls_db: Database, aws: str, tmp_path: Path) -> Iterator[Aurora]:
    """To the letter of the page: boto3, the certificates, and that they travel."""
    clone = copy_clone(tmp_path / "clone")
    with (clone / "requirements.txt").open("a") as requirements:
        requirements.write("boto3\n")
    (clone / BUNDLE).write_text(tls_server.ca.read_text())
    page = (ROOT / "docs" / "providers" / "aws.md").read_text()
    before, after = "!(vercel.json)", f"!(vercel.json|{BUNDLE})"
    assert f"`{before}` becomes `{after}`" in " ".join(page.split())
    config = clone / "vercel.json"
    assert config.read_text().count(before) == 2
    config.write_text(config.read_text().replace(before, after))
    with tls_db.another_role("in role rds_iam") as member:
        place = member.target.parameters
        variables = {
            "PGHOST": RDS_HOST,
            "PGPORT": place["port"],
            "PGUSER": place["user"],
            "PGDATABASE": place["dbname"],
            "AWS_REGION": "eu-west-1",
            "AWS_ROLE_ARN": "arn:aws:iam::123456789012:role/vercel",
            "PGSSLROOTCERT": BUNDLE,
        }
        machine = {
            "PGHOSTADDR": "127.0.0.1",
            "AWS_ENDPOINT_URL": aws,
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        yield Aurora(Project(clone, variables=variables), variables, machine)


def test_the_build_and_both_functions_log_in_without_a_password(
    aurora: Aurora, tls_server: TlsServer, tls_db: Database, tmp_path: Path
) -> None:
    built = aurora.build()
    assert built.exit_code == 0, built.log
    assert tls_db.versions() == VERSIONS
    assert "(from PGHOST, with a login token for AWS_ROLE_ARN; direct)." in built.log
    for name in ("api/migration-status", "api/migrate"):
        assert {BUNDLE, "_vendor/boto3/__init__.py"} <= set(built.files(name))
        with aurora.function(built, name, tmp_path / name) as function:
            method = "POST" if name == "api/migrate" else "GET"
            answer = function.request(
                method, f"/{name}", {OIDC: "a.b.c", "Authorization": f"Bearer {SECRET}"}
            )
            log = function.log
        assert (answer.code, answer.document["success"]) == (200, True), (answer, log)
        assert "X-Amz-" not in log
    assert {attempt.refusal for attempt in tls_server.iam.attempts} == {""}
    assert not any(attempt.token in built.log for attempt in tls_server.iam.attempts)


def test_a_build_whose_functions_would_lack_boto3_fails_before_anything_is_applied(
    aurora: Aurora, tls_server: TlsServer
) -> None:
    requirements = aurora.project.root / "requirements.txt"
    requirements.write_text((ROOT / "requirements.txt").read_text())
    built = aurora.build()
    assert built.exit_code != 0
    assert "which does not name boto3: add it there" in built.log
    assert tls_server.iam.attempts == []
