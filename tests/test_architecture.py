"""The map in `lib/__init__.py` is the truth: who imports whom, and what an import costs."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

import lib

LIB = ROOT / "lib"
PURE_ROOMS = (
    "errors",
    "fingerprint",
    "read_only",
    "duration",
    "outgoing",
    "header",
    "migration_files",
    "sql_lexer",
    "subject",
    "statement",
    "place",
    "refusals",
    "comments",
    "letters",
    "own_tables",
    "script",
    "plan",
    "report",
    "planned_run",
    "terminal",
)


def rooms() -> list[str]:
    """The modules in the order of the map."""
    return re.findall(r"^    (\w+)  ", lib.__doc__ or "", re.MULTILINE)


def imports(module: str) -> set[str]:
    """What of `lib` a module imports, wherever in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse((LIB / f"{module}.py").read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "lib":
            found |= {name.name for name in node.names} - {"__version__"}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("lib."):
            found.add(str(node.module).removeprefix("lib."))
        elif isinstance(node, ast.Import):
            found |= {name.name.removeprefix("lib.") for name in node.names if name.name.startswith("lib.")}
    return found


def test_the_map_names_every_module_once() -> None:
    modules = {path.stem for path in LIB.glob("*.py")} - {"__init__", "__main__"}
    assert sorted(rooms()) == sorted(modules)


@pytest.mark.parametrize("module", rooms())
def test_a_module_imports_only_from_the_rooms_above_it(module: str) -> None:
    above = rooms()[: rooms().index(module)]
    assert imports(module) <= set(above)


def test_the_surfaces_never_import_each_other() -> None:
    web = {"service", "status_endpoint", "admin_endpoint", "local_server"}
    assert not imports("cli") & web
    assert not set().union(*map(imports, web)) & {"cli", "terminal"}


@pytest.mark.parametrize("module", PURE_ROOMS)
def test_a_pure_room_knows_no_driver_and_no_environment(module: str) -> None:
    source = (LIB / f"{module}.py").read_text()
    assert not re.search(r"^\s*(?:import|from) (?:psycopg|flask|os|subprocess|socket)\b", source, re.MULTILINE)


@pytest.mark.parametrize("path", sorted([*LIB.glob("*.py"), *(ROOT / "api").glob("*.py")]), ids=lambda path: path.name)
def test_only_the_outermost_modules_read_the_environment(path: Path) -> None:
    allowed = {"__main__.py", "service.py", "embedded.py"}
    assert path.name in allowed or "os.environ" not in path.read_text()


@pytest.mark.parametrize("path", sorted(LIB.glob("*.py")), ids=lambda path: path.name)
def test_no_import_hides_a_circle(path: Path) -> None:
    assert "TYPE_CHECKING" not in path.read_text()


def test_git_keeps_lib() -> None:
    ignored = subprocess.run(["git", "check-ignore", "-q", "lib/runner.py"], cwd=ROOT, check=False).returncode
    assert ignored != 0


@pytest.mark.parametrize("name", ["pyproject.toml", "setup.cfg", "uv.lock"])
def test_nothing_at_the_root_makes_vercel_ignore_the_requirements(name: str) -> None:
    assert not (ROOT / name).exists()


@pytest.mark.parametrize("entrypoint", ["migration-status", "migrate"])
def test_an_entrypoint_assigns_app_where_vercel_looks_for_it(entrypoint: str) -> None:
    tree = ast.parse((ROOT / "api" / f"{entrypoint}.py").read_text())
    names = [t.id for node in tree.body if isinstance(node, ast.Assign) for t in node.targets if isinstance(t, ast.Name)]
    assert "app" in names


# What importing an entrypoint loads: of `lib`, exactly these rooms; of others' packages, these at most.
STATUS_ROOMS = {
    "aws", "choice", "connection_url", "database", "duration", "errors", "job", "login", "migration_files", "plan",
    "fingerprint", "header", "outgoing", "pasted", "provider", "read_only", "report", "search_path", "service", "settings",
    "status", "status_endpoint", "survey", "tls", "trust", "unreachable",
}  # fmt: skip
MIGRATE_ROOMS = STATUS_ROOMS - {"status_endpoint"} | {
    "admin_endpoint", "catalog", "comments", "execution", "failure", "ledger", "letters", "lock", "observer", "own_tables",
    "pipeline", "place", "planned_run", "recovery", "refusals", "runner", "script", "session", "sql_lexer", "statement",
    "statements", "subject",
}  # fmt: skip
DRIVER = {"psycopg", "psycopg_binary", "typing_extensions"}
FLASK = {"blinker", "click", "flask", "itsdangerous", "jinja2", "markupsafe", "werkzeug"}


def loaded_by(statement: str, *, after: str = "") -> set[str]:
    """The modules that a statement loads in a fresh interpreter, beyond those of `after`."""
    code = f"import runpy, sys\n{after}\nbefore = set(sys.modules)\n{statement}\nprint(*set(sys.modules) - before)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True)
    return set(done.stdout.split())


@pytest.mark.parametrize(
    ("entrypoint", "expected_rooms", "packages"),
    [("migration-status", STATUS_ROOMS, DRIVER), ("migrate", MIGRATE_ROOMS, DRIVER | FLASK)],
)
def test_an_entrypoint_loads_these_modules_and_no_other(
    entrypoint: str, expected_rooms: set[str], packages: set[str]
) -> None:
    loaded = loaded_by(f"runpy.run_path('api/{entrypoint}.py')")
    assert {name.removeprefix("lib.") for name in loaded if name.startswith("lib.")} == expected_rooms
    tops = {name.partition(".")[0] for name in loaded} - sys.stdlib_module_names - {"lib", "cython_runtime"}
    assert {name for name in tops if not name.startswith("_")} <= packages


def test_the_status_function_loads_next_to_nothing_beyond_the_driver_and_vercels_runtime() -> None:
    runtime = "import base64, http.client, http.server, json, logging, threading, traceback, psycopg"
    loaded = loaded_by("runpy.run_path('api/migration-status.py')", after=runtime)
    assert {name for name in loaded if name.partition(".")[0] != "lib"} <= {"_blake2", "_hashlib", "hashlib", "pkgutil"}
