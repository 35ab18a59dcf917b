"""Projects in git, and a clone of the bundle."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from git_projects import Installer, Project, git, make_clone


@pytest.fixture
def make_project(tmp_path: Path) -> Callable[..., Project]:
    """Make a project with these files, committed."""

    def make(files: Mapping[str, str | bytes] | None = None, *, name: str = "my app") -> Project:
        project = Project(tmp_path / name)
        project.folder.mkdir()
        project.write(files if files is not None else {"README.md": "An app.\n"})
        git(project.folder, "init", "-q")
        project.commit()
        return project

    return make


@pytest.fixture(scope="session")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_clone(tmp_path_factory.mktemp("clone") / "bundle")


@pytest.fixture
def run(clone: Path) -> Installer:
    """The command line of the clone."""
    return Installer(clone)
