"""The objects of a schema under a keyed hash each: made of a snapshot, packed, and compared.

Pure. A definition may hold a secret, so none is kept; and without the key nobody can try out which
secret a hash is of.
"""

import base64
import hashlib
import json
import secrets
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from ..catalog.schema_objects import ObjectKey

_HASH_SIZE = 16
_KEY_SIZE = 32
# A schema of 3,000 tables takes 4 MB; a record that somebody has forged must not fill the memory.
_LARGEST = 256 * 1024 * 1024
# Names are repetitive: more effort would save next to nothing.
_COMPRESSION = 3


class UnreadableRecordError(ValueError):
    """A packed schema is damaged, or of another version."""


@dataclass(frozen=True, repr=False)
class PackedSchema:
    """A schema as the table keeps it: three texts in base64."""

    key: str
    objects: str
    hashes: str


@dataclass(frozen=True, repr=False)
class HashedSchema:
    """The hash of each object's definition, under one key; `places` as of a snapshot."""

    key: bytes
    hashes: Mapping[ObjectKey, bytes]
    places: Mapping[ObjectKey, str]

    @classmethod
    def of(
        cls,
        objects: Mapping[ObjectKey, str],
        places: Mapping[ObjectKey, str],
        key: bytes | None = None,
    ) -> Self:
        """Hash definitions under `key`, or under a new one."""
        key = secrets.token_bytes(_KEY_SIZE) if key is None else key
        # Copied for each object, which saves setting up the key.
        keyed = hashlib.blake2b(key=key, digest_size=_HASH_SIZE)
        hashes = {}
        for each, definition in objects.items():
            digest = keyed.copy()
            # No text of PostgreSQL holds a zero byte, so the parts cannot be shifted.
            digest.update("\0".join((*each, definition)).encode("utf-8", "surrogatepass"))
            hashes[each] = digest.digest()
        return cls(key, hashes, places)

    def pack(self) -> PackedSchema:
        """Make what `unpack` reads."""
        each = [(*name, self.places.get(name, "")) for name in self.hashes]
        names = json.dumps(each, separators=(",", ":")).encode()
        return PackedSchema(
            _text(self.key),
            _text(zlib.compress(names, _COMPRESSION)),
            _text(b"".join(self.hashes.values())),
        )

    @classmethod
    def unpack(cls, packed: PackedSchema) -> Self:
        """Read what `pack` has made, or raise UnreadableRecordError."""
        try:
            key, hashes = base64.b64decode(packed.key), base64.b64decode(packed.hashes)
            unpacking = zlib.decompressobj()
            names = json.loads(unpacking.decompress(base64.b64decode(packed.objects), _LARGEST))
            each = {
                ObjectKey(str(kind), str(identity)): str(place) for kind, identity, place in names
            }
        except (ValueError, TypeError, RecursionError, zlib.error):
            raise UnreadableRecordError from None
        if len(key) != _KEY_SIZE or len(hashes) != _HASH_SIZE * len(each):
            raise UnreadableRecordError
        starts = range(0, len(hashes), _HASH_SIZE)
        return cls(
            key,
            {name: hashes[at : at + _HASH_SIZE] for name, at in zip(each, starts, strict=True)},
            {name: place for name, place in each.items() if place},
        )


def _text(value: bytes) -> str:
    return base64.b64encode(value).decode()
