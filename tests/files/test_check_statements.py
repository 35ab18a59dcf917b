"""Statements and psql commands that are refused, by name and line."""

import pytest

from lib.errors import MigrationFileError
from lib.files.folder import parse
from lib.files.prepare_script import prepare
from lib.files.runnable_script import Mode, Script


def script_of(sql: str) -> Script:
    return prepare(parse("001-x.sql", sql.encode()))


def texts(sql: str) -> list[str]:
    return [statement.text for statement in script_of(sql).statements]


class TestRefusals:
    @pytest.mark.parametrize(
        "control",
        [
            *(
                "commit",
                "COMMIT WORK",
                "end",
                "rollback",
                "rollback and chain",
                "abort",
                "begin",
                "begin read only",
            ),
            *(
                "start transaction",
                "prepare transaction 'x'",
                "commit prepared 'x'",
                "rollback prepared 'x'",
            ),
        ],
    )
    def test_transaction_control_at_top_level_is_refused_by_name_and_line(
        self, control: str
    ) -> None:
        with pytest.raises(
            MigrationFileError, match=f'001-x.sql:3: "{control}" would end or begin a transaction'
        ) as raised:
            script_of(f"select 1;\n-- a comment\n{control};\nselect 2;\n")
        assert raised.value.details() == {"version": "001-x", "line": 3}
        assert "Transaction: none" in str(raised.value)

    @pytest.mark.parametrize(
        "sql",
        [
            "savepoint s; select 1; rollback to s; release s;",
            "savepoint s; rollback work to savepoint s;",
            "set transaction isolation level serializable; select 1;",
            "do $$ begin commit; end $$; select 1;",
            "create function f() returns int begin atomic select 1; end; select 1;",
            "comment on table a is 'commit;'; -- commit;\n/* begin; */ select 1;",
            "prepare p as select 1; deallocate p;",
        ],
    )
    def test_what_only_looks_like_transaction_control_is_accepted(self, sql: str) -> None:
        assert script_of(sql).mode is Mode.TRANSACTION

    @pytest.mark.parametrize(
        ("command", "name"),
        [
            ("\\i other.sql", "i"),
            ("\\copy a from 'x'", "copy"),
            ("\\connect db", "connect"),
            ("\\set x 1", "set"),
            ("\\set ON_ERROR_STOPS 1", "set"),
            ("\\set ON_ERROR_STOP 1 \\\\ create table lost (x int);", "set"),
            ("\\restrict x \\i other.sql", "restrict"),
            ("\\restricted", "restricted"),
            ("select 1 \\gexec", "gexec"),
            ("create schema s \\set ON_ERROR_STOP on", "set"),
            ("\\", ""),
        ],
    )
    def test_a_command_of_psql_is_refused_by_name_and_line(self, command: str, name: str) -> None:
        with pytest.raises(MigrationFileError) as raised:
            script_of(f"select 1;\n\n{command}\nselect 2;")
        assert str(raised.value).startswith(
            f"migrations/001-x.sql:3: \\{name} is a command of psql, not SQL"
        )

    @pytest.mark.parametrize(
        ("sql", "fault"),
        [
            ("select 1;\nselect 'x", "2: unterminated quoted string"),
            ("\n\n/* x", "3: unterminated /* comment"),
            ("do $f$\n;", "1: unterminated dollar-quoted string $f$"),
            ("-- data\n\ncopy a from stdin;\n1\n", "3: unterminated COPY data"),
        ],
    )
    def test_what_is_never_closed_is_refused_by_line(self, sql: str, fault: str) -> None:
        with pytest.raises(MigrationFileError) as raised:
            script_of(sql)
        assert str(raised.value).startswith(f"migrations/001-x.sql:{fault}")


