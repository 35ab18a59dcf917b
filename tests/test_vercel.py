"""What Vercel makes of this bundle: built by its CLI, served by its Python runtime, on a real database."""

import pytest
from conftest import Database
from vercel_cli import Function, Project, copy_clone

FUNCTIONS = ("api/migrate", "api/migration-status")


@pytest.mark.timeout(300)
def test_a_push_migrates_the_database_and_serves_its_status(tmp_path_factory: pytest.TempPathFactory, db: Database) -> None:
    folder = tmp_path_factory.mktemp("vercel")
    built = Project(copy_clone(folder / "clone"), variables={"DATABASE_URL": db.url}).build()
    assert built.exit_code == 0, built.log
    assert built.is_deployable
    assert built.functions == set(FUNCTIONS)
    environ = {**built.config("api/migration-status")["environment"], "DATABASE_URL": db.url, "VERCEL": "1"}
    with Function(built.unpack("api/migration-status", folder / "task"), built.python, environ) as function:
        assert function.get("/api/migration-status").document["state"] == "up-to-date"
