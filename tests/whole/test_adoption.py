"""docs/adopting.md, literally: its commands, in real projects that Vercel's own CLI builds.

Two of the projects are made by `create-next-app` and `create-vite`.
"""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import created_projects
import pytest
from conftest import ROOT, Database, local_environ
from git_projects import GIT
from vercel_cli import Built, Function, Project, copy_clone, missing, require_machine, without_git

PAGE = (ROOT / "docs" / "adopting.md").read_text()
PROJECTS = ROOT / "tests" / "projects"
# The recipe of each kind of project, for those who write vercel.json or vercel.ts themselves.
RECIPES = {
    "none": "No frontend",
    "frontend": "A Vite frontend in frontend/",
    "site": "A package.json at the root",
    "create-vite": "A package.json at the root",
    "create-next-app": "Next.js",
}
CREATED = {tool.name: tool for tool in (created_projects.NEXT, created_projects.VITE)}
# Below the root of the repository: the Root Directory in Vercel.
FOLDERS = {"site": "apps/site"}
OWN_MIGRATION = "001-create-orders-table"
ORDERS = "create table orders (id int primary key, customer text not null);\n"
GREETING = "hello from the project"
# The version before the modules were put into folders, and before there was a record.
FLAT_VERSION = "b2e4c94"

# A stock one for Python, which ignores lib/.
GITIGNORE = "__pycache__/\nbuild/\ndist/\nlib/\nlib64/\nnode_modules/\n.next/"


def blocks(heading: str, language: str = "sh", page: str = PAGE) -> list[str]:
    """Return the fenced blocks under a heading, up to the next of its level or above."""
    level = re.search(rf"^(#+) {re.escape(heading)}$", page, re.MULTILINE)
    assert level, f"no section {heading!r}"
    rest = page[level.end() :]
    end = re.search(rf"^#{{1,{len(level[1])}}} ", rest, re.MULTILINE)
    return re.findall(
        rf"^```{language}\n(.*?)^```$",
        rest[: end.start()] if end else rest,
        re.MULTILINE | re.DOTALL,
    )


def git_environ() -> dict[str, str]:
    return without_git(local_environ()) | GIT


