"""The line of .env.local: added or replaced, and nothing else changed or given away."""

import os
import stat
import subprocess
from pathlib import Path

import pytest

from lib.errors import ConfigurationError
from lib.local.env_file import sets_variable, with_url, write_url

OLD = "postgresql://postgres:old@127.0.0.1:20001/postgres"
URL = "postgresql://postgres:new@127.0.0.1:20002/postgres"
OTHER = "postgresql://app:hunter2@db.example.com/app"
LINE = f"DATABASE_URL={URL}"


def is_replaceable(url: str) -> bool:
    return url == OLD


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", f"{LINE}\n"),
        ("A=1\n", f"A=1\n{LINE}\n"),
        ("A=1", f"A=1\n{LINE}"),
        ("A=1\r\nB=2\r\n", f"A=1\r\nB=2\r\n{LINE}\r\n"),
        ("A=1\r\nB=2", f"A=1\r\nB=2\r\n{LINE}"),
        ("\ufeffA=1\n", f"\ufeffA=1\n{LINE}\n"),
        ("\ufeff", f"\ufeff{LINE}\n"),
        (f"DATABASE_URL={OLD}\n", f"{LINE}\n"),
        (f"DATABASE_URL={OLD}", LINE),
        (f"\ufeffDATABASE_URL={OLD}\r\n", f"\ufeff{LINE}\r\n"),
        (
            f"# a\n\n  export DATABASE_URL = '{OLD}' # b\n\nB=2\n",
            f"# a\n\n  export {LINE} # b\n\nB=2\n",
        ),
        (f'DATABASE_URL="{OLD}"\r\nB=2', f"{LINE}\r\nB=2"),
        (f"'DATABASE_URL'={OLD}   # local\n", f"{LINE}   # local\n"),
        ("DATABASE_URL=\nB=2\n", f"{LINE}\nB=2\n"),
        ('DATABASE_URL=""\n', f"{LINE}\n"),
        ("DATABASE_URL\n", f"{LINE}\n"),
        (f"DATABASE_URL={OLD}\nDATABASE_URL={OLD}\n", f"{LINE}\n{LINE}\n"),
        (f"#DATABASE_URL={OTHER}\n", f"#DATABASE_URL={OTHER}\n{LINE}\n"),
        (f"DATABASE_URL_UNPOOLED={OTHER}\n", f"DATABASE_URL_UNPOOLED={OTHER}\n{LINE}\n"),
        (f"A='\nDATABASE_URL={OTHER}\n'\n", f"A='\nDATABASE_URL={OTHER}\n'\n{LINE}\n"),
        (f"{LINE} # as it is\n", f"{LINE} # as it is\n"),
        ("not a line at all\nA=é\u2028=\n", f"not a line at all\nA=é\u2028=\n{LINE}\n"),
    ],
)
def test_the_line_is_added_or_replaced_and_the_rest_stays(before: str, after: str) -> None:
    assert with_url(before, URL, is_replaceable) == after
    assert with_url(after, URL, is_replaceable) == after


@pytest.mark.parametrize(
    "text",
    [f"DATABASE_URL={OTHER}\n", f"DATABASE_URL={OTHER}\nDATABASE_URL={OLD}\n", "DATABASE_URL=$X"],
)
def test_another_database_stays_and_its_url_is_not_shown(text: str) -> None:
    with pytest.raises(
        ConfigurationError, match=r"sets DATABASE_URL to another database"
    ) as caught:
        with_url(text, URL, is_replaceable)
    assert "hunter2" not in str(caught.value)


def write(root: Path) -> bool:
    return write_url(root, URL, is_replaceable, os.environ)


def git(root: Path, *words: str) -> None:
    command = ["git", "-c", "user.name=a", "-c", "user.email=a@example.com", *words]
    subprocess.run(command, cwd=root, check=True, capture_output=True)


def test_a_new_file_is_private_and_is_written_once(tmp_path: Path) -> None:
    assert write(tmp_path)
    path = tmp_path / ".env.local"
    assert path.read_text() == f"{LINE}\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    written = path.stat().st_mtime_ns
    assert not write(tmp_path)
    assert path.stat().st_mtime_ns == written
    assert [each.name for each in tmp_path.iterdir()] == [".env.local"]


def test_a_file_that_others_could_read_is_private_afterwards(tmp_path: Path) -> None:
    path = tmp_path / ".env.local"
    path.write_bytes(b"A=1\r\n")
    path.chmod(0o644)
    write(tmp_path)
    assert path.read_bytes() == f"A=1\r\n{LINE}\r\n".encode()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="only root gives files away")
