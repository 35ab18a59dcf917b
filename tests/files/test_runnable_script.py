"""How a file runs: its mode, its statements, and what is refused by name and line."""

import hashlib

import pytest

from lib.errors import MigrationFileError
from lib.files.folder import parse
from lib.files.prepare_script import prepare, prepare_all
from lib.files.runnable_script import Mode, Script, without_statements_at_the_end
from lib.sql.concurrent import waits_without_lock_timeout

# SHA-256 of "create table a (x int);".
DIGEST = "85e277de3a896cedccd741062229d9e853c30b98aa7da7e5b08a19221fd7f81c"
DUMP = r"""--
-- PostgreSQL database dump
--

\restrict 3kUJ7tqLkhXhfAMkI1bLoqHyOiaD

SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET transaction_timeout = 0;
SET client_encoding = 'UTF8';
SELECT pg_catalog.set_config('search_path', '', false);

CREATE TABLE public.a (
    id integer NOT NULL,
    note text
);

COPY public.a (id, note) FROM stdin;
1	it's; $$ BEGIN;
2	COMMIT; /*
\.

COPY public.a (id, note) FROM stdin;
\.

ALTER TABLE ONLY public.a ADD CONSTRAINT a_pkey PRIMARY KEY (id);

\unrestrict 3kUJ7tqLkhXhfAMkI1bLoqHyOiaD
"""


def script_of(sql: str) -> Script:
    return prepare(parse("001-x.sql", sql.encode()))


def texts(sql: str) -> list[str]:
    return [statement.text for statement in script_of(sql).statements]


def copy_data_of(script: Script) -> list[bytes]:
    return [
        b"".join(statement.copy_chunks()) for statement in script.statements if statement.copy_data
    ]


