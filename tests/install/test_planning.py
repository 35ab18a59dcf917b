"""Install, update and uninstall, on projects in git and without any package."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import local_environ
from git_projects import Installer, Project, commit, git, tree

from lib import ROOT, __version__
from lib.cli.options import LONGEST_PACKAGE
from lib.install.bundle import Bundle, Names
from lib.install.changes import Change
from lib.install.package_manifest import check_manifest
from lib.install.planning import make_plan
from lib.install.project import TOOLS
from lib.install.record import Request
from lib.local.server_folder import home

VITE_AND_EXPRESS = (
    '{"dependencies": {"express": "5", "vite": "8"}, "scripts": {"build": "vite build"}}'
)
NEXT = '{"dependencies": {"next": "16.0.0"}, "scripts": {"build": "next build"}}\n'
VITE = '{"devDependencies": {"vite": "8.0.0"}, "scripts": {"build": "vite build"}}\n'
OF_NEXT = "FRONTEND_BUILD_COMMAND='npm run build' bash build.sh"

# By name: the files of a project, and the keys that its vercel.json gets beside `functions`.
KINDS = {
    "next": ({"package.json": NEXT}, {"framework": "nextjs", "buildCommand": OF_NEXT}),
    "next with pnpm": (
        {"package.json": NEXT, "pnpm-lock.yaml": ""},
        {
            "framework": "nextjs",
            "buildCommand": "FRONTEND_BUILD_COMMAND='pnpm run build' bash build.sh",
        },
    ),
    "the script that Vercel looks for first": (
        {"package.json": NEXT.replace('"build"', '"build": "x", "vercel-build"')},
        {
            "framework": "nextjs",
            "buildCommand": "FRONTEND_BUILD_COMMAND='npm run vercel-build' bash build.sh",
        },
    ),
    "packageManager before lock file": (
        {"package.json": NEXT.replace("{", '{"packageManager": "bun@1.2.0", ', 1), "yarn.lock": ""},
        {
            "framework": "nextjs",
            "buildCommand": "FRONTEND_BUILD_COMMAND='bun run build' bash build.sh",
        },
    ),
    "next by its configuration": (
        {"next.config.ts": "export default {}\n"},
        {"framework": "nextjs", "buildCommand": OF_NEXT},
    ),
    "vite": (
        {"package.json": VITE},
        {"framework": None, "buildCommand": OF_NEXT, "outputDirectory": "dist"},
    ),
    "vite with another output": (
        {"package.json": VITE, "vite.config.ts": "x({ build: { outDir: './web' } })\n"},
        {"framework": None, "buildCommand": OF_NEXT, "outputDirectory": "web"},
    ),
    "astro, which builds on vite": (
        {"package.json": VITE.replace("vite", "astro", 1)},
        {"framework": "astro", "buildCommand": OF_NEXT},
    ),
    "a package.json without a build": (
        {"package.json": '{"devDependencies": {"prettier": "3"}}'},
        {"framework": None, "buildCommand": "bash build.sh", "outputDirectory": "public"},
    ),
    "frontend/": (
        {"frontend/package.json": VITE},
        {"framework": None, "buildCommand": "bash build.sh", "outputDirectory": "frontend/dist"},
    ),
    "frontend/ with yarn": (
        {"frontend/package.json": VITE, "frontend/yarn.lock": ""},
        {
            "framework": None,
            "buildCommand": "FRONTEND_BUILD_COMMAND='cd frontend && yarn install && "
            "yarn run build' bash build.sh",
            "outputDirectory": "frontend/dist",
        },
    ),
    "none": (
        {"README.md": "An app.\n"},
        {"framework": None, "buildCommand": "bash build.sh", "outputDirectory": "public"},
    ),
}


def planned(clone: Path, project: Project, **more: Any) -> dict[str, Change]:
    """Return the changes that an installation would make, by path."""
    request = Request("install", str(project.folder), **more)
    plan = make_plan(request, clone, local_environ(GIT_CONFIG_GLOBAL=os.devnull))
    assert plan.faults == ()
    return {change.path: change for change in plan.changes}


@pytest.mark.parametrize("kind", KINDS)
def test_vercel_json_for_each_kind_of_project(
    clone: Path, make_project: Callable[..., Project], kind: str
) -> None:
    files, keys = KINDS[kind]
    written = json.loads(planned(clone, make_project(files))["vercel.json"].after or b"")
    bundled = json.loads((clone / "vercel.json").read_bytes())
    assert written.pop("functions") == bundled["functions"]
    assert written.pop("$schema") == bundled["$schema"]
    assert written == keys


@pytest.mark.parametrize(
    "files",
    [
        {"package.json": NEXT, "lib/greeting.ts": "export {}\n", ".gitignore": "node_modules"},
        {
            "vercel.json": '{"buildCommand": "vite build",\r\n\t"crons": []}',
            "requirements.txt": "requests\r\nFlask",
            "pyproject.toml": '[project]\nname = "x"\ndependencies = [\n  "a", # b\n]\n',
            ".python-version": "3.13",
            "migrations/README.md": "",
        },
        {"api/hello.py": "", "pyproject.toml": "[tool.ruff]\n", ".gitignore": b"\xe9\r\nlib/\r\n"},
    ],
)
def test_a_project_gets_the_bundle_and_loses_it_to_the_byte(
    run: Installer, make_project: Callable[..., Project], files: dict[str, str]
) -> None:
    project = make_project(files)
    before = tree(project.folder)
    run.done("install", project.folder, "--yes")
    assert os.access(project.folder / "build.sh", os.X_OK)
    assert not os.access(project.folder / "vercel.json", os.X_OK)
    check_manifest(project.folder, packages=["certifi"])
    project.commit()
    assert "Nothing to do" in run.done("update", project.folder, "--yes")
    run.done("uninstall", project.folder, "--yes")
    assert tree(project.folder) == before


def test_nothing_but_python_is_needed(run: Installer, make_project: Callable[..., Project]) -> None:
    project = make_project()
    before = tree(project.folder)
    for action in ("install", "update", "uninstall"):
        done = run.alone(action, project.folder, "--yes", "--debug")
        assert done.returncode == 0, done.stderr
        project.commit()
    assert tree(project.folder) == before
    done = run.alone("install", project.folder / "nowhere", "--debug")
    assert done.returncode == 2, "a failure and its traceback need nothing more"
    assert "No module named" not in done.stderr


def test_what_is_copied_and_what_is_not(
    run: Installer, make_project: Callable[..., Project]
) -> None:
    project = make_project()
    (run.clone / "lib" / "stray.py").touch()
    try:
        run.done("install", project.folder, "--yes")
    finally:
        (run.clone / "lib" / "stray.py").unlink()
    found = {name for name, content in tree(project.folder).items() if content != "folder"}
    package = set(git(run.clone, "ls-files", "lib").split())
    assert found == package | {
        "README.md",
        "api/migrate.py",
        "api/migration-status.py",
        "build.sh",
        "migrate",
        "requirements-local.txt",
        "requirements.txt",
        "vercel.json",
        ".gitignore",
        ".python-version",
        "migrations/000-create-migration-table.sql",
        "lib/installed.json",
    }


def test_a_dry_run_writes_nothing_and_shows_each_change(
    run: Installer, make_project: Callable[..., Project]
) -> None:
    project = make_project({"package.json": NEXT, ".gitignore": "node_modules/\n"})
    before = tree(project.folder)
    shown = run.done("install", project.folder, "--dry-run")
    assert tree(project.folder) == before
    assert "Next.js, built by npm run build" in shown
    assert "  + build.sh  added" in shown
    assert "  ~ .gitignore  merged\n      +\n" in shown
    assert '"framework": "nextjs"' in shown


def test_json_is_one_document_with_every_file(
    run: Installer, make_project: Callable[..., Project]
) -> None:
    project = make_project({".gitignore": "x\n", ".python-version": "3.13\n"})
    document = json.loads(run.done("install", project.folder, "--json", "--yes"))
    assert document["success"] is True
    assert document["action"] == "install"
    assert document["version"] == __version__
    assert document["folder"] == str(project.folder.resolve())
    changes = {each["path"]: each["change"] for each in document["changes"]}
    assert changes["build.sh"] == "added"
    assert changes[".gitignore"] == "merged"
    assert changes[".python-version"] == "kept"
    assert {*changes} - {".python-version", ".gitignore"} == {
        path
        for path, content in tree(project.folder).items()
        if content != "folder" and not path.startswith((".git", ".python"))
    }


def test_without_a_terminal_nothing_is_written_unless_yes(
    run: Installer, make_project: Callable[..., Project]
) -> None:
    project = make_project()
    before = tree(project.folder)
    assert "--yes" in run.refused("install", project.folder)
    assert tree(project.folder) == before


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({"lib/db.py": ""}, "--package migrator"),
        ({"lib/sql/x.py": ""}, "--package migrator"),
        ({"lib": ""}, "is no folder"),
        ({"api": ""}, "api is there already, and is no folder"),
        ({"requirements.txt/x": ""}, "requirements.txt is there already, and is no file"),
        ({"index.html": ""}, "Move the site into public/"),
        ({"app.py": "", "requirements.txt": "fastapi\n"}, "app.py: Vercel recognizes this"),
        ({"app/main.py": ""}, "app/main.py: Vercel recognizes this"),
        ({"manage.py": "", "vercel.json": '{"crons": []}'}, "manage.py: Vercel recognizes this"),
        (
            {"package.json": '{"dependencies": {"hono": "4"}, "scripts": {"build": "tsc"}}'},
            "package.json (hono): Vercel recognizes this application",
        ),
        ({"build.sh": "npm run build\n"}, "build-site.sh"),
        ({"migrate": ""}, "migrate is there already"),
        ({"migrations/0000_x.sql": "", "migrations/meta/_journal.json": ""}, "--migrations sql"),
        ({"migrations/000-mine.sql": ""}, "--migrations sql"),
        (
            {"migrations/committed/000001.sql": "", "migrations/current.sql": ""},
            "`git mv migrations old-migrations`, commit, and install again: `./migrate adopt TOOL "
            "--from old-migrations`",
        ),
        ({"vercel.ts": "export const config = {}"}, "vercel.ts configures Vercel"),
        ({"vercel.mjs": ""}, '"buildCommand": "bash build.sh", "outputDirectory": "public",'),
        ({"vercel.json": '{\n  "a": 1\n  "b": 2\n}'}, "vercel.json:3:3: "),
        ({"vercel.json": '{"builds": [{"src": "x"}]}'}, "has `builds`"),
        ({"vercel.json": '{"a": 1, "a": 2}'}, "a key stands twice"),
        ({"vercel.json": "[]"}, "JSON objects"),
        ({"vercel.json": "[" * 100000}, "vercel.json"),
        ({"app/api/migrate/route.ts": ""}, "app/api/migrate/route.ts serves /api/migrate"),
        ({"src/pages/api/migration-status.ts": ""}, "serves /api/migration-status"),
        ({"api/migrate.ts": ""}, "api/migrate.ts would be served at /api/migrate"),
        ({"api/migrate/index.js": ""}, "api/migrate would be served"),
        ({".vercelignore": "node_modules\n/lib\n"}, ".vercelignore:2: lib"),
        ({".gitignore": "*.py\n"}, ".gitignore:1: *.py: git would ignore"),
        ({"package.json": "{"}, "package.json cannot be read"),
        (
            {
                "package.json": '{"workspaces": ["apps/*"], "scripts": {"build": "turbo run"}}',
                "apps/web/package.json": NEXT,
            },
            "the root of a monorepo. The bundle belongs in the folder that is the Root Directory "
            "of a project in Vercel: install into that folder, such as apps/web.",
        ),
        (
            {"pnpm-workspace.yaml": "", "apps/web/package.json": NEXT},
            "the root of a monorepo. The bundle belongs in the folder that is the Root Directory "
            "of a project in Vercel: install into that folder, such as apps/web",
        ),
        ({"frontend/package.json": NEXT}, "install into that folder"),
        ({"requirements.txt": "psycopg[binary]==3.1.9\n"}, "3.2 or newer is needed"),
        ({"requirements.txt": "psycopg[binary]~=3.1.2\n"}, "3.2 or newer is needed"),
        ({"requirements.txt": "psycopg\n"}, "psycopg[binary]"),
        ({"requirements.txt": "flask --hash=sha256:00\n"}, "has hashes"),
        ({"requirements.txt": "flask\n".encode("utf-16")}, "not UTF-8"),
        ({"requirements.in": "requests\n"}, "requirements.in"),
        ({"Pipfile": "[packages]\n", "Pipfile.lock": '{"default": {}}'}, "`pipenv install"),
        ({"pyproject.toml": '[project]\nname = "x"\n', "uv.lock": ""}, "`uv add"),
        ({"pyproject.toml": "[project"}, "pyproject.toml: "),
        (
            {
                "pyproject.toml": '[build-system]\nrequires = ["setuptools"]\n'
                '[project]\nname = "x"\n'
            },
            "packages = ",
        ),
        (
            {
                "pyproject.toml": '[tool.poetry.dependencies]\nrequests = "*"\n',
                "api/hello.py": "",
            },
            "hello.py",
        ),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
def test_what_would_be_a_guess_stops_and_says_what_to_do(
    run: Installer,
    make_project: Callable[..., Project],
    files: dict[str, str | bytes],
    reason: str,
) -> None:
    project = make_project(files)
    before = tree(project.folder)
    said = run.refused("install", project.folder, "--yes")
    assert reason in " ".join(said.replace("\n  | ", " ").split())
    assert tree(project.folder) == before


def test_all_reasons_are_reported_at_once(
    run: Installer, make_project: Callable[..., Project]
) -> None:
    project = make_project({"build.sh": "", "lib/x.py": "", "vercel.json": "{", ".env": "A=1"})
    said = json.loads(run("install", project.folder, "--yes", "--json").stdout)
    assert said["success"] is False
    assert said["action"] == "install"
    assert all(name in said["error"] for name in ("build.sh", "lib/x.py", "vercel.json:1:2"))


def test_another_name_is_used_in_every_file_that_names_the_package(
    run: Installer, make_project: Callable[..., Project]
) -> None:
    project = make_project({"lib/db.py": "own = True\n"})
    before = tree(project.folder)
    name = "m" * LONGEST_PACKAGE
    run.done("install", project.folder, "--yes", "--package", name)
    assert (project.folder / name / "installed.json").is_file()
    for path in ("api/migrate.py", "api/migration-status.py", "build.sh", ".gitignore"):
        assert name in project.read(path)
    for path in ("api/migrate.py", "api/migration-status.py", "build.sh"):
        assert " lib" not in project.read(path)
    globs = {each["excludeFiles"] for each in project.json()["functions"].values()}
    assert all("lib" not in glob and name in glob and len(glob) <= 256 for glob in globs)
    project.commit()
    assert "Nothing to do" in run.done("update", project.folder, "--yes")
    run.done("uninstall", project.folder, "--yes")
    assert tree(project.folder) == before


@pytest.mark.parametrize(
    "name", ["json", "flask", "api", "src", "1x", "a-b", "a/b", "é", "x" * (LONGEST_PACKAGE + 1)]
)
def test_a_name_that_cannot_be_used_is_refused(
    run: Installer, make_project: Callable[..., Project], name: str
) -> None:
    project = make_project()
    assert f"--package {name}: " in run.refused("install", project.folder, "--package", name)


@pytest.mark.parametrize("name", ["lib", "Lib", "src", "a/b", "."])
def test_a_folder_of_migrations_that_cannot_be_used_is_refused(
    run: Installer, make_project: Callable[..., Project], name: str
) -> None:
    project = make_project({"lib/greeting.ts": ""})
    before = tree(project.folder)
    said = run.refused("install", project.folder, "--yes", "--migrations", name)
    assert f"--migrations {name}: " in said
    assert tree(project.folder) == before


def test_the_longest_name_in_the_help_is_the_longest_that_fits(clone: Path) -> None:
    bundle = Bundle.at(clone, os.environ)
    assert bundle.longest_name() == LONGEST_PACKAGE
    assert f"at most {LONGEST_PACKAGE} characters" in (clone / "README.md").read_text()
    functions = bundle.functions(Names("x" * LONGEST_PACKAGE)).values()
    assert 253 <= max(len(each["excludeFiles"]) for each in functions) <= 256


def test_a_program_that_configures_vercel_has_to_have_the_keys(
    run: Installer, make_project: Callable[..., Project]
) -> None:
    project = make_project({"vercel.ts": "export const config = {}\n"})
    said = run.refused("install", project.folder, "--yes")
    keys = said.replace("\n  | ", "\n")
    keys = keys[keys.index("{") : keys.rindex("}") + 1]
    project.write({"vercel.ts": f"export const config = {keys}\n"})
    project.commit()
    before = tree(project.folder)
    assert "see that excludeFiles" not in run.done("install", project.folder, "--yes")
    assert not (project.folder / "vercel.json").exists()
    project.write({"vercel.ts": project.read("vercel.ts").replace("!(*.py)", "!(*.x)")})
    project.commit()
    assert "vercel.ts: see that excludeFiles" in run.done("update", project.folder, "--yes")
    project.write({"vercel.ts": f"export const config = {keys}\n"})
    project.commit()
    run.done("uninstall", project.folder, "--yes")
    assert tree(project.folder) == before


def test_another_folder_for_the_migrations(
    run: Installer, make_project: Callable[..., Project]
) -> None:
    project = make_project({"migrations/0000_a.sql": "select 1;\n", "drizzle.config.ts": ""})
    before = tree(project.folder)
    said = run.done("install", project.folder, "--yes", "--migrations", "sql")
    assert "MIGRATIONS_DIR=sql in Vercel" in said
    assert f"About Drizzle: {run.clone / 'docs' / 'switching' / 'drizzle.md'}" in said
    assert (project.folder / "sql" / "000-create-migration-table.sql").is_file()
    assert "!(api|lib|sql)/**" in project.read("vercel.json")
    project.commit()
    run.done("uninstall", project.folder, "--yes")
    assert tree(project.folder) == before


def test_a_folder_of_a_monorepo(run: Installer, make_project: Callable[..., Project]) -> None:
    project = make_project(
        {
            "pnpm-workspace.yaml": "",
            "pnpm-lock.yaml": "",
            ".gitignore": "lib/\n*.sql\n.env\n",
            "apps/web/package.json": NEXT,
        }
    )
    before = tree(project.folder)
    run.done("install", project.folder / "apps" / "web", "--yes")
    assert "pnpm run build" in project.read("apps/web/vercel.json")
    project.commit()
    tracked = git(project.folder, "ls-files").split()
    assert "apps/web/lib/actions/migrate.py" in tracked
    assert "apps/web/migrations/000-create-migration-table.sql" in tracked
    run.done("uninstall", project.folder / "apps" / "web", "--yes")
    assert tree(project.folder) == before


def test_supabase_and_other_tools_are_named(
    run: Installer, make_project: Callable[..., Project]
) -> None:
    project = make_project({"supabase/migrations/20240101000000_x.sql": "", "prisma/x": ""})
    said = run.done("install", project.folder, "--dry-run", "--json")
    steps = json.loads(said)["nextSteps"]
    # Before the first file of ours, which would be numbered below those that are adopted.
    adopts = next(number for number, step in enumerate(steps) if "adopting-a-history.md" in step)
    assert "./migrate create" in steps[adopts + 1]
    assert any("MIGRATION_LOCAL_PLATFORM=supabase" in step for step in steps)
    # In this clone: the project has no documents.
    assert f"About Prisma: {run.clone / 'docs' / 'switching' / 'prisma.md'}" in steps


def test_each_page_about_another_tool_exists(
    run: Installer, make_project: Callable[..., Project]
) -> None:
    marks = [patterns[0].replace("*", "js") for _, patterns in TOOLS.values()]
    project = make_project({f"{mark}/x" if "." not in mark else mark: "" for mark in marks})
    steps = json.loads(run.done("install", project.folder, "--dry-run", "--json"))["nextSteps"]
    pages = [Path(step.rpartition(": ")[2]) for step in steps if step.endswith(".md")]
    assert len(pages) == len(TOOLS) + 1
    assert [page for page in pages if not (ROOT / page.relative_to(run.clone)).is_file()] == []


def test_a_file_of_another_tool_is_not_counted_as_one_that_the_build_applies(
    run: Installer, make_project: Callable[..., Project]
) -> None:
    project = make_project({"migrations/001-a.sql": "", "migrations/002_b.sql": ""})
    said = run("install", project.folder, "--dry-run").stdout
    assert "migrations/ has 1 file of the project (001-a.sql)." in " ".join(said.split())


def test_a_folder_that_is_shared_with_the_project_is_said_to_stay(
    run: Installer, make_project: Callable[..., Project]
) -> None:
    project = make_project({"lib/money.ts": "", "lib/ui/button.tsx": "", "src/x.ts": ""})
    said = run.done("install", project.folder, "--dry-run")
    assert "lib/ has files of the project (money.ts, ui/), which stay as they are." in said
    assert "--package migrator" in said
    said = run.done("install", project.folder, "--dry-run", "--package", "migrator")
    assert "stay as they are" not in said


# What the commands leave behind, after the lines of .gitignore that covered it are gone.
@pytest.mark.parametrize(
    ("ignored", "exposed"),
    [("", ".venv, .env.local"), (".env*\n", ".venv"), (".venv\n.env.local\n", "")],
)
def test_what_git_would_take_up_after_an_uninstallation_is_named_first(
    run: Installer, make_project: Callable[..., Project], ignored: str, exposed: str
) -> None:
    project = make_project({".gitignore": f"node_modules/\n{ignored}"})
    run.done("install", project.folder, "--yes")
    project.commit()
    project.write({".venv/pyvenv.cfg": "", ".env.local": "DATABASE_URL=x\n"})
    assert git(project.folder, "status", "--short") == ""
    document = json.loads(run.done("uninstall", project.folder, "--yes", "--json"))
    first = document["nextSteps"][0]
    assert first.startswith(f"Remove {exposed}, or add" if exposed else "Look at it")
    untracked = git(project.folder, "status", "--short")
    assert (".venv/" in untracked) == (".venv" in exposed)
    assert (".env.local" in untracked) == (".env.local" in exposed)


def test_the_local_database_is_named_before_nothing_can_stop_it(
    run: Installer, make_project: Callable[..., Project]
) -> None:
    project = make_project()
    run.done("install", project.folder, "--yes")
    project.commit()
    assert "local database" not in run.done("uninstall", project.folder, "--dry-run")
    place = home(project.folder)
    place.mkdir(parents=True)
    try:
        said = run.done("uninstall", project.folder, "--dry-run")
    finally:
        place.rmdir()
    assert f"The local database stays too, in {place}" in said
    assert "stop it first: `./migrate stop`" in said


# --- git ---


def test_what_was_just_installed_is_removed_and_installed_again_without_a_commit(
    run: Installer, make_project: Callable[..., Project]
) -> None:
    project = make_project({".gitignore": "node_modules/\n", "requirements.txt": "httpx\n"})
    before = tree(project.folder)
    run.done("install", project.folder, "--yes")
    run.done("uninstall", project.folder, "--yes")
    assert tree(project.folder) == before
    run.done("install", project.folder, "--yes")
    # Now the file has more than the last commit, and than what was installed.
    project.write({".gitignore": f"{project.read('.gitignore')}dist/\n"})
    said = run.refused("uninstall", project.folder, "--yes")
    assert "No commit has the present contents of .gitignore:" in said


@pytest.mark.parametrize("state", ["untracked", "modified", "staged", "ignored", "overlooked"])
def test_what_no_commit_has_is_not_overwritten(
    run: Installer, make_project: Callable[..., Project], state: str
) -> None:
    files = {".gitignore": "requirements.txt\n"} if state == "ignored" else {"a": ""}
    files |= {"requirements.txt": "requests\n"} if state in ("modified", "overlooked") else {}
    project = make_project(files)
    if state == "overlooked":
        git(project.folder, "update-index", "--assume-unchanged", "requirements.txt")
    project.write({"requirements.txt": "httpx\n"})
    if state == "staged":
        git(project.folder, "add", "-A")
    before = tree(project.folder)
    said = run.refused("install", project.folder, "--yes")
    assert "No commit has the present contents of requirements.txt" in said
    assert tree(project.folder) == before
    # One that git ignores stays out of the next commit, whatever is forced.
    if state != "ignored":
        run.done("install", project.folder, "--yes", "--force")
        assert project.read("requirements.txt").startswith("httpx\n")


def test_outside_git_only_force_writes(run: Installer, tmp_path: Path) -> None:
    (tmp_path / "app").mkdir()
    assert "is in no git repository" in run.refused("install", tmp_path / "app", "--yes")
    run.done("install", tmp_path / "app", "--yes", "--force")
    run.done("uninstall", tmp_path / "app", "--yes", "--force")
    assert tree(tmp_path / "app") == {}


@pytest.mark.parametrize("name", ["gone", "file"])
def test_a_folder_that_is_none(run: Installer, tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    assert "name the root of a project" in run.refused("install", tmp_path / name)


def test_a_folder_of_the_name_of_the_record_is_none(
    run: Installer, make_project: Callable[..., Project]
) -> None:
    project = make_project({"app/installed.json/x": ""})
    run.done("install", project.folder, "--yes")


def test_a_folder_of_the_bundle_is_no_project(run: Installer) -> None:
    said = run.refused("install", run.clone / "migrations", "--dry-run")
    assert "belongs to the bundle itself" in said


@pytest.mark.parametrize(
    "files",
    [
        {"app.py": "", "vercel.json": '{"framework": null}'},
        {"server.py": "", "package.json": VITE_AND_EXPRESS},
    ],
)
def test_what_vercel_does_not_serve_as_a_server_today_is_no_obstacle(
    run: Installer, make_project: Callable[..., Project], files: dict[str, str]
) -> None:
    run.done("install", make_project(files).folder, "--yes")


def test_a_site_that_is_in_public_already_is_served_from_there(
    run: Installer, make_project: Callable[..., Project]
) -> None:
    project = make_project({"index.html": "", "public/index.html": ""})
    run.done("install", project.folder, "--yes")


def test_the_bundle_itself_is_no_project(run: Installer) -> None:
    assert "is the bundle itself" in run.refused("install", run.clone)


def test_a_second_installation_names_update(
    run: Installer, make_project: Callable[..., Project]
) -> None:
    project = make_project()
    run.done("install", project.folder, "--yes")
    assert "-m lib update" in run.refused("install", project.folder, "--yes")


def test_what_is_not_installed_is_neither_updated_nor_uninstalled(
    run: Installer, make_project: Callable[..., Project]
) -> None:
    project = make_project()
    assert "Nothing is installed" in run.refused("update", project.folder, "--yes")
    assert "Nothing is installed" in run.refused("uninstall", project.folder, "--yes")


# --- Update ---


@pytest.fixture
def later(clone: Path, tmp_path: Path) -> Installer:
    """A later version, which has changed some files."""
    folder = tmp_path / "later"
    shutil.copytree(clone, folder)
    change = {
        "lib/__init__.py": (f'"{__version__}"', '"9.9.9"'),
        "build.sh": ("#!/usr/bin/env bash\n", "#!/usr/bin/env bash\n# Later.\n"),
        "vercel.json": ("|review|", "|review|later|"),
        "requirements.txt": ("flask==", "flask==9."),
        "CHANGELOG.md": ("\n## ", "\n## 9.9.9 - 2027-01-01\n\n- Faster,\n  and later.\n\n## "),
    }
    for name, (old, new) in change.items():
        text = (folder / name).read_text()
        assert old in text
        (folder / name).write_text(text.replace(old, new, 1 if name == "CHANGELOG.md" else -1))
    (folder / "lib" / "edits" / "baseline.py").unlink()
    (folder / "lib" / "files" / "new.py").write_text("")
    (folder / "migrations" / "000-create-migration-table.sql").write_text("select 1;\n")
    commit(folder)
    return Installer(folder)


def test_a_later_version_replaces_what_is_unchanged(
    run: Installer, later: Installer, make_project: Callable[..., Project]
) -> None:
    project = make_project({"requirements.txt": "requests==1\n"})
    before = tree(project.folder)
    run.done("install", project.folder, "--yes")
    first = project.read("migrations/000-create-migration-table.sql")
    project.commit()
    # The version is in the code: the process has to be that of the later one.
    done = later.alone("update", project.folder, "--yes")
    assert done.returncode == 0, done.stderr
    assert "9.9.9 - 2027-01-01\n  - Faster, and later.\n" in done.stdout
    assert "# Later." in project.read("build.sh")
    assert "|later|" in project.read("vercel.json")
    assert "flask==9." in project.read("requirements.txt")
    assert project.read("requirements.txt").startswith("requests==1\n")
    assert not (project.folder / "lib/edits/baseline.py").exists()
    assert (project.folder / "lib/files/new.py").exists()
    assert project.read("migrations/000-create-migration-table.sql") == first
    assert project.json("lib/installed.json")["version"] == "9.9.9"
    project.commit()
    assert "is later than" in run.refused("update", project.folder, "--yes")
    assert later.alone("uninstall", project.folder, "--yes").returncode == 0
    assert tree(project.folder) == before


@pytest.mark.parametrize("side", ["--theirs", "--ours"])
def test_what_both_have_changed_is_asked_about(
    run: Installer, later: Installer, make_project: Callable[..., Project], side: str
) -> None:
    project = make_project()
    run.done("install", project.folder, "--yes")
    project.write({"build.sh": "own\n", "lib/edits/baseline.py": "own\n", "lib/errors.py": "own\n"})
    text = project.read("vercel.json")
    project.write({"vercel.json": text.replace("300", "60").replace("!(*.py)", "!(*.own)")})
    project.commit()
    before = tree(project.folder)
    said = later.refused("update", project.folder, "--yes")
    assert "build.sh, lib/edits/baseline.py, vercel.json (functions, api/migrate.py, exc" in said
    assert "lib/errors.py" not in said
    assert tree(project.folder) == before
    later.done("update", project.folder, "--yes", side)
    is_ours = side == "--ours"
    assert (project.read("build.sh") == "own\n") == is_ours
    assert (project.folder / "lib/edits/baseline.py").exists() == is_ours
    assert ("!(*.own)" in project.read("vercel.json")) == is_ours
    # What this version has not changed, and what is the project's to choose, stays in both cases.
    assert project.read("lib/errors.py") == "own\n"
    assert project.json()["functions"]["api/migrate.py"]["maxDuration"] == 60
    project.commit()
    later.done("update", project.folder, "--yes")


def test_an_edited_vercel_json_keeps_the_edit_when_the_bundle_goes(
    run: Installer, make_project: Callable[..., Project]
) -> None:
    project = make_project(
        {
            "package.json": NEXT,
            "vercel.json": '{\n    "buildCommand": "make"\n}\n',
            ".gitignore": "a\n",
        }
    )
    run.done("install", project.folder, "--yes")
    project.write(
        {
            "vercel.json": project.read("vercel.json").replace("{", '{\n    "crons": [],', 1),
            ".gitignore": f"b\n{project.read('.gitignore')}c\n",
            "requirements.txt": f"{project.read('requirements.txt')}requests\n",
        }
    )
    project.commit()
    run.done("uninstall", project.folder, "--yes")
    assert project.read("vercel.json") == '{\n    "crons": [],\n    "buildCommand": "make"\n}\n'
    assert project.read(".gitignore") == "b\na\nc\n"
    assert project.read("requirements.txt") == "requests\n"


@pytest.mark.parametrize(("here", "there"), [("\n", "\r\n"), ("\r\n", "\n")])
def test_line_ends_that_git_has_changed_since_stay_changed(
    run: Installer, make_project: Callable[..., Project], here: str, there: str
) -> None:
    files = {".gitignore": f"a{here}b", "vercel.json": f'{{{here}  "crons": []{here}}}{here}'}
    project = make_project(files)
    run.done("install", project.folder, "--yes")
    shared = (*files, "requirements.txt")
    for name in shared:
        text = project.read(name).replace("\r\n", "\n").replace("\n", there)
        project.write({name: text})
    project.commit()
    run.done("uninstall", project.folder, "--yes")
    assert {name: project.read(name) for name in files} == {
        name: text.replace(here, there) for name, text in files.items()
    }


def test_another_commit_with_the_same_files_is_no_update(
    run: Installer, make_project: Callable[..., Project], tmp_path: Path
) -> None:
    project = make_project({"vercel.json": "{}"})
    shutil.copytree(run.clone, tmp_path / "other")
    run.done("install", project.folder, "--yes")
    project.commit()
    (tmp_path / "other" / "README.md").write_text("Other words.\n")
    commit(tmp_path / "other")
    said = Installer(tmp_path / "other").done("update", project.folder, "--yes")
    assert "Nothing to do" in said
    assert git(project.folder, "status", "--short") == ""


def test_what_the_project_has_changed_is_not_removed(
    run: Installer, make_project: Callable[..., Project]
) -> None:
    project = make_project()
    run.done("install", project.folder, "--yes")
    project.write({"build.sh": "own\n", "migrations/001-a.sql": "select 1;\n"})
    project.commit()
    assert "The project has changed build.sh" in run.refused("uninstall", project.folder, "--yes")
    said = run.done("uninstall", project.folder, "--yes", "--force")
    assert "The migrations of the project stay in migrations/" in said
    assert {name for name, content in tree(project.folder).items() if content != "folder"} == {
        "README.md",
        "migrations/000-create-migration-table.sql",
        "migrations/001-a.sql",
    }


def copied_by_hand(project: Project, clone: Path) -> None:
    """Copy the bundle as the page of version 0.2 says, without a record."""
    for name in git(clone, "ls-files", "lib", "api", "build.sh", "requirements-local.txt").split():
        project.write({name: (clone / name).read_bytes()})
    for name in ("requirements.txt", "vercel.json"):
        project.write({name: (clone / name).read_bytes()})
    project.commit()


def test_an_installation_by_hand_is_recognized_by_the_history(
    clone: Path, later: Installer, make_project: Callable[..., Project]
) -> None:
    project = make_project({"lib/greeting.ts": "export {}\n"})
    copied_by_hand(project, clone)
    assert "-m lib update" in later.refused("uninstall", project.folder, "--yes")
    assert "-m lib update" in later.refused("install", project.folder, "--yes")
    later.done("update", project.folder, "--yes")
    assert "# Later." in project.read("build.sh")
    assert "|later|" in project.read("vercel.json")
    assert project.read("requirements.txt") == (later.clone / "requirements.txt").read_text()
    assert not (project.folder / "lib/edits/baseline.py").exists()
    project.commit()
    later.done("uninstall", project.folder, "--yes")
    assert "lib/greeting.ts" in tree(project.folder)
    assert "lib/errors.py" not in tree(project.folder)


def test_a_changed_file_of_an_installation_by_hand_is_asked_about(
    clone: Path, later: Installer, make_project: Callable[..., Project]
) -> None:
    project = make_project()
    copied_by_hand(project, clone)
    project.write({"build.sh": "own\n"})
    project.commit()
    assert "The project has changed build.sh" in later.refused("update", project.folder, "--yes")


def test_without_history_nothing_can_be_told(
    clone: Path, later: Installer, make_project: Callable[..., Project], tmp_path: Path
) -> None:
    project = make_project()
    copied_by_hand(project, clone)
    git(tmp_path, "clone", "-q", "--depth=1", f"file://{later.clone}", "shallow")
    shallow = Installer(tmp_path / "shallow")
    said = shallow.refused("update", project.folder, "--yes")
    assert "has no history" in said
    assert "--theirs" in said
    shallow.done("update", project.folder, "--yes", "--theirs")
    assert "# Later." in project.read("build.sh")
