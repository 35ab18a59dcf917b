"""docs/adopting.md, literally: its commands and its vercel.json in projects of four kinds.

Vercel's own CLI builds the projects.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, Database, local_environ
from vercel_cli import Built, Function, Project, copy_clone, require_machine, without_git

PAGE = ROOT / "docs" / "adopting.md"
PROJECTS = ROOT / "tests" / "projects"
RECIPES = {
    "none": "No frontend",
    "vite": "A Vite frontend in frontend/",
    "site": "A package.json at the root",
    "next": "Next.js",
}
OWN_MIGRATION = "001-create-orders-table"
GREETING = "hello from the project"

# A stock one for Python, which ignores lib/.
GITIGNORE = "__pycache__/\nbuild/\ndist/\nlib/\nlib64/\nnode_modules/\n.next/"


def blocks(heading: str, language: str) -> list[str]:
    """Return the fenced blocks under a heading, up to the next of its level or above."""
    level = re.search(rf"^(#+) {re.escape(heading)}$", PAGE.read_text(), re.MULTILINE)
    assert level, f"no section {heading!r}"
    rest = PAGE.read_text()[level.end() :]
    end = re.search(rf"^#{{1,{len(level[1])}}} ", rest, re.MULTILINE)
    return re.findall(
        rf"^```{language}\n(.*?)^```$",
        rest[: end.start()] if end else rest,
        re.MULTILINE | re.DOTALL,
    )


def recipe(kind: str) -> str:
    [text] = blocks(RECIPES[kind], "json")
    return text


def git_environ() -> dict[str, str]:
    who = {
        f"GIT_{role}_{what}": "somebody@example.com"
        for role in ("AUTHOR", "COMMITTER")
        for what in ("NAME", "EMAIL")
    }
    return without_git(local_environ()) | {
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_SYSTEM": os.devnull,
        **who,
    }


def run(command: str, root: Path) -> str:
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command],
        cwd=root,
        env=git_environ(),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


def commit(root: Path, message: str = "as it is") -> None:
    run(f"git add -A && git commit -q -m '{message}'", root)


@pytest.fixture
def bundle_repository(tmp_path: Path) -> Path:
    """This repository as it is now, uncommitted work included, at an address of its own."""
    root = tmp_path / "bundle"
    root.mkdir()
    copy_clone(root)
    run("git init -q -b main", root)
    commit(root)
    return root


@dataclass(frozen=True)
class Adopter:
    """A project's repository, and the bundle's that it takes from."""

    root: Path
    bundle: Path

    def ask(self) -> list[str]:
        """List the names that the project has already, by the first commands of the page."""
        add, look = blocks("Add it", "sh")[0].strip().split("\n", 1)
        run(re.sub(r"\bURL\b", str(self.bundle), add), self.root)
        return run(look, self.root).splitlines()

    def add(self, vercel_json: str) -> None:
        _, copy, commit_it, *_ = blocks("Add it", "sh")
        [look] = blocks("What is already there", "sh")
        run(copy, self.root)
        ignored = run(f"{look.strip()} || true", self.root).splitlines()
        assert [line for line in ignored if not line.split(":")[2].startswith("!")] == []
        (self.root / "vercel.json").write_text(vercel_json)
        run(commit_it, self.root)

    def write(self, name: str, text: str) -> None:
        Project(self.root).write(name, text)

    def push(self, to: Path, db: Database, **variables: str) -> Built:
        """Build what git has, in a clone, as Vercel does after a push."""
        run(f"git clone -q '{self.root}' '{to}'", self.root)
        return Project(to, variables={"DATABASE_URL": db.url, **variables}).build()


@pytest.fixture
def machine() -> None:
    """Skip or fail without what builds by Vercel need, before any other work is done for them."""
    require_machine()


def make_adopter(
    tmp_path: Path, bundle: Path, files: Mapping[str, str], source: Path | None = None
) -> Adopter:
    adopter = Adopter(tmp_path / "project", bundle)
    if source:
        shutil.copytree(source, adopter.root)
    for name, text in files.items():
        adopter.write(name, text)
    run("git init -q -b main && git add -f .", adopter.root)
    commit(adopter.root)
    return adopter


def strangers_among(names: Iterable[str]) -> set[str]:
    """The files of a function that belong neither to its part of the bundle nor to its packages."""
    allowed = re.compile(
        r"(_vendor/.*|api/[\w-]+\.py|(migrations|sql)/[\w-]+\.sql|vercel\.json"
        r"|vc__handler__python\.py"
        # What only the command line needs is not deployed.
        r"|lib/(?!__main__\.py|(cli|install|local|rebuild|text)/|actions/(baseline|resolve)\.py)(\w+/)?\w+\.py)"
    )
    return {name for name in names if not allowed.fullmatch(name)}


def status_of(built: Built, db: Database, to: Path, **variables: str) -> Any:
    """The answer of the built status function under Vercel's own runtime."""
    environ = built.environ("api/migration-status", DATABASE_URL=db.url, VERCEL="1", **variables)
    with Function(built.unpack("api/migration-status", to), built.python, environ) as function:
        return function.get("/api/migration-status").document


