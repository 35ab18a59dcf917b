"""schema.sql: what may be written, when it is built again, and what it is compared with."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from lib.errors import ConfigurationError
from lib.files.folder import discover
from lib.local.server_folder import home
from lib.scratch.schema_file import (
    FileState,
    Origin,
    build,
    is_ours,
    read,
    refresh,
    schema_path,
    state_of,
)

EXPECTED = "-- Made by ./migrate schema from the files in migrations/.\n\nselect 1;\n"
STALE = EXPECTED.replace("select 1;", "select 2;")
CONFLICT = f"<<<<<<< HEAD\n{EXPECTED}=======\n{STALE}>>>>>>> other\n"
FOREIGN = "create table mine ();\n"


@pytest.mark.parametrize(
    ("text", "state"),
    [
        (EXPECTED, FileState.CURRENT),
        (STALE, FileState.STALE),
        ("", FileState.STALE),
        (CONFLICT, FileState.CONFLICT),
        (FOREIGN, FileState.FOREIGN),
        (None, FileState.MISSING),
    ],
)
def test_the_state_of_a_text(text: str | None, state: FileState) -> None:
    assert state_of(text, EXPECTED) is state


def test_only_a_file_that_was_made_here_or_is_empty_may_be_written() -> None:
    assert is_ours("")
    assert is_ours(" \n")
    assert is_ours(EXPECTED)
    assert is_ours(CONFLICT)
    assert not is_ours(FOREIGN)


def test_line_ends_and_a_byte_order_mark_do_not_count(tmp_path: Path) -> None:
    path = tmp_path / "schema.sql"
    path.write_bytes(b"\xef\xbb\xbf" + EXPECTED.replace("\n", "\r\n").encode())
    assert read(path) == EXPECTED
    assert read(tmp_path / "other.sql") is None


def test_what_is_no_text_file_is_not_read(tmp_path: Path) -> None:
    secret, path = tmp_path / "secret", tmp_path / "schema.sql"
    secret.write_text("hunter2")
    path.symlink_to(secret)
    with pytest.raises(ConfigurationError, match=r"schema\.sql is not a file"):
        read(path)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(ConfigurationError, match=r"schema\.sql is not a file"):
        read(path)
    path.unlink()
    path.write_text(EXPECTED, encoding="utf-16")
    with pytest.raises(ConfigurationError, match="PowerShell"):
        read(path)


def test_it_stands_beside_the_folder_and_in_the_project(tmp_path: Path) -> None:
    assert schema_path(tmp_path, tmp_path / "db/migrations") == tmp_path / "db/schema.sql"
    with pytest.raises(ConfigurationError, match="MIGRATIONS_DIR"):
        schema_path(tmp_path, tmp_path / ".")


class Project:
    """A project whose files are written between two refreshes."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folder = root / "migrations"
        self.folder.mkdir(exist_ok=True)
        self.path = root / "schema.sql"

    def write(self, name: str, sql: str) -> None:
        (self.folder / name).write_text(sql)

    @property
    def origin(self) -> Origin:
        return Origin(self.root, self.folder, discover(self.folder))

    def refresh(self) -> FileState | None:
        return refresh(self.origin)


@pytest.fixture
def project(scratch_root: Path) -> Iterator[Project]:
    project = Project(scratch_root)
    yield project
    for path in (*project.folder.glob("*.sql"), *scratch_root.glob("*.sql")):
        path.unlink()


def starts(root: Path) -> int:
    """When the folder of the scratch servers was changed last, as each start does."""
    return home(root, name="scratch").stat().st_mtime_ns


def test_without_the_file_nothing_is_written(project: Project) -> None:
    project.write("001-a.sql", "create table a (x int);")
    assert project.refresh() is None
    project.path.write_text(FOREIGN)
    assert project.refresh() is None
    assert project.path.read_text() == FOREIGN


def test_it_is_built_only_if_something_has_changed(project: Project) -> None:
    project.write("001-a.sql", "create table a (x int);")
    project.path.touch()
    project.path.chmod(0o664)
    assert project.refresh() is FileState.STALE
    text = project.path.read_text()
    assert "CREATE TABLE public.a (" in text
    assert text.startswith("-- Made by ./migrate schema from the files in migrations/ with Postgre")
    assert project.path.stat().st_mode & 0o777 == 0o664
    before = starts(project.root)
    assert project.refresh() is FileState.CURRENT
    # As git checks it out with core.autocrlf.
    project.path.write_bytes(text.replace("\n", "\r\n").encode())
    assert project.refresh() is FileState.CURRENT
    assert starts(project.root) == before
    project.write("002-b.sql", "-- Environments: production\ncreate table b (x int);")
    assert project.refresh() is FileState.CURRENT
    assert starts(project.root) != before
    project.path.write_text(f"<<<<<<< HEAD\n{text}=======\n{text}>>>>>>> other\n")
    assert project.refresh() is FileState.CONFLICT
    assert project.path.read_text() == text == build(project.origin)
    assert sorted(path.name for path in project.root.iterdir()) == [
        *([".local"] if os.geteuid() else []),
        "migrations",
        "schema.sql",
    ]


def test_the_platform_is_no_part_of_it(project: Project) -> None:
    project.write(
        "001-a.sql",
        "create table profiles (id uuid references auth.users, at timestamptz);\n"
        "create function welcome() returns trigger language plpgsql as 'begin return new; end';\n"
        "create trigger welcome after insert on auth.users for each row"
        " execute function welcome();",
    )
    text = build(Origin(project.root, project.folder, discover(project.folder), "supabase"))
    assert "MIGRATION_LOCAL_PLATFORM=supabase" in text.partition("\n")[0]
    assert "CREATE TRIGGER welcome AFTER INSERT ON auth.users" in text
    assert "CREATE TABLE public.profiles" in text
    assert "CREATE TABLE auth.users" not in text
    assert "CREATE SCHEMA auth" not in text
    assert text.count("-- Name: ") == 4
