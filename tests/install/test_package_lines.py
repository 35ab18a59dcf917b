"""Packages and ignored files are added as lines; what was there stays to the byte."""

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.errors import ConfigurationError
from lib.install import package_lines as lines

OURS = ("certifi==1", "flask==3", "psycopg[binary]==3.3")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (None, "certifi==1\nflask==3\npsycopg[binary]==3.3\n"),
        ("requests", "requests\ncertifi==1\nflask==3\npsycopg[binary]==3.3\n"),
        (
            "# own\r\nFlask>=2 # x\r\n",
            "# own\r\nFlask>=2 # x\r\ncertifi==1\r\npsycopg[binary]==3.3\r\n",
        ),
        (
            "psycopg [binary, pool] >= 3.2\npsycopg2\n",
            "psycopg [binary, pool] >= 3.2\npsycopg2\ncertifi==1\nflask==3\n",
        ),
        ("psycopg\npsycopg-binary\ncertifi\nflask\n", "psycopg\npsycopg-binary\ncertifi\nflask\n"),
    ],
)
def test_each_missing_package_is_added_as_a_line(before: str | None, after: str) -> None:
    found = lines.with_requirements("r", before.encode() if before else None, OURS)
    assert found.content.decode() == after


@pytest.mark.parametrize(
    ("line", "is_refused"),
    [
        ("psycopg[binary]==3.1.18", True),
        ("psycopg[binary]<3.2", True),
        ("psycopg[binary]<=3.1", True),
        ("psycopg[binary]~=3.1.8", True),
        ("psycopg[binary]~=3.1", False),
        ("psycopg[binary]<4", False),
        ("psycopg[binary]>=3.1", False),
        ("psycopg[binary]==3.2.0", False),
        ("psycopg[c]", True),
    ],
)
def test_an_old_psycopg_is_refused(line: str, is_refused: bool) -> None:
    if is_refused:
        with pytest.raises(ConfigurationError, match="psycopg"):
            lines.with_requirements("r", line.encode(), OURS)
    else:
        lines.with_requirements("r", line.encode(), OURS)


def test_a_pin_is_renewed_only_where_the_line_is_still_ours() -> None:
    current = b"requests\nflask==3\ncertifi==0 # own\npsycopg[binary]==3.3"
    new = ("certifi==2", "flask==4", "psycopg[binary]==4")
    found = lines.renewed_requirements("r", current, OURS, new)
    assert found.content == b"requests\nflask==4\ncertifi==0 # own\npsycopg[binary]==4"
    assert found.wrote == ["flask==4", "psycopg[binary]==4"]


@pytest.mark.parametrize(
    "before",
    [
        '[project]\nname = "x"\ndependencies = []\n',
        '[project]\nname = "x"\ndependencies = ["a"]\n',
        '[project]\r\nname = "x"\r\ndependencies = [\r\n    "a[b]", # ]\r\n    \'c\'\r\n]\r\n',
        '[project]\nname = "x"\ndependencies = [\n  "a",\n  # "b",\n]\nversion = "1"\n',
        '[tool.x]\ny = 1\n\n[project] # own\nname = "x"\n\n[tool.z]\ndependencies = ["no"]\n',
        '[project]\nname = "x"\ndependencies = [ "flask" ]\n[project.scripts]\nd = "x:y"\n',
    ],
)
def test_the_dependencies_of_a_pyproject_get_what_is_missing(before: str) -> None:
    document = tomllib.loads(before.replace("\r\n", "\n"))
    had = document["project"].get("dependencies", [])
    named = {"flask"} & set(had)
    found = lines.with_project_packages("p", before.encode(), named)
    after = tomllib.loads(found.content.decode().replace("\r\n", "\n"))
    assert after["project"]["dependencies"][: len(had)] == had
    assert set(after["project"]["dependencies"]) >= {"flask", "psycopg[binary]>=3.2", "certifi"}
    # Lines are added, and none is changed but the one of the array.
    changed = set(before.splitlines()) - set(found.content.decode().splitlines())
    assert len(changed) <= 1
    if "\r\n" in before:
        assert b"\n" not in found.content.replace(b"\r\n", b"")


@pytest.mark.parametrize(
    "before",
    [
        'project = {name = "x", dependencies = ["a"]}\n',
        'project.name = "x"\nproject.dependencies = ["a"]\n',
        '[project]\nname = "x"\ndependencies = ["""a"""]\n',
        '["project"]\nname = "x"\n',
    ],
)
def test_a_pyproject_that_is_written_otherwise_is_left_alone_or_right(before: str) -> None:
    try:
        found = lines.with_project_packages("p", before.encode(), set())
    except ConfigurationError as error:
        assert "Add to it first: flask" in str(error)  # noqa: PT017
    else:
        assert "flask" in tomllib.loads(found.content.decode())["project"]["dependencies"]


@pytest.mark.parametrize(
    "before", ["", '[[source]]\nurl = "x"\n', '[packages]\r\nrequests = "*"\r\n[dev-packages]\r\n']
)
def test_a_pipfile_gets_what_is_missing(before: str) -> None:
    found = lines.with_pipfile_packages("Pipfile", before.encode(), set())
    packages = tomllib.loads(found.content.decode().replace("\r\n", "\n"))["packages"]
    assert packages["flask"] == "*"
    assert packages["psycopg"] == {"version": ">=3.2", "extras": ["binary"]}


def test_gitignore_gets_what_it_lacks_in_a_marked_block() -> None:
    found = lines.with_ignored(b".venv/\r\nx", (".venv/", ".local/"))
    assert found
    assert found.content.startswith(b".venv/\r\nx\r\n\r\n# Migrations: ")
    assert found.content.count(b".venv/") == 1
    assert lines.with_ignored(found.content, (".venv/", ".local/")) is None


@given(
    st.lists(st.sampled_from([b"a", b"", b"!b", b"\xff", b" "])), st.sampled_from([b"\n", b"\r\n"])
)
def test_the_block_of_gitignore_comes_out_again(theirs: list[bytes], end: bytes) -> None:
    before = b"".join(line + end for line in theirs)
    found = lines.with_ignored(before, (".local/", "!/x/"))
    assert found
    assert (lines.without_ignored(found.content) or b"").strip() == before.strip()
    if before.strip():
        assert lines.without_ignored(found.content) == before


@given(
    st.lists(st.sampled_from(["a", "", "# flask==3", "b==1 ; x"])), st.sampled_from(["\n", "\r\n"])
)
def test_the_requirements_come_out_again(theirs: list[str], end: str) -> None:
    before = "".join(f"{line}{end}" for line in theirs).encode()
    found = lines.with_requirements("r", before, OURS)
    assert (lines.without_lines("r", found.content, found.wrote) or b"") == before
