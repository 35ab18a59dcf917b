"""The patterns of MIGRATION_DRIFT_IGNORE: what they cover."""

import pytest

from lib.catalog.exclusions import Exclusions
from lib.catalog.schema_objects import ObjectKey
from lib.object_patterns import parse_patterns


def covers(patterns: str, kind: str, identity: str, place: str | None = None) -> bool:
    return Exclusions(parse_patterns(patterns)).covers(ObjectKey(kind, identity), place=place)


@pytest.mark.parametrize(
    ("patterns", "kind", "identity", "place"),
    [
        ("public.events", "table", "public.events", None),
        ("public.events_*", "table", "public.events_2020", None),
        ("*", "extension", "hstore", None),
        ("a, public.events ,b", "table", "public.events", None),
        ("public.events,", "table", "public.events", None),
        # All that is below a table, and all that is said of it.
        ("public.events", "column", "public.events.at", None),
        ("public.events", "policy", "public.events.mine", None),
        ("public.events", "comment", "table public.events", None),
        ("public.events", "comment", "column public.events.at", None),
        ("table:public.events", "column", "public.events.at", None),
        ("table:public.events", "owner", "table public.events", None),
        ("public.events", "index", "public.by_time", "table public.events"),
        ("table:public.events", "sequence", "public.events_id_seq", "table public.events"),
        ("materialized view:public.m", "index", "public.i", "materialized view public.m"),
        ("publication:pub", "publication table", "pub public.events", "table public.events"),
        ('"my pub"', "publication schema", '"my pub" public', None),
        # All that is in a schema.
        ("analytics", "function", "analytics.f(text)", None),
        ("schema:analytics", "privilege", "table analytics.t", None),
        ("analytics", "schema", "analytics", None),
        # A kind.
        ("privilege:*", "privilege", "table public.events", None),
        ("function: public.f(integer, text)", "function", "public.f(integer, text)", None),
        ("public.f(integer, text),public.g()", "function", "public.g()", None),
        ('public."a, b"', "table", 'public."a, b"', None),
        ('public."x.y"', "column", 'public."x.y".z', None),
        ("operator:public.::", "operator", "public.::", None),
        ("public.events\n", "table", "public.events", None),
    ],
)
def test_a_pattern_covers(patterns: str, kind: str, identity: str, place: str | None) -> None:
    assert covers(patterns, kind, identity, place)


@pytest.mark.parametrize(
    ("patterns", "kind", "identity"),
    [
        ("public.event", "table", "public.events"),
        ("events", "table", "public.events"),
        ("PUBLIC.EVENTS", "table", "public.events"),
        ("public.event.", "table", "public.events"),
        ("public.e?ents", "table", "public.events"),
        ("view:public.events", "table", "public.events"),
        ("view:public.events", "column", "public.eventss.at"),
        ("table:public.events", "index", "public.events"),
        ("index:public.events", "column", "public.events.at"),
        ("publication:pub", "publication table", "pubs public.events"),
        ("publication:pub", "table", "pub.events"),
        ("public.x", "column", 'public."x.y".z'),
        ("schema:public.events", "table", "public.events"),
    ],
)
def test_a_pattern_does_not_cover(patterns: str, kind: str, identity: str) -> None:
    assert not covers(patterns, kind, identity)


def test_without_patterns_nothing_is_covered() -> None:
    assert not Exclusions().covers(ObjectKey("table", "public.a"), place="table public.a")
