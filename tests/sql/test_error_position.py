"""Where in a file an error belongs, and the caret below that position."""

import pytest

from lib.files.folder import parse
from lib.files.prepare_script import prepare
from lib.sql.error_position import WIDTH, line_bounds, position_inside, shown_line
from lib.sql.statement import Statement

DO = "select 1;\ndo $x$\nbegin\n  perform 1;\n  insert into nope values (1);\nend\n$x$;"
COPY = "copy a from stdin;\n1\n2\n3\n\\.\n"


def statement_of(sql: str) -> Statement:
    return prepare(parse("001-x.sql", sql.encode())).statements[-1]


def excerpt(text: str, offset: int) -> str:
    start, end = line_bounds(text, offset)
    return shown_line(text[start:end], offset - start, number=text.count("\n", 0, offset) + 1)


def shown_at(text: str, marked: str) -> list[str]:
    return excerpt(text, text.index(marked)).split("\n")


class TestShownLine:
    @pytest.mark.parametrize(
        ("text", "marked", "line", "columns"),
        [
            ("select fro;", "fro", "  1 | select fro;", 7),
            ("a\nb\nselect fro\nc", "fro", "  3 | select fro", 7),
            ("a\r\nselect fro\r\nc", "fro", "  2 | select fro", 7),
            ("\tselect\tfro", "fro", "  1 |  select fro", 8),
            ("select 'é', fro", "fro", "  1 | select 'é', fro", 12),
            ("select 'e\u0301', fro", "fro", "  1 | select 'e\u0301', fro", 12),
            ("select '日本', fro", "fro", "  1 | select '日本', fro", 15),
            ("select '\x1b[31m', fro", "fro", "  1 | select ' [31m', fro", 16),
        ],
        ids=[
            "plain",
            "third line",
            "CR LF",
            "tabs",
            "an accent",
            "a combining accent",
            "wide letters",
            "a control character",
        ],
    )
    def test_the_caret_is_below_the_position(
        self, text: str, marked: str, line: str, columns: int
    ) -> None:
        assert shown_at(text, marked) == [line, f"    | {columns * ' '}^"]

    def test_a_long_line_is_cut_around_the_position(self) -> None:
        line, caret = shown_at(f"select {'x' * 10_000}, fro, {'y' * 10_000}", "fro")
        assert line.startswith("  1 | …xxx")
        assert line.endswith("yyy…")
        assert len(line) < WIDTH + 10
        assert line[caret.index("^") :].startswith("fro")

    def test_the_end_of_the_text_has_a_line_too(self) -> None:
        assert excerpt("select", 6) == "  1 | select\n    |       ^"
        assert excerpt("", 0) == "  1 | \n    | ^"

    def test_the_number_of_the_line_sets_the_margin(self) -> None:
        assert excerpt("\n" * 99 + "fro", 99) == "  100 | fro\n      | ^"


class TestPositionInside:
    @pytest.mark.parametrize(
        "context",
        [
            "COPY a, line 2",
            'COPY a, line 2, column x: "two"',
            'PL/pgSQL function tr() line 7 at RAISE\nCOPY a, line 2: "2"',
            "COPY a, Zeile 2, Spalte x: »two«",
            "COPY a, ligne 2, colonne x : « two »",
        ],
    )
    def test_a_line_of_copy_data_is_found(self, context: str) -> None:
        offset = position_inside(statement_of(COPY), context, None, None)
        assert offset == COPY.index("2")

    def test_a_line_beyond_the_data_is_its_last(self) -> None:
        assert position_inside(statement_of(COPY), "COPY a, line 99", None, None) == len(COPY)

    @pytest.mark.parametrize(
        ("context", "expected"),
        [
            ("PL/pgSQL function inline_code_block line 3 at PERFORM", "perform 1"),
            ("PL/pgSQL-Funktion inline_code_block Zeile 3 bei PERFORM", "perform 1"),
            (
                "PL/pgSQL function f() line 9 at RAISE\n"
                "PL/pgSQL function inline_code_block line 3 at PERFORM",
                "perform 1",
            ),
            ("PL/pgSQL function inline_code_block line 4 at SQL statement", "insert into"),
        ],
    )
    def test_a_line_of_a_do_block_is_found(self, context: str, expected: str) -> None:
        assert position_inside(statement_of(DO), context, None, None) == DO.index(expected)

    @pytest.mark.parametrize(
        ("internal_query", "position", "expected"),
        [
            ("insert into nope values (1)", 13, "nope"),
            ("insert into other values (1)", 13, "insert into"),
            (None, None, "insert into"),
        ],
    )
    def test_the_position_in_the_query_of_a_do_block_is_found(
        self, internal_query: str | None, position: int | None, expected: str
    ) -> None:
        context = "PL/pgSQL function inline_code_block line 4 at SQL statement"
        assert position_inside(statement_of(DO), context, internal_query, position) == DO.index(
            expected
        )

    def test_the_query_of_a_function_is_not_looked_for_in_the_block(self) -> None:
        context = (
            "PL/pgSQL function f() line 1 at SQL statement\n"
            "PL/pgSQL function inline_code_block line 3 at PERFORM"
        )
        offset = position_inside(statement_of(DO), context, "insert into nope values (1)", 13)
        assert offset == DO.index("perform 1")

    def test_the_name_of_the_language_is_not_its_code(self) -> None:
        sql = "do language 'plpgsql'\n\n$$\nbegin\n  perform 1;\nend $$;"
        context = "PL/pgSQL function inline_code_block line 3 at PERFORM"
        assert position_inside(statement_of(sql), context, None, None) == sql.index("perform")
        assert (
            position_inside(statement_of("do E'begin\\n raise; end';"), context, None, None) is None
        )

    def test_what_perform_runs_is_found_though_the_server_calls_it_select(self) -> None:
        sql = "do $$\nbegin\n  perform 1\n    from nope;\nend\n$$;"
        context = "PL/pgSQL function inline_code_block line 3 at PERFORM"
        assert position_inside(
            statement_of(sql), context, "SELECT 1\n    from nope", 19
        ) == sql.index("nope")

    def test_a_block_in_plain_quotes_has_lines_too(self) -> None:
        sql = "do language plpgsql 'begin\n  raise ''no'';\nend';"
        context = "PL/pgSQL function inline_code_block line 2 at RAISE"
        assert position_inside(statement_of(sql), context, None, None) == sql.index("raise")

    @pytest.mark.parametrize("sql", ["select f();", "call p();", DO])
    def test_no_other_context_is_a_position_in_the_file(self, sql: str) -> None:
        assert (
            position_inside(statement_of(sql), "PL/pgSQL function f() line 2 at RAISE", None, None)
            is None
        )
        assert position_inside(statement_of(sql), None, None, None) is None
