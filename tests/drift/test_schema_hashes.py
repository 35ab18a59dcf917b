"""Keyed hashes of a schema: packed and read again, and nothing of a definition in them."""

import json
import tracemalloc
import zlib
from base64 import b64encode
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.catalog.schema_objects import ObjectKey
from lib.drift.schema_hashes import HashedSchema, PackedSchema, UnreadableRecordError

# What PostgreSQL stores in a text: anything but a zero byte.
texts = st.text(st.characters(exclude_characters="\0", codec="utf-8"))
objects = st.dictionaries(st.builds(ObjectKey, texts, texts), texts, max_size=20)
USERS = ObjectKey("table", "public.users")


@given(objects)
def test_what_is_packed_is_read_again(found: dict[ObjectKey, str]) -> None:
    places = dict.fromkeys(list(found)[::2], "table public.users")
    hashed = HashedSchema.of(found, places)
    assert HashedSchema.unpack(hashed.pack()) == hashed
    assert HashedSchema.of(found, places, hashed.key) == hashed


def test_the_same_definition_has_another_hash_under_another_key() -> None:
    first, second = HashedSchema.of({USERS: "r p"}, {}), HashedSchema.of({USERS: "r p"}, {})
    assert first.hashes != second.hashes


def test_two_objects_with_one_definition_have_different_hashes() -> None:
    hashed = HashedSchema.of({USERS: "x", ObjectKey("table", "public.orders"): "x"}, {})
    assert len(set(hashed.hashes.values())) == 2


def test_neither_definition_nor_key_is_shown() -> None:
    hashed = HashedSchema.of({USERS: "secret"}, {}, b"k" * 32)
    assert "secret" not in repr(hashed)
    assert "kkkk" not in repr(hashed)
    assert repr(hashed.pack()).startswith("<")


def packed(**parts: str) -> PackedSchema:
    return replace(HashedSchema.of({USERS: "r p"}, {}).pack(), **parts)


def compressed(value: object) -> str:
    return b64encode(zlib.compress(json.dumps(value).encode())).decode()


@pytest.mark.parametrize(
    "damaged",
    [
        packed(key=""),
        packed(key="#"),
        packed(hashes=""),
        packed(objects=""),
        packed(objects="AAAA"),
        packed(objects=compressed({})),
        packed(objects=compressed([["table"]])),
        packed(objects=compressed([1])),
        packed(objects=compressed([["table", "a", ""], ["table", "b", ""]])),
        packed(objects=b64encode(zlib.compress(b"[" * 100_000)).decode()),
    ],
)
def test_a_damaged_record_is_told_apart(damaged: PackedSchema) -> None:
    with pytest.raises(UnreadableRecordError):
        HashedSchema.unpack(damaged)


def test_a_schema_of_3000_tables_takes_little_memory() -> None:
    found = {ObjectKey("column", f"public.table_{n % 3000}.column_{n}"): "" for n in range(70_000)}
    tracemalloc.start()
    try:
        HashedSchema.unpack(HashedSchema.of(found, {}).pack())
        assert tracemalloc.get_traced_memory()[1] < 100e6
    finally:
        tracemalloc.stop()
