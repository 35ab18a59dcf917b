"""Why a database takes no writes, and the way out."""

# How a survey names a server that follows another. Any other cause is the source that pg_settings
# gives for default_transaction_read_only.
STANDBY = "standby"
_NAME = "default_transaction_read_only"
# read_only_sql_transaction, and what to look at if the survey found that the database takes writes.
SQLSTATE = "25006"
MEANWHILE = (
    "The transaction is read-only, and the database was not when the run looked. Either a file has "
    "made it so (SET TRANSACTION, or default_transaction_read_only), or the server is a standby by "
    "now: see `select pg_is_in_recovery()` and `show default_transaction_read_only`."
)

# By pg_settings.source: for whom it is set, and how to reset it (PostgreSQL manual, "Setting
# Parameters").
_SET_BY = {
    "database": (
        "for this database",
        "begin read write; alter database {database} reset {name}; commit;",
    ),
    "user": ("for this role", "begin read write; alter role session_user reset {name}; commit;"),
    "database user": (
        "for this role in this database",
        "begin read write; alter role session_user in database {database} reset {name}; commit;",
    ),
    "global": ("for all roles", "begin read write; alter role all reset {name}; commit;"),
    "configuration file": (
        "in the server's configuration",
        "`alter system reset {name}` and `select pg_reload_conf()`, or the provider's settings.",
    ),
    "client": (
        "by the connection itself",
        "remove it from the URL's `options`, or from PGOPTIONS.",
    ),
}
_DISK = (
    " Some providers, Supabase among them, switch it on when the disk is full: look there first, "
    "and make room before you switch it off."
)


def advice(cause: str, *, database: str, source: str) -> str:
    """Say what to do; `source` is the variable that the address is from."""
    if cause == STANDBY:
        return (
            "The server is a standby (a read replica), which takes no writes, so nothing was "
            "applied. "
            f"Its address is from {source}: let it name the primary, or set "
            "MIGRATION_DATABASE_URL to the primary's. After a failover, run this again."
        )
    who, how = _SET_BY.get(cause, (f"by its {cause}", "see pg_settings."))
    way_out = how.format(database=_quoted(database), name=_NAME)
    return (
        f"The database is read-only, so nothing was applied: {_NAME} is on, set {who}. "
        f"To reset it: {way_out}{'' if cause == 'client' else _DISK}"
    )


def _quoted(name: str) -> str:
    doubled = name.replace('"', '""')
    return f'"{doubled}"'
