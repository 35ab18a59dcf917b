"""The file that Vercel takes the packages from has to name them; what is not plain passes."""

import json
from pathlib import Path

import pytest
from conftest import ROOT

from lib.errors import ConfigurationError
from lib.install.package_manifest import check_manifest

GOOD = "flask==3.1.3\npsycopg[binary]==3.3.9\n"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "api").mkdir()
    (tmp_path / "api" / "migrate.py").touch()
    (tmp_path / "requirements.txt").write_text(GOOD)
    return tmp_path


def test_this_repository_names_them() -> None:
    check_manifest(ROOT)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("requirements.txt", "Flask\nPsycopg[Binary,pool] >= 3.2 ; python_version > '3'\n"),
        ("requirements.txt", "flask\npsycopg\npsycopg_binary\n"),
        ("requirements.txt", "\ufeff# ours\r\n-r base.txt\r\n--index-url https://example.com\r\n"),
        ("pyproject.toml", '[project]\ndependencies = ["flask", "psycopg[binary]"]\n'),
        ("pyproject.toml", '[project]\ndynamic = ["dependencies"]\n'),
        ("pyproject.toml", "no toml at all ["),
        ("api/requirements.txt", GOOD),
        ("Pipfile", '[packages]\nflask = "*"\npsycopg = {version = "*", extras = ["binary"]}\n'),
        (
            "Pipfile.lock",
            json.dumps({"default": {"flask": {}, "psycopg": {}, "psycopg-binary": {}}}),
        ),
    ],
)
def test_a_manifest_that_names_them_passes_and_so_does_one_that_cannot_be_told(
    project: Path, name: str, text: str
) -> None:
    (project / "base.txt").write_text(GOOD + "-r requirements.txt")
    (project / name).write_text(text)
    check_manifest(project)


@pytest.mark.parametrize(
    ("name", "text", "missing"),
    [
        (
            "requirements.txt",
            "# flask and psycopg[binary] are elsewhere\n",
            "flask and psycopg[binary]",
        ),
        ("requirements.txt", "flask\npsycopg\n", "psycopg[binary]"),
        ("requirements.txt", "flask\npsycopg2-binary\n", "psycopg[binary]"),
        ("api/requirements.txt", "requests\n", "flask and psycopg[binary]"),
        (
            "api/pyproject.toml",
            '[project]\ndependencies = ["requests"]\n',
            "flask and psycopg[binary]",
        ),
        (
            "pyproject.toml",
            "[tool.ruff]\nline-length = 100 # psycopg\n",
            "flask and psycopg[binary]",
        ),
        (
            "pyproject.toml",
            '[tool.poetry.dependencies]\nflask = "3"\npsycopg = "3"\n',
            "flask and psycopg[binary]",
        ),
        ("pyproject.toml", '[project]\ndependencies = ["psycopg[binary]"]\n', "flask"),
        (
            "pyproject.toml",
            '[dependency-groups]\ndev = ["psycopg[binary]", "flask"]\n',
            "flask and psycopg[binary]",
        ),
        ("Pipfile", '[packages]\nrequests = "*"\n', "flask and psycopg[binary]"),
    ],
)
def test_a_manifest_that_lacks_one_is_named_with_what_it_lacks(
    project: Path, name: str, text: str, missing: str
) -> None:
    (project / name).write_text(text)
    with pytest.raises(ConfigurationError) as caught:
        check_manifest(project)
    assert f"from {name}, which does not name {missing}: add" in str(caught.value)


def test_without_any_manifest_that_is_told(project: Path) -> None:
    (project / "requirements.txt").unlink()
    with pytest.raises(ConfigurationError, match=r"There is no requirements\.txt"):
        check_manifest(project)


def test_a_project_that_took_neither_function_may_have_what_it_likes(project: Path) -> None:
    (project / "api" / "migrate.py").unlink()
    (project / "requirements.txt").unlink()
    check_manifest(project)
