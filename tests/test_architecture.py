"""The maps in `lib/__init__.py` and in each wing are true: who imports whom, and at what cost."""

import ast
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
from conftest import ROOT
from sources import nodes, syntax

import lib

LIB = ROOT / "lib"
MODULES = sorted(LIB.rglob("*.py"))
PURE = (
    "errors",
    "deployment",
    "duration",
    "own_tables",
    "tool_words",
    "secret_patterns",
    "masking",
    "escaping",
    "object_patterns",
    "deadline",
    "time_limits",
    "sql",
    "files",
    "plan",
    "database/read_only",
    "ledger/fingerprint",
)


def entries(text: str) -> list[str]:
    """The names that a map lists, in its order."""
    return re.findall(r"^    (\w+)  ", text, re.MULTILINE)


@cache
def docstring(wing: str) -> str:
    return ast.get_docstring(syntax(LIB / wing / "__init__.py"), clean=False) or ""


WINGS = [name for name in entries(lib.__doc__ or "") if (LIB / name).is_dir()]
FLOOR = [name for name in entries(lib.__doc__ or "") if name not in WINGS]
ROOMS = {wing: entries(docstring(wing)) for wing in WINGS}
EACH_ROOM = [(wing, room) for wing in WINGS for room in ROOMS[wing]]


@cache
def arrows() -> dict[str, list[str]]:
    """The wings that each wing may import, as the map draws them."""
    pattern = r"^    (\w+)  [^\n]*(?:\n +<- (\w+(?:,\s+\w+)*))?$"
    drawn = re.findall(pattern, lib.__doc__ or "", re.MULTILINE)
    return {
        wing: re.split(r",\s+", names) if names else [] for wing, names in drawn if wing in WINGS
    }


@cache
def imports(path: Path) -> set[tuple[str, ...]]:
    """The modules of the package that a module imports anywhere: ("errors",), ("sql", "lexer")."""
    package = path.relative_to(LIB).parts[:-1]
    found: set[tuple[str, ...]] = set()
    for node in nodes(path):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = (*package[: len(package) + 1 - node.level], *(node.module or "").split("."))
            base = tuple(filter(None, base))
            is_wing = LIB.joinpath(*base).is_dir()
            found |= {(*base, name.name) for name in node.names} if is_wing else {base}
    # What the package itself says: its version and its command.
    return {module for module in found if LIB.joinpath(*module).with_suffix(".py").exists()}


def test_the_map_names_every_wing_and_every_room_of_the_floor() -> None:
    assert sorted(WINGS) == sorted(path.parent.name for path in LIB.glob("*/__init__.py"))
    assert sorted(FLOOR) == sorted(
        path.stem for path in LIB.glob("*.py") if not path.stem.startswith("__")
    )


@pytest.mark.parametrize("wing", WINGS)
def test_a_wing_lists_its_rooms_at_most_ten(wing: str) -> None:
    assert sorted(ROOMS[wing]) == sorted(path.stem for path in (LIB / wing).glob("[!_]*.py"))
    assert len(ROOMS[wing]) <= 10


@pytest.mark.parametrize("wing", WINGS)
def test_a_wing_says_in_five_lines_what_it_may_import_and_must_not_do(wing: str) -> None:
    about, _, _ = docstring(wing).partition("\n\n    ")
    assert len(about.replace("\n\n", "\n").splitlines()) <= 5
    allowed = re.search(r"^May import: ([^.]*)\.$", about, re.MULTILINE)
    assert allowed
    assert " ".join(allowed[1].split()) == (", ".join(arrows()[wing]) or "nothing but the floor")
    assert re.search(r"^Must not: ", about, re.MULTILINE)


@pytest.mark.parametrize(("wing", "room"), EACH_ROOM, ids="/".join)
def test_a_room_imports_only_along_the_arrows(wing: str, room: str) -> None:
    for target in imports(LIB / wing / f"{room}.py"):
        if len(target) == 1:
            assert target[0] in FLOOR
        elif target[0] == wing:
            assert target[1] in ROOMS[wing][: ROOMS[wing].index(room)]
        else:
            assert target[0] in arrows()[wing]


@pytest.mark.parametrize("room", FLOOR)
def test_the_floor_rests_on_nothing_but_itself(room: str) -> None:
    assert imports(LIB / f"{room}.py") <= {(name,) for name in FLOOR[: FLOOR.index(room)]}


def test_every_arrow_is_used_and_points_up() -> None:
    drawn = arrows()
    for wing in WINGS:
        used = {target[0] for room in ROOMS[wing] for target in imports(LIB / wing / f"{room}.py")}
        assert set(drawn[wing]) == used - set(FLOOR) - {wing}
        assert set(drawn[wing]) <= set(WINGS[: WINGS.index(wing)])


def test_the_surfaces_never_import_each_other() -> None:
    assert "web" not in arrows()["cli"]
    assert "cli" not in arrows()["web"]


def test_the_package_does_not_know_its_own_name() -> None:
    for path in MODULES:
        names = [
            name.name for node in nodes(path) if isinstance(node, ast.Import) for name in node.names
        ]
        names += [
            node.module or ""
            for node in nodes(path)
            if isinstance(node, ast.ImportFrom)
            if not node.level
        ]
        assert not [name for name in names if name.partition(".")[0] == "lib"], path
        # Messages and help use COMMAND, so that they are right under any name.
        assert not re.search(r"-m lib\b|\blib[./]", path.read_text()), path


@pytest.mark.parametrize("name", PURE)
def test_a_pure_room_exists(name: str) -> None:
    assert (LIB / name).is_dir() or (LIB / f"{name}.py").is_file()


