"""The lines of a project that still call a tool."""

import json
import os
from pathlib import Path

import pytest
from conftest import ROOT

from lib.adopt.callers import find_callers
from lib.tools.known_tools import TOOLS, find_tool


def called(root: Path, tool: str = "prisma", build: str | None = None) -> list[str]:
    return [f"{each.file}:{each.line}" for each in find_callers(find_tool(tool), root, build)]


def write(root: Path, name: str, text: str) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(text)


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        (
            "package.json",
            json.dumps({"scripts": {"vercel-build": "prisma migrate deploy"}}, indent=2),
            3,
        ),
        (
            "packages/db/package.json",
            json.dumps({"scripts": {"migrate": "prisma migrate deploy"}}, indent=2),
            3,
        ),
        (".github/workflows/deploy.yml", "steps:\n  - run: npx prisma migrate deploy\n", 2),
        ("vercel.json", '{\n  "buildCommand": "prisma migrate deploy && next build"\n}\n', 2),
        ("Dockerfile", "FROM node\nCMD npx prisma migrate deploy\n", 2),
        ("Procfile", "release: npx prisma migrate deploy\n", 1),
        ("scripts/deploy.sh", "npx prisma migrate deploy\n", 1),
    ],
)
def test_a_call_is_found(tmp_path: Path, name: str, text: str, line: int) -> None:
    write(tmp_path, name, text)
    assert called(tmp_path) == [f"{name}:{line}"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("package.json", json.dumps({"dependencies": {"prisma": "^6"}})),
        ("package.json", json.dumps({"scripts": {"generate": "prisma generate"}})),
        ("package.json", "no JSON: prisma migrate deploy"),
        ("package.json", '["prisma migrate deploy"]'),
        ("node_modules/x/package.json", json.dumps({"scripts": {"a": "prisma migrate deploy"}})),
        ("README.md", "prisma migrate deploy"),
        (".github/workflows/deploy.yml", "  # - run: npx prisma migrate deploy\n"),
    ],
)
def test_what_calls_nothing_is_not(tmp_path: Path, name: str, text: str) -> None:
    write(tmp_path, name, text)
    assert called(tmp_path) == []


def test_the_build_command_is_asked_too(tmp_path: Path) -> None:
    found = called(tmp_path, build="prisma migrate deploy && next build")
    assert found == ["FRONTEND_BUILD_COMMAND:1"]


def test_a_secret_in_a_line_is_masked_and_a_long_line_cut(tmp_path: Path) -> None:
    url = "postgres://u:hunter2@db.example.com/app"
    write(tmp_path, "Procfile", f"a: DATABASE_URL={url} npx prisma migrate deploy {'x' * 400}\n")
    [caller] = find_callers(find_tool("prisma"), tmp_path, None)
    assert "hunter2" not in json.dumps(caller.to_dict())
    assert len(caller.text) == 200


def test_no_link_is_followed_and_no_pipe_is_waited_for(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    write(outside, "Procfile", "a: npx prisma migrate deploy\n")
    project = tmp_path / "project"
    project.mkdir()
    (project / "Procfile").symlink_to(outside / "Procfile")
    (project / "linked").symlink_to(outside)
    write(outside, "workflows/deploy.yml", "- run: npx prisma migrate deploy\n")
    (project / ".github").symlink_to(outside)
    os.mkfifo(project / "deploy.sh")
    assert called(project) == []


@pytest.mark.parametrize("tool", [tool.word for tool in TOOLS])
def test_the_bundle_calls_no_other_tool(tmp_path: Path, tool: str) -> None:
    for name in ("build.sh", "test.sh", "vercel.json"):
        write(tmp_path, name, (ROOT / name).read_text())
    assert called(tmp_path, tool) == []
