"""A database URL: what is read from it, and what is refused, without quoting any of the URL."""

import traceback

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.settings.connection_url import read_target

SENTINEL = "hunter2-sentinel"


def refusal(url: str, source: str = "DATABASE_URL") -> str:
    """The message that refuses the URL. It names the variable, and no part of the value."""
    with pytest.raises(ValueError, match=source) as raised:
        read_target(source, url)
    shown = "".join(traceback.format_exception(raised.value))
    assert SENTINEL not in shown
    assert "hunter2" not in str(raised.value)
    return str(raised.value)


class TestAUrl:
    @pytest.mark.parametrize(
        ("url", "parameters"),
        [
            ("postgresql://u:p@h/d", {"user": "u", "password": "p", "host": "h", "dbname": "d"}),
            (
                "postgres://u:p@h:6543/d",
                {"user": "u", "password": "p", "host": "h", "port": "6543", "dbname": "d"},
            ),
            ("  postgres://h/d\n", {"host": "h", "dbname": "d"}),
            (
                "postgres://u:a%40b%2Fc%25d%3Ae@h/d",
                {"user": "u", "password": "a@b/c%d:e", "host": "h", "dbname": "d"},
            ),
            (
                "postgres://u:a:b#c&d=e@h/d",
                {"user": "u", "password": "a:b#c&d=e", "host": "h", "dbname": "d"},
            ),
            (
                "postgres://u%40corp:p@h/d",
                {"user": "u@corp", "password": "p", "host": "h", "dbname": "d"},
            ),
            (
                "postgres://u:%C3%A9%20@h/d",
                {"user": "u", "password": "é ", "host": "h", "dbname": "d"},
            ),
            ("postgres://u:é@h/d", {"user": "u", "password": "é", "host": "h", "dbname": "d"}),
            ("postgres://h/d?sslmode=require", {"host": "h", "dbname": "d", "sslmode": "require"}),
            ("postgres://h/d?ssl=true", {"host": "h", "dbname": "d", "sslmode": "require"}),
            (
                "postgres://h/d?application_name=a@b",
                {"host": "h", "dbname": "d", "application_name": "a@b"},
            ),
            (
                "postgres://h/d?options=endpoint%3Dep-x",
                {"host": "h", "dbname": "d", "options": "endpoint=ep-x"},
            ),
            ("postgres://a,b:5433/d", {"host": "a,b", "port": ",5433", "dbname": "d"}),
            ("postgres://[::1]:5433/d", {"host": "::1", "port": "5433", "dbname": "d"}),
            (
                "postgresql:///d?host=/var/run/postgresql",
                {"host": "/var/run/postgresql", "dbname": "d"},
            ),
            ("postgresql://u@%2Fvar%2Frun/d", {"user": "u", "host": "/var/run", "dbname": "d"}),
            (
                "postgresql://u@/d?host=/cloudsql/p:r:i",
                {"user": "u", "host": "/cloudsql/p:r:i", "dbname": "d"},
            ),
            ("postgresql://", {}),
        ],
    )
    def test_the_parameters_are_those_that_libpq_reads(
        self, url: str, parameters: dict[str, str]
    ) -> None:
        target = read_target("DATABASE_URL", url)
        assert {key: value for key, value in target.parameters.items() if value} == parameters
        assert (target.source, target.dropped) == ("DATABASE_URL", ())

    @pytest.mark.parametrize(
        ("query", "kept", "dropped"),
        [
            ("pgbouncer=true", {}, ("pgbouncer",)),
            (
                "sslmode=require&supa=base-pooler.x&pgbouncer=true",
                {"sslmode": "require"},
                ("pgbouncer", "supa"),
            ),
            (
                "connect_timeout=9&connection_limit=1",
                {"connect_timeout": "9"},
                ("connection_limit",),
            ),
            ("schema=public&search_path=public&currentSchema=public", {}, ()),
            ("sslmode=no-verify&uselibpqcompat=true", {"sslmode": "require"}, ("uselibpqcompat",)),
            ("ssl=no-verify", {}, ("ssl",)),
            ("a=1&a=2&&a", {}, ("a",)),
            ("channel_binding=require", {"channel_binding": "require"}, ()),
            ("", {}, ()),
        ],
    )
    def test_unknown_parameters_are_dropped_and_named(
        self, query: str, kept: dict[str, str], dropped: tuple[str, ...]
    ) -> None:
        target = read_target("DATABASE_URL", f"postgres://u:p@h/d?{query}")
        assert target.dropped == dropped
        assert {key: target.parameters[key] for key in kept} == kept
        assert set(target.parameters) - set(kept) == {"user", "password", "host", "dbname"}

    @given(st.text(min_size=1).filter(lambda text: "\0" not in text and text.isprintable()))
    def test_any_password_can_be_encoded(self, password: str) -> None:
        encoded = "".join(f"%{byte:02X}" for byte in password.encode())
        assert (
            read_target("DATABASE_URL", f"postgres://u:{encoded}@h/d").parameters["password"]
            == password
        )

    def test_no_verify_is_read_as_require_and_reported(self) -> None:
        target = read_target("DATABASE_URL", "postgres://h/d?sslmode=no%2Dverify")
        assert target.parameters["sslmode"] == "require"
        assert target.remarks == ("sslmode=no-verify read as require",)
        assert read_target("DATABASE_URL", "postgres://h/d?sslmode=require").remarks == ()


