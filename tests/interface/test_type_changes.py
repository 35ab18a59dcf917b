"""Which types deployed code can bear in place of another."""

import pytest

from lib.interface.type_changes import type_severity
from lib.review.finding import Severity

STOP, WARN, NOTE = Severity.STOP, Severity.WARN, Severity.NOTE


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("integer", "integer", None),
        ("smallint", "integer", NOTE),
        ("integer", "bigint", WARN),
        ("bigint", "integer", WARN),
        ("integer", "smallint", WARN),
        ("integer", "text", STOP),
        ("character varying(10)", "character varying(20)", NOTE),
        ("character varying(20)", "character varying(10)", WARN),
        ("character varying(20)", "text", NOTE),
        ("text", "character varying", NOTE),
        ("text", "character varying(20)", WARN),
        ("character(3)", "character(4)", WARN),
        ("character(3)", "text", STOP),
        ("numeric(10,2)", "numeric(12,2)", NOTE),
        ("numeric(10,2)", "numeric(12,3)", WARN),
        ("numeric(10,2)", "numeric", NOTE),
        ("numeric", "numeric(10,2)", WARN),
        ("timestamp(3) without time zone", "timestamp without time zone", NOTE),
        ("timestamp(3) without time zone", "timestamp(0) without time zone", WARN),
        ("timestamp with time zone", "timestamp without time zone", STOP),
        ("character varying(10)[]", "character varying(20)[]", NOTE),
        ("integer", "integer[]", STOP),
        ("json", "jsonb", STOP),
        ('public."x(1)"', "text", STOP),
    ],
)
def test_types(old: str, new: str, expected: Severity | None) -> None:
    assert type_severity(old, new) is expected
