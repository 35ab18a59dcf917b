"""The declarations of the variables: the code reads them, and the documents show them."""

import contextlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from conftest import RDS_HOST, ROOT
from variable_documents import ENV_EXAMPLE, README, env_example, readme_table, table_in

from lib.errors import ConfigurationError
from lib.settings import variables
from lib.settings.loader import load_settings, local_platform, read_admin_secrets
from lib.settings.variables import BUILD, ELSEWHERE, VARIABLES, Variable

ROLE = "arn:aws:iam::123456789012:role/migrations"
# Each leads the choice of a database past other variables.
ENVIRONS: tuple[dict[str, str], ...] = (
    {},
    {"POSTGRES_URL": "postgres:///"},
    {"DATABASE_URL": "postgres:///"},
    {"NILEDB_POSTGRES_URL": "postgres:///"},
    {"PGHOST": RDS_HOST, "PGUSER": "u", "PGDATABASE": "d", "AWS_ROLE_ARN": ROLE},
    {"PGHOST": "db.example.com", "AWS_ROLE_ARN": ROLE},
)
# Read for a message alone, when a URL is for Prisma.
PRISMA = {"PRISMA_DATABASE_URL", "DIRECT_URL", "DIRECT_DATABASE_URL", "DATABASE_URL_POOLED"}

# What bash itself sets, and what build.sh hands on: Python's own variable, and how the command was
# called.
OF_BASH = {"BASH_SOURCE", "OSTYPE", "PWD"}
HANDED_ON = {"MIGRATE_COMMAND", "PYTHONPATH"}


class Recording(Mapping[str, str]):
    """An environment that remembers which variables were asked for."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self.values_by_name = values
        self.asked: set[str] = set()

    def __getitem__(self, name: str) -> str:
        self.asked.add(name)
        return self.values_by_name[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.values_by_name)

    def __len__(self) -> int:
        return len(self.values_by_name)


def names(*declared: Variable[Any]) -> set[str]:
    return {variable.name for variable in declared}


def asked_for(environ: Mapping[str, str]) -> set[str]:
    recording = Recording(environ)
    read_admin_secrets(recording)
    local_platform(recording)
    with contextlib.suppress(ConfigurationError):
        load_settings(recording)
    return recording.asked


def test_the_settings_ask_for_every_declared_variable_and_for_no_other() -> None:
    asked = set().union(*map(asked_for, ENVIRONS))
    assert asked - PRISMA == names(*VARIABLES) - names(*ELSEWHERE)


def test_the_build_script_reads_the_variables_that_are_declared_for_it() -> None:
    script = (ROOT / "build.sh").read_text()
    read = set(re.findall(r"\$\{?([A-Z][A-Z_]*)\b", script)) - OF_BASH - HANDED_ON
    assert read == names(*(variable for variable in VARIABLES if BUILD in variable.readers))


def test_a_variable_is_declared_once() -> None:
    assert len(names(*VARIABLES)) == len(VARIABLES)


def test_the_readme_has_the_table_of_the_declarations() -> None:
    assert table_in(README.read_text()) == readme_table()


def test_the_example_of_an_env_file_has_what_may_be_set_on_a_laptop() -> None:
    assert ENV_EXAMPLE.read_text() == env_example()
    set_by_the_machine = {
        name for name in names(*VARIABLES) if name == "CI" or name.startswith("VERCEL")
    }
    examples = set(re.findall(r"^#([A-Z_]+)=", env_example(), re.MULTILINE))
    assert examples == names(*VARIABLES) - names(*ELSEWHERE) - set_by_the_machine


@pytest.mark.parametrize("variable", VARIABLES, ids=lambda variable: variable.name)
def test_a_blank_variable_has_the_default(variable: Variable[Any]) -> None:
    assert variable.read({variable.name: " \t"}) == variable.read({})


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        (variables.LOCK_TIMEOUT, " 500ms ", 0.5),
        (variables.LOCK_TIMEOUT, "", 2.0),
        (variables.CONNECT_TIMEOUT, "", None),
        (variables.RUN_WAIT, "", 600.0),
        (variables.LOCK_RETRIES, "0", 0),
        (variables.STRICT_ORDER, "Yes", True),
        (variables.STRICT_ORDER, "off", False),
        (variables.CI, "github", True),
        (variables.CI, "No\n", False),
        (variables.SECRET, "0123456789abcdef\r\n", "0123456789abcdef"),
        (variables.SECRET, "0123456789abcde", ""),
        (variables.LOCAL_PLATFORM, " Supabase", "supabase"),
        (variables.ENVIRONMENT, " caf\udce9 ", "caf\ufffd"),
        (variables.MIGRATIONS_DIR, " caf\udce9 ", "caf\udce9"),
    ],
)
def test_a_variable_is_read_by_its_parser(
    variable: Variable[Any], value: str, expected: object
) -> None:
    assert variable.read({variable.name: value}) == expected


@pytest.mark.parametrize(
    ("variable", "value", "fault"),
    [
        (variables.LOCK_RETRIES, "many", "not a whole number"),
        (variables.STRICT_ORDER, "perhaps", "neither 1 nor 0"),
        (variables.RUN_WAIT, "soon", "duration"),
        (variables.LOCAL_PLATFORM, "firebase", "supabase is the only one"),
    ],
)
def test_a_fault_does_not_quote_the_value(variable: Variable[Any], value: str, fault: str) -> None:
    with pytest.raises(ValueError, match=fault) as raised:
        variable.read({variable.name: value})
    assert value not in str(raised.value)
