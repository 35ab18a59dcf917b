"""Numbers that two branches contend for, and files that differ from the target branch."""

import pytest

from lib.branches.number_conflicts import PullRequest, number_findings
from lib.branches.target_branch import BranchFiles, compared
from lib.files.folder import MigrationFile, parse


def files(*names: str, text: str = "select 1") -> list[MigrationFile]:
    return [parse(f"{name}.sql", f"-- {name}\n{text}".encode()) for name in names]


def branch(*here: str, on_main: tuple[str, ...] = ("001-a", "002-b")) -> BranchFiles:
    return compared("origin/main", files(*here), files(*on_main), files("001-a"))


def found(compared_files: BranchFiles, *others: PullRequest) -> list[tuple[str, str, str]]:
    return [
        (each.rule, each.severity.value, each.version)
        for each in number_findings(compared_files, others)
    ]


def test_a_number_behind_those_of_the_target_branch_is_free() -> None:
    assert found(branch("001-a", "002-b", "003-c")) == []
    assert found(branch("000-c", on_main=())) == []


def test_a_number_that_the_target_branch_has_is_taken() -> None:
    [finding] = number_findings(branch("001-a", "002-c"))
    assert (finding.rule, finding.severity, finding.version) == ("number-taken", "stop", "002-c")
    assert "has the number of 002-b, which is on origin/main" in finding.message
    assert finding.instead.endswith("renumber --base origin/main")


def test_a_file_of_the_very_name_with_another_text_is_taken_too() -> None:
    mine = files("001-a") + files("002-b", text="select 2")
    two = compared("main", mine, files("001-a", "002-b"), files("001-a"))
    assert found(two) == [("number-taken", "stop", "002-b")]


def test_a_number_below_the_newest_is_late() -> None:
    late = branch("001-a", "003-c", on_main=("001-a", "004-d"))
    assert found(late) == [("number-late", "warn", "003-c")]


def test_two_files_of_the_branch_with_one_number_are_told_once() -> None:
    [finding] = number_findings(branch("001-a", "002-b", "003-c", "003-d"))
    assert (finding.rule, finding.severity, finding.version) == ("number-taken", "stop", "003-d")
    assert "has the number of 003-c, and both are of this branch" in finding.message
    assert finding.instead.endswith("renumber --base origin/main")
    # Both move, and each is told of what it meets.
    assert found(branch("001-a", "002-b", "002-c", "002-d")) == [
        ("number-taken", "stop", "002-c"),
        ("number-taken", "stop", "002-d"),
    ]


def test_two_files_of_the_target_branch_with_one_number_are_told_until_one_of_them_moves() -> None:
    both = files("001-a", "002-b", "002-c")
    [finding] = number_findings(compared("main", both, both, both))
    assert (finding.rule, finding.severity, finding.version) == ("number-taken", "stop", "002-c")
    assert "has the number of 002-b, and both are on main" in finding.message
    assert finding.instead.endswith("-- Was: 002-c")
    moved = parse("003-c.sql", both[2].content)
    assert number_findings(compared("main", [*both[:2], moved], both, both)) == ()


def test_the_name_of_the_target_branch_is_no_command_where_it_is_copied_to_a_shell() -> None:
    two = compared("a;$(id)", files("001-b"), files("001-a"), files("001-a"))
    [finding] = (each for each in number_findings(two) if each.rule == "number-taken")
    assert finding.instead.endswith("renumber --base 'a;$(id)'")


class TestOtherPullRequests:
    def test_one_that_takes_the_same_number_is_named(self) -> None:
        other = PullRequest(7, "Add d", ("migrations/003-d.sql", "README.md"))
        [finding] = number_findings(branch("001-a", "002-b", "003-c"), [other])
        assert (finding.rule, finding.severity, finding.version) == (
            "number-taken", "warn", "003-c",
        )  # fmt: skip
        assert "003-d in pull request #7 (Add d)" in finding.message

    @pytest.mark.parametrize(
        "path",
        [
            # Another folder, the same file, one that the target branch has, no migration.
            "other/migrations/003-d.sql",
            "migrations/old/003-d.sql",
            "003-d.sql",
            "migrations/003-c.sql",
            "migrations/002-b.sql",
            "migrations/003_D.sql",
            "migrations/003-d.txt",
        ],
    )
    def test_what_takes_no_number_is_passed_over(self, path: str) -> None:
        other = PullRequest(7, "Add d", (path,))
        assert found(branch("001-a", "002-b", "003-c"), other) == []


def test_a_file_of_the_target_branch_that_differs_or_is_gone_is_modified() -> None:
    was = files("001-a", "002-b", "003-c")
    here = files("001-a", text="select 2")
    renamed = parse("004-c.sql", was[2].content)
    findings = number_findings(compared("main", [*here, renamed], was, was))
    assert [(each.rule, each.severity.value, each.version) for each in findings] == [
        ("modified-file", "stop", version) for version in ("001-a", "002-b", "003-c")
    ]
    assert "with another text" in findings[0].message
    assert "removed here" in findings[1].message
    assert "renamed to 004-c" in findings[2].message
