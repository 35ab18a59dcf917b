"""Check the chain of files against a database, without applying anything."""

from dataclasses import replace

from ..files.folder import discover
from ..ledger.ledger_errors import ledger_errors_translated
from ..plan.reports import Status
from ..time_limits import SURVEY
from .run_parameters import RunContext
from .status import adoption_error, status_from_survey, survey_database


def validate(context: RunContext, *, timeout: float = SURVEY) -> Status:
    """Check that every applied file is present and unchanged, and every other file well-formed.

    Raises the first kind of fault. A fault in an applied file is a warning: the file cannot be
    changed any more, and another tool or `baseline` may have recorded it. The ledger is read
    within `timeout` seconds.
    """
    # Not at the top: the endpoint that migrates loads this room, and mostly has nothing to prepare.
    from ..files.prepare_script import faults_of, prepare_all

    files = discover(context.settings.migrations_dir)
    with ledger_errors_translated(), context.connect() as connection:
        survey = survey_database(connection, context, origins=True, timeout=timeout)
        status = status_from_survey(context, files, survey)
        unadopted = adoption_error(connection, status.plan)
    # A modified file is applied, too: `verify_complete` refuses it for what it is.
    applied = {
        entry.version for entry in status.plan.entries if entry.state in ("applied", "modified")
    }
    prepare_all(file for file in files if file.version not in applied)
    status.plan.verify_complete()
    if unadopted:
        raise unadopted
    faults = faults_of(file for file in files if file.version in applied)
    return replace(status, plan=replace(status.plan, applied_faults=faults))
