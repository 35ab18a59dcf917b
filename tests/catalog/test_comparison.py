"""What differs between two schemas, and what only comes along."""

import pytest

from lib.catalog.comparison import compare
from lib.catalog.schema_objects import Change, ChangeKind, ObjectKey

Objects = dict[ObjectKey, str]


def objects(*entries: str) -> Objects:
    """Read "kind:identity=definition"; the definition may be left out."""
    found = {}
    for entry in entries:
        address, _, definition = entry.partition("=")
        found[ObjectKey(*address.split(":", 1))] = definition
    return found


def test_what_was_added_removed_and_changed_in_order() -> None:
    before = objects("table:public.a=1", "view:public.v=1", "index:public.i=1")
    after = objects("table:public.a=2", "view:public.v=1", "column:public.a.x=1")
    assert compare(before, after) == (
        Change("column", "public.a.x", ChangeKind.ADDED),
        Change("index", "public.i", ChangeKind.REMOVED),
        Change("table", "public.a", ChangeKind.CHANGED),
    )


def test_hashes_are_compared_as_definitions_are() -> None:
    key = ObjectKey("table", "public.a")
    assert compare({key: b"1"}, {key: b"1"}) == ()
    assert compare({key: b"1"}, {key: b"2"}) == (Change(*key, ChangeKind.CHANGED),)


@pytest.mark.parametrize(
    ("outermost", "along"),
    [
        ("table:public.a", ("column:public.a.x", "constraint:public.a.a_pkey")),
        ("table:public.a", ("trigger:public.a.t", "policy:public.a.p", "rule:public.a.r")),
        ("table:public.a", ("owner:table public.a", "comment:table public.a")),
        ("table:public.a", ("comment:column public.a.x", "privilege:column public.a.x")),
        ('table:public."a.b"', ('column:public."a.b"."c.d"',)),
        ("type:public.email", ("constraint:public.email.valid", "owner:type public.email")),
        ("view:public.v", ("privilege:view public.v", "comment:column public.v.x")),
        ("materialized view:public.m", ("owner:materialized view public.m",)),
        (
            "function:public.f(integer, numeric(3,1))",
            ("privilege:function public.f(integer, numeric(3,1))",),
        ),
        ("operator class:public.o using btree", ("owner:operator class public.o using btree",)),
        ("column:public.a.x", ("comment:column public.a.x",)),
    ],
)
def test_what_comes_and_goes_with_another_object_is_no_change_of_its_own(
    outermost: str, along: tuple[str, ...]
) -> None:
    every = objects(outermost, *along)
    [key] = objects(outermost)
    assert compare({}, every) == (Change(*key, ChangeKind.ADDED),)
    assert compare(every, {}) == (Change(*key, ChangeKind.REMOVED),)


def test_what_changes_within_a_table_that_stays_is_named() -> None:
    before = objects("table:public.a=1", "column:public.a.x=1", "comment:table public.a=1")
    after = objects("table:public.a=2", "column:public.a.x=2", "column:public.a.y=1")
    assert [str(each.change) for each in compare(before, after)] == [
        "changed", "added", "removed", "changed"
    ]  # fmt: skip


def test_a_name_that_begins_alike_is_no_parent() -> None:
    before = objects("column:public.ab.x")
    assert len(compare(before, objects("table:public.a"))) == 2


def test_a_change_is_a_document() -> None:
    assert Change("table", "public.a", ChangeKind.ADDED).to_dict() == {
        "kind": "table",
        "identity": "public.a",
        "change": "added",
    }
