"""The next file: its name from words of any alphabet, and its SQL from another tool."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path

import pytest
from conftest import ROOT, Bundle

from lib.errors import ConfigurationError, MigrationFileError
from lib.local.new_migration import Source, create_file, description_from, slug_of

TODAY = date(2026, 11, 27)


def take(bundle: Bundle, sql: str | bytes, description: str = "add orders") -> Path:
    content = sql if isinstance(sql, bytes) else sql.encode()
    source = Source("drizzle/0003_add_orders.sql", content)
    return create_file(bundle.migrations, description, today=TODAY, source=source)


@pytest.mark.parametrize(
    ("description", "slug"),
    [
        ("Add Invoices: the 2nd table!", "add-invoices-the-2nd-table"),
        ("Über uns", "ueber-uns"),
        ("U\u0308ber", "ueber"),
        ("naïve café", "naive-cafe"),
        ("Straße STRASSE ẞ", "strasse-strasse-ss"),
        ("Ærø Łódź Þór ﬁx İzmir", "aero-lodz-thor-fix-izmir"),
        ("Việt Nam", "viet-nam"),
        ("Счета объём й", "scheta-obem-y"),
        ("Київ", "kiyiv"),
        ("Ξένος τραπεζών", "xenos-trapezon"),
        ("ひらがな カタカナ", "hiragana-katakana"),
        ("서울", "seoul"),
        ("users 表", "users"),
        ("１２ｆｕｌｌ", "12full"),
        ("a" * 300, "a" * 200),
    ],
)
def test_a_description_becomes_words_in_a_to_z(description: str, slug: str) -> None:
    assert slug_of(description) == slug


@pytest.mark.parametrize("description", ["", "§§§", "表", "\u0301", "ъ"])
def test_a_description_of_which_nothing_is_left_is_refused(description: str) -> None:
    with pytest.raises(ConfigurationError, match="needs a letter or a digit that can be written"):
        slug_of(description)


@pytest.mark.parametrize(
    ("name", "description"),
    [
        ("0003_add_orders.sql", "add orders"),
        ("../out/20240131120000-add-orders.sql", "add orders"),
        ("V3__Add_orders.sql", "Add orders"),
        ("add orders.up.sql", "add orders up"),
        ("prisma/20240131120000_add_orders/migration.sql", "add orders"),
        ("004.sql", ""),
        ("2fa.sql", "2fa"),
    ],
)
def test_a_file_is_described_by_its_name(name: str, description: str) -> None:
    assert description_from(name) == description


def test_sql_of_another_tool_stands_below_the_header(bundle: Bundle) -> None:
    bundle.write("007-a.sql", "select 1")
    path = take(bundle, b"\xef\xbb\xbfcreate table a ();\r\n--> statement-breakpoint\r\nselect 'a'")
    assert path.name == "008-add-orders.sql"
    assert path.read_bytes() == (
        b"-- Version: 008\n-- Date: 2026-11-27\n-- Description: add orders\n\n"
        b"create table a ();\n--> statement-breakpoint\nselect 'a'\n"
    )


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("select 1;\n\n\\echo x\n", r"^drizzle/0003_add_orders\.sql:3: "),
        ("select 1;\ncommit;", r"^drizzle/0003_add_orders\.sql:2: "),
        ("-- Transacton: none\nselect 1", r"^drizzle/0003_add_orders\.sql:1: .*did you mean"),
        ("-- nothing but a comment\n", r"^drizzle/0003_add_orders\.sql: there is no statement"),
        ("", r"^drizzle/0003_add_orders\.sql: there is no statement"),
        (b"select '\xff'", r"^drizzle/0003_add_orders\.sql:1: the file is not UTF-8"),
        ("-- Version: 9\nselect 1", r"^drizzle/0003_add_orders\.sql:1: "),
    ],
)
def test_sql_that_would_be_refused_is_refused_at_its_line_and_not_written(
    sql: str | bytes, message: str, bundle: Bundle
) -> None:
    with pytest.raises(MigrationFileError, match=message):
        take(bundle, sql)
    assert list(bundle.migrations.iterdir()) == []


def test_a_key_of_the_header_may_come_with_the_sql(bundle: Bundle) -> None:
    path = take(bundle, "-- Transaction: none\nvacuum; analyze;")
    assert "\n\n-- Transaction: none\nvacuum; analyze;\n" in path.read_text()


def test_two_at_once_take_two_numbers(bundle: Bundle) -> None:
    code = (
        "import datetime, pathlib, sys; from lib.local.new_migration import create_file;"
        "create_file(pathlib.Path(sys.argv[1]), sys.argv[2], today=datetime.date.today())"
    )

    def create(word: str) -> None:
        command = [sys.executable, "-c", code, str(bundle.migrations), word]
        subprocess.run(command, cwd=ROOT, check=True, timeout=60)

    words = [f"word {number}" for number in range(6)]
    with ThreadPoolExecutor(len(words)) as pool:
        list(pool.map(create, words))
    numbers = sorted(path.name[:3] for path in bundle.migrations.iterdir())
    assert numbers == ["000", "001", "002", "003", "004", "005"]