class TestBlocksThatNeverEnd:
    @pytest.mark.parametrize(
        ("sql", "line"),
        [
            ("begin;\ncreate table a (x int);", 2),
            ("select 1;\nstart transaction;\nselect 2;", 3),
            ("begin;\ncommit;\nbegin;\nselect 1;", 4),
            ("begin;\nsavepoint s;\nrollback to s;", 2),
            ("begin;\nselect 1;\ncommit prepared 'x';", 2),
            ("begin;\nbegin;\nselect 1;", 2),
            ("begin;\ncreate function f() returns int begin atomic select 1; end;", 2),
            ("begin;\ndo $$ begin end; $$;", 2),
            ("begin", 2),
        ],
    )
    def test_a_block_that_never_ends_is_refused_by_line(self, sql: str, line: int) -> None:
        with pytest.raises(
            MigrationFileError,
            match=rf'001-x\.sql:{line}: "\w+.*" begins a transaction and never ends it; write',
        ):
            script_of(f"-- Transaction: none\n{sql}")

    @pytest.mark.parametrize(
        "sql",
        [
            "begin; select 1; commit; begin; select 2; rollback; start transaction; end;",
            "begin; prepare transaction 'x';",
            "begin; select lo_open(1, 2); commit; select 1;",
            "do $$ begin perform 1; end $$; select 1;",
            "create function f() returns int begin atomic select 1; end;",
            "commit;",
        ],
    )
    def test_a_block_that_ends_is_accepted(self, sql: str) -> None:
        assert script_of(f"-- Transaction: none\n{sql}").mode is Mode.STATEMENTS

    def test_a_block_is_refused_in_a_file_that_is_one_transaction(self) -> None:
        with pytest.raises(
            MigrationFileError, match=r'001-x\.sql:2: "begin" would end or begin a transaction'
        ):
            script_of("select 0;\nbegin;\nselect 1;")


class TestABackslashBeforeAQuote:
    ERROR = (
        "a backslash before a quote is not an escape in a plain string, which ends there; "
        "write '' or E'…'"
    )

    @pytest.mark.parametrize(
        ("sql", "line"),
        [
            ("insert into a values ('Newton\\'s laws');", 1),
            ("select 1;\ninsert into a values ('Newton\\'s laws');\nselect 'a';\nselect 'b';", 2),
            ("select 'C:\\';\nselect 'Newton\\'s laws';\n\n\nselect 'I am';", 2),
            ("select 'dogs\\' toys';", 1),
            ("select 'on\ntwo lines\\'s';", 2),
            ("select 'a\\'s';\n" + "select 'x';\n" * 75 + "select 'I\\'m';\nselect 'it\\'s';", 1),
            ("copy a from stdin;\nit\\'s\n\\.\nselect 'Newton\\'s laws';", 4),
            ("select 'Newton\\'s'; select $$ 'a' ; select 'b'", 1),
        ],
    )
    def test_the_error_points_at_the_backslash_and_not_far_below(self, sql: str, line: int) -> None:
        with pytest.raises(MigrationFileError, match=rf"^migrations/001-x\.sql:{line}: ") as raised:
            script_of(sql)
        assert str(raised.value).endswith(self.ERROR)

    def test_a_backslash_that_may_be_meant_is_named_beside_the_error(self) -> None:
        with pytest.raises(
            MigrationFileError,
            match=r"x\.sql:3: unterminated quoted string; "
            r"perhaps because of the backslash at 1:11: ",
        ):
            script_of("select 'C:\\', 1;\nselect 2;\nselect 'never closed;")

    @pytest.mark.parametrize(
        ("sql", "fault"),
        [
            ("select 'C:\\';\n\\i other.sql", r"\\i is a command of psql"),
            ("select E'Newton\\'s laws';\nselect 'open", "unterminated quoted string$"),
            ("select x like 'a' escape '\\' from b;\n/* open", r"unterminated /\* comment$"),
            ("select 'C:\\' as path;\n\\q", r"\\q is a command"),
            ("select U&'\\0041', 'b\\c' x;\nselect $$", r"unterminated dollar-quoted string \$\$$"),
            ("-- Newton\\'s laws\nselect 'open", "unterminated quoted string$"),
        ],
    )
    def test_a_backslash_that_is_no_escape_leaves_the_error_where_it_is(
        self, sql: str, fault: str
    ) -> None:
        with pytest.raises(MigrationFileError, match=rf"001-x\.sql:2: {fault}"):
            script_of(sql)

    def test_a_backslash_in_a_string_that_can_be_cut_is_accepted(self) -> None:
        script_of("select 'C:\\' as path, 'a\\b', E'it\\'s'; select x like '\\_' escape '\\';")


