"""What a branch adds, changes and removes beside its target branch, told by a real git."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from git_projects import GIT, commit, git

from lib.branches.target_branch import (
    base_of_pull_request,
    compare,
    compared,
    default_branch,
)
from lib.errors import ConfigurationError, MigratorError
from lib.files.folder import MigrationFile, parse
from lib.install.git import Git

ENVIRON = {**os.environ, **GIT}


def versions(files: tuple[MigrationFile, ...]) -> list[str]:
    return [file.version for file in files]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The migrations of a project with two files on `main`, on a branch of its own."""
    folder = tmp_path / "my project" / "db" / "migrations"
    folder.mkdir(parents=True)
    git(tmp_path / "my project", "init", "-q", "-b", "main")
    write(folder, "001-a.sql", "create table a ();\n")
    write(folder, "002-b.sql", "create table b ();\n")
    (folder / "README.md").write_text("no migration")
    commit(folder)
    git(folder, "checkout", "-q", "-b", "topic")
    return folder


def write(folder: Path, name: str, sql: str | bytes) -> None:
    (folder / name).write_bytes(sql if isinstance(sql, bytes) else sql.encode())


def on_main(folder: Path, name: str, sql: str | None) -> None:
    """Commit a change to a file on `main`, in a work tree beside; None removes it."""
    beside = folder.parents[2] / "main"
    if not beside.exists():
        git(folder, "worktree", "add", "-q", str(beside), "main")
    path = beside / "db" / "migrations" / name
    if sql is None:
        path.unlink()
    else:
        path.parent.mkdir(exist_ok=True)
        path.write_text(sql)
    commit(beside)


class TestWhatABranchDoes:
    def test_new_changed_and_removed_files_are_told_apart(self, folder: Path) -> None:
        write(folder, "003-c.sql", "create table c ();\n")
        write(folder, "002-b.sql", "create table bb ();\n")
        (folder / "001-a.sql").unlink()
        found = compare(folder, "main", ENVIRON)
        assert versions(found.on_target) == ["001-a", "002-b"]
        assert versions(found.own) == ["003-c"]
        assert versions(found.changed) == ["002-b"]
        assert versions(found.removed) == ["001-a"]

    def test_a_branch_that_is_behind_has_removed_and_changed_nothing(self, folder: Path) -> None:
        write(folder, "003-c.sql", "create table c ();\n")
        on_main(folder, "003-d.sql", "create table d ();\n")
        on_main(folder, "002-b.sql", "create table b (x int);\n")
        on_main(folder, "001-a.sql", None)
        found = compare(folder, "main", ENVIRON)
        assert versions(found.on_target) == ["002-b", "003-d"]
        assert (versions(found.own), found.changed, found.removed) == (["003-c"], (), ())

    def test_a_file_of_a_name_that_both_have_added_is_the_branchs_own(self, folder: Path) -> None:
        write(folder, "003-c.sql", "create table c ();\n")
        commit(folder)
        on_main(folder, "003-c.sql", "create table other ();\n")
        found = compare(folder, "main", ENVIRON)
        assert (versions(found.own), found.changed) == (["003-c"], ())

    def test_line_ends_are_no_change(self, folder: Path) -> None:
        write(folder, "002-b.sql", b"\xef\xbb\xbfcreate table b ();\r\n")
        found = compare(folder, "main", ENVIRON)
        assert (found.own, found.changed, found.removed) == ((), (), ())

    def test_a_detached_head_and_a_commit_as_the_target_will_do(self, folder: Path) -> None:
        write(folder, "003-c.sql", "create table c ();\n")
        commit(folder)
        git(folder, "checkout", "-q", "--detach")
        assert versions(compare(folder, git(folder, "rev-parse", "main").strip(), ENVIRON).own) == [
            "003-c"
        ]

    def test_a_work_tree_beside_the_clone_will_do(self, folder: Path, tmp_path: Path) -> None:
        git(folder, "worktree", "add", "-q", "--detach", str(tmp_path / "beside"))
        beside = tmp_path / "beside"
        top = Path(git(folder, "rev-parse", "--show-toplevel").strip())
        beside /= folder.resolve().relative_to(top)
        write(beside, "003-c.sql", "create table c ();\n")
        assert versions(compare(beside, "main", ENVIRON).own) == ["003-c"]

    def test_histories_without_a_common_past_are_compared_by_their_tips(self, folder: Path) -> None:
        git(folder, "checkout", "-q", "--orphan", "alone")
        write(folder, "003-c.sql", "create table c ();\n")
        commit(folder)
        assert versions(compare(folder, "main", ENVIRON).own) == ["003-c"]


