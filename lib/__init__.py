"""The migration runner: a floor that every room may enter, and twenty-eight wings.

The floor, without I/O:

    errors           everything that can go wrong, each error with its data
    duration         500ms, 2s, 10min
    deployment       the build that is running
    own_tables       the tables of the runner, by name
    tool_words       what other migration tools are called
    secret_patterns  what is recognized as a secret
    masking          secrets in a text, shown as …
    escaping         text for people: escaped, behind a prefix, without secrets
    object_patterns  the kinds of objects in a database, and patterns for their names
    deadline         one notion of time: handed down, clipped, extended for clean-up
    time_limits      every limit on time, with its unit and its reason
    signals          the signals that end a process in order

The wings, and the arrows between them: a wing imports only from those named behind it.

    sql        what a text of SQL means
    files      the migrations folder, and what is refused in a file
               <- sql
    settings   the environment, read once
    plan       what is to be done and what came of it, as values
               <- files, settings
    database   one connection to PostgreSQL
               <- settings
    catalog    the schema of a database, and how two of them differ
               <- settings, database
    review     what pending files do to a live database and to deployed code, judged
               <- sql, files, database
    ledger     the tables of the runner, and the run lock
               <- files, settings, plan, database
    drift      whether a database has changed since the last run
               <- database, catalog, ledger
    apply      one file, applied and recorded
               <- sql, files, plan, database, ledger
    actions    migrate, plan, validate, status, drift, sizes
               <- files, settings, plan, database, catalog, review, ledger, drift, apply
    edits      what an operator changes in the ledger: baseline, resolve; not deployed
               <- files, plan, database, ledger, apply, actions
    rebuild    a development database, made anew and filled; not deployed
               <- sql, files, settings, plan, database, ledger, apply, actions
    web        the two endpoints
               <- files, settings, plan, database, actions
    local      for a laptop: a PostgreSQL, a web server, the next file; not deployed
               <- files, settings, web
    scratch    a schema apart from its database: built and thrown away, or dumped; not deployed
               <- sql, files, settings, database, catalog, ledger, drift, actions, local
    interface  what deployed code can use of a database, and what a change means; not deployed
               <- database, review
    rehearse   pending files, run on a throw-away server; not deployed
               <- sql, files, settings, plan, database, catalog, review, ledger, actions, local,
                  scratch, interface
    tools      what other migration tools write; not deployed
               <- sql
    adopt      the history of another tool, carried on; not deployed
               <- files, settings, plan, database, catalog, ledger, actions, local, scratch,
                  tools
    install    the bundle in a project; not deployed
    branches   the files of a branch beside those of its target branch; not deployed
               <- files, review, install
    console    the terminal, or the log of a build; not deployed
               <- files, settings, plan
    github     a rehearsal, told in a pull request; not deployed
               <- files, review, branches, console
    text       what reports say to people; not deployed
               <- files, plan, catalog, review, drift, edits, rebuild, rehearse, tools, adopt,
                  install, branches, console, github
    calls      one command as it was called, and what it needs; not deployed
               <- files, settings, plan, database, review, actions, local, console
    commands   what each command does; not deployed
               <- files, settings, plan, review, actions, edits, rebuild, local, scratch, rehearse,
                  adopt, install, branches, console, github, text, calls
    cli        the command line; not deployed
               <- plan, console, calls, commands

Each wing lists its rooms; a room imports only from the rooms above its own. `web` and `cli` never
import each other. `tests/test_architecture.py` holds the imports to these maps.
"""

import os
from pathlib import Path

# The newest one in CHANGELOG.md.
__version__ = "0.6.0"

# How the command line is called: the script at the root says how it was called itself; without it,
# wherever the package is installed and under whichever name.
COMMAND = os.environ.get("MIGRATE_COMMAND") or f"python -m {__name__}"

# The root of the project, in which the package is a folder.
ROOT = Path(__file__).resolve().parent.parent
