"""What the embedded PostgreSQL lacks, and what to do about it."""

import pytest

from lib.plan.local_remedies import local_remedy


@pytest.mark.parametrize(
    ("sqlstate", "message", "expected"),
    [
        ("0A000", 'extension "pgcrypto" is not available', " stop`, and run this"),
        ("0A000", 'extension "uuid-ossp" is not available', "has a stand-in for it"),
        ("0A000", 'extension "postgis" is not available', "does not have postgis. Set DATABASE_"),
        ("0A000", 'extension "pg_cron" is not available', "`Environments: production, preview`"),
        ("0A000", 'extension "pg_graphql" is not available', "MIGRATION_LOCAL_PLATFORM=supabase"),
        ("42704", 'role "anon" does not exist', "MIGRATION_LOCAL_PLATFORM=supabase"),
        ("42704", 'role "supabase_auth_admin" does not exist', "MIGRATION_LOCAL_PLATFORM=supabase"),
        ("42704", 'publication "supabase_realtime" does not exist', "MIGRATION_LOCAL_PLATFORM="),
        ("3F000", 'schema "auth" does not exist', "MIGRATION_LOCAL_PLATFORM=supabase"),
        ("3F000", 'schema "extensions" does not exist', "MIGRATION_LOCAL_PLATFORM=supabase"),
        ("42P01", 'relation "auth.users" does not exist', "MIGRATION_LOCAL_PLATFORM=supabase"),
        ("42P01", 'relation "storage.objects" does not exist', "MIGRATION_LOCAL_PLATFORM="),
    ],
)
def test_what_is_missing_is_told_with_its_remedy(
    sqlstate: str, message: str, expected: str
) -> None:
    assert expected in local_remedy(sqlstate, message)


@pytest.mark.parametrize(
    ("sqlstate", "message"),
    [
        ("0A000", "gen_salt() is not in the stand-in for pgcrypto"),
        ("42704", 'role "ann" does not exist'),
        ("42P01", 'relation "users" does not exist'),
        ("42P01", 'relation "auth.accounts" does not exist'),
        ("P0001", 'role "anon" does not exist'),
    ],
)
def test_of_anything_else_nothing_is_known(sqlstate: str, message: str) -> None:
    assert local_remedy(sqlstate, message) == ""
