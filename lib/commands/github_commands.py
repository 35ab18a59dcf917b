"""The command that says on GitHub what a rehearsal has found: the last step of the Action."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path

from ..calls.invocation import Invocation
from ..errors import ConfigurationError, IntegrityError, MigratorError
from ..escaping import Clean
from ..github.annotations import annotations, notice
from ..github.api import Api, GitHubError
from ..github.comments import publish
from ..github.other_pulls import numbers_taken
from ..github.pull_request import Job, read_job
from ..github.report_document import Report, read_report
from ..github.report_markdown import compose, title_of
from ..review.finding import Severity

# A job summary may have 1 MiB; a character takes up to three bytes for each unit of its length.
_LONGEST_SUMMARY = 300_000
_FOLDER = re.compile(r"[^\x00-\x1f\x7f]+")
NEVER = "never"


def _comment(call: Invocation) -> int:
    job = read_job(call.environ)
    folder = _folder(call.arguments.migrations)
    report, said = _tell_github(call, job, folder, _report(Path(call.arguments.report)))
    place = job.place(folder)
    _append(call, "GITHUB_STEP_SUMMARY", compose(report, place, longest=_LONGEST_SUMMARY))
    _append(call, "GITHUB_OUTPUT", Clean(f"verdict={_verdict(report)}"))
    if lines := annotations(report, place):
        call.console.show(lines)
    if said:
        call.console.show(notice(said))
    call.console.tell(f"{title_of(report)}.")
    return _exit_code(report, call.arguments.fail_on)


def _folder(written: str) -> str:
    """Return the folder as GitHub writes its path: relative to the root of the repository."""
    path = Path(written)
    if path.is_absolute() or ".." in path.parts or not _FOLDER.fullmatch(written):
        raise ConfigurationError(
            "--migrations: the folder is named from the root of the repository, as in "
            "apps/web/migrations."
        )
    return path.as_posix()


def _report(path: Path) -> Report:
    """Read the report. One that cannot be read is told of in the same way as one that failed."""
    try:
        return read_report(path)
    except MigratorError as error:
        return Report(error=str(error))


def _tell_github(call: Invocation, job: Job, folder: str, report: Report) -> tuple[Report, str]:
    """Write the comment. Return the report with what GitHub knows, and why there is no comment.

    That GitHub refuses it, or is away, says nothing about the migrations.
    """
    token = call.environ.get("GITHUB_TOKEN", "").strip()
    call.secrets.append(token)
    if job.number is None:
        return report, ""
    if not token:
        return report, f"No token was given, so that there is no comment. {_ELSEWHERE}"
    try:
        api = Api(job.api, token)
        report = report.with_findings(numbers_taken(api, job, folder, report))
        text = compose(report, job.place(folder))
        publish(api, job, folder=folder, text=text, is_news=not report.is_empty)
    except GitHubError as error:
        rights = f" {_RIGHTS}" if error.status in (401, 403, 404) else ""
        return report, f"There is no comment on the pull request. {error}{rights} {_ELSEWHERE}"
    return report, ""


_ELSEWHERE = "The report is in the summary of the job."
_RIGHTS = (
    "The token may not write: the job needs `pull-requests: write`, and for a pull request from a "
    "fork GitHub never gives it."
)


def _append(call: Invocation, variable: str, text: Clean) -> None:
    """Append to a file that GitHub reads after the step."""
    if path := call.environ.get(variable):
        with Path(path).open("a", encoding="utf-8", errors="replace") as file:
            file.write(f"{text}\n")


def _verdict(report: Report) -> str:
    if report.error:
        return "failed"
    return report.worst.value if report.worst else "none"


def _exit_code(report: Report, fail_on: str) -> int:
    if fail_on == NEVER:
        return 0
    if report.error:
        return MigratorError.exit_code
    is_reached = report.worst and report.worst.is_at_least(Severity(fail_on))
    return IntegrityError.exit_code if is_reached else 0


COMMANDS: Mapping[str, Callable[[Invocation], int]] = {"comment": _comment}
