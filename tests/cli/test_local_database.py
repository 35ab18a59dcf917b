"""The embedded database on the command line: started, named by a URL, given to the application."""

import shutil
from collections.abc import Iterator

import psycopg
import pytest
from conftest import ROOT, Cli, local_environ

from lib.local import embedded_server as embedded


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cli]:
    """The command line of a project without a database, in a folder with a blank in its name."""
    root = tmp_path_factory.mktemp("my app")
    for folder in ("lib", "migrations"):
        shutil.copytree(ROOT / folder, root / folder, ignore=shutil.ignore_patterns("*.pyc"))
    yield Cli(root, local_environ())
    cluster = embedded.locate(root)
    embedded.stop(cluster)
    if cluster.runs_as:
        shutil.rmtree(cluster.home, ignore_errors=True)


@pytest.fixture
def url(project: Cli) -> Iterator[str]:
    """The URL of its server, which runs; what a test leaves in the project is removed."""
    yield project("url").stdout.strip()
    for name in (".env.local", ".env.development.local", ".gitignore", ".git"):
        path = project.root / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def is_running(project: Cli) -> bool:
    return embedded.is_running(embedded.locate(project.root))


def ask(url: str, sql: str) -> object:
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(sql)
        return cursor.fetchone() if cursor.description else None


@pytest.mark.parametrize("words", [["status"], ["migrate"], ["plan"], ["validate"]])
@pytest.mark.parametrize("place", ["process", ".env.local"])
def test_a_url_that_names_the_server_starts_it_and_counts_as_local(
    project: Cli, url: str, place: str, words: list[str]
) -> None:
    embedded.stop(embedded.locate(project.root))
    named = url.replace("127.0.0.1", "localhost")
    if place == ".env.local":
        (project.root / ".env.local").write_text(f"POSTGRES_URL={named}\n")
    done = project(*words, **({"DATABASE_URL": named} if place == "process" else {}))
    assert done.returncode == 0
    assert is_running(project)
    assert done.stderr.startswith("Starting the embedded PostgreSQL in ")
    assert "DATABASE_URL" not in done.stdout + done.stderr
    if words == ["status"]:
        assert ", from the embedded PostgreSQL; direct)\n" in done.stdout
