"""What of a server's message is shown, without a server: names of the file stay, values do not."""

import pytest

from lib.database.server_error import ServerError
from lib.files.folder import parse
from lib.files.prepare_script import prepare
from lib.sql.redaction import LONGEST_MESSAGE, Redactor, redacted_line


def redactor(sql: str, sqlstate: str, message: str, context: str | None = None) -> Redactor:
    """The redactor of an error that the server gave for the last statement of a file."""
    script = prepare(parse("000-a.sql", sql.encode()))
    error = ServerError(sqlstate, message, None, None, context, position=1)
    return Redactor(error, script.file.text, script.statements, script.statements[-1])


@pytest.mark.parametrize(
    ("sql", "sqlstate", "message", "shown"),
    [
        pytest.param(
            "insert into a select 'joe'::int",
            "22P02",
            'invalid input syntax for type integer: "joe"',
            'invalid input syntax for type integer: "…"',
            id="a value",
        ),
        pytest.param(
            "insert into a values (1)",
            "23505",
            'duplicate key value violates unique constraint "a_pkey"',
            'duplicate key value violates unique constraint "a_pkey"',
            id="the name of an object",
        ),
        pytest.param(
            "select nope from a",
            "42703",
            'column "nope" does not exist',
            'column "nope" does not exist',
            id="a name that the file has",
        ),
        pytest.param(
            "select f() from a",
            "42704",
            'role "joe" does not exist',
            'role "…" does not exist',
            id="a name that the file does not have",
        ),
        pytest.param(
            "do $$begin raise exception 'no: %', x; end$$",
            "P0001",
            "no: joe",
            "no: …",
            id="the words of a RAISE",
        ),
    ],
)
def test_the_journal_gets_no_value_of_a_row(
    sql: str, sqlstate: str, message: str, shown: str
) -> None:
    redacted, hint = redactor(sql, sqlstate, message).without_data(message, "")
    assert (redacted, hint) == (shown, "")


def test_an_error_raised_with_another_sqlstate_is_recognized_by_its_context() -> None:
    message, context = "joe is there", "PL/pgSQL function f() line 1 at RAISE"
    raised = redactor("select f()", "23505", message, context)
    assert raised.without_data(message, "") == ("…", "")


def test_the_log_quotes_of_a_secret_statement_only_words_of_its_code() -> None:
    message = 'syntax error at or near "hunter2"'
    secret = redactor("create role app password 'hunter2'", "42601", message)
    assert secret.is_secret
    assert secret.message == 'syntax error at or near "…"'
    assert secret.without_secrets('role "app" and "hunter2"') == 'role "app" and "…"'


def test_a_long_message_is_cut() -> None:
    assert len(redactor("select 1", "XX000", "a" * 10_000).message) == LONGEST_MESSAGE


def test_the_line_of_a_secret_statement_is_shown_without_its_strings() -> None:
    sql = "select 1;\nalter role app password 'hunter2' nonsense;"
    script = prepare(parse("000-a.sql", sql.encode()))
    line = redacted_line(sql, script.statements, sql.index("nonsense"))
    assert line is not None
    shown, mark = line.split("\n")
    assert shown == "  2 | alter role app password '…' nonsense;"
    assert mark.index("^") == shown.index("nonsense")


def test_a_line_with_rows_for_a_copy_is_not_shown_if_all_is_hidden() -> None:
    sql = "copy a from stdin;\njoe\n\\.\n"
    script = prepare(parse("000-a.sql", sql.encode()))
    assert redacted_line(sql, script.statements, sql.index("joe"), hides_all=True) is None
    assert "joe" in (redacted_line(sql, script.statements, sql.index("joe")) or "")
