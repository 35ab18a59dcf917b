"""psql cuts every text as the lexer does: what it sends to the server is what the lexer says."""

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import ROOT, new_database
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psql import PSQL, Psql, conninfo
from sql_fragments import FRAGMENTS, ONE_STATEMENT

from lib.files.check_statements import PSQL_VARIABLES
from lib.settings.connection_target import ConnectionTarget
from lib.sql.lexer import LexicalError
from lib.sql.splitter import split

GOLDEN = ROOT / "tests" / "sql" / "golden"
# How many texts are tried: LEXER_CASES=100000 ./test.sh tests/whole/test_psql.py
CASES = int(os.environ.get("LEXER_CASES", "600"))
# Where psql's rules meet: what stands in two of them at once.
EDGES = (
    *(
        "1e",
        "1e-",
        "1..",
        "..",
        ".5",
        "::",
        ":x",
        "::e'",
        ":e'",
        "$1e",
        "U&",
        "b'",
        "e'\\''",
        "E'a'\n'",
        "E'a'\r'",
        "'a'",
    ),
    *(
        " as ",
        " . ",
        " case ",
        " begin ",
        " end;",
        " end ",
        "begin atomic ",
        "begin atomic select 1;",
        "\n\n",
        "/**/",
    ),
)
# What psql leaves out at the start of a statement: white space, and comments to a line's end.
_LEFT_OUT = re.compile(r"(?:[ \t\n\r\f\v]+|--[^\n\r]*)*")
_END_OF_DATA = re.compile(r"\\\.\r?\n?\Z")


@pytest.fixture(scope="module")
def psql(server: ConnectionTarget, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Psql]:
    with new_database(server) as database:
        database.query("create table t (x text)")
        with Psql(database.target, tmp_path_factory.mktemp("psql")) as process:
            yield process


def said(text: str) -> list[str]:
    """What psql has to send of the text, by the lexer."""
    sent = []
    for piece in split(text):
        part = text[piece.start : piece.end]
        if piece.kind == "copy data":
            sent.append(_END_OF_DATA.sub("", part))
        elif part := _LEFT_OUT.sub("", part, count=1):
            sent.append(part)
    return sent


def without_blanks(texts: list[str]) -> list[str]:
    """Without white space, since psql leaves out empty lines."""
    return ["".join(text.split()) for text in texts]


def readable(text: str) -> str:
    """The text up to where the lexer refuses it, or to the first command of psql's."""
    text = text.lstrip("\ufeff")
    try:
        first = next((piece.start for piece in split(text) if piece.kind == "meta-command"), None)
    except LexicalError as error:
        return readable(text[: error.offset])
    return text if first is None else readable(text[:first])


def copies_in_vain(text: str) -> bool:
    """True if the server reads no COPY here although psql skips the lines that follow."""
    pieces = split(text)
    return any(
        "stdin" in text[p.start : p.end] and not p.reads_copy_data
        for p in pieces
        if p.kind == "statement"
    )


def check(psql: Psql, text: str) -> None:
    text = readable(text)
    if not copies_in_vain(text):
        assert without_blanks(psql.sends(text)) == without_blanks(said(text))


@settings(max_examples=CASES, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    text=st.one_of(
        st.lists(st.sampled_from((*FRAGMENTS, *EDGES)), max_size=40).map("".join),
        st.lists(st.sampled_from((*FRAGMENTS, *EDGES)), max_size=20)
        .map("".join)
        .map(lambda text: f"create function f() begin atomic {text}"),
        st.text(alphabet="'\"$;\\-/*()\r\n \tEeUu&aé1.:+_", max_size=80),
    )
)
def test_psql_cuts_any_text_alike(psql: Psql, text: str) -> None:
    check(psql, text)


@pytest.mark.parametrize("statement", ONE_STATEMENT.values(), ids=ONE_STATEMENT)
def test_psql_cuts_the_examples_alike(psql: Psql, statement: str) -> None:
    text = f"{statement};\nselect 2;"
    assert len(said(text)) == 2
    check(psql, text)


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.sql")), ids=lambda path: path.name)
def test_psql_cuts_whole_files_alike(psql: Psql, path: Path) -> None:
    whole = path.read_bytes().decode()
    text = "".join(
        whole[piece.start : piece.end] for piece in split(whole) if piece.kind != "meta-command"
    )
    assert readable(text) == text
    try:
        check(psql, text)
    finally:
        psql.sends("reset all;")


def test_what_psql_sends_is_seen(psql: Psql) -> None:
    """The oracle's own test: these are psql 18's words, whatever the lexer says."""
    assert psql.sends("copy t from stdout;\n1\n\\.\nselect 2") == [
        "copy t from stdout;",
        "1\n",
        "select 2",
    ]
    assert psql.sends("-- a\nselect 1; select ';'\n;; copy t from stdin;\n1\n\\.\nselect 2") == [
        *("select 1;", "select ';'\n;", ";", "copy t from stdin;", "1\n", "select 2"),
    ]


def test_every_variable_that_psql_has_at_its_start_is_known(server: ConnectionTarget) -> None:
    listed = subprocess.run(
        [PSQL, "-X", "-c", "\\set", conninfo(server.parameters)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    names = set(re.findall(r"^(\w+) = ", listed, re.MULTILINE))
    assert len(names) > 30
    assert names <= set(PSQL_VARIABLES)
