"""A value that was pasted wrong is described, and no part of the value is shown."""

import pytest

from lib import ROOT
from lib.settings.connection_url import read_target
from lib.settings.database_choice import SIBLINGS, DatabaseChoice
from lib.settings.pasted_values import fault

URL = "postgresql://app:hunter2-sentinel@db.example.com:5432/shop?sslmode=require"
PARTS = ("hunter2", "app", "db.example.com", "shop", "5432")


@pytest.mark.parametrize(
    ("value", "fault_text"),
    [
        (f'"{URL}"', "stands in quotes"),
        (f"'{URL}'", "stands in quotes"),
        (f" '{URL}' \n", "stands in quotes"),
        (f"“{URL}”", "stands in quotes"),
        (f"`{URL}`", "stands in quotes"),
        (f"<{URL}>", "stands in quotes"),
        (f'"{URL}', "stands in quotes"),
        (f'{URL}"', "stands in quotes"),
        (f"psql '{URL}'", "a psql command"),
        (f"psql {URL}", "a psql command"),
        (f'psql "{URL}" -c "select 1"', "a psql command"),
        ("psql -h db.example.com -U app", "a psql command"),
        (f"DATABASE_URL={URL}", "a name and its value"),
        (f'DATABASE_URL="{URL}"', "a name and its value"),
        (f"export DATABASE_URL='{URL}'", "a name and its value"),
        (f"DATABASE_URL = {URL}", "a name and its value"),
        (f"DATABASE_URL: {URL}", "a name and its value"),
        (f'$env:DATABASE_URL = "{URL}"', "a name and its value"),
        ("host=db.example.com user=app password=hunter2", "keyword=value"),
        (f"{URL};", "ends with a ;"),
        (f"{URL},", "ends with a ,"),
        (f"jdbc:{URL}", "JDBC"),
        (URL.replace("postgresql", "postgresql+asyncpg"), "names a driver"),
        (URL.replace("postgresql", "postgres+psycopg2"), "names a driver"),
        ("${DATABASE_URL}", "names another variable"),
        ("$DATABASE_URL", "names another variable"),
        ("%DATABASE_URL%", "names another variable"),
        ("@database-url", "names another variable"),
        ("${{ secrets.DATABASE_URL }}", "names another variable"),
        ("process.env.DATABASE_URL", "names another variable"),
        ("postgres://app:${DB_PASSWORD}@db.example.com/shop", "names another variable"),
        ("postgres://$PGUSER:$PGPASSWORD@$PGHOST/$PGDATABASE", "names another variable"),
        ("postgres://app:hunter2@$PGHOST:5432/shop", "names another variable"),
        ("postgres://app:[YOUR-PASSWORD]@db.example.com:5432/shop", "has a placeholder"),
        ("postgres://app:<password>@db.example.com/shop", "has a placeholder"),
        ("postgres://app:hunter2@<host>/shop", "has a placeholder"),
        ("postgres://app:********@db.example.com/shop", "has a placeholder"),
        (f"\ufeff{URL}", "begins with U+FEFF (ZERO WIDTH NO-BREAK SPACE)"),
        (f"{URL}\u200b", "ends with U+200B (ZERO WIDTH SPACE)"),
    ],
)
@pytest.mark.parametrize("source", ["MIGRATION_DATABASE_URL", *SIBLINGS, *SIBLINGS.values()])
def test_a_wrong_paste_is_described_without_the_value(
    value: str, fault_text: str, source: str
) -> None:
    environ = {
        source: value,
        **{name: value for name, sibling in SIBLINGS.items() if sibling == source},
    }
    with pytest.raises(ValueError, match=source) as raised:
        DatabaseChoice(environ, ROOT).migration_target()
    assert fault_text in str(raised.value)
    assert str(raised.value).startswith(f"{source} ")
    assert not any(part in str(raised.value) for part in PARTS)


@pytest.mark.parametrize("name", ["MIGRATION_DATABASE_SECRET_ARN", "AWS_ROLE_ARN"])
def test_a_wrong_paste_of_an_arn_is_described_without_the_value(name: str) -> None:
    secret = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:shop"
    environ = {"MIGRATION_DATABASE_SECRET_ARN": secret, name: f'"{secret}"'}
    with pytest.raises(ValueError, match=f"^{name} stands in quotes"):
        DatabaseChoice(environ, ROOT).migration_target()


@pytest.mark.parametrize(
    "url",
    [
        URL,
        "postgres://u:pa$WORD@h/d",
        "postgres://u:%24WORD@h/d",
        "postgres://u:a'b\"c@h/d",
        "postgres://u:a=b@h/d",
        "postgres://[::1]:5433/d",
        "postgres://u:p@[fe80::1]/d",
        "postgres://psql:psql@psql/psql",
        "postgres://u:*@h/d",
        "postgres:///d?options=-c%20a.b%3D'c'",
        "postgresql://",
    ],
)
def test_a_url_with_special_characters_is_accepted(url: str) -> None:
    assert fault(url) is None
    read_target("DATABASE_URL", url)
