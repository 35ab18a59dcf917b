"""Invisible characters: named where they break a statement, and allowed elsewhere."""

import pytest

from lib.errors import MigrationFileError
from lib.files.folder import parse
from lib.files.prepare_script import prepare


def check(sql: str) -> None:
    prepare(parse("001-x.sql", sql.encode()))


@pytest.mark.parametrize(
    ("sql", "named"),
    [
        ("select 1;\n\u200bselect 2;", "U+200B ZERO WIDTH SPACE at 2:1"),
        ("select 1;\n\ufeffselect 2;", "U+FEFF ZERO WIDTH NO-BREAK SPACE at 2:1"),
        ("\ufeff\ufeff\\restrict x\nselect 1;", "U+FEFF ZERO WIDTH NO-BREAK SPACE at 1:1"),
        ("\ufeff\ufeff-- a\nselect 1;", "U+FEFF ZERO WIDTH NO-BREAK SPACE at 1:1"),
        ("select\u00a01;", "U+00A0 NO-BREAK SPACE at 1:7"),
        ("select 1\u00a0;", "U+00A0 NO-BREAK SPACE at 1:9"),
        ("select 1;\n\n  \u3000", "U+3000 IDEOGRAPHIC SPACE at 3:3"),
        ("select 1 as é\u2028;", "U+2028 LINE SEPARATOR at 1:14"),
        ("drop table us\u00aders;", "U+00AD SOFT HYPHEN at 1:14"),
        ("drop table users\u200d;", "U+200D ZERO WIDTH JOINER at 1:17"),
        ("drop table \u200cنام;", "U+200C ZERO WIDTH NON-JOINER at 1:12"),
        ("drop table \u202eusers;", "U+202E RIGHT-TO-LEFT OVERRIDE at 1:12"),
        ("drop table a\ufe0f;", "U+FE0F VARIATION SELECTOR-16 at 1:13"),
        ("drop table \u3164;", "U+3164 HANGUL FILLER at 1:12"),
        ("select 1;\x1a", "U+001A CONTROL CHARACTER at 1:10"),
        ("select\x85 1;", "U+0085 CONTROL CHARACTER at 1:7"),
        ("do $$ begin\n\u00a0perform 1; end $$;", "U+00A0 NO-BREAK SPACE at 2:1"),
        (
            "create function f() returns int language sql as $f$ select\u00a01 $f$;",
            "U+00A0 NO-BREAK SPACE at 1:59",
        ),
        ("select '\u200b';\nselect\u200b 1;", "U+200B ZERO WIDTH SPACE at 2:7"),
    ],
)
def test_one_that_stands_for_a_letter_of_a_name_is_refused_by_its_name_and_place(
    sql: str, named: str
) -> None:
    line = named.rpartition(" ")[2].partition(":")[0]
    with pytest.raises(MigrationFileError, match=rf"^migrations/001-x\.sql:{line}: U\+") as raised:
        check(sql)
    assert f": {named} is invisible" in str(raised.value)


def test_how_many_more_there_are_is_told() -> None:
    with pytest.raises(
        MigrationFileError, match=r"write an ordinary space \(and 2 more such characters\)$"
    ):
        check("select\u00a01,\u00a02;\nselect\u00a03;")


@pytest.mark.parametrize(
    "sql",
    [
        "select '\u200b \u00a0 \ufeff';",
        "select E'\u200b', $$\u200b$$, $é$\u00a0$é$;",
        'create table "a\u200bb" ("\u00a0" int);',
        "-- a\u00a0comment \u200b\n/* \ufeff */ select 1; -- \u2028",
        "copy a from stdin;\n\u200b\t\u00a0\n\\.\n",
        "create table é_ñ_日本 (größe int);",
        "create table می\u200cخواهم (x int);",
        "create table क्\u200dष (x int);",
        "select 1 as ❤\ufe0f, 2 as 👨\u200d👩\u200d👧, 3 as ❤\ufe0f\u200d🔥;",
        "do $$ begin perform '\u00a0'; end $$; -- \u00a0",
        "do language plpython3u $$ x\u00a0 = 1 $$;",
        "create function f() returns text language plv8 as $$ \u00a0 $$;",
        "comment on table a is $$ \u200b $$;",
        "do $$ 'never closed \u200b $$;",
        "\ufeffselect 1;",
        "select\t1;\x0b\x0c\r\n",
    ],
)
def test_elsewhere_and_as_a_part_of_a_letter_it_is_left_alone(sql: str) -> None:
    check(sql)
