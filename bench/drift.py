"""What the record of a schema costs the client: hashing, packing, reading and comparing.

    python bench/drift.py

Processor time, the best of five. The catalog query and its answer are not a part of it.
"""

import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from lib.catalog.comparison import compare
from lib.catalog.schema_objects import ObjectKey
from lib.drift.schema_hashes import HashedSchema

T = TypeVar("T")
# As in the schemas of real projects.
OBJECTS_PER_TABLE = 23
DEFINITION = "bigint not null default nextval('public.table_id_seq'::regclass)"


def measured(work: Callable[[], T]) -> tuple[T, float]:
    """Return the result, and the milliseconds of the fastest of five calls."""
    best = float("inf")
    for _ in range(5):
        start = time.process_time()
        result = work()
        best = min(best, time.process_time() - start)
    return result, best * 1000


def main() -> None:
    print("| tables | objects | kB | hash | pack | unpack | compare |")
    print("|---|---|---|---|---|---|---|")
    for tables in (30, 300, 3000):
        count = tables * OBJECTS_PER_TABLE
        objects = {
            ObjectKey("column", f"public.table_{n % tables}.column_{n}"): DEFINITION
            for n in range(count)
        }
        hashed, hashing = measured(partial(HashedSchema.of, objects, {}))
        packed, packing = measured(hashed.pack)
        unpacked, unpacking = measured(partial(HashedSchema.unpack, packed))
        _, comparing = measured(partial(compare, unpacked.hashes, hashed.hashes))
        size = (len(packed.objects) + len(packed.hashes)) / 1000
        times = " | ".join(f"{each:.0f}" for each in (hashing, packing, unpacking, comparing))
        print(f"| {tables} | {count:,} | {size:.0f} | {times} |")


if __name__ == "__main__":
    main()