def run(
    command: str, root: Path, *, fails_with: int = 0, variables: Mapping[str, str] | None = None
) -> str:
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command],
        cwd=root,
        env={**git_environ(), **(variables or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == fails_with, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout + (done.stderr if fails_with else "")


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


@pytest.fixture
def machine() -> None:
    """Skip or fail without what builds by Vercel need, before any other work is done for them."""
    require_machine()


@dataclass(frozen=True)
class Adopter:
    """A project's repository, the folder in it that gets the bundle, and the bundle's clone."""

    repository: Path
    bundle: Path
    folder: str = ""

    @property
    def root(self) -> Path:
        return self.repository / self.folder

    def call(self, heading: str, *options: str, fails_with: int = 0) -> str:
        """Run the command of the page for this project."""
        command = blocks(heading)[0].strip().splitlines()[-1]
        assert re.fullmatch(r"python3 -m lib (install|update|uninstall) \.\./my-app", command)
        command = command.replace("python3", sys.executable).replace("../my-app", f"'{self.root}'")
        return run(" ".join([command, *options]), self.bundle, fails_with=fails_with)

    def install(self, *options: str) -> str:
        return self.call("Add it", "--yes", *options)

    def write(self, name: str, text: str) -> None:
        Project(self.root).write(name, text)

    def push(
        self, to: Path, db: Database, tool: created_projects.Tool | None = None, **variables: str
    ) -> Built:
        """Build what git has, in a clone, as Vercel does after a push."""
        run(f"git clone -q '{self.repository}' '{to}'", self.repository)
        if tool:
            created_projects.restore_packages(tool, to)
        variables = {"DATABASE_URL": db.url, **variables}
        return Project(to, variables=variables, folder=self.folder).build()


def make_adopter(
    tmp_path: Path,
    bundle: Path,
    files: Mapping[str, str],
    kind: str | None = None,
) -> Adopter:
    adopter = Adopter(tmp_path / "project", bundle, FOLDERS.get(kind or "", ""))
    if kind in CREATED:
        created_projects.create(CREATED[kind], adopter.root)
    elif kind:
        shutil.copytree(PROJECTS / kind, adopter.root)
    for name, text in files.items():
        adopter.write(name, text)
    run("git init -q -b main && git add -f .", adopter.repository)
    commit(adopter.repository)
    return adopter


def tree(root: Path) -> dict[str, tuple[int, bytes | str]]:
    """Return the mode and the content of all that is below a folder, what git keeps excepted."""
    return {
        path.relative_to(root).as_posix(): (
            path.lstat().st_mode,
            str(path.readlink())
            if path.is_symlink()
            else path.read_bytes()
            if path.is_file()
            else "folder",
        )
        for path in root.rglob("*")
        if ".git" not in path.relative_to(root).parts
    }


def strangers_among(
    names: Iterable[str], *, package: str = "lib", migrations: str = "migrations"
) -> set[str]:
    """The files of a function that belong neither to its part of the bundle nor to its packages."""
    allowed = re.compile(
        rf"(_vendor/.*|api/[\w-]+\.py|{migrations}/[\w-]+\.sql|vercel\.json"
        r"|vc__handler__python\.py"
        # What only the command line needs is not deployed.
        rf"|{package}/(?!__main__\.py|(cli|install|local|rebuild|text)/|actions/(baseline|resolve)\.py)"
        r"(\w+/)?\w+\.py)"
    )
    return {name for name in names if not allowed.fullmatch(name)}


def status_of(built: Built, db: Database, to: Path, **variables: str) -> Any:
    """The answer of the built status function under Vercel's own runtime."""
    environ = built.environ("api/migration-status", DATABASE_URL=db.url, VERCEL="1", **variables)
    with Function(built.unpack("api/migration-status", to), built.python, environ) as function:
        return function.get("/api/migration-status").document


# --- The one command ---


def check_that_the_page_shows(said: str) -> None:
    """Compare the lines of the page with what was printed in another folder."""
    shown, *_ = blocks("Add it", "text")
    printed, written = (
        [re.sub(r"\d+ files( in .*)?|(?<= )/\S+?(?=/docs/|:$)", "…", line) for line in lines]
        for lines in (said.splitlines(), shown.splitlines())
    )
    # Not among them: what was typed, what differs by folder, and what was left out.
    differs = re.compile(r"\$|Write this|Install in| +…$")
    assert [line for line in written if not differs.match(line) and line not in printed] == []


@pytest.mark.usefixtures("machine")
@pytest.mark.timeout(400)
@pytest.mark.parametrize("kind", RECIPES)
def test_a_project_of_each_kind_is_built_after_one_command(
    kind: str, tmp_path: Path, bundle_repository: Path, db: Database
) -> None:
    own = {".env": "STRIPE_KEY=sk_live_1\n", "README.md": "The shop\n", "tests/test_shop.py": ""}
    if kind not in CREATED:
        own[".gitignore"] = GITIGNORE
    project = make_adopter(tmp_path, bundle_repository, own, kind)
    tracked = set(run("git ls-files", project.root).splitlines())
    project.write("notes.txt", "not committed yet\n")
    before = tree(project.repository)

    said = project.install()
    if kind == "create-next-app":
        check_that_the_page_shows(said)
    [recipe] = blocks(RECIPES[kind], "json")
    assert json.loads((project.root / "vercel.json").read_text()) == json.loads(recipe)
    changed = set(run("git diff --name-only --relative", project.root).splitlines())
    assert changed <= {".gitignore", "requirements.txt"}, "no other file of the project is touched"
    project.call("Remove it", "--yes")
    assert tree(project.repository) == before

    project.install()
    project.write(f"migrations/{OWN_MIGRATION}.sql", ORDERS)
    commit(project.root)
    built = project.push(tmp_path / "deployed", db, CREATED.get(kind))
    assert built.exit_code == 0, built.log
    assert built.is_deployable
    assert db.versions() == ["000-create-migration-table", OWN_MIGRATION]
    assert {"api/migrate", "api/migration-status"} <= built.functions
    for function in ("api/migrate", "api/migration-status"):
        assert strangers_among(built.files(function)) == set()
        assert any(name.startswith("_vendor/psycopg_binary/") for name in built.files(function))
    document = status_of(built, db, tmp_path / "task")
    assert (document["state"], document["appliedMigrations"]) == ("up-to-date", 2)
    # Vite makes an index.html of the one at the root.
    assert built.static & tracked <= {"index.html"}, "no source is served"
    SITES[kind](built)


def has_its_own_function_and_nothing_to_serve(built: Built) -> None:
    assert built.static == {".keep"}
    assert built.functions == {"api/hello", "api/migrate", "api/migration-status"}
    assert "maxDuration" not in built.config("api/hello")
    assert "README.md" in built.files("api/hello"), (
        "the allowlist of the two functions doesn't concern it"
    )


def has_the_page_in_frontend(built: Built) -> None:
    [script] = built.static - {"index.html"}
    assert re.fullmatch(r"assets/index-[\w-]+\.js", script)
    assert GREETING in (built.output / "static" / script).read_text()


def has_the_page_of_the_site(built: Built) -> None:
    assert built.static == {"index.html"}
    assert GREETING in (built.output / "static" / "index.html").read_text()


def has_the_page_of_vite(built: Built) -> None:
    assert {"index.html", "favicon.svg"} < built.static


def has_the_pages_of_next(built: Built) -> None:
    assert "Making .venv" in built.log, "the preset installs no requirements"
    assert {"index", "orders"} <= built.functions
    assert built.config("orders")["runtime"].startswith("nodejs")
    # Next's own functions hold what Next has traced; it takes every .env file along by itself.
    assert [
        name for name in built.files("orders") if name.startswith((".venv/", "lib/", "migrations/"))
    ] == []
    assert [name for name in built.static if not re.match(r"_next/|(404|500)\.", name)] == []


SITES: Mapping[str, Callable[[Built], None]] = {
    "none": has_its_own_function_and_nothing_to_serve,
    "frontend": has_the_page_in_frontend,
    "site": has_the_page_of_the_site,
    "create-vite": has_the_page_of_vite,
    "create-next-app": has_the_pages_of_next,
}


@pytest.mark.usefixtures("machine")
@pytest.mark.timeout(300)
def test_another_folder_and_the_longest_package_name_travel_and_answer(
    tmp_path: Path, bundle_repository: Path, db: Database
) -> None:
    own = {"migrations/0000_init.sql": "-- another tool's\n", "lib/errors.py": ""}
    project = make_adopter(tmp_path, bundle_repository, own)
    stop = project.call("Add it", "--yes", fails_with=2)
    assert "--package" in stop
    assert "--migrations" in stop
    too_long = project.call("Add it", "--yes", "--package", "x" * 200, fails_with=2)
    [longest] = re.findall(r"may have (\d+)", too_long)
    name = "x" * int(longest)
    assert "may have" in project.call(
        "Add it", "--yes", "--migrations", "sql", "--package", "x" * 80, fails_with=2
    )

    names = ("--migrations", "sql", "--package", name)
    project.install(*names)
    project.write(f"sql/{OWN_MIGRATION}.sql", ORDERS)
    commit(project.root)
    built = project.push(tmp_path / "deployed", db, MIGRATIONS_DIR="sql", MIGRATION_SECRET="x" * 32)
    assert built.exit_code == 0, built.log
    for function in ("api/migrate", "api/migration-status"):
        files = built.files(function)
        assert strangers_among(files, package=name, migrations="sql") == set()
        assert {path for path in files if path.endswith(".sql")} == {
            "sql/000-create-migration-table.sql",
            f"sql/{OWN_MIGRATION}.sql",
        }
    variables = {
        "MIGRATIONS_DIR": "sql",
        "MIGRATION_SECRET": "x" * 32,
        "VERCEL_ENV": "production",
    }
    document = status_of(built, db, tmp_path / "status", **variables)
    assert (document["state"], document["appliedMigrations"]) == ("up-to-date", 2)
    environ = built.environ("api/migrate", DATABASE_URL=db.url, VERCEL="1", **variables)
    folder = built.unpack("api/migrate", tmp_path / "migrate")
    with Function(folder, built.python, environ) as admin:
        bearer = {"Authorization": f"Bearer {'x' * 32}"}
        answer = admin.request("POST", "/api/migrate", bearer)
    assert (answer.code, answer.document["applied"]) == (200, [])


# --- An update, and the way by hand ---


@pytest.fixture
def flat_repository(tmp_path: Path, bundle_repository: Path) -> Path:
    """The bundle as it was at FLAT_VERSION; today's gets all commits up to now."""
    if subprocess.run(["git", "cat-file", "-e", FLAT_VERSION], cwd=ROOT, check=False).returncode:
        missing(f"this clone is shallow, and lacks the commit {FLAT_VERSION}")
    root = tmp_path / "older"
    run(f"git init -q -b main '{root}'", tmp_path)
    for clone in (root, bundle_repository):
        run(f"git fetch -q '{ROOT}' HEAD", clone)
    run(f"git update-ref refs/heads/main {FLAT_VERSION}", root)
    as_it_is = "git commit -q --allow-empty -m 'as it is'"
    run(f"git reset -q --soft FETCH_HEAD && {as_it_is}", bundle_repository)
    return root


@pytest.mark.usefixtures("machine")
@pytest.mark.timeout(300)
def test_a_project_filled_by_hand_long_ago_is_updated_by_one_command(
    tmp_path: Path, bundle_repository: Path, flat_repository: Path, db: Database
) -> None:
    own = {"lib/greeting.ts": "", "lib/sql/own.ts": "", "README.md": "The shop\n"}
    project = make_adopter(tmp_path, bundle_repository, own)
    older_page = run(f"git show {FLAT_VERSION}:docs/adopting.md", flat_repository)
    add, copy, commit_it, *_ = blocks("Add it", page=older_page)
    run(re.sub(r"\bURL\b", str(flat_repository), add), project.root)
    run(copy, project.root)
    project.write("vercel.json", blocks("No frontend", "json", older_page)[0])
    run(commit_it, project.root)
    project.write(f"migrations/{OWN_MIGRATION}.sql", ORDERS)
    run("echo '# of the project' >>build.sh", project.root)
    commit(project.root)
    production = {"DATABASE_URL": db.url, "VERCEL_ENV": "production", "CI": "1"}
    run(f"{sys.executable} -m lib migrate", project.root, variables=production)
    ledger = db.query("select xmin, * from schema_migrations")
    flat = {path.name for path in (project.root / "lib").glob("*.py")}

    assert "build.sh" in project.call("Update it", "--yes", fails_with=2)
    assert run("git status --short", project.root) == ""
    project.call("Update it", "--yes", "--ours")
    assert (project.root / "build.sh").read_text().endswith("# of the project\n")
    run("git reset -q --hard && git clean -fdq", project.root)
    project.call("Update it", "--yes", "--theirs")
    assert (project.root / "build.sh").read_bytes() == (ROOT / "build.sh").read_bytes()
    there = {
        path.relative_to(project.root).as_posix() for path in project.root.rglob("lib/**/*.py")
    }
    assert there == {path.relative_to(ROOT).as_posix() for path in ROOT.glob("lib/**/*.py")}
    assert len(flat - {path.name for path in (ROOT / "lib").glob("*.py")}) > 20
    assert all((project.root / name).exists() for name in own)
    ours = json.loads((ROOT / "vercel.json").read_text())
    assert json.loads((project.root / "vercel.json").read_text()) == ours
    commit(project.root)
    assert run("git status --short", project.root) == ""

    built = project.push(tmp_path / "deployed", db)
    assert built.exit_code == 0, built.log
    assert "Nothing to apply" in built.log
    assert db.query("select xmin, * from schema_migrations") == ledger
    assert status_of(built, db, tmp_path / "task")["state"] == "up-to-date"


@dataclass(frozen=True)
class ByHand:
    """The commands of the page that do without `install`."""

    project: Adopter

    def ask(self) -> list[str]:
        """List the names that the project has already."""
        add, look = blocks("Add it by hand")[0].strip().split("\n", 1)
        run(re.sub(r"\bURL\b", str(self.project.bundle), add), self.project.root)
        return run(look, self.project.root).splitlines()

    def add(self) -> None:
        _, copy, look, commit_it = blocks("Add it by hand")
        run(copy, self.project.root)
        ignored = run(f"{look.strip()} || true", self.project.root).splitlines()
        assert [line for line in ignored if not line.split(":")[2].startswith("!")] == []
        self.project.write("vercel.json", blocks("No frontend", "json")[0])
        run(commit_it, self.project.root)


def test_every_command_that_takes_the_folders_of_the_bundle_names_all_of_them() -> None:
    wings = {path.parent.name for path in (ROOT / "lib").glob("*/__init__.py")}
    named = re.findall(r"lib/'\{([a-z,]+)\}'/\*\.py'", PAGE)
    assert [set(names.split(",")) for names in named] == [wings] * 3


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
    assert ByHand(project).ask() == [
        "api/migrate.py",
        "build.sh",
        "lib/own.py",
        "lib/sql/own.py",
        "migrations/0000_init.sql",
    ]


def test_by_hand_the_project_gets_the_same_files_and_a_later_version(
    tmp_path: Path, bundle_repository: Path
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
    own = {"lib/greeting.ts": "", "lib/sql/own.ts": "", "lib/deeper/own.py": "", ".gitignore": ""}
    project = make_adopter(tmp_path, bundle_repository, own)
    # As git for Windows is set up.
    run("git config core.autocrlf true", project.root)
    by_hand = ByHand(project)
    assert by_hand.ask() == []
    by_hand.add()
    added = set(run("git diff --name-only --diff-filter=A HEAD~1", project.root).split())
    run(
        f"git checkout -q {newest} -- . && git rm -q lib/stale.py lib/sql/stale.py"
        " && git commit -q -m newest",
        bundle_repository,
    )
    update, commit_it = blocks("Update it by hand")
    shown = run(update, project.root)
    assert all(f"D  {name}" in shown for name in older if name.endswith("/stale.py"))
    run(commit_it, project.root)
    assert set(run("git diff --name-only HEAD~1", project.root).split()) == set(older)
    assert "\r" not in run("git show HEAD:build.sh", project.root)
    assert run("git ls-tree HEAD build.sh", project.root).startswith("100755 ")
    assert all((project.root / name).exists() for name in own)

    installed = make_adopter(tmp_path / "installed", bundle_repository, own)
    installed.install()
    commit(installed.root)
    by_command = set(run("git diff --name-only --diff-filter=A HEAD~1", installed.root).split())
    assert added - set(older) | {"lib/installed.json"} == by_command - set(older)


def test_by_hand_a_folder_of_a_monorepo_gets_the_bundle(
    tmp_path: Path, bundle_repository: Path
) -> None:
    own = {".gitignore": GITIGNORE, "apps/web/lib/greeting.ts": "", "apps/web/lib/sql/own.ts": ""}
    project = make_adopter(tmp_path, bundle_repository, own)
    ByHand(project).ask()
    archive, remove = blocks("A folder of a monorepo by hand")
    run(archive, project.root)
    run("git commit -q -m added", project.root)
    there = {
        name.removeprefix("apps/web/")
        for name in run("git ls-files apps", project.root).splitlines()
    }
    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / "lib").rglob("*.py")}
    at_the_root = {"api/migrate.py", "api/migration-status.py", "build.sh", "requirements.txt"}
    assert modules | at_the_root <= there
    assert {name.removeprefix("apps/web/") for name in own if "lib/" in name} <= there

    stale = "apps/web/lib/sql/stale.py"
    project.write(stale, "")
    run(f"git add -f {stale} && git commit -q -m 'an older one'", project.root)
    run(remove + archive, project.root)
    assert run("git diff --cached --name-status", project.root) == f"D\t{stale}\n"


@pytest.mark.parametrize("kind", RECIPES)
def test_a_recipe_has_the_functions_of_this_repository(kind: str) -> None:
    ours = json.loads((ROOT / "vercel.json").read_text())
    [recipe] = blocks(RECIPES[kind], "json")
    assert json.loads(recipe)["functions"] == ours["functions"]
    assert kind != "none" or json.loads(recipe) == ours