class TestWhatGitHolds:
    def test_the_texts_come_from_git_and_not_through_its_filters(self, folder: Path) -> None:
        mark = folder.parent / "ran"
        git(folder, "config", "filter.evil.smudge", f"touch '{mark}'; cat")
        git(folder, "config", "diff.evil.textconv", f"touch '{mark}'; cat")
        write(folder, ".gitattributes", "*.sql filter=evil diff=evil\n")
        commit(folder)
        write(folder, "001-a.sql", "changed")
        mark.unlink(missing_ok=True)
        assert [file.text for file in compare(folder, "main", ENVIRON).on_target] == [
            "create table a ();\n",
            "create table b ();\n",
        ]
        assert not mark.exists()

    def test_git_of_the_caller_does_not_decide_which_repository(
        self, folder: Path, tmp_path: Path
    ) -> None:
        environ = {**ENVIRON, "GIT_DIR": str(tmp_path / "elsewhere"), "GIT_WORK_TREE": "/"}
        assert versions(compare(folder, "main", environ).on_target) == ["001-a", "002-b"]

    def test_a_folder_that_the_target_branch_lacks_is_empty_there(self, folder: Path) -> None:
        other = folder.parent / "others"
        other.mkdir()
        write(other, "001-a.sql", "create table a ();\n")
        found = compare(other, "main", ENVIRON)
        assert (found.on_target, versions(found.own)) == ((), ["001-a"])

    def test_a_link_and_a_name_that_is_refused_were_never_applied_there(self, folder: Path) -> None:
        git(folder, "checkout", "-q", "main")
        (folder / "003-c.sql").symlink_to("001-a.sql")
        write(folder, "004_D.sql", "create table d ();\n")
        write(folder, "005-e.sql", b"\xff")
        commit(folder)
        git(folder, "checkout", "-q", "topic")
        assert versions(compare(folder, "main", ENVIRON).on_target) == ["001-a", "002-b"]


class TestWhatIsRefused:
    @pytest.mark.parametrize(
        "ref", ["", "--output=x", "-x", "ma\nin", "main\0", "nowhere", "main:db"]
    )
    def test_what_names_no_branch(self, folder: Path, ref: str) -> None:
        with pytest.raises(ConfigurationError, match=r"name of a branch|git knows no branch"):
            compare(folder, ref, ENVIRON)

    def test_a_folder_outside_of_git(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigurationError, match="is in no git repository"):
            compare(tmp_path, "main", ENVIRON)

    def test_a_machine_without_git(self, folder: Path) -> None:
        with pytest.raises(ConfigurationError, match="git is not installed"):
            compare(folder, "main", {**ENVIRON, "PATH": ""})

    def test_a_clone_of_one_commit_says_how_to_get_the_others(
        self, folder: Path, tmp_path: Path
    ) -> None:
        write(folder, "003-c.sql", "create table c ();\n")
        commit(folder)
        shallow = tmp_path / "shallow"
        top = Path(git(folder, "rev-parse", "--show-toplevel").strip())
        git(tmp_path, "clone", "-q", "--depth=1", "-b", "topic", top.as_uri(), str(shallow))
        below = shallow / folder.resolve().relative_to(top)
        with pytest.raises(
            ConfigurationError, match=r"(?s)no branch 'origin/main'.*fetch-depth: 0"
        ):
            compare(below, "origin/main", ENVIRON)
        git(shallow, "fetch", "-q", "--depth=1", "origin", "main:refs/remotes/origin/main")
        with pytest.raises(ConfigurationError, match=r"(?s)is shallow.*fetch-depth: 0"):
            compare(below, "origin/main", ENVIRON)

    def test_a_clone_without_the_contents_says_so(self, folder: Path, tmp_path: Path) -> None:
        partial = tmp_path / "partial"
        top = Path(git(folder, "rev-parse", "--show-toplevel").strip())
        git(top, "config", "uploadpack.allowFilter", "true")
        on_main(folder, "003-d.sql", "create table d ();\n")
        git(
            tmp_path, "clone", "-q", "--filter=blob:none", "-b", "topic", top.as_uri(), str(partial)
        )  # fmt: skip
        with pytest.raises(ConfigurationError, match="lacks contents of the target branch"):
            compare(partial / folder.resolve().relative_to(top), "origin/main", ENVIRON)

    def test_a_sparse_checkout_has_removed_nothing(self, folder: Path) -> None:
        git(folder, "update-index", "--skip-worktree", "001-a.sql")
        (folder / "001-a.sql").unlink()
        with pytest.raises(ConfigurationError, match=r"sparse, and lacks 001-a.sql"):
            compare(folder, "main", ENVIRON)

    def test_a_submodule_has_no_target_branch(self, folder: Path, tmp_path: Path) -> None:
        parent = tmp_path / "parent"
        parent.mkdir()
        git(parent, "init", "-q")
        top = Path(git(folder, "rev-parse", "--show-toplevel").strip())
        git(parent, "-c", "protocol.file.allow=always", "submodule", "add", "-q", str(top), "sub")
        below = parent / "sub" / folder.resolve().relative_to(top)
        with pytest.raises(ConfigurationError, match="is in a submodule"):
            compare(below, "main", ENVIRON)

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
    def test_a_repository_of_another_user_is_refused_in_gits_words(self, folder: Path) -> None:
        top = git(folder, "rev-parse", "--show-toplevel").strip()
        subprocess.run(["chown", "-R", "nobody", top], check=True)
        environ = {key: value for key, value in ENVIRON.items() if key != "SUDO_UID"}
        with pytest.raises(ConfigurationError, match=r"(?s)dubious ownership.*safe\.directory"):
            compare(folder, "main", {**environ, "HOME": str(folder)})