def test_every_command_that_takes_the_folders_of_the_bundle_names_all_of_them() -> None:
    wings = {path.parent.name for path in (ROOT / "lib").glob("*/__init__.py")}
    named = re.findall(r"lib/'\{([a-z,]+)\}'/\*\.py'", PAGE.read_text())
    assert [set(names.split(",")) for names in named] == [wings] * 3


@pytest.mark.parametrize("kind", RECIPES)
def test_a_recipe_has_the_functions_of_this_repository(kind: str) -> None:
    ours = json.loads((ROOT / "vercel.json").read_text())
    theirs = json.loads(recipe(kind))
    assert theirs["functions"] == ours["functions"]
    assert kind != "none" or theirs == ours


@pytest.mark.usefixtures("machine")
@pytest.mark.timeout(400)
@pytest.mark.parametrize("kind", RECIPES)
def test_a_project_of_each_kind_is_built_with_its_recipe(
    kind: str, tmp_path: Path, bundle_repository: Path, db: Database
) -> None:
    own = {
        ".env": "STRIPE_KEY=sk_live_1\n",
        "README.md": "The shop\n",
        "tests/test_shop.py": "",
        ".gitignore": GITIGNORE,
    }
    project = make_adopter(tmp_path, bundle_repository, own, PROJECTS / kind)
    before = set(run("git ls-files", project.root).splitlines())
    assert project.ask() == []
    project.add(recipe(kind))
    changed = set(run("git diff --name-only --diff-filter=a HEAD~1", project.root).splitlines())
    assert changed == {".gitignore"}, "no other file of the project is touched"
    project.write(f"migrations/{OWN_MIGRATION}.sql", "create table orders (id int primary key);\n")
    commit(project.root)

    built = project.push(tmp_path / "deployed", db)
    assert built.exit_code == 0, built.log
    assert built.is_deployable
    assert db.versions() == ["000-create-migration-table", OWN_MIGRATION]
    assert {"api/migrate", "api/migration-status"} <= built.functions
    for function in ("api/migrate", "api/migration-status"):
        assert strangers_among(built.files(function)) == set()
        assert any(name.startswith("_vendor/psycopg_binary/") for name in built.files(function))
    document = status_of(built, db, tmp_path / "task")
    assert (document["state"], document["appliedMigrations"]) == ("up-to-date", 2)
    assert not built.static & before, "no source is served"
    SITES[kind](built)


def has_its_own_function_and_nothing_to_serve(built: Built) -> None:
    assert built.static == {".keep"}
    assert built.functions == {"api/hello", "api/migrate", "api/migration-status"}
    assert "maxDuration" not in built.config("api/hello")
    assert "README.md" in built.files("api/hello"), (
        "the allowlist of the two functions doesn't concern it"
    )


def has_the_page_of_vite(built: Built) -> None:
    [script] = built.static - {"index.html"}
    assert re.fullmatch(r"assets/index-[\w-]+\.js", script)
    assert GREETING in (built.output / "static" / script).read_text()


