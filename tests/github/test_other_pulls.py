"""Numbers that other open pull requests take too."""

from github_stand_in import NUMBER, REPOSITORY, TOKEN, StandIn, github_stand_in

from lib.github.api import Api
from lib.github.other_pulls import MOST_PULLS, numbers_taken
from lib.github.pull_request import Job
from lib.github.report_document import Report
from lib.review.finding import Finding

FOLDER = "apps/web/migrations"


def findings(github: StandIn, *versions: str) -> tuple[Finding, ...]:
    address = github.address
    job = Job(REPOSITORY, NUMBER, "", "main", 1, address, address, f"{address}/graphql")
    report = Report(pending=versions)
    return numbers_taken(Api(address, TOKEN, total=5), job, FOLDER, report)


def test_the_same_number_in_another_pull_request_is_a_warning_that_names_it() -> None:
    with github_stand_in() as github:
        github.pulls = {
            7: ("This one", [(f"{FOLDER}/005-add-a.sql", "added")]),
            8: ("Add invoices", [(f"{FOLDER}/005-add-invoices.sql", "added")]),
        }
        (found,) = findings(github, "005-add-a")
    assert (found.rule, found.severity, found.version) == ("number-taken", "warn", "005-add-a")
    assert "005-add-invoices in pull request #8 (Add invoices)" in found.message


def test_other_folders_and_files_that_are_not_added_do_not_count() -> None:
    with github_stand_in() as github:
        github.pulls = {
            8: ("x", [("migrations/005-b.sql", "added"), (f"{FOLDER}/005-c.sql", "modified")]),
            9: ("x", [(f"{FOLDER}/005-a.sql", "added"), (f"{FOLDER}/_seeds/005-x.sql", "added")]),
        }
        assert findings(github, "005-a") == ()


def test_without_a_file_nothing_is_asked() -> None:
    with github_stand_in() as github:
        assert findings(github) == ()
        assert findings(github, "../../x") == ()
        assert github.requests == []


def test_of_many_pull_requests_only_so_many_are_read() -> None:
    with github_stand_in() as github:
        name = f"{FOLDER}/005-b.sql"
        github.pulls = {number: ("x", [(name, "added")]) for number in range(100, 250)}
        assert len(findings(github, "005-a")) == MOST_PULLS
        assert len(github.requests) == MOST_PULLS + 1


def test_only_pull_requests_to_the_same_branch_are_asked_for() -> None:
    with github_stand_in() as github:
        findings(github, "005-a")
        assert "base=main" in github.requests[0]