@pytest.mark.parametrize("is_there", [True, False])
def test_a_file_that_root_writes_belongs_to_its_owner_or_that_of_the_folder(
    tmp_path: Path, is_there: bool
) -> None:
    path = tmp_path / ".env.local"
    if is_there:
        path.touch()
    os.chown(path if is_there else tmp_path, 65534, 65534)
    write(tmp_path)
    assert (path.stat().st_uid, path.stat().st_gid) == (65534, 65534)


@pytest.mark.parametrize("ignored", [".env.local", ".env*.local", ".env.*\n!.env.example", "*"])
def test_a_file_that_git_ignores_is_written(tmp_path: Path, ignored: str) -> None:
    git(tmp_path, "init", "-q")
    (tmp_path / ".gitignore").write_text(f"{ignored}\n")
    assert write(tmp_path)


@pytest.mark.parametrize("way", ["not ignored", "committed before", "excluded from being ignored"])
def test_a_file_that_git_would_commit_is_not_written(tmp_path: Path, way: str) -> None:
    git(tmp_path, "init", "-q")
    path = tmp_path / "app" / ".env.local"
    path.parent.mkdir()
    if way == "committed before":
        path.write_text("A=1\n")
        git(tmp_path, "add", "-A")
        (tmp_path / ".gitignore").write_text(".env.local\n")
    elif way == "excluded from being ignored":
        (tmp_path / ".gitignore").write_text(".env*\n!.env.local\n")
    with pytest.raises(ConfigurationError, match=r"line \.env\.local to \.gitignore"):
        write(path.parent)
    assert not path.exists() or path.read_text() == "A=1\n"


def test_a_hook_of_git_for_another_repository_does_not_matter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "other").mkdir()
    git(tmp_path / "other", "init", "-q")
    (tmp_path / "other" / ".git" / "info" / "exclude").write_text(".env.local\n")
    (tmp_path / "app").mkdir()
    git(tmp_path / "app", "init", "-q")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "other" / ".git"))
    with pytest.raises(ConfigurationError, match="git would commit"):
        write(tmp_path / "app")


@pytest.mark.parametrize("way", ["broken", "out of reach"])
def test_what_git_cannot_tell_is_told_and_nothing_is_written(tmp_path: Path, way: str) -> None:
    if way == "broken":
        git(tmp_path, "init", "-q")
        (tmp_path / ".git" / "config").write_text("[")
    else:
        (tmp_path / ".git").write_text("gitdir: /nowhere\n")
    (tmp_path / ".gitignore").write_text(".env.local\n")
    git_says = r"git does not tell whether it would commit \.env\.local: fatal: "
    with pytest.raises(ConfigurationError, match=git_says) as caught:
        write(tmp_path)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / ".env.local").exists()


def test_without_git_nothing_can_be_committed(tmp_path: Path) -> None:
    assert write_url(tmp_path, URL, is_replaceable, {"PATH": str(tmp_path)})


def test_a_link_is_followed_within_the_project_only(tmp_path: Path) -> None:
    root, outside = tmp_path / "app", tmp_path / "outside"
    (root / "config").mkdir(parents=True)
    (root / ".env.local").symlink_to("config/env")
    assert write(root)
    assert (root / ".env.local").is_symlink()
    assert (root / "config" / "env").read_text() == f"{LINE}\n"
    (root / ".env.local").unlink()
    (root / ".env.local").symlink_to(outside)
    with pytest.raises(ConfigurationError, match="is a link out of the project"):
        write(root)
    assert not outside.exists()


@pytest.mark.parametrize("way", ["folder", "UTF-16", "pipe"])
def test_what_is_no_text_file_is_left_as_it_is(tmp_path: Path, way: str) -> None:
    path = tmp_path / ".env.local"
    if way == "folder":
        path.mkdir()
    elif way == "pipe":
        os.mkfifo(path)
    else:
        path.write_bytes(f"A=1\r\nDATABASE_URL={OTHER}\r\n".encode("utf-16"))
    with pytest.raises(ConfigurationError, match=r"^\.env\.local (?:can't be read|is not a file)"):
        write(tmp_path)


@pytest.mark.parametrize(
    ("text", "is_other"),
    [
        (f"{LINE}\n", False),
        ("DATABASE_URL=\n", False),
        (f"DATABASE_URL={OTHER}", True),
        (None, False),
    ],
)
def test_a_file_that_comes_first_is_asked_for_another_value(
    tmp_path: Path, text: str | None, is_other: bool
) -> None:
    if text is not None:
        (tmp_path / ".env.development.local").write_text(text)
    assert sets_variable(tmp_path, ".env.development.local", to_other_than=URL) is is_other