def test_the_target_branch_is_that_of_the_pull_request_or_of_the_clone(
    folder: Path, tmp_path: Path
) -> None:
    assert base_of_pull_request({"GITHUB_ACTIONS": "true", "GITHUB_BASE_REF": "main"}) == (
        "origin/main"
    )
    assert base_of_pull_request({"GITHUB_ACTIONS": "true", "GITHUB_BASE_REF": ""}) is None
    assert base_of_pull_request({"GITHUB_BASE_REF": "main"}) is None
    assert default_branch(folder, ENVIRON) is None
    top = Path(git(folder, "rev-parse", "--show-toplevel").strip())
    git(top, "checkout", "-q", "main")
    git(tmp_path, "clone", "-q", str(top), "clone")
    clone = tmp_path / "clone" / folder.resolve().relative_to(top)
    assert default_branch(clone, ENVIRON) == "origin/main"


def test_a_file_that_both_have_is_nobodys() -> None:
    same, other = parse("003-c.sql", b"select 1"), parse("003-c.sql", b"select 2")
    assert compared("main", [same], [same], []).own == ()
    assert compared("main", [same], [other], []).own == (same,)
    # Changed on the target branch alone, then on both.
    assert compared("main", [same], [other], [same]).changed == ()
    assert compared("main", [same], [other], [parse("003-c.sql", b"")]).changed == (same,)


def test_two_files_of_one_number_are_compared_all_the_same(folder: Path) -> None:
    write(folder, "002-c.sql", "create table c ();\n")
    found = compare(folder, "main", ENVIRON)
    assert (versions(found.own), found.folder) == (["002-c"], "db/migrations")


@pytest.mark.parametrize("is_above", [False, True])
def test_a_folder_behind_a_link_is_refused_since_the_target_branch_has_other_files(
    folder: Path, is_above: bool
) -> None:
    # Files that are elsewhere on the target branch would count as applied.
    on_main(folder, "../data/003-drop.sql", "drop table a;\n")
    git(folder, "merge", "-q", "main")
    shutil.rmtree(folder)
    linked = folder.parent if is_above else folder
    if is_above:
        (folder.parents[1] / "other" / "migrations").mkdir(parents=True)
        shutil.rmtree(linked)
    linked.symlink_to("other" if is_above else "data", target_is_directory=True)
    with pytest.raises(ConfigurationError, match="is a link, behind which"):
        compare(folder, "main", ENVIRON)


def test_a_repository_behind_a_link_is_compared(folder: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(folder.parents[1], target_is_directory=True)
    write(folder, "003-c.sql", "create table c ();\n")
    assert versions(compare(link / "db" / "migrations", "main", ENVIRON).own) == ["003-c"]


def test_a_git_that_does_not_answer_is_an_error_of_ours(folder: Path) -> None:
    index = folder.parents[1] / ".git" / "index"
    index.unlink()
    # Nobody ever writes to it.
    os.mkfifo(index)
    with pytest.raises(MigratorError, match=r"git ls-files did not answer within 0\.2 s in "):
        Git(folder, ENVIRON, limit=0.2).tracked()
