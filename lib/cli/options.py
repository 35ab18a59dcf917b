"""The commands and their options, as argparse reads them and as `--help` describes them."""

import argparse
from collections.abc import Sequence
from typing import Any, Literal, NoReturn

from .. import COMMAND, __version__
from ..errors import ConfigurationError
from ..escaping import one_line
from ..masking import without_credentials

# A command imports only what its group needs: psycopg is needed by most, and not by all.
Group = Literal["migrations", "local"]

DEFAULT_PORT = 3000
HIGHEST_PORT = 65535
DEFAULT_RUNS, MOST_RUNS = 10, 1000

_EPILOGUE = """\
exit codes: 0 done; 1 a migration failed, or the database can't be reached; 2 wrong usage or
configuration; 3 an applied file was modified, renamed or is missing, or (status --check) a
migration is pending; 4 another run, or a busy table, held a lock for too long; 129, 130 or 143
interrupted by a signal. README.md describes the environment variables.
"""


class _Parser(argparse.ArgumentParser):
    """A parser whose errors quote the arguments only after they are escaped and masked.

    With `passes_on`, all arguments are those of another program.
    """

    def __init__(self, *, passes_on: bool = False, **settings: Any) -> None:
        # A command that changes a database is not to guess what `--f` abbreviates.
        super().__init__(**settings, allow_abbrev=False)
        self._passes_on = passes_on

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        if not self._passes_on:
            return super().parse_known_args(args, namespace)
        # argparse.REMAINDER would not take an option that comes first.
        parsed, _ = super().parse_known_args([], namespace)
        parsed.passed_on = list(args or ())
        return parsed, []

    def error(self, message: str) -> NoReturn:
        # A URL passed by mistake would otherwise end in the log of a CI, with its password.
        super().error(one_line(without_credentials(message)))


def read_arguments(argv: Sequence[str]) -> argparse.Namespace:
    """Read the command and its options; without a command, print the help and exit with 2."""
    parser = make_parser()
    if not argv:
        # argparse alone would print a single line that names COMMAND as missing.
        parser.print_help()
        parser.exit(ConfigurationError.exit_code)
    return parser.parse_args(argv)


