"""Projects as `create-next-app` and `create-vite` make them, with files that a team has added.

Each is made once, in `.local/vercel/created`, with its packages. What is in `tests/projects/` under
the name of the tool is added to a copy: migrations of other tools, TypeScript in `lib/`.
"""

import hashlib
import json
import os
import shutil
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path

from conftest import ROOT
from vercel_cli import TOOLS, alone, missing, npm_environ, require_machine

# The packages that the tools name as ranges are those of this day.
PACKAGES_OF = "2026-11-27"


@dataclass(frozen=True)
class Tool:
    """What makes a project, and the packages that the files of `tests/projects/` need in it."""

    name: str
    version: str
    project: str
    arguments: tuple[str, ...]
    dependencies: tuple[tuple[str, str], ...] = ()
    dev_dependencies: tuple[tuple[str, str], ...] = ()

    @property
    def additions(self) -> Path:
        return ROOT / "tests" / "projects" / self.name


NEXT = Tool(
    "create-next-app",
    "16.4.3",
    "shop",
    # The other template loads fonts from Google in each build.
    (
        *("--ts", "--app", "--empty", "--no-eslint", "--no-tailwind", "--no-src-dir"),
        *("--no-react-compiler", "--import-alias", "@/*", "--use-npm", "--skip-install"),
        *("--disable-git", "--yes"),
    ),
    dependencies=(("drizzle-orm", "0.45.4"), ("pg", "8.23.1")),
    dev_dependencies=(("@types/pg", "8.23.1"), ("drizzle-kit", "0.31.11")),
)
VITE = Tool("create-vite", "9.3.0", "board", ("--template", "react-ts", "--no-interactive"))


def create(tool: Tool, to: Path) -> Path:
    """Copy the project to a new folder, without its packages, as git would have it."""
    require_machine()
    shutil.copytree(_created(tool), to, ignore=shutil.ignore_patterns("node_modules"))
    return shutil.copytree(tool.additions, to, dirs_exist_ok=True)


def restore_packages(tool: Tool, to: Path) -> None:
    """Put the project's packages into a clone, as Vercel restores those of the last build."""
    packages = "node_modules"
    shutil.copytree(
        _created(tool) / packages, to / packages, symlinks=True, copy_function=_link_or_copy
    )


def _link_or_copy(source: str, to: str) -> None:
    # The tests may be on another disk than the packages.
    try:
        os.link(source, to, follow_symlinks=False)
    except OSError:
        shutil.copy2(source, to, follow_symlinks=False)


def _created(tool: Tool) -> Path:
    """The folder of the project with its packages; made at the first call."""
    folder = TOOLS / "created" / f"{tool.project}-{_key(tool)}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with alone(folder.with_suffix(".lock")):
        if not folder.exists():
            _make(tool).rename(folder)
    return folder


def _key(tool: Tool) -> str:
    return hashlib.sha256(json.dumps([PACKAGES_OF, asdict(tool)]).encode()).hexdigest()[:12]


def _make(tool: Tool) -> Path:
    """Make the project in a folder of its own, which an interrupted call may leave behind."""
    workshop = TOOLS / "created" / "workshop" / tool.project
    shutil.rmtree(workshop, ignore_errors=True)
    workshop.mkdir(parents=True)
    package = f"--package={tool.name}@{tool.version}"
    _npm(workshop, "exec", "--yes", package, "--", tool.name, tool.project, *tool.arguments)
    project = workshop / tool.project
    _add_dependencies(project / "package.json", tool)
    _npm(project, "install", "--ignore-scripts", "--no-audit", "--no-fund")
    return project


def _add_dependencies(package_json: Path, tool: Tool) -> None:
    document = json.loads(package_json.read_text())
    document["dependencies"].update(tool.dependencies)
    document["devDependencies"].update(tool.dev_dependencies)
    package_json.write_text(f"{json.dumps(document, indent=2)}\n")


def _npm(folder: Path, *arguments: str) -> None:
    environ = {
        **npm_environ(),
        "npm_config_before": PACKAGES_OF,
        "NEXT_TELEMETRY_DISABLED": "1",
        "CI": "1",
    }
    done = subprocess.run(
        ["npm", *arguments],
        cwd=folder,
        env=environ,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
    )
    if done.returncode:
        missing(f"npm {arguments[0]} failed: {(done.stderr or done.stdout).strip()[-300:]}")
