"""The numbers that other open pull requests take too, as findings.

No file of the pull request is read: the report has the names of its own files.
"""

from collections.abc import Iterator
from urllib.parse import quote

from ..branches.number_conflicts import PullRequest, number_findings
from ..branches.target_branch import BranchFiles
from ..files.folder import parse
from ..review.finding import Finding
from .api import Api
from .pull_request import Job
from .report_document import Report, file_name

# Those that were changed last: a request for each, and a job has 1,000 an hour.
MOST_PULLS = 50
_MOST_PAGES_OF_FILES = 3
_ADDED = ("added", "renamed", "copied")


def numbers_taken(api: Api, job: Job, folder: str, report: Report) -> tuple[Finding, ...]:
    """Ask for the files of the other open pull requests to the same branch, and compare."""
    names = filter(None, map(file_name, report.pending))
    own = tuple(parse(name, b"", folder=folder) for name in names)
    if not own:
        return ()
    # Of a branch, only what it adds: what it changes was told by the rehearsal.
    branch = BranchFiles(job.base, folder, on_target=(), own=own, changed=(), removed=())
    return number_findings(branch, tuple(_others(api, job)))


def _others(api: Api, job: Job) -> Iterator[PullRequest]:
    base = f"&base={quote(job.base, safe='')}" if job.base else ""
    pulls = f"/repos/{job.repository}/pulls"
    query = f"{pulls}?state=open&sort=updated&direction=desc{base}"
    others = [
        (each["number"], str(each.get("title") or ""))
        for each in api.pages(query, most=1)
        if isinstance(each.get("number"), int) and each["number"] != job.number
    ]
    for number, title in others[:MOST_PULLS]:
        files = api.pages(f"{pulls}/{number}/files", most=_MOST_PAGES_OF_FILES)
        added = (str(each.get("filename")) for each in files if each.get("status") in _ADDED)
        yield PullRequest(number, title, tuple(added))