class TestModes:
    @pytest.mark.parametrize(
        "sql",
        [
            *("", "-- only a comment", ";", "create table a (x int)"),
            *(
                "create table a (x int); create index on a (x);",
                "create index concurrently_i on a (x)",
            ),
            *("create table concurrently_t (x int)", "create table a (concurrently bool)"),
            "create index i on a (x) /* not concurrently */",
            "-- create index concurrently\ncreate index i on a (x)",
            "comment on index i is 'built concurrently'",
            "create function f() returns void language sql as "
            "$$ create index concurrently i on a (x) $$",
            *('drop index "concurrently"', "refresh materialized view concurrently m"),
            *("alter type mood add value 'fine'", "alter table a detach partition b"),
            *(
                "alter table a alter column vacuum set default 1",
                "select 'vacuum'",
                "explain select 1",
            ),
            *(
                "cluster a using i",
                "cluster verbose a",
                "reindex table a",
                "reindex (verbose) index i",
            ),
            "create subscription s connection '' publication p with (create_slot = false)",
            "create subscription s connection '' publication p "
            "with (connect=false, slot_name = none)",
            *("discard temp", "do $$ begin perform 1; commit; end $$", "create database_x (x int)"),
        ],
    )
    def test_a_file_runs_in_one_transaction(self, sql: str) -> None:
        assert script_of(sql).mode is Mode.TRANSACTION

    @pytest.mark.parametrize(
        "sql",
        [
            "create index concurrently i on a (x)",
            "CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS i ON a (x);",
            *(
                "create/**/index\n-- one\nconcurrently i on a (x)",
                "drop index concurrently if exists i",
            ),
            *(
                "reindex index concurrently i",
                "reindex (concurrently, verbose) table a",
                "reindex schema s",
            ),
            *("REINDEX (VERBOSE) DATABASE d", "reindex system d"),
            "alter table a detach partition b concurrently",
            *("alter table if exists only s.a detach partition s.b concurrently", "vacuum"),
            *(
                "vacuum (analyze) a",
                "cluster",
                "cluster verbose",
                "cluster (verbose)",
                "create database d",
            ),
            *("drop database if exists d with (force)", "create tablespace t location '/t'"),
            *(
                "drop tablespace t",
                "alter system set work_mem = '1MB'",
                "alter database d set tablespace t",
            ),
            "alter subscription s refresh publication",
            *("create subscription s connection 'x' publication p", "discard all"),
            "set lock_timeout = 0; create index concurrently i on a (x);",
            "\\set ON_ERROR_STOP 1\n;vacuum;;",
        ],
    )
    def test_a_single_statement_that_postgres_refuses_inside_a_transaction_runs_alone(
        self, sql: str
    ) -> None:
        script = script_of(sql)
        assert script.mode is Mode.ALONE
        assert len(script.statements) == 1
        with pytest.raises(
            MigrationFileError, match=r"001-x\.sql:2: .* can't run inside a transaction"
        ):
            script_of(f"select 1;\n{script.statements[0].text}")

    @pytest.mark.parametrize(
        "sql", ["", "select 1", "create index concurrently i on a (x)", "begin; select 1; commit;"]
    )
    def test_transaction_none_runs_the_statements_as_written(self, sql: str) -> None:
        script = script_of(f"-- Transaction: none\n{sql}")
        assert script.mode is Mode.STATEMENTS
        assert (
            " ".join(statement.text for statement in script.statements).removesuffix("\n;") == sql
        )

    @pytest.mark.parametrize(
        ("sql", "waits"),
        [
            ("vacuum a", True),
            ("create index concurrently i on a (x)", True),
            ("reindex (concurrently) table a", True),
            ("create database d", False),
            ("create table a (x int)", False),
        ],
    )
    def test_a_lock_timeout_is_kept_from_what_waits_for_old_snapshots(
        self, sql: str, waits: bool
    ) -> None:
        assert waits_without_lock_timeout(script_of(sql).statements[0]) is waits


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
    def test_what_only_looks_like_transaction_control_is_none(self, sql: str) -> None:
        assert script_of(sql).mode is Mode.TRANSACTION

    @pytest.mark.parametrize(
        ("sql", "line"),
        [
            ("begin;\nselect 1;", 1),
            ("select 1;\ncommit;", 2),
            ("begin;\nselect 1;\nrollback;", 1),
            ("begin;\nselect 1;\ncommit;\nbegin;\nselect 2;\ncommit;", 3),
            ("select 0;\nbegin;\nselect 1;\ncommit;", 2),
            ("begin;\nselect 1;\ncommit;\nselect 2;", 1),
            ("begin;\nselect lo_open(1, 2);\ncommit;\nselect 2;", 1),
            ("begin;\nselect 1;\ncommit and chain;", 1),
            ("begin;\nselect 1;\ncommit prepared 'x';", 1),
            ("begin;\nbegin;\ncommit;", 2),
        ],
    )
    def test_only_a_file_wrapped_as_a_whole_is_unwrapped(self, sql: str, line: int) -> None:
        with pytest.raises(
            MigrationFileError,
            match=rf'001-x\.sql:{line}: "\w+.*" would end or begin a transaction',
        ):
            script_of(sql)

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

    def test_a_long_statement_is_named_by_its_first_words_on_one_line(self) -> None:
        with pytest.raises(
            MigrationFileError,
            match=r'"create index concurrently i on a using btree \(xxx+…" can\'t run',
        ):
            script_of(f"select 1; create index\n  concurrently i\ton a using btree ({'x' * 99});")

    def test_all_refused_files_are_told_at_once(self) -> None:
        files = [
            parse(f"00{n}-x.sql", sql) for n, sql in enumerate((b"commit;", b"select 1;", b"\n\\q"))
        ]
        with pytest.raises(
            MigrationFileError, match=r"000-x\.sql:1: (?s:.*)002-x\.sql:2: "
        ) as raised:
            prepare_all(files)
        assert raised.value.details() == {"version": "000-x", "line": 1}


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
    def test_are_refused_by_line(self, sql: str, line: int) -> None:
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
    def test_that_end_are_fine(self, sql: str) -> None:
        assert script_of(f"-- Transaction: none\n{sql}").mode is Mode.STATEMENTS

    def test_are_refused_in_a_file_that_is_one_transaction_too(self) -> None:
        with pytest.raises(
            MigrationFileError, match=r'001-x\.sql:2: "begin" would end or begin a transaction'
        ):
            script_of("select 0;\nbegin;\nselect 1;")