def test_a_pure_room_knows_no_driver_and_no_environment() -> None:
    pure = [path for path in MODULES if path.relative_to(LIB).as_posix().startswith(PURE)]
    pattern = r"^\s*(?:import|from) (?:psycopg|flask|os|subprocess|socket)\b"
    assert [path for path in pure if re.search(pattern, path.read_text(), re.MULTILINE)] == []


def test_only_the_outermost_modules_read_the_environment() -> None:
    allowed = {"__main__.py", "endpoint_setup.py", "cluster_files.py"}
    # The package itself reads how it was called.
    others = [
        path
        for path in (*MODULES, *(ROOT / "api").glob("*.py"))
        if path.name not in allowed and path != LIB / "__init__.py"
    ]
    pattern = r"os\.environ\b(?! \()"
    assert [path for path in others if re.search(pattern, path.read_text())] == []


def test_no_class_is_longer_than_150_lines() -> None:
    long = [
        (path, node.name)
        for path in MODULES
        for node in nodes(path)
        if isinstance(node, ast.ClassDef) and (node.end_lineno or 0) - node.lineno >= 150
    ]
    assert long == []


def test_no_import_hides_a_circle() -> None:
    assert [path for path in MODULES if "TYPE_CHECKING" in path.read_text()] == []


def test_git_keeps_lib() -> None:
    ignored = subprocess.run(
        ["git", "check-ignore", "-q", "lib/actions/migrate.py"], cwd=ROOT, check=False
    ).returncode
    assert ignored != 0


@pytest.mark.parametrize("wing", WINGS)
def test_the_tests_mirror_the_wings(wing: str) -> None:
    tested = {path.stem.removeprefix("test_") for path in (ROOT / "tests" / wing).glob("test_*.py")}
    assert tested


@pytest.mark.parametrize("name", ["pyproject.toml", "setup.cfg", "uv.lock"])
def test_nothing_at_the_root_makes_vercel_ignore_the_requirements(name: str) -> None:
    assert not (ROOT / name).exists()


@pytest.mark.parametrize("entrypoint", ["migration-status", "migrate"])
def test_an_entrypoint_assigns_app_where_vercel_looks_for_it(entrypoint: str) -> None:
    tree = ast.parse((ROOT / "api" / f"{entrypoint}.py").read_text())
    names = [
        t.id
        for node in tree.body
        if isinstance(node, ast.Assign)
        for t in node.targets
        if isinstance(t, ast.Name)
    ]
    assert "app" in names


def listed(text: str) -> set[str]:
    """The modules in a list of wings: `wing: room room`."""
    found: set[str] = set()
    for line in re.sub(r"\n {6,}", " ", text).split("\n"):
        wing, _, names = line.strip().partition(":")
        prefix = "" if wing == "floor" else f"{wing}."
        found |= {f"{prefix}{name}" for name in names.split()}
    return found


# The modules of the package that importing an entrypoint loads, exactly; of other packages, at
# most these.
STATUS_ROOMS = listed("""
    floor: escaping deadline deployment duration errors time_limits masking
      object_patterns own_tables secret_patterns signals tool_words
    files: file_progress folder header
    settings: aws connection_target connection_url database_choice loader pasted_values providers
      search_path tls variables
    plan: blockers migration_states migration_plan plan_messages renames progress_listener reports
    database: sql_composition connection connection_errors login notices read_only server_error
      cancel_and_rollback
      send_and_receive
    ledger: fingerprint production_guard ledger_errors schema ledger_state table_trust
      trust_queries
    actions: run_parameters status
    web: endpoint_setup http_endpoint status_endpoint
""")
MIGRATE_ROOMS = (STATUS_ROOMS - {"web.status_endpoint"}) | listed("""
    sql: concurrent session_effects lexer statement transaction_control
    files: runnable_script
    plan: dry_run_report
    actions: migrate dry_run connection_for_files
    web: admin_endpoint
""")
DRIVER = {"psycopg", "psycopg_binary", "typing_extensions"}
FLASK = {"blinker", "click", "flask", "itsdangerous", "jinja2", "markupsafe", "werkzeug"}


def loaded_by(statement: str, *, after: str = "") -> set[str]:
    """The modules that a statement loads in a fresh interpreter, beyond those of `after`."""
    code = (
        f"import runpy, sys\n{after}\nbefore = set(sys.modules)\n"
        f"{statement}\nprint(*set(sys.modules) - before)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True
    )
    return set(done.stdout.split())


@pytest.mark.parametrize(
    ("entrypoint", "expected_rooms", "packages"),
    [("migration-status", STATUS_ROOMS, DRIVER), ("migrate", MIGRATE_ROOMS, DRIVER | FLASK)],
)
def test_an_entrypoint_loads_these_modules_and_no_other(
    entrypoint: str, expected_rooms: set[str], packages: set[str]
) -> None:
    loaded = loaded_by(f"runpy.run_path('api/{entrypoint}.py')")
    rooms = {name.removeprefix("lib.") for name in loaded if name.startswith("lib.")}
    assert rooms - set(WINGS) == expected_rooms
    tops = (
        {name.partition(".")[0] for name in loaded}
        - sys.stdlib_module_names
        - {"lib", "cython_runtime"}
    )
    assert {name for name in tops if not name.startswith("_")} <= packages


def test_the_status_function_loads_next_to_nothing_beyond_the_driver_and_vercels_runtime() -> None:
    runtime = (
        "import base64, http.client, http.server, json, logging, threading, traceback, psycopg"
    )
    loaded = loaded_by("runpy.run_path('api/migration-status.py')", after=runtime)
    assert {name for name in loaded if name.partition(".")[0] != "lib"} <= {
        "_blake2",
        "_hashlib",
        "hashlib",
        "pkgutil",
    }
