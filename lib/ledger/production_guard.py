"""Whether a run may write to this database: production's claim, and databases that are read-only.

A claim is a row of the journal whose environment is production: its fingerprint names the
database that production migrates.
"""

from ..database import read_only
from ..errors import GuardError, LedgerError
from .ledger_state import Survey

PRODUCTION = "production"


def belongs_to_production(survey: Survey) -> bool:
    """True if a claim is about this database, and not about one that it was copied from."""
    return survey.fingerprint.belongs_to(survey.claims)


def check_guard(survey: Survey, environment: str) -> None:
    """Raise GuardError if the database belongs to production and `environment` is another one."""
    # A preview that shares production's database would change it before the code is deployed.
    if belongs_to_production(survey) and environment != PRODUCTION:
        raise GuardError(
            f"This database belongs to production, and this run's environment is {environment}: "
            f"nothing was applied. Give {environment} a database of its own; or, if this really "
            "is production, set MIGRATION_ENVIRONMENT=production; or, if this is a physical copy "
            "that inherited the claim, drop it: "
            "delete from public.schema_migration_runs where environment = 'production'."
        )


def must_claim(survey: Survey, environment: str) -> bool:
    """True if a run of `environment` has to record production's claim, even with nothing to apply.

    Also if the newest claim has another fingerprint. That claim may be about the database this one
    was copied from, even where its fingerprint holds a part that is unknown here.
    """
    # Only the newest claim counts: see Fingerprint.belongs_to.
    return environment == PRODUCTION and survey.claims[-1:] != (survey.fingerprint,)


def check_writable(survey: Survey, source: str) -> None:
    """Raise LedgerError if the database accepts no writes. `source` names the URL's variable."""
    if error := read_only_error(survey, source):
        raise error


def read_only_error(survey: Survey, source: str) -> LedgerError | None:
    """The error of `check_writable`; None if the database accepts writes."""
    if survey.read_only is None:
        return None
    return LedgerError(read_only.advice(survey.read_only, database=survey.database, source=source))