class TestWhatPsqlWouldReadOtherwise:
    @pytest.mark.parametrize(
        ("sql", "name", "place"),
        [
            ("select 1;\nselect :USER;", "USER", 2),
            ("select 1;\n\ncomment on database x is :'DBNAME';", "DBNAME", 3),
            ('grant all on t to\n:"USER";', "USER", 2),
            ("select a[1:PORT] from t;", "PORT", 1),
            ("select :{?mine};", "mine", 1),
        ],
    )
    def test_a_variable_that_psql_has_a_value_for_is_refused(
        self, sql: str, name: str, place: int
    ) -> None:
        with pytest.raises(
            MigrationFileError,
            match=rf"001-x\.sql:{place}: psql would put the value of its variable {name} ",
        ):
            script_of(sql)

    @pytest.mark.parametrize(
        "sql",
        [
            *(
                "select :mine",
                "select ':USER'",
                "select $$:USER$$ -- :USER\n",
                "select a::USER",
                "select a[1:n]",
            ),
            *(
                'select \'{"role":"USER"}\'',
                "select a := USER",
                "select :USERS",
                "copy t from stdin;\n:USER\n\\.\n",
            ),
        ],
    )
    def test_what_psql_does_not_replace_is_accepted(self, sql: str) -> None:
        assert script_of(sql).mode is Mode.TRANSACTION

    @pytest.mark.parametrize(
        "setting",
        [
            "set client_encoding = 'LATIN1'",
            "SET CLIENT_ENCODING TO win1252",
            "select set_config('client_encoding', 'latin1', false)",
            "set names 'latin1'",
        ],
    )
    def test_another_encoding_is_refused_if_the_file_is_not_ascii(self, setting: str) -> None:
        assert len(texts(f"{setting};\nselect 'e';")) == 2
        with pytest.raises(
            MigrationFileError,
            match=r"001-x\.sql:2: the file is UTF-8 and not only ASCII, but this sets \w+",
        ):
            script_of(f"select 1;\n{setting};\nselect 'é';")

    @pytest.mark.parametrize(
        "setting",
        [
            "set client_encoding = 'UTF8'",
            "set client_encoding to E'utf8'",
            "set client_encoding to sql_ascii",
            "set names 'utf-8'",
        ],
    )
    def test_an_encoding_that_leaves_the_bytes_alone_is_accepted(self, setting: str) -> None:
        assert len(texts(f"{setting};\nselect 'é';")) == 2

    @pytest.mark.parametrize(
        "off",
        [
            "SET standard_conforming_strings = off",
            "set session \"standard_conforming_strings\" to 'f'",
            "select pg_catalog.set_config('standard_conforming_strings', 'no', false)",
        ],
    )
    def test_a_backslash_without_standard_strings_is_refused(self, off: str) -> None:
        assert len(texts(f"select 'C:\\';\n{off};\nselect 'a', E'\\n', $$\\$$;")) == 3
        assert len(texts(f"{off};\nset standard_conforming_strings = on;\nselect 'C:\\';")) == 3
        with pytest.raises(
            MigrationFileError,
            match=r"001-x\.sql:3: with standard_conforming_strings off a backslash",
        ):
            script_of(f"{off};\nselect 1;\nselect 'it\\'s';--'")


@pytest.mark.parametrize(
    "sql",
    [
        "begin isolation level serializable, read only;\nselect 1;\ncommit;",
        "set transaction read only;\nselect 1;",
        "set transaction isolation level serializable, read only;",
        "set local transaction_read_only = on;",
        "set /* now */ transaction isolation level serializable,read only;",
        "set transaction_read_only to 't';",
        "select set_config('transaction_read_only', 'on', true);",
    ],
)
def test_a_read_only_transaction_is_refused_since_it_could_not_be_recorded(sql: str) -> None:
    with pytest.raises(
        MigrationFileError,
        match=r"001-x\.sql:2: in a READ ONLY transaction it could not be recorded",
    ):
        script_of(f"-- x\n{sql}")


def test_a_long_statement_is_named_by_its_first_words_on_one_line() -> None:
    with pytest.raises(
        MigrationFileError,
        match=r'"create index concurrently i on a using btree \(xxx+…" can\'t run',
    ):
        script_of(f"select 1; create index\n  concurrently i\ton a using btree ({'x' * 99});")