def make_parser() -> argparse.ArgumentParser:
    """Make the parser of the command line; `command` of its result names the command."""
    parser = _Parser(
        prog=COMMAND,
        description="Change a PostgreSQL schema with numbered SQL files.",
        epilog=_EPILOGUE,
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = _Commands(parser)
    _add_migrate(commands)
    _add_status(commands)
    _add_validate_and_plan(commands)
    _add_history(commands)
    _add_create(commands)
    _add_baseline(commands)
    _add_resolve(commands)
    _add_serve(commands)
    _add_local_database(commands)
    return parser


class _Commands:
    """Adds commands to a parser, each with the options that all have."""

    def __init__(self, parser: _Parser) -> None:
        self._commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    def add(
        self,
        name: str,
        about: str,
        *,
        has_json: bool = False,
        passes_on: bool = False,
        group: Group = "migrations",
    ) -> argparse.ArgumentParser:
        """Add a command that `about` describes; with `has_json`, one that can print JSON.

        With `passes_on`, all arguments are those of another program. `group` names the module with
        what the command does.
        """
        command = self._commands.add_parser(
            name,
            help=about,
            description=f"{about[0].upper()}{about[1:]}.",
            epilog=_EPILOGUE,
            passes_on=passes_on,
        )
        command.add_argument(
            "--debug", action="store_true", help="print a traceback if the command fails"
        )
        # Commands without --json have the attribute too, so that errors are shown in one way.
        command.set_defaults(json=False, group=group)
        if has_json:
            command.add_argument(
                "--json", action="store_true", help="print one JSON document and nothing else"
            )
        return command


def _add_migrate(commands: _Commands) -> None:
    migrate = commands.add(
        "migrate", "validate all files, then apply those that are pending", has_json=True
    )
    migrate.add_argument(
        "--source",
        choices=("build", "cli"),
        default="cli",
        help="what started the run, for the journal of runs (build.sh passes build)",
    )
    _add_to(migrate)


def _add_status(commands: _Commands) -> None:
    status = commands.add(
        "status",
        "show which migrations are applied and which are pending, and anything unusual",
        has_json=True,
    )
    status.add_argument(
        "--check",
        action="store_true",
        help="exit with 3 unless the database is at the state of this bundle or ahead of it",
    )


def _add_validate_and_plan(commands: _Commands) -> None:
    commands.add(
        "validate",
        "check that applied files are unchanged and present, and that all files are well-formed",
        has_json=True,
    )
    plan = commands.add(
        "plan", "show what migrate would do, without writing or locking anything", has_json=True
    )
    _add_to(plan)


def _add_to(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--to",
        metavar="VERSION",
        help="apply nothing behind this file: a version, as in 004-add-invoices, its number, its "
        "file",
    )


def _add_history(commands: _Commands) -> None:
    history = commands.add(
        "history",
        "show the last runs: when, by whom, what they applied and why they failed",
        has_json=True,
    )
    history.add_argument(
        "-n",
        "--limit",
        metavar="N",
        type=_count,
        default=DEFAULT_RUNS,
        help=f"how many runs, {MOST_RUNS} at most (default: {DEFAULT_RUNS})",
    )


def _add_create(commands: _Commands) -> None:
    create = commands.add(
        "create", "write the next numbered file with its header, and print its path"
    )
    create.add_argument("description", help='what the migration does, as in "add invoices table"')


def _add_baseline(commands: _Commands) -> None:
    baseline = commands.add(
        "baseline",
        "record the files up to and including VERSION as applied without running them, for a "
        "database that already has their changes",
        has_json=True,
    )
    # Recording and forgetting exclude each other: one call changes the ledger in one direction.
    which = baseline.add_mutually_exclusive_group(required=True)
    which.add_argument(
        "version",
        nargs="?",
        metavar="VERSION",
        help="a version, as in 004-add-invoices, or its number, or its file",
    )
    which.add_argument(
        "--forget",
        nargs="+",
        metavar="VERSION",
        help="instead, delete the records of these versions, whose files were removed, for "
        "example because they were combined into one",
    )


def _add_resolve(commands: _Commands) -> None:
    resolve = commands.add(
        "resolve",
        "record whether a statement outside a transaction, which a run left in doubt, took effect",
        has_json=True,
    )
    resolve.add_argument(
        "version", metavar="VERSION", help="a version, as in 004-add-invoices, its number, its file"
    )
    verdict = resolve.add_mutually_exclusive_group(required=True)
    verdict.add_argument(
        "--took-effect",
        action="store_true",
        help="the statement or block in doubt took effect: the next run resumes after it",
    )
    verdict.add_argument(
        "--did-not",
        action="store_true",
        help="the statement or block in doubt did not take effect: the next run runs it again",
    )
    verdict.add_argument(
        "--from-start",
        action="store_true",
        help="forget the progress, for example after undoing it: the file runs from its start",
    )
    verdict.add_argument(
        "--renamed-from",
        metavar="OLD",
        help="the progress recorded for the version OLD is that of VERSION",
    )


def _add_serve(commands: _Commands) -> None:
    serve = commands.add(
        "serve", "serve both endpoints and the status page on 127.0.0.1", group="local"
    )
    serve.add_argument(
        "--port",
        type=_port,
        help=f"0 takes any free one; default: {DEFAULT_PORT}, or any free one if that is taken",
    )


def _add_local_database(commands: _Commands) -> None:
    start = commands.add("start", "start the embedded PostgreSQL", group="local")
    commands.add("stop", "stop the embedded PostgreSQL if it is running", group="local")
    url = commands.add(
        "url",
        "print the URL of the embedded PostgreSQL, for the application, and start it if needed",
        has_json=True,
        group="local",
    )
    for command in (start, url):
        command.add_argument(
            "--write-env",
            action="store_true",
            help="write the URL into .env.local, as DATABASE_URL",
        )
    commands.add(
        "psql",
        "open psql on the embedded PostgreSQL; all arguments, --help too, are those of psql",
        passes_on=True,
        group="local",
    )


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 9 and 0 < int(text) <= MOST_RUNS):
        raise argparse.ArgumentTypeError(f"it is a number from 1 to {MOST_RUNS}")
    return int(text)


def _port(text: str) -> int:
    # int() alone would also take " 1_0 " and digits of other scripts.
    if not (text.isascii() and text.isdigit() and int(text) <= HIGHEST_PORT):
        raise argparse.ArgumentTypeError(
            f"a port is a number from 0 (any free port) to {HIGHEST_PORT}"
        )
    return int(text)