class TestABackslashBeforeAQuote:
    SAYS = (
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
    def test_is_where_the_error_is_and_not_far_below(self, sql: str, line: int) -> None:
        with pytest.raises(MigrationFileError, match=rf"^migrations/001-x\.sql:{line}: ") as raised:
            script_of(sql)
        assert str(raised.value).endswith(self.SAYS)

    def test_that_may_be_meant_is_told_beside_the_error(self) -> None:
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
    def test_that_is_none_leaves_the_error_where_it_is(self, sql: str, fault: str) -> None:
        with pytest.raises(MigrationFileError, match=rf"001-x\.sql:2: {fault}"):
            script_of(sql)

    def test_in_strings_that_can_be_cut_is_none(self) -> None:
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
    def test_what_psql_leaves_as_it_stands_is_left(self, sql: str) -> None:
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
    def test_another_encoding_is_refused_where_it_makes_a_difference(self, setting: str) -> None:
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
    def test_an_encoding_that_leaves_the_bytes_alone_is_kept(self, setting: str) -> None:
        assert len(texts(f"{setting};\nselect 'é';")) == 2

    @pytest.mark.parametrize(
        "off",
        [
            "SET standard_conforming_strings = off",
            "set session \"standard_conforming_strings\" to 'f'",
            "select pg_catalog.set_config('standard_conforming_strings', 'no', false)",
        ],
    )
    def test_strings_that_another_setting_would_read_otherwise_are_refused(self, off: str) -> None:
        assert len(texts(f"select 'C:\\';\n{off};\nselect 'a', E'\\n', $$\\$$;")) == 3
        assert len(texts(f"{off};\nset standard_conforming_strings = on;\nselect 'C:\\';")) == 3
        with pytest.raises(
            MigrationFileError,
            match=r"001-x\.sql:3: with standard_conforming_strings off a backslash",
        ):
            script_of(f"{off};\nselect 1;\nselect 'it\\'s';--'")


class TestWhatIsSent:
    def test_copy_data_comes_in_pieces(self) -> None:
        data = "é" * (1 << 20)
        pieces = list(
            script_of(f"copy a from stdin;\n{data}\n\\.\nselect 1;").statements[0].copy_chunks()
        )
        assert len(pieces) > 4
        assert b"".join(pieces).decode() == f"{data}\n"

    @pytest.mark.parametrize(
        ("sql", "sent"),
        [
            ("-- drop column\nselect 1;\n", ["select 1;"]),
            (
                "/* a */ select 1 /* b */;\n-- c\n  /* d */\nselect 2",
                ["/* a */ select 1 /* b */;", "/* d */\nselect 2"],
            ),
            ("select 1 -- one", ["select 1 -- one"]),
        ],
        ids=["a comment to the end of a line", "comments of the other kind", "no semicolon"],
    )
    def test_a_statement_is_sent_as_psql_sends_it(self, sql: str, sent: list[str]) -> None:
        script = script_of(sql)
        assert [statement.sent for statement in script.statements] == sent
        assert all(sql[s.sent_from :].startswith(s.sent) for s in script.statements)

    @pytest.mark.parametrize(
        ("sql", "alone"),
        [
            ("copy a to stdout", True),
            ("select $1", True),
            ("create function f(int) returns int language sql as $$ select $1 $$", False),
            ("select '$1', \"$1\", $x$ $1 $x$", False),
        ],
    )
    def test_what_cannot_be_one_of_several_goes_alone(self, sql: str, alone: bool) -> None:
        assert script_of(sql).statements[0].goes_alone is alone


class TestOutermostTransaction:
    @pytest.mark.parametrize(
        ("begin", "options"),
        [
            ("begin", ""),
            ("BEGIN WORK", ""),
            ("begin transaction", ""),
            ("start transaction", ""),
            ("begin isolation level serializable", "ISOLATION LEVEL SERIALIZABLE"),
            ("Start Transaction Read Write, Deferrable", "READ WRITE , DEFERRABLE"),
            ("begin work\n  isolation level\trepeatable read", "ISOLATION LEVEL REPEATABLE READ"),
            ("begin -- at last\n", ""),
            ("begin /* now */ transaction read write -- really", "READ WRITE"),
        ],
    )
    @pytest.mark.parametrize(
        "commit", ["commit;", "COMMIT", "end;", "commit work and no chain;", "commit -- done;"]
    )
    def test_it_is_taken_off_and_its_options_kept(
        self, begin: str, options: str, commit: str
    ) -> None:
        script = script_of(
            f"-- why\n\\set ON_ERROR_STOP 1\n{begin}\n;\nselect 1;\nselect 2;\n{commit}\n-- end"
        )
        assert [statement.text for statement in script.statements] == ["select 1;", "select 2;"]
        assert (script.mode, script.begin_options) == (Mode.TRANSACTION, options)

    def test_a_dump_header_may_stand_before_it(self) -> None:
        assert texts("set lock_timeout = 0;\nbegin;\nselect 1;\ncommit;") == ["select 1;"]

    def test_what_sets_the_session_for_it_may_stand_before_it(self) -> None:
        sql = (
            "set client_min_messages = warning;\n"
            "select set_config('search_path', 'app', false);\nbegin;\nselect 1;\nend;"
        )
        script = script_of(sql)
        assert [statement.head for statement in script.statements] == [
            *(
                "set client_min_messages = warning",
                "select set_config('search_path', 'app', false)",
                "select 1",
            ),
        ]

    def test_it_may_be_empty(self) -> None:
        assert texts("begin; commit;") == []

    def test_a_dumps_blocks_around_large_objects_are_taken_off(self) -> None:
        block = (
            "BEGIN;\n\nSELECT pg_catalog.lo_open('50001', 131072);\n"
            "SELECT pg_catalog.lowrite(0, '\\x78');\n"
            "SELECT pg_catalog.lo_close(0);\n\nCOMMIT;\n"
        )
        assert texts(f"select 1;\n{block}{block}select 2;")[::7] == ["select 1;", "select 2;"]
        with pytest.raises(MigrationFileError, match=r'001-x\.sql:2: "BEGIN"'):
            script_of(f"select 1;\n{block.replace('COMMIT', 'select 1; COMMIT')}")

    def test_what_postgres_refuses_inside_it_is_refused(self) -> None:
        with pytest.raises(
            MigrationFileError, match=r"001-x\.sql:2: \"vacuum\" can't run inside a transaction"
        ):
            script_of("begin;\nvacuum;\ncommit;")


class TestStatements:
    @pytest.mark.parametrize(
        ("sql", "expected"),
        [
            ("select 1", ["select 1\n;"]),
            ("select 1 -- done;", ["select 1 -- done;\n;"]),
            ("select 1; -- done", ["select 1;"]),
            ("/* a */ select 1;\r\n", ["select 1;"]),
        ],
    )
    def test_every_statement_ends_in_a_semicolon_of_its_own(
        self, sql: str, expected: list[str]
    ) -> None:
        assert texts(sql) == expected

    @pytest.mark.parametrize(
        ("statement", "dropped"),
        [
            ("SET statement_timeout = 0;", False),
            ("set lock_timeout to '0'", True),
            ("set session idle_in_transaction_session_timeout=0;", True),
            ("SET LOCAL transaction_timeout TO 0;", True),
            ("set lock_timeout = 1;", False),
            ("set lock_timeout = '0.5s';", False),
            ("set statement_timeout = '10min';", False),
            ("set work_mem = 0;", False),
        ],
    )
    @pytest.mark.parametrize(
        "header", ["", "-- Transaction: none\n"], ids=["in a transaction", "without"]
    )
    def test_a_zero_timeout_is_dropped_and_any_other_value_kept(
        self, header: str, statement: str, dropped: bool
    ) -> None:
        assert len(texts(f"{header}select 1;\n{statement}")) == (1 if dropped else 2)

    def test_a_zero_statement_timeout_does_not_override_the_headers(self) -> None:
        assert len(texts("-- Statement-Timeout: 5s\nselect 1;\nset statement_timeout = 0;")) == 1

    def test_a_dump_is_accepted_with_its_data(self) -> None:
        script = script_of(DUMP)
        assert script.mode is Mode.TRANSACTION
        assert [statement.head.split("(")[0].strip() for statement in script.statements] == [
            "SET statement_timeout = 0",
            "SET client_encoding = 'UTF8'",
            "SELECT pg_catalog.set_config",
            "CREATE TABLE public.a",
            "COPY public.a",
            "COPY public.a",
            "ALTER TABLE ONLY public.a ADD CONSTRAINT a_pkey PRIMARY KEY…",
        ]
        assert copy_data_of(script) == [b"1\tit's; $$ BEGIN;\n2\tCOMMIT; /*\n", b""]
        assert [statement.copy_data for statement in script.statements[:3]] == [None] * 3


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


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("alter database app set search_path = app", True),
        ("ALTER ROLE app IN DATABASE app RESET ALL", True),
        (
            "do $$begin execute format('alter database %I set search_path = app', "
            "current_database()); end$$",
            True,
        ),
        ("alter table a alter b set not null", False),
        ("alter database app owner to b", False),
        ("set search_path = app", False),
    ],
)
def test_what_changes_what_new_sessions_begin_with(sql: str, expected: bool) -> None:
    assert script_of(sql).changes_defaults is expected


