"""The commands about what a migration does to a live database."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from .. import COMMAND
from ..actions.live_checks import read_live_sizes
from ..actions.run_parameters import RunContext
from ..branches.number_conflicts import number_findings
from ..branches.target_branch import base_of_pull_request, compare
from ..calls.command_setup import environ_with_files, run_context
from ..calls.invocation import Invocation
from ..errors import ConfigurationError, IntegrityError
from ..files.folder import discover
from ..github.report_document import report_of
from ..github.report_markdown import Place, compose
from ..plan.progress_listener import Progress
from ..rehearse.applied_state import (
    AppliedState,
    LiveDatabase,
    in_database,
    live_database,
    on_branch,
)
from ..rehearse.rehearsal import rehearse
from ..review.finding import Severity
from ..review.live_sizes import LONGEST_DOCUMENT, LiveSizes, SizesReport, read_document
from ..settings.loader import local_platform, migrations_dir, names_database, read_admin_secrets
from ..settings.variables import ENVIRONMENT, MIGRATIONS_DIR
from ..text.rehearsal_text import rehearsal_text
from ..text.sizes_text import sizes_text

# For whose database a rehearsal is, unless MIGRATION_ENVIRONMENT names another environment.
PRODUCTION = "production"
_NO_DATABASE = "--from-database needs a database, and no database URL is set."
_NOTHING_TO_GO_BY = (
    "It is not known which files are pending: no database URL is set, and no target branch is "
    f"named. `{COMMAND} rehearse --base origin/main` takes the files that this branch adds to "
    "another one, without any database; with a database URL, its ledger decides."
)


def _sizes(call: Invocation) -> int:
    report = _ask(call)
    if call.arguments.json:
        call.console.print_json(report.to_dict())
    else:
        call.console.show(sizes_text(report, call.console.style))
    return 0


def _ask(call: Invocation) -> SizesReport:
    if call.arguments.from_url is None:
        # What a migration meets is what the role that migrates sees, on the server of its own.
        return read_live_sizes(run_context(call, reading=False, doing="Measuring"))
    # Not at the top: only this loads a client of HTTP.
    from ..calls.deployed_sizes import ask_deployed_sizes

    environ = environ_with_files(call)
    call.secrets += read_admin_secrets(environ)
    return ask_deployed_sizes(call.arguments.from_url, environ)


def _rehearse(call: Invocation) -> int:
    # Before the server is started.
    sizes = _sizes_of(call)
    state, context = _applied_state(call)
    if sizes is None and context:
        sizes = read_live_sizes(context).sizes
    found = rehearse(call.root, state, sizes)
    if call.arguments.json:
        call.console.print_json(found.to_dict())
    elif call.arguments.markdown:
        place = Place(folder=MIGRATIONS_DIR.read(environ_with_files(call)))
        call.console.show(compose(report_of(found.to_dict()), place))
    else:
        call.console.show(rehearsal_text(found, call.console.style))
    return IntegrityError.exit_code if found.reaches(_limit(call)) else 0


def _limit(call: Invocation) -> Severity | None:
    wanted = call.arguments.fail_on
    return None if wanted == "never" else Severity(wanted)


def _sizes_of(call: Invocation) -> LiveSizes | None:
    """Read the sizes that the option names; None without it."""
    name = call.arguments.sizes
    return read_document(_text_of(name), source=name).sizes if name else None


def _text_of(name: str) -> str:
    with Path(name).open(encoding="utf-8", errors="replace") as file:
        return file.read(LONGEST_DOCUMENT)


def _applied_state(call: Invocation) -> tuple[AppliedState, RunContext | None]:
    """Return what is applied and what is pending, and the configured database if there is one."""
    environ = environ_with_files(call)
    folder = migrations_dir(environ, root=call.root)
    takes_schema = call.arguments.from_database
    base = call.arguments.base or (None if takes_schema else base_of_pull_request(environ))
    # The merge commit of a pull request has two files of one number, if both branches took it:
    # that is a finding.
    files = discover(folder, may_share_numbers=base is not None)
    environment = ENVIRONMENT.read(environ) or PRODUCTION
    context = _context(call, environment) if names_database(environ, root=call.root) else None
    if base:
        branch = compare(folder, base, environ)
        state = on_branch(base, branch.on_target, branch.own, environment)
        live = live_database(context, files) if context else None
        live = live or LiveDatabase(platform=local_platform(environ))
        return replace(state, findings=number_findings(branch), live=live), context
    if context is None:
        raise ConfigurationError(_NO_DATABASE if takes_schema else _NOTHING_TO_GO_BY)
    return in_database(context, files, environ, takes_schema=takes_schema), context


def _context(call: Invocation, environment: str) -> RunContext:
    context = run_context(call, reading=False, doing="Rehearsing")
    # What runs in production is in question, wherever that is asked.
    settings = replace(context.settings, environment=environment)
    return replace(context, settings=settings, progress=Progress())


COMMANDS: Mapping[str, Callable[[Invocation], int]] = {
    "sizes": _sizes,
    "rehearse": _rehearse,
}
