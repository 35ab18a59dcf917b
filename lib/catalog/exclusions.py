"""What is left out of a snapshot: what a provider keeps in a database, and what a project ignores.

Pure. The regular expressions are for PostgreSQL, which compares without regard to case.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from ..object_patterns import ObjectPattern
from .identities import above, addressed, parts, subject
from .schema_objects import ObjectKey

# Names that a project may as well give to a schema of its own. Such a schema is a provider's if a
# role of the provider owns it, if an extension brought it or stands in it, or on Supabase.
COMMON_SCHEMAS = (
    "auth|storage|extensions|realtime|vault|graphql|graphql_public|net|cron|partman|repack"
    "|topology|tiger.*|aws.*|google.*|azure.*"
)
COMMON_SCHEMAS_OWNER = "supabase_admin"
# What these own or are granted is no business of a project. Without anon, authenticated and
# service_role of Supabase: their privileges are what a project sets.
PROVIDERS_ROLES = (
    "supabase_.*|dashboard_user|pgsodium_.*|pgbouncer|pgtle_.*|neon_.*|cloud_admin|rds.*"
    "|cloudsql.*|alloydb.*|azure.*|azuresu|aiven.*|avnadmin|crunchy_.*|pscale_.*"
)
PROVIDERS_PUBLICATIONS = "supabase_.*|neon_.*|rds.*|awsdms_.*|cloudsql.*"


@dataclass(frozen=True)
class Exclusions:
    """What a snapshot leaves out: the patterns, and by default what is not the project's.

    `providers` are the schemas, event triggers, publications and privileges of a provider;
    `partitions` are those of every table, since a scheduled job may add and drop them.
    """

    patterns: tuple[ObjectPattern, ...] = ()
    providers: bool = True
    partitions: bool = True

    def covers(self, key: ObjectKey, *, place: str | None = None) -> bool:
        """True if a pattern matches the object, its schema, or what it is below.

        `place` is that of the snapshot's row: "KIND IDENTITY" of the table that an index or a
        sequence belongs to. No identity says that, so without it these have to match themselves.
        """
        return any(
            pattern.matches(kind, identity)
            for kind, identity in _line(key, place)
            for pattern in self.patterns
        )


def _line(key: ObjectKey, place: str | None) -> Iterator[tuple[str, str]]:
    """The object, what it is of or below, and its schema."""
    yield key
    of = subject(key)
    yield of
    yield from above(of)
    if place and (known := addressed(place)):
        yield known
    names = parts(of.identity)
    if len(names) > 1:
        yield "schema", names[0]
