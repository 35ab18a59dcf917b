"""Splitting by the rules of psql (src/fe_utils/psqlscan.l): where statements end, without loss."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sql_fragments import FRAGMENTS, ONE_STATEMENT

from lib.sql.lexer import LexicalError
from lib.sql.splitter import split


def statements(text: str) -> list[str]:
    """The statements of `text`, from the first token on."""
    return [text[piece.first : piece.end] for piece in split(text) if piece.kind == "statement"]


def kinds(text: str) -> list[tuple[str, str]]:
    """The pieces but for space, each with its text."""
    return [
        (piece.kind, text[piece.start : piece.end])
        for piece in split(text)
        if piece.kind != "space"
    ]


def check_nothing_is_lost(text: str) -> None:
    try:
        pieces = split(text)
    except LexicalError as error:
        # Whether a text is refused is not asked here, but what is never closed begins within it.
        assert error.offset < len(text)  # noqa: PT017
        return
    assert "".join(text[piece.start : piece.end] for piece in pieces) == text
    for piece in pieces:
        assert piece.start < piece.end
        assert piece.kind == "space" or piece.start <= piece.first < piece.end
        assert not piece.terminated or text[piece.end - 1] == ";"


@given(st.lists(st.sampled_from(FRAGMENTS), max_size=40).map("".join))
def test_the_pieces_joined_are_the_text(text: str) -> None:
    check_nothing_is_lost(text)


@given(st.text(alphabet="'\"$;\\-/*()\r\n \tEeUu&aé1.", max_size=60))
def test_the_pieces_of_any_text_joined_are_the_text(text: str) -> None:
    check_nothing_is_lost(text)


@pytest.mark.parametrize("statement", ONE_STATEMENT.values(), ids=ONE_STATEMENT)
def test_a_semicolon_inside_ends_nothing(statement: str) -> None:
    assert statements(f"{statement};\nselect 2;") == [f"{statement};", "select 2;"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        (" \n\t", []),
        ("-- only a comment; here", []),
        ("/* only; a comment */", []),
        (";;\n;", []),
        ("select 1", ["select 1"]),
        ("select 1;", ["select 1;"]),
        ("select 1;select 2;select 3", ["select 1;", "select 2;", "select 3"]),
        ("select 1;\r\n-- a;\r\nselect 2;\r\n", ["select 1;", "select 2;"]),
        ("select $1; select $2;", ["select $1;", "select $2;"]),
        ("select $1$2; select 3;", ["select $1$2;", "select 3;"]),
        ("select a$b; select a$$b; select $$;$$", ["select a$b;", "select a$$b;", "select $$;$$"]),
        ("select é$a$; select 1;", ["select é$a$;", "select 1;"]),
        ("select $é; select $a; b$", ["select $é;", "select $a;", "b$"]),
        ("select 'a' -- x\n;select 2", ["select 'a' -- x\n;", "select 2"]),
        ("select ) ; select (;)", ["select ) ;", "select (;)"]),
        ("begin; select 1; end; select 2;", ["begin;", "select 1;", "end;", "select 2;"]),
        ("create table begin_ (x int); select 1;", ["create table begin_ (x int);", "select 1;"]),
        (
            "create function f() as $$ begin $$; select 1;",
            ["create function f() as $$ begin $$;", "select 1;"],
        ),
        ("select E'a'\n\n   , 1; select 2", ["select E'a'\n\n   , 1;", "select 2"]),
        ("\v\fselect 1;\v\f", ["select 1;"]),
    ],
)
def test_statements_end_at_their_semicolon(text: str, expected: list[str]) -> None:
    assert statements(text) == expected


def test_a_comment_before_a_statement_belongs_to_its_piece_and_not_to_its_text() -> None:
    text = "-- why; this\nselect 1; -- because\n"
    first, rest = split(text)
    assert (text[first.start : first.end], text[first.first : first.end]) == (
        "-- why; this\nselect 1;",
        "select 1;",
    )
    assert (rest.kind, text[rest.start :]) == ("space", " -- because\n")


@pytest.mark.parametrize(
    ("text", "terminated"),
    [
        ("select 1;", True),
        ("select 1", False),
        ("select 1 -- done;", False),
        ("select (1;", False),
        ("select 1 \\q", False),
    ],
)
def test_a_semicolon_in_a_comment_or_in_parentheses_does_not_terminate(
    text: str, terminated: bool
) -> None:
    assert split(text)[0].terminated is terminated


class TestCopy:
    @pytest.mark.parametrize(
        "statement",
        [
            "COPY public.t (a, b) FROM stdin;",
            "copy t from STDIN with (format csv);",
            'copy "from" -- a comment;\n from stdin;',
            "COPY BINARY t FROM stdin;",
            "copy t (a) from STDOUT;",
        ],
    )
    @pytest.mark.parametrize(
        "data",
        ["", "1\tit's; $$ \\N\n", "-- a\n/* b\n(\n", "a\\.\n\\.b\n.\n", "\n\n", "é;\n", "\\\\.\n"],
        ids=["none", "signs", "comments", "look-alikes", "empty lines", "a letter", "escaped"],
    )
    @pytest.mark.parametrize("line_end", ["\n", "\r\n"], ids=["LF", "CRLF"])
    def test_data_goes_to_the_line_of_a_backslash_and_a_dot(
        self, statement: str, data: str, line_end: str
    ) -> None:
        text = f"{statement}\n{data}\\.\nselect 1;\n".replace("\n", line_end)
        assert kinds(text) == [
            ("statement", statement.replace("\n", line_end)),
            ("copy data", f"{data}\\.\n".replace("\n", line_end)),
            ("statement", "select 1;"),
        ]

    def test_a_table_may_have_as_many_columns_as_postgres_allows(self) -> None:
        columns = ", ".join(f"column_{number}" for number in range(1600))
        assert [kind for kind, _ in kinds(f"COPY t ({columns}) FROM stdin;\n1\n\\.\n")] == [
            "statement",
            "copy data",
        ]

    def test_the_data_may_end_the_text(self) -> None:
        assert kinds("copy t from stdin;\n1\n\\.") == [
            ("statement", "copy t from stdin;"),
            ("copy data", "1\n\\."),
        ]

    def test_a_comment_may_follow_on_the_line(self) -> None:
        assert [kind for kind, _ in kinds("copy t from stdin; -- the data;\n1\n\\.\n")] == [
            "statement",
            "copy data",
        ]

    def test_a_statement_on_the_same_line_is_refused(self) -> None:
        with pytest.raises(LexicalError, match="nothing may follow on its line") as raised:
            split("copy t from stdin; select 1;\n1\n\\.\n")
        assert raised.value.offset == len("copy t from stdin;")

    @pytest.mark.parametrize(
        "statement",
        [
            "copy t to stdout;",
            "copy t to stdin;",
            "copy t from '/stdout';",
            "copy (select stdin from x) to stdout;",
            "select stdin;",
        ],
    )
    def test_no_other_statement_reads_data(self, statement: str) -> None:
        assert statements(f"{statement}\nselect 1;") == [statement, "select 1;"]

    @pytest.mark.parametrize("rest", ["", "\n", "\n1\n2\n", "\n1\\.\n", " -- a comment\n1\n"])
    def test_data_that_never_ends_is_an_error_at_its_statement(self, rest: str) -> None:
        text = f"select 1;\n\n-- data\ncopy t from stdin;{rest}"
        with pytest.raises(LexicalError, match=r"no line of \\\. ends it") as raised:
            split(text)
        assert raised.value.offset == text.index("copy")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "\\restrict abc\nselect 1;",
            [("meta-command", "\\restrict abc\n"), ("statement", "select 1;")],
        ),
        (
            "-- a\r\n\\set x 'it\r\nselect 1;",
            [("meta-command", "\\set x 'it\r\n"), ("statement", "select 1;")],
        ),
        (
            "select 1 \\gexec\nselect 2",
            [("statement", "select 1 "), ("meta-command", "\\gexec\n"), ("statement", "select 2")],
        ),
        ("select (\\q", [("statement", "select ("), ("meta-command", "\\q")]),
        ("\\", [("meta-command", "\\")]),
    ],
)
def test_a_backslash_begins_a_meta_command_up_to_the_end_of_its_line(
    text: str, expected: list[tuple[str, str]]
) -> None:
    assert kinds(text) == expected


@pytest.mark.parametrize(
    ("open_end", "message"),
    [
        ("'a;\n", "unterminated quoted string"),
        ("'it''s;\n", "unterminated quoted string"),
        (r"E'it''s \';", "unterminated quoted string"),
        (r"E'a\\\'", "unterminated quoted string"),
        ("E'a'\r'b\\'", "unterminated quoted string"),
        ("U&'a", "unterminated quoted string"),
        ('"a;', "unterminated quoted identifier"),
        ('"a"";', "unterminated quoted identifier"),
        ('U&"a', "unterminated quoted identifier"),
        ("$$a;$", "unterminated dollar-quoted string $$"),
        ("$é$ a; $e$", "unterminated dollar-quoted string $é$"),
        ("/* a;", "unterminated /* comment"),
        ("/* a /* b */ ;", "unterminated /* comment"),
        ("/*/", "unterminated /* comment"),
    ],
)
def test_what_is_never_closed_is_an_error_at_its_opening(open_end: str, message: str) -> None:
    text = f"select 'it''s';\n-- a comment\nselect {open_end}"
    with pytest.raises(LexicalError) as raised:
        split(text)
    assert str(raised.value) == message
    assert raised.value.offset == len(text) - len(open_end)


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    ("head", "repeated", "tail"),
    [
        ("select E'a'\n", " ", ", 1;"),
        ("select E'a' ", "-", ""),
        ("select E'a'\n", "--\n", "x"),
        ("select 'a", "''", ""),
        ('select "a', '""', ""),
        ("", "/*", ""),
        ("select ", "(", ""),
        ("", "select 1;\n", ""),
        ("insert into t values ('", 100 * "x", "');"),
    ],
    ids=[
        "spaces",
        "dashes",
        "comments",
        "quotes",
        "names",
        "nested comments",
        "parentheses",
        "statements",
        "a long string",
    ],
)
def test_no_text_makes_it_slow(head: str, repeated: str, tail: str) -> None:
    check_nothing_is_lost(head + 30_000 * repeated + tail)


@pytest.mark.parametrize(
    ("sql", "pieces"),
    [
        ("create function f() returns int language sql as 'begin'; commit;", 2),
        ("create function \"begin\"() returns int language sql as 'x'; commit;", 2),
        ("create function f(begin int) returns int language sql as 'x'; commit;", 2),
        ('create procedure p() begin atomic select t."case", 1 as "begin" from t; end; commit;', 2),
        (
            "create function f() returns int begin atomic select case when true then 1 end; end;"
            " commit;",
            2,
        ),
        ("copy k from '/f' where a is distinct from stdin; select 1;", 2),
    ],
)
def test_words_that_only_look_like_the_edge_of_a_body_are_none(sql: str, pieces: int) -> None:
    assert [piece.kind for piece in split(sql)] == ["statement"] * pieces


@pytest.mark.parametrize(
    ("sql", "suspect"),
    [
        ("create function begin() returns int language sql as 'x'; commit;", "begin()"),
        ("create or replace procedure s.begin() language sql as 'x'; commit;", "begin()"),
        ("create procedure p() begin atomic select 1 as case; end; commit;", "case;"),
        ("create procedure p() begin atomic select t.end; select 2; end; commit;", "end;"),
        ("create function begin() returns int language sql as 'x'", "begin()"),
        ("create function f() begin atomic select 1 case; end; commit; select 2; end;", "case;"),
        ("create function f() begin atomic select 1 end; select 2; end; commit;", "end;"),
        ("create function f() begin atomic select 1 begin; end; commit; end;", "begin;"),
    ],
)
def test_a_name_that_psql_takes_for_the_edge_of_a_body_is_refused(sql: str, suspect: str) -> None:
    with pytest.raises(LexicalError, match="psql takes this name for a keyword") as raised:
        split(f"select 1;\n{sql}")
    assert raised.value.offset == f"select 1;\n{sql}".index(suspect)


@pytest.mark.parametrize("continued", ["'b\\'; select 2;'", "'b'\r'c\\'; select 2;'"])
def test_an_escape_string_that_psql_reads_otherwise_on_its_next_line_is_refused(
    continued: str,
) -> None:
    text = f"select E'a'\n{continued};"
    with pytest.raises(LexicalError, match="psql reads this part") as raised:
        split(text)
    assert text[raised.value.offset] == "'"


def test_a_body_that_never_ends_is_an_error() -> None:
    with pytest.raises(LexicalError, match="unterminated BEGIN ATOMIC body"):
        split("select 1; create function f() returns int begin atomic select 1; commit;")


GOLDEN = Path(__file__).parent / "golden"


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.sql")), ids=lambda path: path.name)
def test_whole_files_are_cut_as_their_golden_files_say(path: Path) -> None:
    """A line for each piece: its kind, where it begins and ends, and its head."""
    text = path.read_bytes().decode()
    lines = [
        f"{piece.kind} {piece.start}-{piece.end} {text[piece.start : piece.end][:70]!r}\n"
        for piece in split(text)
    ]
    assert "".join(lines) == path.with_suffix(".pieces").read_text(encoding="utf-8")
