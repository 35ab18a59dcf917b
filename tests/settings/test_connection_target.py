"""Where a target leads to: its place, host and branch, and the secrets that it never prints."""

import pytest

from lib.settings.connection_target import ConnectionTarget
from lib.settings.connection_url import read_target

SENTINEL = "hunter2-sentinel"


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("postgres://u:p@h/d", "h:5432/d"),
        ("postgres://u:p@h:6543/d?sslmode=require", "h:6543/d"),
        ("postgres://u:p@h", "h:5432"),
        ("postgres://u:p@h/?sslmode=require", "h:5432"),
        ("postgres://", "localhost:5432"),
        ("postgres:///d?host=/tmp", "/tmp:5432/d"),
        ("postgres:///d?hostaddr=10.0.0.1", "10.0.0.1:5432/d"),
        ("postgres://a:5433,b:5434/d", "a:5433,b:5434/d"),
        ("postgres://a,b:5434/d", "a:5432,b:5434/d"),
        ("postgres://a,[::1],c/d?port=5433", "a:5433,[::1]:5433,c:5433/d"),
    ],
)
def test_the_place_is_host_port_and_database(url: str, place: str) -> None:
    assert read_target("DATABASE_URL", url).place == place


@pytest.mark.parametrize(
    ("host", "local"),
    [
        *(
            ("localhost", True),
            ("127.0.0.1", True),
            ("[::1]", True),
            ("%2Ftmp", True),
            ("", True),
        ),
        *(
            ("db.example.com", False),
            ("localhost.example.com", False),
            ("10.0.0.1", False),
            ("localhost,db", False),
        ),
        *(
            ("localhost:5433,127.0.0.1:5434", True),
            ("[::1],LOCALHOST,%2Ftmp", True),
            ("db,localhost", False),
        ),
        *((",localhost", True), ("localhost,", True), ("127.0.0.1,10.0.0.1", False)),
    ],
)
def test_only_this_machine_or_a_list_of_it_is_local(host: str, local: bool) -> None:
    assert read_target("DATABASE_URL", f"postgres://{host}/d").is_local is local


@pytest.mark.parametrize(
    ("query", "local"),
    [
        ("hostaddr=127.0.0.1", True),
        ("host=localhost&hostaddr=10.0.0.1", False),
        ("host=localhost,localhost&hostaddr=127.0.0.1,::1", True),
        ("host=localhost,localhost&hostaddr=127.0.0.1,10.0.0.1", False),
        ("host=db.example.com&hostaddr=127.0.0.1", False),
    ],
)
def test_hostaddr_decides_as_well_whether_a_host_is_local(query: str, local: bool) -> None:
    assert read_target("DATABASE_URL", f"postgres:///d?{query}").is_local is local


@pytest.mark.parametrize(
    ("user", "host", "branch"),
    [
        ("u", "ep-cool-darkness-123456.us-east-2.aws.neon.tech", "ep-cool-darkness-123456"),
        (
            "u",
            "ep-cool-darkness-123456-pooler.us-east-2.aws.neon.tech",
            "ep-cool-darkness-123456",
        ),
        (
            "u",
            "EP-Cool-Darkness-123456-Pooler.us-east-2.aws.neon.tech",
            "ep-cool-darkness-123456",
        ),
        ("u", "ep-a-1-pooler.c-2.eu-central-1.aws.neon.tech:5432", "ep-a-1"),
        ("u", "ep-pooler-1.eu-central-1.aws.neon.tech", "ep-pooler-1"),
        ("postgres", "db.abcdefghijklmnop.supabase.co:5432", "abcdefghijklmnop"),
        ("postgres", "db.abcdefghijklmnop.supabase.co:6543", "abcdefghijklmnop"),
        (
            "postgres.abcdefghijklmnop",
            "aws-0-eu-central-1.pooler.supabase.com:6543",
            "abcdefghijklmnop",
        ),
        (
            "my.role.abcdefghijklmnop",
            "aws-0-eu-central-1.pooler.supabase.com:5432",
            "abcdefghijklmnop",
        ),
        ("postgres", "aws-0-eu-central-1.pooler.supabase.com", ""),
        ("u", "ep-cool.example.com", ""),
        ("u", "neon.tech", ""),
        ("u", "db.example.com", ""),
        ("u", "localhost", ""),
    ],
)
def test_the_branch_is_the_same_through_the_pooler_and_directly(
    user: str, host: str, branch: str
) -> None:
    assert read_target("DATABASE_URL", f"postgres://{user}:p@{host}/d").branch == branch


def test_a_target_names_its_secrets_and_does_not_print_them() -> None:
    target = read_target(
        "DATABASE_URL", f"postgres://u:{SENTINEL}%40@h/d?sslpassword=another-{SENTINEL}"
    )
    assert target.secrets == (f"{SENTINEL}@", f"another-{SENTINEL}")
    assert SENTINEL not in f"{target!r} {target} {target.place}"


def test_without_a_password_there_is_no_secret() -> None:
    assert ConnectionTarget("DATABASE_URL", {"host": "h"}).secrets == ()
