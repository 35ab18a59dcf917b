"""What is recognized as a secret, and what remains of the text around it."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.escaping import message
from lib.masking import is_secretive, lines_without_credentials, masked, without_credentials

SECRET = "hunter2-Hunter2"


@pytest.mark.parametrize(
    "text",
    [
        f"could not connect to postgres://u:{SECRET}@h/db",
        f"could not connect to postgres://u:p@{SECRET}@h/db?sslmode=require",
        f"could not connect to postgres://u:{SECRET}",
        f"mysql+tls://:{SECRET}@h, and x",
        f"clone https://{SECRET}@github.com/a/b",
        f'invalid connection string "u:{SECRET}@h/db"',
        f"host=h password={SECRET} user=u",
        f"host=h password = '{SECRET} {SECRET}' user=u",
        f"host=h password='cut off {SECRET}",
        f"PGPASSWORD={SECRET} psql",
        f"postgres://h/db?user=u&password={SECRET}&x=1",
        f"alter role a password '{SECRET}'",
        f"alter role a encrypted\npassword\n/* new */ U&'{SECRET}'",
        f"alter role a password $x${SECRET}\n{SECRET}$x$",
        f"create user a with password {SECRET};",
        f"create user a identified by {SECRET}",
        f"create user a identified by '{SECRET}'",
        f"SCRAM-SHA-256$4096:{SECRET}==$a:b",
        f"create user mapping for a server s options (user '{SECRET}', password 'p')",
        f"create /* x */ server s foreign data wrapper w options (host '{SECRET}')",
        f"create subscription s connection '{SECRET}' publication p",
        f"alter database app set app.jwt_secret to '{SECRET}'",
        f"alter role web in database app set app.x = '{SECRET}'",
        f"alter system set primary_conninfo = '{SECRET}'",
        f"set local app.jwt_secret = '{SECRET}'",
        f"select vault.create_secret('{SECRET}')",
        f"select vault.create_secret('a', '{SECRET}",
        f"select set_config('app.jwt_secret', '{SECRET}', false)",
        f"select set_config(name, '{SECRET}', false)",
        f"update a set x = '{SECRET}', y = pgp_sym_encrypt('p', 'k')",
        f"select crypt('{SECRET}', gen_salt('bf'))",
        f"select pgp_sym_encrypt(E'it\\'s {SECRET}', 'k')",
        f"-- don't\nselect dblink_connect('{SECRET}')",
        f"select dblink_exec('c', $${SECRET}$$)",
        f"insert into users (email, password_hash) values ('a', '{SECRET}')",
        f"update users set api_key = '{SECRET}'",
        f'{{"access_token": "{SECRET}"}}',
        f"Key (email, api_token)=(a, {SECRET}) already exists.",
        f"Authorization: Bearer {SECRET}",
        f"copy a from program 'curl -u {SECRET}'",
        f"-----BEGIN RSA PRIVATE KEY-----\n{SECRET}\n",
        f"aws_secret_access_key={SECRET}",
        f"copy a from 's3://x' access_key_id '{SECRET}' session_token '{SECRET}'",
        f"the server said: password: {SECRET}",
        f"x-api-key: {SECRET}",
        f"//u:{SECRET}@h/db",
        f"create role a password ''{SECRET}''",
        f"insert into vault.secrets values ('{SECRET}')",
        f"update users set pw = md5('{SECRET}')",
        f"insert into nosuch(k, v) values ('stripe_secret_key', '{SECRET}')",
        f"update nosuch set v = '{SECRET}' where k = 'smtp_password'",
        f"insert into app (pw) values ('{SECRET}')",
        f"create function ff(pw text default '{SECRET}', x nosuch default 'a') returns int",
        f"alter table a add column api_token text not null default '{SECRET}'",
        f"create function ff(user_pass text = '{SECRET}')",
        f"select '{SECRET}' as api_key",
        f"select '{SECRET}' password from a",
        f"declare pw varchar(30) := '{SECRET}'",
        f"insert into a values ('STRIPE_KEY', '{SECRET}')",
        f"update a set v = jsonb_set(v, '{{smtp,password}}', '\"{SECRET}\"')",
        f"the token is: {SECRET}",
        f"raise exception 'no' using hint = 'use password {SECRET}', detail = 'token: {SECRET}'",
        f"use the secret {SECRET}",
        f"https://a.blob.core.windows.net/c/f?sv=2024&sig={SECRET}&se=1",
        f"https://hooks.slack.com/services/{SECRET}",
        f"https://discord.com/api/webhooks/1/{SECRET}",
        f"AccountName=a;AccountKey={SECRET}",
    ],
)
def test_a_secret_is_in_no_text_that_was_masked(text: str) -> None:
    assert SECRET not in masked(text)
    assert masked(masked(text)) == masked(text)
    assert is_secretive(text)


@pytest.mark.parametrize(
    "text",
    [
        *("md5" + "0123456789abcdef" * 2, "AKIAIOSFODNN7EXAMPLE", "ghp_abcdefghijklmnopqrst"),
        *(
            "sk-proj-abcdefghijkl",
            "sk-abcdefghijkl",
            "sk_live_abcdefgh",
            "SG.abcdefgh.ijkl-mnop",
            "AIzaSyabcdefghijkl",
        ),
        *(
            "npm_abcdefghijkl",
            "whsec_abcd/efgh+ijk=",
            "xoxb-1234-abcdefgh",
            "glpat-abcdefghijkl",
        ),
        "eyJhbGciOiJIUzI1NiJ9.eyJyb2xlIjoiYW5vbiJ9.abc",
        "$2a$06$abcdefghijklmnopqrstuvabcdefghijklmnopqrstuvabcdefghi",
    ],
)
def test_a_hash_and_a_key_are_known_by_their_form(text: str) -> None:
    assert re.fullmatch(r"(md5)?…", message(text))


def test_the_rest_of_the_text_stays() -> None:
    assert masked(f"no route to postgres://u:{SECRET}@h:5432/db, or u:{SECRET}@h") == (
        "no route to postgres://u:…@h:5432/db, or u:…@h"
    )
    assert masked(f"host=h password='{SECRET}' user=u") == "host=h password='…' user=u"


@pytest.mark.parametrize(
    "text",
    [
        "A valid token is needed: Authorization: Bearer MIGRATION_SECRET.",
        "Serving http://127.0.0.1:3000/api/migration-status?format=page (the status page).",
        "migrations/001-a.sql:3:1: user@host is not allowed",
        "the password in DATABASE_URL holds a raw @, / or %",
        "percent-encode them in the user and the password: @ as %40, / as %2F",
        'password authentication failed for user "web"',
        "Migrating 127.0.0.1:48019/postgres (from the embedded PostgreSQL; direct).",
        "select name, 'x' from users where token is null",
        "alter table users set (fillfactor = 90)",
        "select set_config('search_path', 'public', false)",
        "create index on users (password_hash)",
        "create table a (token varchar(20), secret int8)",
        "create table a (password text, kind text default 'x')",
        "insert into passengers (name) values ('x')",
    ],
)
def test_what_is_no_secret_is_shown(text: str) -> None:
    assert masked(text) == text
    assert message(text) == text


@given(
    st.sampled_from(["postgres://u:{}@h/d", "password='{}'", "password {}", "create_secret('{}')"]),
    st.text(),
)
def test_no_text_around_it_brings_it_to_light(form: str, before: str) -> None:
    form = form.replace("password {}", "alter role a password '{}'")
    assert SECRET not in masked(f"{before} {form.format(SECRET)}")


def test_many_lines_are_masked_as_each_by_itself() -> None:
    lines = [f"u:{SECRET}@h", "md5 of nothing", f"password={SECRET}", ""]
    assert list(lines_without_credentials(lines)) == [without_credentials(each) for each in lines]
