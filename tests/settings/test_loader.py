"""The settings: the choice of the variables, what is refused, and that no value is ever shown."""

import re
import subprocess
import traceback
from pathlib import Path

import pytest
from conftest import ROOT, local_environ

from lib.deployment import Deployment
from lib.errors import ConfigurationError
from lib.object_patterns import parse_patterns
from lib.settings.loader import (
    is_hosted,
    load_settings,
    read_admin_secrets,
    with_env_files,
)
from lib.settings.variables import VARIABLES

NAMES = [variable.name for variable in VARIABLES]
SENTINEL = "hunter2-sentinel"
MIGRATION, POSTGRES, DIRECT = "MIGRATION_DATABASE_URL", "POSTGRES_URL", "POSTGRES_URL_NON_POOLING"
DATABASE, UNPOOLED = "DATABASE_URL", "DATABASE_URL_UNPOOLED"
SECRET = "0123456789abcdef"


def url(host: str = "db.example.com") -> str:
    return f"postgresql://app:{SENTINEL}@{host}/app"


def urls(*names: str) -> dict[str, str]:
    return {name: url() for name in names}


class TestTargets:
    @pytest.mark.parametrize(
        ("names", "migrating", "reading"),
        [
            ([DATABASE], DATABASE, DATABASE),
            ([POSTGRES], POSTGRES, POSTGRES),
            ([MIGRATION], MIGRATION, MIGRATION),
            ([POSTGRES, DIRECT], DIRECT, POSTGRES),
            ([DATABASE, UNPOOLED], UNPOOLED, DATABASE),
            ([POSTGRES, DATABASE], POSTGRES, POSTGRES),
            ([POSTGRES, UNPOOLED], POSTGRES, POSTGRES),
            ([DATABASE, DIRECT], DATABASE, DATABASE),
            ([POSTGRES, DIRECT, DATABASE, UNPOOLED], DIRECT, POSTGRES),
            ([POSTGRES, DATABASE, UNPOOLED], UNPOOLED, POSTGRES),
            ([MIGRATION, DIRECT], MIGRATION, MIGRATION),
            ([MIGRATION, DATABASE], MIGRATION, DATABASE),
            ([MIGRATION, POSTGRES, DIRECT, DATABASE, UNPOOLED], MIGRATION, POSTGRES),
        ],
        ids=lambda value: "+".join(value) if isinstance(value, list) else value,
    )
    def test_the_direct_connection_migrates_and_that_of_the_application_reads(
        self, names: list[str], migrating: str, reading: str
    ) -> None:
        settings = load_settings(urls(*names))
        assert settings.migration_target
        assert settings.status_target
        assert (settings.migration_target.source, settings.status_target.source) == (
            migrating,
            reading,
        )

    @pytest.mark.parametrize("empty", ["", " ", "\t\n"], ids=["empty", "a space", "blank"])
    def test_an_empty_variable_counts_as_unset(self, empty: str) -> None:
        environ = {**dict.fromkeys(NAMES, empty), DATABASE: url()}
        settings = load_settings(environ)
        assert settings == load_settings(urls(DATABASE))
        assert settings.migration_target
        assert settings.migration_target.source == DATABASE

    @pytest.mark.parametrize("names", [[], [DIRECT], [UNPOOLED], [DIRECT, UNPOOLED]], ids="+".join)
    def test_without_a_url_no_target_is_set(self, names: list[str]) -> None:
        settings = load_settings(urls(*names))
        assert (settings.migration_target, settings.status_target) == (None, None)

    @pytest.mark.parametrize("host", ["VERCEL", "CI"])
    @pytest.mark.parametrize("names", [[], [DIRECT, UNPOOLED]], ids=["none", "siblings alone"])
    def test_without_a_url_on_a_host_the_error_names_the_variables(
        self, host: str, names: list[str]
    ) -> None:
        with pytest.raises(
            ConfigurationError,
            match=r"No database URL is set\. Looked up: MIGRATION_DATABASE_URL, ",
        ) as raised:
            load_settings({host: "1", **urls(*names)})
        assert all(
            name in str(raised.value) for name in (MIGRATION, POSTGRES, DIRECT, DATABASE, UNPOOLED)
        )

    @pytest.mark.parametrize(
        "production",
        [
            {"MIGRATION_ENVIRONMENT": " Production"},
            {"VERCEL_ENV": "production"},
            {"VERCEL_TARGET_ENV": "production"},
        ],
        ids=repr,
    )
    def test_production_never_uses_the_embedded_postgresql(
        self, production: dict[str, str], tmp_path: Path
    ) -> None:
        environ = with_env_files({**production, MIGRATION: "", **urls(UNPOOLED)}, root=tmp_path)
        with pytest.raises(
            ConfigurationError, match=r"No database URL is set\. Looked up: MIGRATION_DATABASE_"
        ) as raised:
            load_settings(environ, root=tmp_path)
        assert "Set, but empty: MIGRATION_DATABASE_URL." in str(raised.value)
        assert "never means the embedded PostgreSQL" in str(raised.value)
        assert load_settings({**production, **urls(DATABASE)}, root=tmp_path).migration_target