def has_the_page_of_the_site(built: Built) -> None:
    assert built.static == {"index.html"}
    assert GREETING in (built.output / "static" / "index.html").read_text()


def has_the_page_and_the_route_of_next(built: Built) -> None:
    assert "Making .venv" in built.log, "the preset installs no requirements"
    assert {"index", "hello"} <= built.functions
    assert built.config("hello")["runtime"].startswith("nodejs")
    assert GREETING in (built.output / "functions" / "index.prerender-fallback.html").read_text()
    # Next's own functions hold what Next has traced; it takes every .env file along by itself.
    assert [
        name for name in built.files("hello") if name.startswith((".venv/", "lib/", "migrations/"))
    ] == []
    assert [name for name in built.static if not re.match(r"_next/|(404|500)\.", name)] == []


SITES = {
    "none": has_its_own_function_and_nothing_to_serve,
    "vite": has_the_page_of_vite,
    "site": has_the_page_of_the_site,
    "next": has_the_page_and_the_route_of_next,
}


def test_what_the_bundle_would_overwrite_is_listed_beforehand(
    tmp_path: Path, bundle_repository: Path
) -> None:
    own = {
        "build.sh": "",
        "lib/own.py": "",
        "lib/deeper/own.py": "",
        "lib/sql/own.py": "",
        "lib/sql/deeper/own.py": "",
        "lib/sql/own.ts": "",
        "lib/greeting.ts": "",
        "api/hello.py": "",
        "migrations/0000_init.sql": "",
    }
    project = make_adopter(tmp_path, bundle_repository, own)
    project.write("api/migrate.py", "not even committed")
    assert project.ask() == [
        "api/migrate.py",
        "build.sh",
        "lib/own.py",
        "lib/sql/own.py",
        "migrations/0000_init.sql",
    ]


def test_a_folder_of_a_monorepo_gets_the_bundle(tmp_path: Path, bundle_repository: Path) -> None:
    own = {".gitignore": GITIGNORE, "apps/web/lib/greeting.ts": "", "apps/web/lib/sql/own.ts": ""}
    project = make_adopter(tmp_path, bundle_repository, own)
    project.ask()
    archive, remove = blocks("A folder of a monorepo", "sh")
    run(archive, project.root)
    run("git commit -q -m added", project.root)
    there = {
        name.removeprefix("apps/web/")
        for name in run("git ls-files apps", project.root).splitlines()
    }
    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / "lib").rglob("*.py")}
    assert (
        modules
        | {"api/migrate.py", "api/migration-status.py", "build.sh", "migrate", "requirements.txt"}
        <= there
    )
    assert {name.removeprefix("apps/web/") for name in own if "lib/" in name} <= there

    stale = "apps/web/lib/sql/stale.py"
    project.write(stale, "")
    run(f"git add -f {stale} && git commit -q -m 'an older one'", project.root)
    run(remove + archive, project.root)
    assert run("git diff --cached --name-status", project.root) == f"D\t{stale}\n"


def test_nothing_is_added_but_the_bundle(tmp_path: Path, bundle_repository: Path) -> None:
    project = make_adopter(tmp_path, bundle_repository, {"README.md": "The shop\n"})
    project.ask()
    project.add(recipe("none"))
    added = run("git diff --name-only --diff-filter=A HEAD~1", project.root).splitlines()
    top = {name.partition("/")[0] for name in added}
    assert top == {
        ".gitignore",
        ".python-version",
        "api",
        "build.sh",
        "lib",
        "migrate",
        "migrations",
        "requirements-local.txt",
        "requirements.txt",
        "vercel.json",
    }


def test_line_ends_of_windows_are_not_committed(tmp_path: Path, bundle_repository: Path) -> None:
    project = make_adopter(tmp_path, bundle_repository, {"README.md": "The shop\n"})
    run("git config core.autocrlf true", project.root)
    assert project.ask() == []
    project.add(recipe("none"))
    assert b"\r\n" in (project.root / "build.sh").read_bytes()
    assert "\r" not in run("git show HEAD:build.sh", project.root)
    for name in ("build.sh", "migrate"):
        assert run(f"git ls-tree HEAD {name}", project.root).startswith("100755 ")