class TestARefusedUrl:
    @pytest.mark.parametrize(
        ("password", "signs"),
        [
            ("hunter2@sentinel", "@"),
            ("hunter2/sentinel", "/"),
            ("hunter2%sentinel", "%"),
            ("hunter2%", "%"),
            ("hunter2%4", "%"),
            ("@hunter2", "@"),
            ("hunter2@", "@"),
            ("a:hunter2@", "@"),
            ("hunter2@/%", "@ and / and %"),
            ("1234/hunter2", "/"),
        ],
    )
    @pytest.mark.parametrize("source", ["DATABASE_URL", "POSTGRES_URL"])
    def test_a_raw_character_in_the_password_is_named_with_its_encoding(
        self, password: str, signs: str, source: str
    ) -> None:
        message = refusal(f"postgres://u:{password}@db.example.com:5432/d?sslmode=require", source)
        assert message.startswith(
            f"the password in {source} holds a raw {signs}; percent-encode them"
        )
        assert "@ as %40, / as %2F" in message
        assert "% as %25" in message

    @pytest.mark.parametrize("user", ["me@hunter2", "hunter2/me", "me%hunter2"])
    @pytest.mark.parametrize(
        "password", ["", ":1234", f":{SENTINEL}"], ids=["alone", "with a number", "with a password"]
    )
    def test_a_raw_character_in_the_user_is_refused(self, user: str, password: str) -> None:
        assert "the user in DATABASE_URL holds a raw" in refusal(f"postgres://{user}{password}@h/d")

    @pytest.mark.parametrize(
        "password",
        ["1234?hunter2", "1?hunter2=x", "a?b&hunter2", "p@h?hunter2=1", "1?sslmode=x&hunter2"],
    )
    def test_a_raw_question_mark_in_the_password_does_not_begin_a_parameter(
        self, password: str
    ) -> None:
        assert "percent-encode them" in refusal(f"postgres://u:{password}@h/d")

    @pytest.mark.parametrize(
        "url",
        [
            SENTINEL,
            f"mysql://u:{SENTINEL}@h/d",
            f"https://u:{SENTINEL}@h/d",
            f"postgres:u:{SENTINEL}@h/d",
            f"//u:{SENTINEL}@h/d",
        ],
    )
    def test_a_value_that_is_not_a_postgresql_url_is_refused_with_an_example(
        self, url: str
    ) -> None:
        message = refusal(url)
        assert (
            message
            == "DATABASE_URL is not a PostgreSQL URL; write postgresql://USER:PASSWORD@HOST/DATABASE"
        )

    @pytest.mark.parametrize("scheme", ["prisma", "prisma+postgres", "PRISMA+POSTGRES"])
    def test_a_url_for_the_protocol_of_prisma_is_refused_by_name(self, scheme: str) -> None:
        message = refusal(
            f"{scheme}://accelerate.prisma-data.net/?api_key={SENTINEL}", "POSTGRES_URL"
        )
        assert message.startswith(
            "POSTGRES_URL is for the protocol of Prisma, not for PostgreSQL; set MIGRATION_"
        )

    @pytest.mark.parametrize("end", ["y", "sec&application_name=z", "", "b?c=1"])
    def test_a_question_mark_in_the_password_is_refused(self, end: str) -> None:
        """No part of the password is ever taken for the name of a parameter, and shown."""
        assert "the password in DATABASE_URL holds a raw ?" in refusal(
            f"postgres://u:{SENTINEL}?{end}@h/d?foo=1"
        )

    def test_two_ways_of_naming_a_schema_that_differ_are_refused(self) -> None:
        url = "postgres://u:p@h/d?schema=a&options=-csearch_path%3Db"
        assert "names its schemas in several ways that differ" in refusal(url)

    @pytest.mark.parametrize("space", [" ", "\n", "\t", "\r\n", "\u00a0"], ids=repr)
    @pytest.mark.parametrize(
        "url",
        ["postgres://u:hunter2{}@h/d", "postgres://u:hunter2@h{}/d", "postgres://u:hunter2@h/d{}d"],
    )
    def test_a_space_or_a_line_break_is_refused(self, url: str, space: str) -> None:
        assert "holds a space or a line break" in refusal(url.format(space))

    @pytest.mark.parametrize(
        "port", ["0", "65536", "x", SENTINEL, "-1", "5432x", "5432,x:y", "٣", "99999999999"]
    )
    def test_a_malformed_port_is_refused(self, port: str) -> None:
        assert "its port is not a number" in refusal(f"postgres://u:{SENTINEL}@h:{port}/d")

    @pytest.mark.parametrize(
        "place", ["a,b/d?port=1,2,3", "a:1,b:2,c/d?port=1,2", "/d?host=a,b&hostaddr=10.0.0.1"]
    )
    def test_lists_of_different_lengths_are_refused(self, place: str) -> None:
        assert "name as many of each" in refusal(f"postgres://{place}")

    @pytest.mark.parametrize(
        "rest",
        [
            "h/d%zz",
            "h/d%",
            "h/d%00",
            "h/d%ff",
            "h/d?sslmode",
            "h/d?sslmode=%zz",
            "h/d?port=%ff",
            "[::1/d",
            "[]/d",
            "[::1]x/d",
        ],
    )
    def test_an_error_of_libpq_is_not_quoted(self, rest: str) -> None:
        assert refusal(f"postgres://u:{SENTINEL}@{rest}").startswith(
            "DATABASE_URL can't be read as a PostgreSQL URL; if it "
        )

    @given(st.text(alphabet="@/%?#:&=[]., \nps1é", max_size=12))
    def test_no_part_of_a_password_is_shown_in_any_url(self, noise: str) -> None:
        url = f"postgres://u:{noise}{SENTINEL}{noise}@h/d"
        try:
            target = read_target("DATABASE_URL", url)
        except ValueError as error:
            shown = "".join(traceback.format_exception(error))
        else:
            shown = f"{target!r} {target.place} {target.dropped} {target.branch}"
        assert SENTINEL not in shown
