"""What is left out of a snapshot: what a provider keeps in a database, and what a project ignores.

Pure. The regular expressions are for PostgreSQL, which compares without regard to case.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from .identities import ARGUMENTS, QUOTED, above, addressed, parts, subject
from .schema_objects import KINDS, ObjectKey

# The tables of this runner, in schema public, with all that depends on them.
RUNNERS_TABLES = (
    "schema_migrations",
    "schema_migration_runs",
    "schema_migration_seeds",
    "schema_migration_objects",
)
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

_PATTERN = re.compile(rf"(?:{QUOTED}|{ARGUMENTS}|[^,\"()])+")
_SEPARATOR = re.compile(rf"({QUOTED}|{ARGUMENTS})|,")
_KIND = re.compile(r"([a-z][a-z -]*):(?!:)")


@dataclass(frozen=True)
class IgnoredPattern:
    """A pattern of MIGRATION_DRIFT_IGNORE; without a `kind` it stands for every kind."""

    kind: str | None
    identity: re.Pattern[str]

    def matches(self, kind: str, identity: str) -> bool:
        return self.kind in (None, kind) and self.identity.fullmatch(identity) is not None


@dataclass(frozen=True)
class Exclusions:
    """What a snapshot leaves out: the patterns, and by default what is not the project's.

    `providers` are the schemas, event triggers, publications and privileges of a provider;
    `partitions` are those of every table, since a scheduled job may add and drop them.
    """

    patterns: tuple[IgnoredPattern, ...] = ()
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


def parse_ignored(text: str) -> tuple[IgnoredPattern, ...]:
    """Read patterns with commas between them: `public.events_*`, `function:public.f(*)`.

    A star stands for any text; everything else is as a report of changes has it. Raises ValueError.
    """
    patterns = tuple(_pattern(part.strip()) for part in _split(text) if part.strip())
    if not patterns:
        raise ValueError("no pattern; write public.events_*, or kind:identity")
    return patterns


def _split(text: str) -> list[str]:
    parts = _PATTERN.findall(text)
    if "".join(parts) != _SEPARATOR.sub(r"\1", text):
        raise ValueError('a quote or a parenthesis is not closed, as in "a or f(integer')
    return parts


def _pattern(text: str) -> IgnoredPattern:
    kind, identity = None, text
    if match := _KIND.match(text):
        kind, identity = match[1].strip(), text[match.end() :].strip()
        if kind not in KINDS:
            raise ValueError(f"an unknown kind before a colon; the kinds are {', '.join(KINDS)}")
    if not identity:
        raise ValueError("nothing behind the colon; write kind:identity, as in table:public.events")
    words = map(re.escape, identity.split("*"))
    return IgnoredPattern(kind, re.compile(".*".join(words), re.DOTALL))


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