class TestEnvironment:
    @pytest.mark.parametrize(
        ("environ", "environment"),
        [
            ({}, "development"),
            ({"VERCEL_ENV": "preview"}, "preview"),
            ({"VERCEL_ENV": "preview", "VERCEL_TARGET_ENV": "staging"}, "staging"),
            (
                {
                    "VERCEL_ENV": "preview",
                    "VERCEL_TARGET_ENV": "staging",
                    "MIGRATION_ENVIRONMENT": "production",
                },
                "production",
            ),
            (
                {"VERCEL_ENV": "production", "VERCEL_TARGET_ENV": "", "MIGRATION_ENVIRONMENT": " "},
                "production",
            ),
            ({"MIGRATION_ENVIRONMENT": " Production "}, "production"),
        ],
        ids=repr,
    )
    def test_the_first_variable_that_is_set_names_the_environment(
        self, environ: dict[str, str], environment: str
    ) -> None:
        assert load_settings({**environ, **urls(DATABASE)}).environment == environment

    @pytest.mark.parametrize(
        ("environ", "hosted"),
        [
            *(
                ({}, False),
                ({"VERCEL": "1"}, True),
                ({"CI": "true"}, True),
                ({"VERCEL": "", "CI": ""}, False),
            ),
            *(
                ({name: word}, False)
                for name in ("VERCEL", "CI")
                for word in ("false", "0", "No", "OFF", " false\n", " ")
            ),
            *(({"CI": word}, True) for word in ("1", "yes", "drone", "woodpecker", "offline")),
            ({"CI": "false", "VERCEL": "1"}, True),
        ],
    )
    def test_vercel_and_ci_are_hosts_unless_their_variable_says_no(
        self, environ: dict[str, str], hosted: bool
    ) -> None:
        assert is_hosted(environ) is hosted
        url = {"DATABASE_URL": "postgres://u:p@db.example.com/shop?sslmode=require"}
        assert load_settings({**environ, **url}).is_hosted is hosted
        shell = 'is_marked "${VERCEL:-}" || is_marked "${CI:-}"'
        function = re.search(
            r"^is_marked\(\).*?^}$", (ROOT / "build.sh").read_text(), re.MULTILINE | re.DOTALL
        )
        assert function
        asked = ["bash", "-euo", "pipefail", "-c", f"{function[0]}\n{shell}"]
        assert (
            subprocess.run(asked, env={**local_environ(), **environ}, check=False).returncode == 0
        ) is hosted

    def test_the_deployment_is_read_from_the_variables_of_vercel(self) -> None:
        names = ("VERCEL_GIT_COMMIT_SHA", "VERCEL_GIT_COMMIT_REF", "VERCEL_DEPLOYMENT_ID")
        assert load_settings({name: name.lower() for name in names}).deployment == Deployment(
            *map(str.lower, names)
        )
        assert load_settings({}).deployment == Deployment()


