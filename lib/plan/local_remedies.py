"""What to do where the embedded PostgreSQL lacks what a migration needs.

Recognized by the message, which that server writes in English.
"""

import re

from .. import COMMAND

# feature_not_supported, undefined_object, invalid_schema_name, undefined_table.
_NO_EXTENSION = "0A000"
_NO_OBJECT = ("42704", "3F000", "42P01")

_STAND_INS = ("pgcrypto", "uuid-ossp")
_OF_SUPABASE = ("pg_graphql", "supabase_vault")
_EXTENSION = re.compile(r'^extension "(?P<name>.+)" is not available$')
# What is in a database at Supabase before the first migration.
_SUPABASE = re.compile(
    r'^(?:role "(?:anon|authenticated|service_role|authenticator|dashboard_user|supabase_\w+)"'
    r'|schema "(?:auth|storage|extensions|realtime|vault|graphql|graphql_public)"'
    r'|relation "(?:auth\.users|storage\.(?:buckets|objects)|realtime\.messages)"'
    r'|publication "supabase_realtime") does not exist$'
)

_NO_SUPABASE = (
    "It is a part of Supabase. With MIGRATION_LOCAL_PLATFORM=supabase, such as in .env.local, the "
    "embedded PostgreSQL has its roles, schemas and tables."
)
_NO_STAND_IN = (
    "The embedded PostgreSQL has a stand-in for it, which a server that an earlier version has "
    f"started does not know: `{COMMAND} stop`, and run this again. Below a path with a colon there "
    "is none."
)


def local_remedy(sqlstate: str, message: str) -> str:
    """What to do about an error of the embedded PostgreSQL; empty if that is not known."""
    if sqlstate == _NO_EXTENSION and (found := _EXTENSION.match(message)):
        return _no_extension(found["name"])
    if sqlstate in _NO_OBJECT and _SUPABASE.match(message):
        return _NO_SUPABASE
    return ""


def _no_extension(name: str) -> str:
    if name in _STAND_INS:
        return _NO_STAND_IN
    if name in _OF_SUPABASE:
        return _NO_SUPABASE
    return (
        f"The embedded PostgreSQL does not have {name}. Set DATABASE_URL to a database that has "
        "it, or leave the file out here: `Environments: production, preview` in its header."
    )
