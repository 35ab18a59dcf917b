"""Texts of SQL for the tests of the lexer."""

# What a SQL text is made of where it is hard to cut.
FRAGMENTS = (
    *(
        "'",
        "''",
        "E'",
        "U&'",
        '"',
        '""',
        "$",
        "$$",
        "$é$",
        "$a$",
        "$1",
        "a$b",
        "--",
        "/*",
        "*/",
        ";",
        "\\",
        "\\.",
        "(",
        ")",
    ),
    *(
        "\n",
        "\r\n",
        "\r",
        " ",
        "\ufeff",
        "\u00a0",
        "é",
        "x",
        "0",
        "1e5",
        "begin",
        "end",
        "case",
        "commit",
        ":",
        "\\'",
    ),
    *(
        "create function f() begin atomic ",
        "create or replace procedure ",
        "copy t from stdin;",
        "\n\\.\n",
        "select",
    ),
)

ONE_STATEMENT = {
    "plain string": "select ';'",
    "doubled quote": "select 'it''s; fine'",
    "backslash is no escape in a plain string": r"select '\', ';'",
    "string over lines": "select 'a;\n;b'",
    "plain strings continued": "select 'a;'\n  'b;'",
    "dollars in a plain string": "select '$$', ';', '$$'",
    "comment signs in a string": "select '--', '/*', ';'",
    "escape string": r"select E'\';'",
    "escape string in lower case": r"select e'it\'s;'",
    "escape string with a doubled quote": r"select E'a''\';'",
    "escape string that ends in a backslash": r"select E'\\', ';'",
    "escape string continued over a line": "select E'a\\''\n'b;\\n'",
    "escape string continued over a comment": "select E'a' -- it's\n  -- and;\n  'b\\\\;'",
    "escape string continued over CR LF": "select E'a'\r\n\r\n\t'b\\n;'",
    "escape string continued over a CR": "select E'a'\r'b\\';'",
    "escape string and a string on the same line": r"select E'a' ';\'",
    "identifier that ends in E": r"select some_e'\', ';'",
    "Unicode string": r"select U&'\0441;'",
    "Unicode string ends at its quote": r"select U&'\', ';'",
    "Unicode identifier": r'select U&"\0441;"',
    "bit, hexadecimal and national strings": r"select B'1', x'ff;', N'\', ';'",
    "quoted identifier": 'select "a;b"',
    "doubled quote in an identifier": 'select "a"";b"',
    "quote in an identifier": "select \"it's;\", ';'",
    "dollar quotes": "select $$;$$",
    "dollar tag": "select $a$;$$;$b$;$a$",
    "dollar tag of non-ASCII letters": "select $é$;$e$;$é$",
    "dollar tag with digits": "select $_1$;$_1$",
    "dollar tag in another case": "select $A$;$a$;$A$",
    "dollar quote that ends in a dollar sign": "select $$;$a$$",
    "nested dollar quotes": "do $outer$ begin execute $$ select ';' $$; end $outer$",
    "dollar quotes right after a number": "select 1$$;$$",
    "apostrophe in a dollar body": "select $$it's;$$",
    "line comment": "select 1 -- it's; not over\n + 1",
    "line comment that ends in a backslash": "select 1 -- a \\;\n + 1",
    "line comment up to a CR": "select 1 -- a;\r + 1",
    "block comment": "select 1 /* it's; $$ not over */ + 1",
    "nested comments": "select 1 /* a; /* b; */ c; */ + 1",
    "comment between operators": "select 1 +/* ; */- 1",
    "comment sign within a line comment": "select 1 -- /* ;\n",
    "parentheses": "create rule r as on update to t do (delete from a; delete from b)",
    "nested parentheses": (
        "create rule r as on update to t do ((delete from a; (select 1)); select 2)"
    ),
    "parenthesis in a string in parentheses": (
        "create rule r as on update to t do (select ')'; select 2)"
    ),
    "BEGIN ATOMIC": "create function f() returns int begin atomic select 1; select 2; end",
    "BEGIN ATOMIC with CASE": (
        "create function f() begin atomic select case when a then b end; select 2; end"
    ),
    "BEGIN ATOMIC with CASE in parentheses": (
        "create function f() begin atomic select (case a when b then c end); end"
    ),
    "BEGIN ATOMIC in a procedure": (
        "CREATE OR REPLACE PROCEDURE p() BEGIN ATOMIC INSERT INTO t VALUES (1); END"
    ),
    "BEGIN ATOMIC after a comment": (
        "create /* or */ function f() -- ;\n begin atomic select 1; end"
    ),
}