class TestSettings:
    def test_the_defaults(self, tmp_path: Path) -> None:
        settings = load_settings({}, root=tmp_path)
        assert (settings.lock_timeout, settings.lock_retries, settings.run_wait) == (2, 10, 600)
        assert settings.connect_timeout is None
        assert settings.strict_order is False
        assert settings.admin_secrets == ()
        assert (settings.drift, settings.drift_ignore) == ("warn", ())
        assert settings.migrations_dir == tmp_path / "migrations"

    def test_each_setting_is_read(self, tmp_path: Path) -> None:
        settings = load_settings(
            {
                "MIGRATION_CONNECT_TIMEOUT": "1min",
                "MIGRATION_LOCK_TIMEOUT": "500ms",
                "MIGRATION_LOCK_RETRIES": " 0 ",
                "MIGRATION_RUN_WAIT": "0",
                "MIGRATION_STRICT_ORDER": "1",
                "MIGRATION_DRIFT": "Stop",
                "MIGRATION_DRIFT_IGNORE": " public.events_*, view:public.v\n",
                "MIGRATIONS_DIR": "db/migrations",
            },
            root=tmp_path,
        )
        assert (settings.connect_timeout, settings.lock_timeout, settings.run_wait) == (60, 0.5, 0)
        assert (settings.lock_retries, settings.strict_order) == (0, True)
        assert settings.drift == "stop"
        assert settings.drift_ignore == parse_patterns("public.events_*,view:public.v")
        assert settings.migrations_dir == tmp_path / "db/migrations"

    @pytest.mark.parametrize(
        ("value", "strict"),
        [
            ("1", True),
            ("TRUE", True),
            ("yes", True),
            ("on", True),
            ("0", False),
            ("No", False),
            ("", False),
        ],
    )
    def test_strict_order_is_a_flag(self, value: str, strict: bool) -> None:
        assert load_settings({"MIGRATION_STRICT_ORDER": value}).strict_order is strict

    @pytest.mark.parametrize(
        ("name", "value", "fault"),
        [
            ("MIGRATION_CONNECT_TIMEOUT", "soon", "not a duration; write 500ms, 2s, 10min"),
            ("MIGRATION_LOCK_TIMEOUT", "-1s", "not a duration"),
            ("MIGRATION_RUN_WAIT", "10000h", "longer than PostgreSQL allows"),
            ("MIGRATION_LOCK_RETRIES", "many", "not a whole number"),
            ("MIGRATION_LOCK_RETRIES", "-1", "not a whole number"),
            ("MIGRATION_LOCK_RETRIES", "1.5", "not a whole number"),
            ("MIGRATION_LOCK_RETRIES", "٣", "not a whole number"),
            ("MIGRATION_LOCK_RETRIES", "9" * 5000, "not a whole number"),
            ("MIGRATION_STRICT_ORDER", "maybe", "neither 1 nor 0"),
            ("MIGRATION_DRIFT", "perhaps", "none of off, warn, stop"),
            ("MIGRATION_DRIFT_IGNORE", "tabel:public.a", "an unknown kind before a colon"),
            (
                "MIGRATION_DRIFT_IGNORE",
                "public.f(integer",
                "a quote or a parenthesis is not closed",
            ),
            ("MIGRATION_DRIFT_IGNORE", " , ", "no pattern"),
        ],
    )
    def test_a_malformed_value_is_an_error_and_not_the_default(
        self, name: str, value: str, fault: str
    ) -> None:
        with pytest.raises(ConfigurationError, match=f"^{name}: {fault}") as raised:
            load_settings({name: value})
        assert value not in str(raised.value)

    @pytest.mark.parametrize(
        ("current", "previous", "secrets"),
        [
            ("", "", ()),
            (SECRET, "", (SECRET,)),
            (SECRET, "fedcba9876543210", (SECRET, "fedcba9876543210")),
            (SECRET, "too-short", (SECRET,)),
            (SECRET[:15], "", ()),
            (SECRET[:15], SECRET, ()),
            ("", SECRET, ()),
            (" " * 16, "", ()),
            (f" {SECRET}\n", "", (SECRET,)),
        ],
    )
    def test_a_secret_under_16_characters_counts_as_unset(
        self, current: str, previous: str, secrets: tuple[str, ...]
    ) -> None:
        environ = {"MIGRATION_SECRET": current, "MIGRATION_SECRET_PREVIOUS": previous}
        assert read_admin_secrets(environ) == load_settings(environ).admin_secrets == secrets


