"""The commands and their options, as argparse reads them and as `--help` describes them."""

import argparse
import itertools
import shutil
from collections.abc import Sequence
from typing import Any, Literal, NoReturn

from .. import COMMAND, __version__
from ..calls.invocation import DEFAULT_PORT
from ..errors import ConfigurationError
from ..escaping import one_line
from ..masking import without_credentials
from ..tool_words import ADOPTABLE
from .command_help import did_you_mean, overview

# A command imports only what its group needs: psycopg is needed by most, and not by all.
Group = Literal[
    "migrations",
    "review",
    "branches",
    "drift",
    "local",
    "rebuild",
    "schema",
    "project",
    "adopt",
    "shell",
    "github",
]

# The sections of the overview, in their order. A command is in that of its group, unless it is one
# for every day.
_EVERY_DAY = ("migrate", "status", "plan", "create", "validate")
_TITLES = {
    "review": "before the push",
    "branches": "before the push",
    "github": "before the push",
    "local": "the local database",
    "rebuild": "the local database",
    "project": "the bundle in a project",
}
_WITH_MIGRATIONS: tuple[Group, ...] = (
    "migrations",
    "review",
    "drift",
    "rebuild",
    "schema",
    "adopt",
)
_SECTIONS = ("every day", *dict.fromkeys(_TITLES.values()), "rarely")
_MORE = "`up` is short for migrate, `new` for create. `{command} COMMAND --help` has the options."

HIGHEST_PORT = 65535
DEFAULT_RUNS, MOST_RUNS = 10, 1000
# What the globs in vercel.json leave for the name of the package; a test counts.
LONGEST_PACKAGE = 23

_EPILOGUE = """\
exit codes: 0 done; 1 a migration failed, or the database can't be reached; 2 wrong usage or
configuration; 3 an applied file was modified, renamed or is missing, (status --check) a migration
is pending, (drift) the schema has changed, (rehearse) a finding is grave, or (schema --check)
schema.sql is stale; 4 another run, or a busy table, held a lock for too long; 129, 130 or 143
interrupted by a signal. README.md describes the environment variables.
"""
# Of the commands that reach no migration.
_SHORT_EPILOGUE = """\
exit codes: 0 done; 1 an error, or the answer was no; 2 wrong usage or configuration; 3 (comment) a
finding is grave; 129, 130 or 143 interrupted by a signal.
"""


class _Parser(argparse.ArgumentParser):
    """A parser whose errors quote the arguments only after they are escaped and masked.

    With `passes_on`, all arguments are those of another program.
    """

    def __init__(self, *, passes_on: bool = False, **settings: Any) -> None:
        # A command that changes a database is not to guess what `--f` abbreviates.
        super().__init__(**settings, allow_abbrev=False)
        self.passes_on = passes_on

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        if not self.passes_on:
            return super().parse_known_args(args, namespace)
        # argparse.REMAINDER would not take an option that comes first.
        parsed, _ = super().parse_known_args([], namespace)
        parsed.passed_on = list(args or ())
        return parsed, []

    def error(self, message: str) -> NoReturn:
        # A URL passed by mistake would otherwise end in the log of a CI, with its password.
        super().error(one_line(without_credentials(message)))


