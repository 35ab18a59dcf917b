"""The files for those who carry on: workflow, hooks, templates, and one version in one place."""

import os
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import ROOT

import lib

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
CHOOSER = ROOT / ".github" / "ISSUE_TEMPLATE" / "config.yml"
FORMS = sorted(path for path in CHOOSER.parent.glob("*.yml") if path != CHOOSER)
HOOKS = ROOT / ".pre-commit-config.yaml"


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def steps(workflow: Path) -> list[dict[str, Any]]:
    return [step for job in read(workflow)["jobs"].values() for step in job["steps"]]


def is_script(command: str) -> bool:
    """True if a command is one line that runs a script of this repository."""
    path = ROOT / command.removeprefix("bash ").split()[0]
    return "\n" not in command and path.is_file() and os.access(path, os.X_OK)


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_may_only_read_and_ends_in_time(workflow: Path) -> None:
    document = read(workflow)
    assert document["permissions"] == {"contents": "read"}
    assert document["concurrency"]["group"]
    assert all(job["timeout-minutes"] <= 90 for job in document["jobs"].values())


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_runs_the_scripts_of_this_repository(workflow: Path) -> None:
    commands = [step["run"] for step in steps(workflow) if "run" in step]
    assert commands
    assert [command for command in commands if not is_script(command)] == []


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_pins_its_actions_by_commit(workflow: Path) -> None:
    actions = [step["uses"] for step in steps(workflow) if "uses" in step]
    pinned = re.compile(r"actions/[\w-]+@[0-9a-f]{40}")
    assert [name for name in actions if not pinned.fullmatch(name)] == []


def test_the_workflow_installs_every_python_that_ci_looks_for() -> None:
    [python] = [step for step in steps(WORKFLOWS[0]) if "setup-python" in step.get("uses", "")]
    installed = python["with"]["python-version"].split()
    assert installed[-1] == (ROOT / ".python-version").read_text().strip()
    looked_for = re.search(r"for version in ([\d. ]+);", (ROOT / ".ci" / "run").read_text())
    assert looked_for
    assert set(looked_for[1].split()) <= set(installed)


def test_the_hooks_are_the_linters_of_the_test_script() -> None:
    hooks = [hook for source in read(HOOKS)["repos"] for hook in source["hooks"]]
    assert {source["repo"] for source in read(HOOKS)["repos"]} == {"local"}
    assert [hook["id"] for hook in hooks if not is_script(hook["entry"])] == []


@pytest.mark.parametrize("form", FORMS, ids=lambda path: path.name)
def test_an_issue_form_has_what_github_asks_for(form: Path) -> None:
    document = read(form)
    assert {"name", "description", "body"} <= document.keys()
    questions = [part for part in document["body"] if part["type"] != "markdown"]
    assert all(question["attributes"]["label"] for question in questions)
    names = [question["id"] for question in questions]
    assert len(names) == len(set(names))


def test_the_chooser_of_issues_has_what_github_asks_for() -> None:
    assert all(link.keys() == {"name", "url", "about"} for link in read(CHOOSER)["contact_links"])


def test_the_newest_heading_of_the_changelog_is_the_version() -> None:
    headings = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[0] == lib.__version__


def test_the_version_stands_in_one_place_of_the_code() -> None:
    sources = [*ROOT.glob("lib/**/*.py"), *ROOT.glob("api/*.py"), *ROOT.glob("*.sh")]
    assert [path for path in sources if f'"{lib.__version__}"' in path.read_text()] == [
        ROOT / "lib" / "__init__.py"
    ]


def test_the_policy_supports_the_newest_minor_version() -> None:
    minor = lib.__version__.rpartition(".")[0]
    assert f"newest minor version, {minor} |" in (ROOT / "SECURITY.md").read_text()


def test_every_option_of_the_test_script_is_in_its_usage() -> None:
    script = (ROOT / "test.sh").read_text()
    handled = set(re.findall(r"^  (--[a-z]+)\)", script, re.MULTILINE))
    assert handled == set(re.findall(r"^#   \./test\.sh (--[a-z]+)", script, re.MULTILINE))


@pytest.mark.parametrize("name", ["CONTRIBUTING.md", "SECURITY.md", ".pre-commit-config.yaml"])
def test_a_document_names_only_options_that_the_test_script_has(name: str) -> None:
    named = set(re.findall(r"\./test\.sh (--[a-z]+)", (ROOT / name).read_text()))
    script = (ROOT / "test.sh").read_text()
    assert [option for option in sorted(named) if f" {option}" not in script] == []