class TestFaults:
    def test_all_faults_are_reported_at_once_each_with_its_variable(self) -> None:
        environ = {
            "MIGRATION_DATABASE_URL": "mysql://localhost/app",
            "DATABASE_URL": f"postgresql://app:{SENTINEL}@@db/app",
            "MIGRATION_CONNECT_TIMEOUT": "soon",
            "MIGRATION_LOCK_TIMEOUT": "later",
            "MIGRATION_LOCK_RETRIES": "many",
            "MIGRATION_RUN_WAIT": "ever",
            "MIGRATION_STRICT_ORDER": "maybe",
            "MIGRATION_DRIFT": "perhaps",
            "MIGRATION_DRIFT_IGNORE": "tabel:public.a",
        }
        with pytest.raises(
            ConfigurationError, match="MIGRATION_DATABASE_URL is not a PostgreSQL URL"
        ) as raised:
            load_settings(environ)
        assert len(raised.value.faults) == len(environ)
        assert all(name in str(raised.value) for name in environ)
        assert raised.value.exit_code == 2

    def test_a_missing_url_is_reported_with_the_other_faults(self) -> None:
        with pytest.raises(
            ConfigurationError, match=r"No database URL is set(?s:.*)MIGRATION_LOCK_RETRIES: "
        ):
            load_settings({"CI": "1", "MIGRATION_LOCK_RETRIES": "many"})

    def test_an_unreadable_url_is_reported_once_and_not_as_missing(self) -> None:
        with pytest.raises(
            ConfigurationError, match=r"^DATABASE_URL is not a PostgreSQL URL"
        ) as raised:
            load_settings({"CI": "1", "DATABASE_URL": "x"})
        assert len(raised.value.faults) == 1

    @pytest.mark.parametrize(
        "template",
        ["%s", "postgresql://a:%s@@h/d", "postgresql://a:b@h:%s/d", "postgresql://%s%%zz"],
    )
    @pytest.mark.parametrize("name", [*NAMES, "every one"])
    def test_no_value_of_a_variable_is_ever_shown(self, name: str, template: str) -> None:
        value = template % SENTINEL
        environ = dict.fromkeys(NAMES, value) if name == "every one" else {"CI": "1", name: value}
        with pytest.raises(
            ConfigurationError, match="MIGRATION_LOCK_RETRIES: not a whole number"
        ) as raised:
            load_settings({"MIGRATION_LOCK_RETRIES": SENTINEL, **environ})
        assert SENTINEL not in "".join(traceback.format_exception(raised.value))
        assert SENTINEL not in repr(raised.value.details())

    def test_the_settings_know_their_secrets_and_do_not_print_them(self) -> None:
        settings = load_settings({**urls(DATABASE), "MIGRATION_SECRET": SECRET})
        assert set(settings.secrets) == {SECRET, SENTINEL}
        assert SENTINEL not in repr(settings)
        assert SECRET not in repr(settings)