@pytest.mark.usefixtures("machine")
@pytest.mark.timeout(300)
def test_migrations_in_another_folder_travel_when_the_recipe_names_it(
    tmp_path: Path, bundle_repository: Path, db: Database
) -> None:
    project = make_adopter(
        tmp_path, bundle_repository, {"migrations/0000_init.sql": "-- another tool's\n"}
    )
    assert project.ask() == ["migrations/0000_init.sql"]
    (project.root / "sql").mkdir()
    project.add(recipe("none").replace("migrations)", "sql)").replace("migrations/", "sql/"))
    move = "git mv migrations/000-create-migration-table.sql sql/"
    assert move in PAGE.read_text()
    run(move, project.root)
    project.write(f"sql/{OWN_MIGRATION}.sql", "create table orders (id int primary key);\n")
    commit(project.root)
    built = project.push(tmp_path / "deployed", db, MIGRATIONS_DIR="sql")
    assert built.exit_code == 0, built.log
    assert {name for name in built.files("api/migrate") if name.endswith(".sql")} == {
        "sql/000-create-migration-table.sql",
        f"sql/{OWN_MIGRATION}.sql",
    }
    document = status_of(built, db, tmp_path / "task", MIGRATIONS_DIR="sql")
    assert (document["state"], document["appliedMigrations"]) == ("up-to-date", 2)


@pytest.mark.usefixtures("machine")
@pytest.mark.timeout(300)
def test_an_update_brings_the_files_of_the_bundle_and_leaves_those_of_the_project(
    tmp_path: Path, bundle_repository: Path, db: Database
) -> None:
    newest = run("git rev-parse HEAD", bundle_repository).strip()
    older = {
        "lib/stale.py": "",
        "lib/sql/stale.py": "",
        "lib/errors.py": (ROOT / "lib" / "errors.py").read_text() + "\n# as it was\n",
        "build.sh": "# as it was\n",
    }
    for name, text in older.items():
        (bundle_repository / name).write_text(text)
    commit(bundle_repository, "an older one")
    own = {
        "lib/greeting.ts": "",
        "lib/sql/own.ts": "",
        "lib/deeper/own.py": "",
        "README.md": "The shop\n",
    }
    project = make_adopter(tmp_path, bundle_repository, own)
    assert project.ask() == []
    project.add(recipe("none"))
    project.write(f"migrations/{OWN_MIGRATION}.sql", "create table orders (id int primary key);\n")
    commit(project.root)
    subprocess.run(
        [sys.executable, "-m", "lib", "migrate"],
        cwd=project.root,
        env=local_environ(DATABASE_URL=db.url, VERCEL_ENV="production", CI="1"),
        check=True,
        capture_output=True,
    )
    ledger = db.query("select xmin, * from schema_migrations")
    stale = [name for name in older if name.endswith("/stale.py")]
    assert all((project.root / name).exists() for name in stale)

    run(
        f"git checkout -q {newest} -- . && git rm -q {' '.join(stale)} && git commit -q -m newest",
        bundle_repository,
    )
    update, commit_it = blocks("Update it", "sh")
    shown = run(update, project.root)
    assert all(f"D  {name}" in shown for name in stale)
    run(commit_it, project.root)
    assert set(run("git diff --name-only HEAD~1", project.root).split()) == set(older)
    assert not any((project.root / name).exists() for name in stale)
    for name in ("lib/errors.py", "build.sh"):
        assert (project.root / name).read_bytes() == (ROOT / name).read_bytes()
    assert all((project.root / name).exists() for name in own)

    built = project.push(tmp_path / "deployed", db)
    assert built.exit_code == 0, built.log
    assert "Nothing to apply" in built.log
    assert db.query("select xmin, * from schema_migrations") == ledger
    assert status_of(built, db, tmp_path / "task")["state"] == "up-to-date"