class _Program(_Parser):
    """The parser of the whole command line, whose help groups the commands by what they are for."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.sections: dict[str, list[tuple[str, str]]] = {title: [] for title in _SECTIONS}
        self.commands: dict[str, _Parser] = {}

    def format_help(self) -> str:
        return overview(
            f"{self.prog} COMMAND [OPTIONS]",
            self.description or "",
            {title: rows for title, rows in self.sections.items() if rows},
            f"{_MORE.format(command=self.prog)}\n\n{_EPILOGUE}",
            # As argparse does for each command.
            shutil.get_terminal_size().columns - 2,
        )


def read_arguments(argv: Sequence[str]) -> argparse.Namespace:
    """Read the command and its options; without a command, print the help and exit with 2."""
    parser = make_parser()
    if not argv:
        # argparse alone would print a single line that names COMMAND as missing.
        parser.print_help()
        parser.exit(ConfigurationError.exit_code)
    _refuse_unknown(parser, argv)
    return parser.parse_args(argv)


def _refuse_unknown(parser: _Program, argv: Sequence[str]) -> None:
    """Name the likely word for a command or an option that does not exist."""
    words = list(argv)
    # The options of the program itself have no values.
    while words and words[0].startswith("-"):
        del words[0]
    if not words:
        return
    name, *rest = words
    command = parser.commands.get(name)
    if command is None:
        parser.error(f"there is no command {name!r}{did_you_mean(name, parser.commands)}")
    if command.passes_on:
        return
    known = command._option_string_actions
    for word in itertools.takewhile(lambda word: word != "--", rest):
        option = word.partition("=")[0]
        if option.startswith("--") and option not in known:
            command.error(f"there is no option {option}{did_you_mean(option, known)}")


def make_parser() -> _Program:
    """Make the parser of the command line; `command` of its result names the command."""
    parser = _Program(
        prog=COMMAND, description="Change a PostgreSQL schema with numbered SQL files."
    )
    parser.add_argument(
        "-V", "--version", action="version", version=__version__, help="print the version"
    )
    commands = _Commands(parser)
    _add_migrate(commands)
    _add_status(commands)
    _add_validate_and_plan(commands)
    _add_history(commands)
    _add_create(commands)
    _add_baseline(commands)
    _add_resolve(commands)
    _add_renumber(commands)
    _add_adopt(commands)
    _add_drift(commands)
    _add_rehearse(commands)
    _add_sizes(commands)
    _add_reset_and_seed(commands)
    _add_schema(commands)
    _add_serve(commands)
    _add_local_database(commands)
    _add_project_commands(commands)
    _add_comment(commands)
    _add_completion(commands)
    return parser


class _Commands:
    """Adds commands to a parser, each with the options that all have."""

    def __init__(self, parser: _Program) -> None:
        self._parser = parser
        self._commands = parser.add_subparsers(
            dest="command",
            metavar="COMMAND",
            required=True,
            prog=parser.prog,
            parser_class=_Parser,
        )

    def add(
        self,
        name: str,
        about: str,
        *,
        more: str = "",
        alias: str = "",
        has_json: bool = False,
        passes_on: bool = False,
        group: Group = "migrations",
    ) -> argparse.ArgumentParser:
        """Add a command; with `has_json`, one that can print JSON.

        `about` is its line in the overview, and `more` what only its own help adds. With
        `passes_on`, all arguments are those of another program. `group` names the module with what
        the command does.
        """
        description = f"{about[0].upper()}{about[1:]}. {more}".rstrip()
        command = self._commands.add_parser(
            name,
            aliases=[alias] if alias else [],
            help=about,
            description=f"{description} Also: {alias}." if alias else description,
            epilog=_EPILOGUE if group in _WITH_MIGRATIONS else _SHORT_EPILOGUE,
            passes_on=passes_on,
        )
        self._parser.sections[_section(name, group)].append((name, about))
        self._parser.commands.update({each: command for each in (name, alias) if each})
        command.add_argument(
            "--debug", action="store_true", help="print a traceback if the command fails"
        )
        # Commands without --json have the attribute too, so that errors are shown in one way. The
        # name of the command replaces the alias under which it was called.
        command.set_defaults(json=False, group=group, command=name)
        if has_json:
            command.add_argument(
                "--json", action="store_true", help="print one JSON document and nothing else"
            )
        return command


def _section(name: str, group: Group) -> str:
    """Return the title under which the overview has the command."""
    if name in _EVERY_DAY:
        return "every day"
    return _TITLES.get(group, "rarely")


def _add_migrate(commands: _Commands) -> None:
    migrate = commands.add(
        "migrate",
        "apply the files that are pending",
        more="All files are validated first.",
        alias="up",
        has_json=True,
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
        "show what is applied, what is pending, what is odd",
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
        "check that the applied files are unchanged",
        more="They have to be present too, and all other files well-formed.",
        has_json=True,
    )
    plan = commands.add(
        "plan", "show what migrate would do", more="Nothing is written or locked.", has_json=True
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
        "show the last runs, and why they failed",
        more="When they ran, by whom, and what they applied.",
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
        "create",
        "write the next numbered file, and print its path",
        more="With --from, the SQL that another tool has written goes into it.",
        alias="new",
        group="local",
    )
    create.add_argument(
        "description", nargs="*", help="what the migration does, as in: add invoices table"
    )
    create.add_argument(
        "--from",
        dest="from_file",
        metavar="FILE",
        help="take the SQL from this file, or from standard input if it is -; its name is the "
        "description unless one is given",
    )


def _add_baseline(commands: _Commands) -> None:
    baseline = commands.add(
        "baseline",
        "record files as applied without running them",
        more="All files up to and including VERSION, for a database that already has their "
        "changes.",
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
        "say whether a statement in doubt took effect",
        more="A run has left it in doubt, outside a transaction.",
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


def _add_renumber(commands: _Commands) -> None:
    renumber = commands.add(
        "renumber",
        "give files whose numbers the target branch has taken the next free ones",
        more="Only files that the target branch lacks are moved. No database is asked.",
        has_json=True,
        group="branches",
    )
    renumber.add_argument(
        "--base",
        metavar="REF",
        help="the branch that this one will be merged into, as git knows it (default: that of the "
        "pull request in GitHub Actions, else the default branch of origin)",
    )
    renumber.add_argument("--dry-run", action="store_true", help="show it and write nothing")


def _add_adopt(commands: _Commands) -> None:
    adopt = commands.add(
        "adopt",
        "carry on the history of another migration tool",
        more="Its files become files of this runner, and what it has applied is recorded. Without "
        "--apply, this only reads and shows what would be done.",
        has_json=True,
        group="adopt",
    )
    adopt.add_argument(
        "tool",
        metavar="TOOL",
        choices=ADOPTABLE,
        help=f"one of {', '.join(ADOPTABLE)}; the last is for a database whose tool has no SQL "
        "files",
    )
    adopt.add_argument(
        "--from",
        dest="from_folder",
        metavar="FOLDER",
        help="where the tool has its files (default: where it usually has them)",
    )
    adopt.add_argument(
        "--apply", action="store_true", help="write the files, and record what is applied"
    )
    adopt.add_argument(
        "--accept-differences",
        action="store_true",
        help="record it although the files do not make what the database has, or although that "
        "could not be found out",
    )
    adopt.add_argument(
        "--yes", action="store_true", help="do not ask whether the tool is still called"
    )


def _add_drift(commands: _Commands) -> None:
    drift = commands.add(
        "drift",
        "show what has changed in the schema beside the migrations",
        more="The schema is compared with that after the last run. Exits with 3 if something has "
        "changed, and with 1 if that is not known.",
        has_json=True,
        group="drift",
    )
    drift.add_argument(
        "--markdown", action="store_true", help="print it as Markdown, for a pull request"
    )
    what = drift.add_mutually_exclusive_group()
    what.add_argument(
        "--files",
        action="store_true",
        help="compare with what the applied files make on a server of their own",
    )
    what.add_argument(
        "--accept",
        action="store_true",
        help="take the schema as it is: the next run expects it so",
    )


def _add_rehearse(commands: _Commands) -> None:
    rehearse = commands.add(
        "rehearse",
        "run the pending files on a server of their own, and say what they would do to production",
        more="Which locks, rewrites and failures there would be, and what deployed code would no "
        "longer find. No other database runs anything. Exits with 3 if a finding is as severe as "
        "--fail-on says.",
        has_json=True,
        group="review",
    )
    which = rehearse.add_mutually_exclusive_group()
    which.add_argument(
        "--base",
        metavar="BRANCH",
        help="rehearse the files that this branch adds to another one, as in origin/main, and take "
        "those there as applied; no database is needed. In a pull request on GitHub, its target "
        "branch is the default. Otherwise the ledger of the configured database decides",
    )
    which.add_argument(
        "--from-database",
        action="store_true",
        help="begin with the schema of the configured database, in place of the applied files",
    )
    rehearse.add_argument(
        "--markdown", action="store_true", help="print it as Markdown, for a pull request"
    )
    rehearse.add_argument(
        "--sizes",
        metavar="FILE",
        help="what `sizes --json` has printed; without it, the configured database is asked, if "
        "there is one",
    )
    rehearse.add_argument(
        "--fail-on",
        choices=("never", "stop", "warn"),
        default="stop",
        help="the severity of findings with which the command exits with 3 (default: stop)",
    )


def _add_sizes(commands: _Commands) -> None:
    sizes = commands.add(
        "sizes",
        "show how large and how busy the tables of the database are",
        more="A review of migrations weighs their locks by it. Nothing is written or locked.",
        has_json=True,
        group="review",
    )
    sizes.add_argument(
        "--from",
        dest="from_url",
        metavar="URL",
        help="ask the deployed application there, as in https://app.example.com, with "
        "MIGRATION_SECRET; the database's URL is not needed then",
    )


def _add_reset_and_seed(commands: _Commands) -> None:
    reset = commands.add(
        "reset",
        "drop everything in the local database, and apply all files and seeds; elsewhere only a "
        "development database, after a question",
        has_json=True,
        group="rebuild",
    )
    _add_to(reset)
    commands.add(
        "seed",
        "apply the files of migrations/_seeds that have not run yet, or have changed",
        has_json=True,
        group="rebuild",
    )


def _add_schema(commands: _Commands) -> None:
    schema = commands.add(
        "schema",
        "print the schema that the files make, as SQL",
        more="It is made on a server of its own; no other database is asked. `schema > schema.sql` "
        "makes the file that migrate keeps up to date from then on.",
        has_json=True,
        group="schema",
    )
    schema.add_argument(
        "--check",
        action="store_true",
        help="print nothing of it, and exit with 3 unless schema.sql is that schema",
    )


def _add_serve(commands: _Commands) -> None:
    serve = commands.add(
        "serve",
        "serve both endpoints and the status page",
        more="They are served on 127.0.0.1 alone.",
        group="local",
    )
    serve.add_argument(
        "--port",
        type=_port,
        help=f"0 takes any free one; default: {DEFAULT_PORT}, or any free one if that is taken",
    )


def _add_local_database(commands: _Commands) -> None:
    start = commands.add("start", "start the embedded PostgreSQL", group="local")
    commands.add("stop", "stop the embedded PostgreSQL", group="local")
    url = commands.add(
        "url",
        "print the URL of the local database",
        more="It is for the application, and starts the embedded PostgreSQL if needed.",
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
        "open psql on the local database",
        more="All arguments, --help too, are those of psql.",
        passes_on=True,
        group="local",
    )


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 9 and 0 < int(text) <= MOST_RUNS):
        raise argparse.ArgumentTypeError(f"it is a number from 1 to {MOST_RUNS}")
    return int(text)


def _add_project_commands(commands: _Commands) -> None:
    install = _add_project_command(
        commands, "install", "copy the bundle into the project in FOLDER, after showing each change"
    )
    install.add_argument(
        "--package",
        metavar="NAME",
        help="the name of the Python package in the project, where the usual one is taken; at "
        f"most {LONGEST_PACKAGE} characters, since one setting of vercel.json, which holds 256, "
        "names it several times",
    )
    install.add_argument(
        "--migrations",
        metavar="NAME",
        help="the folder of the migrations, where migrations is another tool's",
    )
    update = _add_project_command(
        commands, "update", "bring the bundle in FOLDER to the version of this clone"
    )
    sides = update.add_mutually_exclusive_group()
    for side, whose in (("theirs", "the bundle"), ("ours", "the project")):
        sides.add_argument(
            f"--{side}",
            dest="side",
            action="store_const",
            const=side,
            help=f"what both have changed is to be as {whose} has it",
        )
    update.add_argument("--package", metavar="NAME", help="the name of the package there")
    update.add_argument("--migrations", metavar="NAME", help="the folder of the migrations there")
    uninstall = _add_project_command(
        commands,
        "uninstall",
        "remove the bundle from the project in FOLDER; no database is touched",
    )
    uninstall.add_argument("--package", metavar="NAME", help="the name of the package there")


def _add_project_command(commands: _Commands, name: str, about: str) -> argparse.ArgumentParser:
    command = commands.add(name, about, has_json=True, group="project")
    command.add_argument("folder", metavar="FOLDER", help="the root of the project")
    command.add_argument("--dry-run", action="store_true", help="show it and write nothing")
    command.add_argument("--yes", action="store_true", help="do it without asking")
    command.add_argument(
        "--force", action="store_true", help="also where git could not bring back what is changed"
    )
    return command


def _add_comment(commands: _Commands) -> None:
    comment = commands.add(
        "comment",
        "say in a pull request what a rehearsal has found",
        more="It is the last step of the Action for GitHub: one comment, which the next push "
        "updates, a summary of the job, and annotations at the lines of the files.",
        group="github",
    )
    comment.add_argument(
        "report", metavar="REPORT", help="the file with what `rehearse --json` has printed"
    )
    comment.add_argument(
        "--migrations",
        metavar="FOLDER",
        default="migrations",
        help="the folder of the migrations, from the root of the repository (default: migrations)",
    )
    comment.add_argument(
        "--fail-on",
        choices=("never", "stop", "warn"),
        default="stop",
        help="exit with 3 if a finding is as grave (default: stop)",
    )


def _add_completion(commands: _Commands) -> None:
    completion = commands.add(
        "completion",
        "print the completion of commands for a shell",
        more="The first lines of what is printed say where to save it.",
        group="shell",
    )
    completion.add_argument("shell", choices=("bash", "zsh", "fish"), help="the shell")


def _port(text: str) -> int:
    # int() alone would also take " 1_0 " and digits of other scripts.
    if not (text.isascii() and text.isdigit() and int(text) <= HIGHEST_PORT):
        raise argparse.ArgumentTypeError(
            f"a port is a number from 0 (any free port) to {HIGHEST_PORT}"
        )
    return int(text)