class TestEnvFiles:
    def test_env_local_takes_precedence_over_env_and_the_process_over_both(
        self, tmp_path: Path
    ) -> None:
        (tmp_path / ".env").write_text("A=env\nB=env\nC=env\nD=env\n")
        (tmp_path / ".env.local").write_text("B=local\nC=local\nD=\n")
        assert dict(with_env_files({"C": "process", "A": ""}, root=tmp_path)) == {
            "A": "env",
            "B": "local",
            "C": "process",
            "D": "env",
        }

    def test_the_files_are_ordered_as_by_nextjs(self, tmp_path: Path) -> None:
        names = (".env.development.local", ".env.local", ".env.development", ".env")
        for name in names:
            (tmp_path / name).write_text(f"A={name}\n")
        for name in names:
            assert with_env_files({}, root=tmp_path) == {"A": name}
            (tmp_path / name).unlink()
        assert with_env_files({}, root=tmp_path) == {}

    @pytest.mark.parametrize(
        ("process", "is_read"),
        [
            ({}, True),
            ({"MIGRATION_ENVIRONMENT": "Development"}, True),
            ({"MIGRATION_ENVIRONMENT": "production"}, False),
            ({"VERCEL_ENV": "preview"}, False),
        ],
    )
    def test_those_for_development_are_read_there_alone(
        self, tmp_path: Path, process: dict[str, str], is_read: bool
    ) -> None:
        (tmp_path / ".env.development.local").write_text("A=1\n")
        (tmp_path / ".env.development").write_text("B=1\n")
        (tmp_path / ".env.local").write_text("MIGRATION_ENVIRONMENT=preview\n")
        found = with_env_files(process, root=tmp_path)
        assert {"A", "B"} <= set(found) if is_read else not {"A", "B"} & set(found)

    def test_a_database_chosen_in_the_process_excludes_the_others_in_the_files(
        self, tmp_path: Path
    ) -> None:
        (tmp_path / ".env.local").write_text(
            "DATABASE_URL_UNPOOLED=a\nPGHOST=b\nPGSSLMODE=verify-full\nNILEDB_USER=c\nAWS_REGION=d\nMIGRATION_RUN_WAIT=1\n"
        )
        others = {
            "PGSSLMODE": "verify-full",
            "NILEDB_USER": "c",
            "AWS_REGION": "d",
            "MIGRATION_RUN_WAIT": "1",
        }
        assert with_env_files({"DATABASE_URL": "x"}, root=tmp_path) == {
            "DATABASE_URL": "x",
            **others,
        }
        aurora = {"PGHOST": "h", "PGUSER": "u", "PGDATABASE": "d", "AWS_ROLE_ARN": "r"}
        assert with_env_files(aurora, root=tmp_path) == {**aurora, **others}

    @pytest.mark.parametrize(
        ("process", "files", "kept"),
        [
            # The prefix and its variables come from the file, as from `vercel env pull`.
            ([], ["PREFIX=S_", "S_DATABASE_URL=a"], ["PREFIX", "S_DATABASE_URL"]),
            (["PREFIX=S_"], ["S_DATABASE_URL=a"], ["S_DATABASE_URL"]),
            # What the process names is the choice: no prefix in a file leads past it.
            (["DATABASE_URL=x"], ["PREFIX=S_", "S_DATABASE_URL=a"], []),
            (["DATABASE_URL=x", "S_DATABASE_URL=y"], ["PREFIX=S_"], []),
            (["PREFIX=S_", "S_DATABASE_URL=x"], ["S_DATABASE_URL_UNPOOLED=a", "PREFIX=T_"], []),
            (["PREFIX=S_", "S_DATABASE_URL=x"], ["DATABASE_URL=a", "S_PGHOST=b"], []),
            # With the file's prefix it is named in the process: the file adds no sibling.
            (["S_DATABASE_URL=x"], ["PREFIX=S_", "S_DATABASE_URL_UNPOOLED=a"], ["PREFIX"]),
        ],
    )
    def test_a_prefix_in_a_file_leads_to_no_other_database(
        self, tmp_path: Path, process: list[str], files: list[str], kept: list[str]
    ) -> None:
        def full(line: str) -> str:
            return line.replace("PREFIX", "MIGRATION_VARIABLE_PREFIX")

        (tmp_path / ".env.local").write_text("\n".join(map(full, files)))
        environ = dict(full(line).split("=") for line in process)
        assert set(with_env_files(environ, root=tmp_path)) == {*environ, *map(full, kept)}

    def test_variables_in_a_file_complete_a_secret_in_it_but_not_a_url(
        self, tmp_path: Path
    ) -> None:
        (tmp_path / ".env").write_text("MIGRATION_DATABASE_URL=x\n")
        (tmp_path / ".env.local").write_text("PGHOST=b\nPGDATABASE=c\n")
        assert with_env_files({}, root=tmp_path) == {"MIGRATION_DATABASE_URL": "x"}
        (tmp_path / ".env").write_text("MIGRATION_DATABASE_SECRET_ARN=x\n")
        assert with_env_files({}, root=tmp_path) == {
            "MIGRATION_DATABASE_SECRET_ARN": "x",
            "PGHOST": "b",
            "PGDATABASE": "c",
        }

    def test_an_incomplete_choice_in_the_process_excludes_no_url(self, tmp_path: Path) -> None:
        (tmp_path / ".env.local").write_text("DATABASE_URL=x\n")
        process = {"PGHOST": "h", "AWS_ROLE_ARN": "r"}
        assert with_env_files(process, root=tmp_path) == {"DATABASE_URL": "x", **process}

    def test_variables_that_mark_a_host_are_ignored_in_the_files(self, tmp_path: Path) -> None:
        (tmp_path / ".env.local").write_text(
            'CI=1\nVERCEL=1\nVERCEL_ENV="production"\nVERCEL_TARGET_ENV=production\nVERCEL_GIT_COMMIT_SHA=x\nCIRCLE=1\n'
        )
        environ = with_env_files({}, root=tmp_path)
        assert environ == {"CIRCLE": "1"}
        assert load_settings(environ).environment == "development"

    @pytest.mark.parametrize("host", ["VERCEL", "CI"])
    def test_the_files_are_not_read_on_a_host(self, tmp_path: Path, host: str) -> None:
        (tmp_path / ".env").write_text("A=env\n")
        (tmp_path / ".env.local").write_bytes(b"\xff\xfe")
        assert with_env_files({host: "1"}, root=tmp_path) == {host: "1"}

    def test_nothing_is_interpolated(self, tmp_path: Path) -> None:
        (tmp_path / ".env").write_text(
            "A=x\nB=pa$A\nC=${A}\nD=\"${HOME}\"\nE='$$'\nexport F=1 # why\n"
        )
        assert with_env_files({}, root=tmp_path) == {
            "A": "x",
            "B": "pa$A",
            "C": "${A}",
            "D": "${HOME}",
            "E": "$$",
            "F": "1",
        }

    def test_windows_line_ends_and_a_byte_order_mark_are_not_part_of_a_value(
        self, tmp_path: Path
    ) -> None:
        (tmp_path / ".env").write_bytes(b"\xef\xbb\xbfDATABASE_URL=a\r\nB=b\r\n")
        assert with_env_files({}, root=tmp_path) == {"DATABASE_URL": "a", "B": "b"}

    def test_without_the_files_nothing_is_added(self, tmp_path: Path) -> None:
        (tmp_path / ".env").mkdir()
        assert with_env_files({"A": "1"}, root=tmp_path) == {"A": "1"}

    def test_an_unreadable_file_is_an_error_that_quotes_nothing(self, tmp_path: Path) -> None:
        (tmp_path / ".env.local").write_bytes(f"A={SENTINEL}\n".encode("utf-16"))
        with pytest.raises(
            ConfigurationError, match=r"\.env\.local can't be read; it has to be a UTF-8"
        ) as raised:
            with_env_files({}, root=tmp_path)
        assert SENTINEL not in "".join(traceback.format_exception(raised.value))