def test_a_block_of_the_files_own_is_one_unit() -> None:
    script = script_of(
        "-- Transaction: none\nselect 1;\nbegin;\nsavepoint a;\nrollback to a;\nend;\nselect 2;"
    )
    assert [script.block_end(index) for index in (0, 1, 5)] == [1, 5, 6]
    assert script.checkpoint(1).including_next == script.digests[5]
    assert script.checkpoint(6).including_next is None


def test_its_beginning_is_known_by_a_digest() -> None:
    before = script_of("-- Transaction: none\nselect 1;\nselect 2;\nselect 3;")
    after = script_of("-- Transaction: none\nselect 1;\nselect 2;\nselect 4;")
    assert after.begins_with(before.digests[2])
    assert not after.begins_with(before.digests[3])
    assert not after.begins_with(None)


def test_more_statements_than_a_file_has_are_not_its_beginning() -> None:
    longer = script_of("-- Transaction: none\nselect 1;\nselect 2;")
    shorter = script_of("-- Transaction: none\nselect 1;")
    assert not shorter.begins_with(longer.digests[2])


def test_the_digests_of_an_interrupted_file_stay_what_they_were() -> None:
    """Journals hold the digests: computed in another way, no file could be resumed."""
    script = script_of(
        "-- Transaction: none\ncreate table a (x int);\ncopy a from stdin;\n1\n\\.\n"
        "-- é\nselect 'é' -- end"
    )
    joined = [b"", b"create table a (x int);", b"create table a (x int);\0copy a from stdin;"]
    joined.append(joined[2] + "\0select 'é' -- end\n;".encode())
    assert [str(digest) for digest in script.digests] == [
        f"{n}, sha256 {hashlib.sha256(text).hexdigest()}" for n, text in enumerate(joined)
    ]
    assert script.digests[1].sha256 == DIGEST


class TestFilesWithoutAStatement:
    @pytest.mark.parametrize(
        ("texts", "held"),
        [
            ([], []),
            (["select 1"], []),
            ([""], [0]),
            (["select 1", ""], [1]),
            (["", "select 1"], []),
            (["select 1", "", "select 2"], []),
            (["select 1", "", "select 2", "-- soon\n", "/* soon */"], [3, 4]),
            (["", "\n"], [0, 1]),
            (["select 1", "-- Version: 001\n-- Description: x\n\n"], [1]),
            (["select 1", ";;"], [1]),
            (["select 1", "begin;\n\ncommit;"], [1]),
            (["select 1", "-- Transaction: none\n"], [1]),
            (["select 1", "-- Transaction: none\nbegin; commit;"], []),
            (["select 1", "\\set ON_ERROR_STOP on\n"], [1]),
            (["create index concurrently i on t (x)"], []),
        ],
    )
    def test_those_after_the_last_one_with_a_statement_are_found(
        self, texts: list[str], held: list[int]
    ) -> None:
        files = [parse(f"{number:03}-a.sql", text.encode()) for number, text in enumerate(texts)]
        found = without_statements_at_the_end(prepare_all(files))
        assert [script.file.number for script in found] == held
