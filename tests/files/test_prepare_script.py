"""From a file to a script: the mode, the statements, and what is sent for each."""

import pytest

from lib.errors import MigrationFileError
from lib.files.folder import parse
from lib.files.prepare_script import prepare, prepare_all
from lib.files.runnable_script import Mode, Script

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
    def test_the_outermost_transaction_is_removed_and_its_options_are_kept(
        self, begin: str, options: str, commit: str
    ) -> None:
        script = script_of(
            f"-- why\n\\set ON_ERROR_STOP 1\n{begin}\n;\nselect 1;\nselect 2;\n{commit}\n-- end"
        )
        assert [statement.text for statement in script.statements] == ["select 1;", "select 2;"]
        assert (script.mode, script.begin_options) == (Mode.TRANSACTION, options)

    def test_the_header_of_a_dump_may_precede_the_transaction(self) -> None:
        assert texts("set lock_timeout = 0;\nbegin;\nselect 1;\ncommit;") == ["select 1;"]

    def test_settings_of_the_session_may_precede_the_transaction(self) -> None:
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

    def test_the_transaction_may_be_empty(self) -> None:
        assert texts("begin; commit;") == []

    def test_the_blocks_of_a_dump_around_large_objects_are_removed(self) -> None:
        block = (
            "BEGIN;\n\nSELECT pg_catalog.lo_open('50001', 131072);\n"
            "SELECT pg_catalog.lowrite(0, '\\x78');\n"
            "SELECT pg_catalog.lo_close(0);\n\nCOMMIT;\n"
        )
        assert texts(f"select 1;\n{block}{block}select 2;")[::7] == ["select 1;", "select 2;"]
        with pytest.raises(MigrationFileError, match=r'001-x\.sql:2: "BEGIN"'):
            script_of(f"select 1;\n{block.replace('COMMIT', 'select 1; COMMIT')}")

    def test_what_postgres_refuses_inside_a_transaction_is_refused(self) -> None:
        with pytest.raises(
            MigrationFileError, match=r"001-x\.sql:2: \"vacuum\" can't run inside a transaction"
        ):
            script_of("begin;\nvacuum;\ncommit;")

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
    def test_a_block_around_a_part_of_the_file_is_refused(self, sql: str, line: int) -> None:
        with pytest.raises(
            MigrationFileError,
            match=rf'001-x\.sql:{line}: "\w+.*" would end or begin a transaction',
        ):
            script_of(sql)


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
    def test_every_statement_ends_in_a_semicolon(self, sql: str, expected: list[str]) -> None:
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

    def test_a_zero_statement_timeout_does_not_override_the_header(self) -> None:
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


class TestWhatIsSent:
    def test_copy_data_is_sent_in_pieces(self) -> None:
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
    def test_a_statement_that_cannot_share_a_message_goes_alone(
        self, sql: str, alone: bool
    ) -> None:
        assert script_of(sql).statements[0].goes_alone is alone


def test_one_error_names_all_refused_files() -> None:
    files = [
        parse(f"00{n}-x.sql", sql) for n, sql in enumerate((b"commit;", b"select 1;", b"\n\\q"))
    ]
    with pytest.raises(MigrationFileError, match=r"000-x\.sql:1: (?s:.*)002-x\.sql:2: ") as raised:
        prepare_all(files)
    assert raised.value.details() == {"version": "000-x", "line": 1}
