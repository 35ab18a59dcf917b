"""The command line: `python -m lib COMMAND`. It asks the runner and prints what comes back."""

import argparse
import os
import re
import signal
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from io import TextIOWrapper
from pathlib import Path
from typing import NoReturn, TextIO

from .. import __version__
from ..actions.baseline import baseline, forget
from ..actions.migrate import migrate
from ..actions.preview import preview
from ..actions.run_context import RunContext
from ..actions.status import read_status
from ..actions.validate import validate
from ..clean_text import Clean, document, message, one_line, signed, table, without_credentials
from ..database.connection import defer
from ..database.connection_errors import cleaned
from ..database.login import locate
from ..errors import (
    ConfigurationError,
    IntegrityError,
    Interrupted,
    MigratorError,
    RunInProgressError,
    interrupting_signals,
)
from ..files.folder import MigrationFile, discover, next_number
from ..local import embedded_server as embedded
from ..plan.progress import Progress
from ..plan.reports import (
    AppliedNow,
    Blocker,
    Document,
    IndexProgress,
    Source,
    failure,
    named,
    validation,
)
from ..settings.connection_target import ConnectionTarget
from ..settings.loader import (
    ROOT,
    Settings,
    is_on_vercel,
    load_settings,
    migrations_dir,
    with_env_files,
)
from .package_manifest import check_manifest
from .terminal import (
    Style,
    baseline_text,
    forget_text,
    plan_text,
    progress_bar,
    run_text,
    status_text,
)

DEFAULT_CONNECT_TIMEOUT = 30.0
DEFAULT_PORT = 3000

_BASELINE = (
    "record the files up to and including VERSION as applied without running them, "
    "for a database that already has them"
)

# Serves until it is interrupted: the environment, the bundle, the database where the environment names none, the port.
Serve = Callable[[Mapping[str, str], Path, ConnectionTarget | None, int], None]

_EPILOGUE = """\
exit codes: 0 done; 1 a migration failed, or the database can't be reached; 2 usage or configuration; 3 an applied
file was modified, renamed or is missing, or (status --check) something is pending; 4 another run, or a busy table,
held a lock for too long; 129/130/143 interrupted. The variables are described in README.md.
"""


@dataclass
class Shell:
    """What a command works with: its words, the environment, where it prints, and what to keep out of it."""

    environ: Mapping[str, str]
    root: Path
    out: TextIO
    err: TextIO
    serve: Serve
    secrets: list[str] = field(default_factory=list)
    bar_is_open: bool = False

    def say(self, text: str, *, sign: str = "") -> None:
        """A result, to stdout, behind a sign of the runner's if one is given."""
        self._print(signed(sign, text) if sign else message(text), self.out)

    def tell(self, text: str, *, sign: str = "") -> None:
        """A diagnostic, to stderr, behind a sign of the runner's if one is given."""
        self._print(signed(sign, text) if sign else message(text), self.err)

    def show(self, text: Clean) -> None:
        """What `cli.terminal` has composed, to stdout."""
        self._print(text, self.out)

    def show_bar(self, bar: str) -> None:
        """A line on stderr that the next one overwrites, or ends."""
        self.bar_is_open = False
        self._print(table([bar]), self.err, before="\r", end="\x1b[K")
        self.bar_is_open = True

    def print_json(self, content: Document) -> None:
        self._print(document(content, indent=2), self.out)

    def _print(self, text: Clean, stream: TextIO, *, before: str = "", end: str = "\n") -> None:
        try:
            if self.bar_is_open:
                self.bar_is_open = False
                print(file=self.err, flush=True)
            print(f"{before}{text}", file=stream, end=end, flush=True)
        except OSError:
            # Whoever read this has gone, or the disk is full; that must not stop a migration half-way through its chain.
            with open(os.devnull, "w") as nowhere:  # noqa: PTH123  a device, not a path of ours
                os.dup2(nowhere.fileno(), stream.fileno())


def main(
    argv: Sequence[str], environ: Mapping[str, str], serve: Serve, *, root: Path = ROOT
) -> int:
    """Run one command and return its exit code."""
    shell = Shell(environ, root, _stream(sys.stdout), _stream(sys.stderr), serve)
    arguments = _arguments(argv)
    _catch_signals()
    try:
        return int(arguments.run(shell, arguments))
    except (MigratorError, Interrupted) as error:
        return _fail(shell, arguments, error)
    except OSError as error:
        return _fail(
            shell,
            arguments,
            MigratorError(f"{error.filename or 'The system'}: {error.strerror or error}."),
        )
    except Exception as error:
        return _fail_unexpectedly(shell, arguments, error)


def _stream(stream: TextIO | None) -> TextIO:
    """A stream that prints whatever it is given; nowhere, if the caller has closed it."""
    if stream is None:
        return open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123  a device, open to the end of the process
    if isinstance(stream, TextIOWrapper):
        stream.reconfigure(errors="replace")
    return stream


def _arguments(argv: Sequence[str]) -> argparse.Namespace:
    """What is asked for; without a command the help, and exit code 2."""
    parser = _parser()
    if not argv:
        parser.print_help()
        parser.exit(ConfigurationError.exit_code)
    return parser.parse_args(argv)


def _catch_signals() -> None:
    """The signals that end a run raise Interrupted once; while that is handled, more of them change nothing."""
    caught = interrupting_signals()

    def interrupt(signum: int, _frame: object) -> None:
        for each in caught:
            signal.signal(each, signal.SIG_IGN)
        interrupted = Interrupted(signum)
        if not defer(interrupted):
            raise interrupted

    for each in caught:
        signal.signal(each, interrupt)


def _fail(shell: Shell, arguments: argparse.Namespace, error: MigratorError | Interrupted) -> int:
    if getattr(arguments, "json", False):
        shell.print_json({**failure(error), "action": arguments.command})
    else:
        shell.tell(str(error), sign=Style.of(shell.err, shell.environ).cross)
    if arguments.debug:
        shell.tell(cleaned("".join(traceback.format_exception(error)), secrets=shell.secrets))
    return error.exit_code


def _fail_unexpectedly(shell: Shell, arguments: argparse.Namespace, error: Exception) -> int:
    place = traceback.extract_tb(error.__traceback__)[-1]
    wrapped = MigratorError(
        f"An error of the runner itself: {type(error).__name__} at {Path(place.filename).name}:{place.lineno}. "
        "Run it again with --debug for the traceback, and please report it."
    )
    wrapped.__cause__ = error
    return _fail(shell, arguments, wrapped)


class _Parser(argparse.ArgumentParser):
    """Its faults quote the arguments, which are from outside too."""

    def error(self, message: str) -> NoReturn:
        super().error(one_line(without_credentials(message)))


def _parser() -> argparse.ArgumentParser:
    common = _Parser(add_help=False)
    common.add_argument(
        "--debug", action="store_true", help="print a traceback when something fails"
    )
    machine = _Parser(add_help=False)
    machine.add_argument(
        "--json", action="store_true", help="print one JSON document on stdout and nothing else"
    )
    parser = _Parser(
        prog="python -m lib",
        description="Change a Postgres schema with numbered SQL files.",
        epilog=_EPILOGUE,
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    def add(name: str, run: Callable[..., int], about: str, *parents: _Parser) -> _Parser:
        command = commands.add_parser(
            name, help=about, description=about, parents=[*parents, common], epilog=_EPILOGUE
        )
        command.set_defaults(run=run)
        return command

    migrate = add("migrate", _migrate, "validate, then apply what is pending", machine)
    migrate.add_argument(
        "--source",
        choices=("build", "cli"),
        default="cli",
        help="what the journal of runs says started it (build.sh: build)",
    )
    status = add(
        "status", _status, "show what is applied, what is pending, and anything odd", machine
    )
    status.add_argument(
        "--check",
        action="store_true",
        help="exit 3 unless the database is at this bundle's state or ahead",
    )
    add(
        "validate",
        _validate,
        "check that applied files are unchanged and present, and all files well-formed",
        machine,
    )
    add("plan", _plan, "show what migrate would do; nothing is written, nothing is locked", machine)
    create = add(
        "create", _create, "write the next numbered file with its header, and print its path"
    )
    create.add_argument("description", help='what the migration does, as in "add invoices table"')
    record = add("baseline", _baseline, _BASELINE, machine)
    which = record.add_mutually_exclusive_group(required=True)
    which.add_argument(
        "version",
        nargs="?",
        metavar="VERSION",
        help="as in 004-add-invoices; or its number, or its file",
    )
    which.add_argument(
        "--forget",
        nargs="+",
        metavar="VERSION",
        help="take these off the record in place of that: versions whose files are gone, as they are in one file by now",
    )
    serve = add("serve", _serve, "serve both endpoints and the status page on 127.0.0.1")
    serve.add_argument("--port", type=_port, default=DEFAULT_PORT, help=f"default: {DEFAULT_PORT}")
    add("stop", _stop, "stop the embedded PostgreSQL, if one runs")
    return parser


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) < 65536):
        raise argparse.ArgumentTypeError("a port is a number from 0 (any free one) to 65535")
    return int(text)


def _migrate(shell: Shell, arguments: argparse.Namespace) -> int:
    if arguments.source == "build" and is_on_vercel(shell.environ):
        check_manifest(shell.root, packages=_settings(shell).packages)
    context = _context(shell, reading=False, source=arguments.source, quiet=arguments.json)
    report = migrate(context)
    if arguments.json:
        shell.print_json(report.to_dict())
    elif report.error:
        return _fail(shell, arguments, report.error)
    else:
        shell.show(run_text(report, Style.of(shell.out, shell.environ)))
    return report.exit_code


def _status(shell: Shell, arguments: argparse.Namespace) -> int:
    context = _context(shell, reading=True, quiet=arguments.json)
    found = read_status(context)
    if arguments.json:
        connection = _connection(context.target, is_direct=found.is_direct)
        shell.print_json(
            {
                **found.to_dict(),
                "warnings": list(map(message, found.warnings)),
                "connection": connection,
            }
        )
    else:
        place = _place(context.target, is_direct=found.is_direct)
        shell.show(
            status_text(
                found,
                Style.of(shell.out, shell.environ),
                place=place,
                migrating=_other_way(context),
            )
        )
    return IntegrityError.exit_code if arguments.check and not found.is_current else 0


def _validate(shell: Shell, arguments: argparse.Namespace) -> int:
    found = validate(_context(shell, reading=True, quiet=arguments.json))
    if arguments.json:
        shell.print_json(validation(found))
        return 0
    for warning in found.warnings:
        shell.tell(f"Warning: {warning}")
    count = found.plan.applied_count
    tick = Style.of(shell.out, shell.environ).tick
    shell.say(
        f"Valid: {count} applied and unchanged, {len(found.plan.pending)} pending and well-formed.",
        sign=tick,
    )
    return 0


def _plan(shell: Shell, arguments: argparse.Namespace) -> int:
    planned = preview(_context(shell, reading=False, quiet=arguments.json))
    if arguments.json:
        shell.print_json(planned.to_dict())
    else:
        for warning in planned.warnings:
            shell.tell(f"Warning: {warning}")
        shell.show(plan_text(planned, Style.of(shell.out, shell.environ)))
    return planned.obstacle.exit_code if planned.obstacle else 0


def _create(shell: Shell, arguments: argparse.Namespace) -> int:
    directory = migrations_dir(with_env_files(shell.environ, root=shell.root), root=shell.root)
    files = discover(directory)
    slug = "-".join(re.findall(r"[a-z0-9]+", arguments.description.lower()))
    if not slug:
        raise ConfigurationError(
            "The description needs a letter (a-z) or a digit, as in: create 'add invoices table'."
        )
    description = " ".join(arguments.description.split())
    number = next_number(files)
    path = directory / f"{number}-{slug[:200].strip('-')}.sql"
    today = datetime.now(UTC).date()
    # Never over a file that somebody else has just created.
    with path.open("x", encoding="utf-8", newline="\n") as file:
        file.write(f"-- Version: {number}\n-- Date: {today}\n-- Description: {description}\n\n")
    shell.say(str(path.relative_to(shell.root) if path.is_relative_to(shell.root) else path))
    return 0


def _baseline(shell: Shell, arguments: argparse.Namespace) -> int:
    if arguments.forget:
        return _forget(shell, arguments)
    context = _context(shell, reading=False, quiet=arguments.json, doing="Recording in")
    report = baseline(context, arguments.version)
    if arguments.json:
        shell.print_json(report.to_dict())
    else:
        shell.show(baseline_text(report, Style.of(shell.out, shell.environ)))
    return 0


def _forget(shell: Shell, arguments: argparse.Namespace) -> int:
    context = _context(shell, reading=False, quiet=arguments.json, doing="Forgetting in")
    report = forget(context, arguments.forget)
    if arguments.json:
        shell.print_json(report.to_dict())
    else:
        shell.show(forget_text(report, Style.of(shell.out, shell.environ)))
    return 0


def _serve(shell: Shell, arguments: argparse.Namespace) -> int:
    environ = with_env_files(shell.environ, root=shell.root)
    settings = _settings(shell)
    embedded_target = (
        _target(shell, settings, reading=True) if settings.status_target is None else None
    )
    shell.serve(environ, shell.root, embedded_target, arguments.port)
    return 0


def _stop(shell: Shell, _: argparse.Namespace) -> int:
    stopped = embedded.stop(embedded.locate(shell.root))
    shell.say(
        "Stopped the embedded PostgreSQL." if stopped else "No embedded PostgreSQL is running."
    )
    return 0


def _settings(shell: Shell) -> Settings:
    settings = load_settings(with_env_files(shell.environ, root=shell.root), root=shell.root)
    shell.secrets += settings.secrets
    return settings


def _context(
    shell: Shell, *, reading: bool, quiet: bool, source: Source = "cli", doing: str = "Migrating"
) -> RunContext:
    settings = _settings(shell)
    return RunContext(
        settings=settings,
        target=_target(shell, settings, reading=reading),
        source=source,
        run_wait=settings.run_wait,
        connect_patience=settings.connect_patience(DEFAULT_CONNECT_TIMEOUT),
        progress=Progress() if quiet else _Log(shell, doing),
    )


def _target(shell: Shell, settings: Settings, *, reading: bool) -> ConnectionTarget:
    target = settings.status_target if reading else settings.migration_target
    if target is not None:
        patience = settings.connect_patience(DEFAULT_CONNECT_TIMEOUT)
        return locate(
            target, patience=patience, on_retry=lambda reason: shell.tell(f"{reason} Trying again.")
        )
    cluster = embedded.locate(shell.root)
    if not embedded.is_running(cluster):
        shell.tell(
            f"No database URL is set: starting the embedded PostgreSQL in {cluster.home} (`python -m lib stop` stops it)."
        )
    target = embedded.start(cluster)
    shell.secrets += target.secrets
    return target


def _place(target: ConnectionTarget, *, is_direct: bool) -> str:
    return f"{target.address}, {target.choice}; {_way(is_direct=is_direct)}"


def _connection(target: ConnectionTarget, *, is_direct: bool) -> Document:
    """The same for machines, in the command line alone: the public endpoint names no host."""
    return {
        "variable": target.source,
        "why": target.why or None,
        "address": target.place,
        "direct": is_direct,
    }


def _other_way(context: RunContext) -> str | None:
    """How migrations get there, where it is another way than the status went."""
    target = context.settings.migration_target
    if target is None or target == context.settings.status_target:
        return None
    return f"{target.place}, {target.choice}" if target.is_located else target.choice


def _way(*, is_direct: bool) -> str:
    return "direct" if is_direct else "through a pooler or a proxy"


class _Log(Progress):
    """Tells of the run line by line, as it happens: results on stdout, everything else on stderr."""

    def __init__(self, shell: Shell, doing: str) -> None:
        self.shell = shell
        self.doing = doing
        self.style = Style.of(shell.out, shell.environ)

    def retrying_connection(self, reason: str) -> None:
        self.shell.tell(f"{reason} Trying again.")

    def connected(self, target: ConnectionTarget, *, is_direct: bool | None) -> None:
        way = "" if is_direct is None else f"; {_way(is_direct=is_direct)}"
        dropped = (f"left out of its URL: {', '.join(target.dropped)}",) if target.dropped else ()
        path = (f"search_path {target.search_path}",) if target.search_path else ()
        more = "".join(f"; {each}" for each in (*path, *target.remarks, *dropped))
        self.shell.tell(f"{self.doing} {target.place} ({target.choice}{way}{more}).")

    def warning(self, text: str) -> None:
        self.shell.tell(f"Warning: {text}")

    def recovering(self, text: str) -> None:
        self.shell.tell(text)

    def waiting(self, holder: RunInProgressError) -> None:
        who = f" ({holder.holder})" if holder.holder else ""
        since = f", since {holder.since}" if holder.since else ""
        self.shell.tell(f"Waiting for another migration run{who}{since}.")

    def applied(self, migration: AppliedNow) -> None:
        self.shell.say(
            f"{migration.version}  {migration.execution_time_ms} ms", sign=self.style.tick
        )

    def retrying(self, file: MigrationFile, reason: str, pause: float) -> None:
        self.shell.tell(
            f"{file.path}: {reason}. It was rolled back; trying again in {pause:.1f} s at the earliest."
        )

    def still_running(
        self, file: MigrationFile, blockers: tuple[Blocker, ...], seconds: float
    ) -> None:
        held_up = f", held up by {named(blockers)}" if blockers else ""
        self.shell.tell(f"{file.path}: still running after {seconds:.0f} s{held_up}.")

    def building(self, file: MigrationFile, index: IndexProgress, seconds: float) -> None:
        if self.shell.err.isatty():
            self.shell.show_bar(f"{progress_bar(index, self.style)} {file.version}: {index.phase}")
        else:
            share = f" {index.percent}%" if index.total else ""
            self.shell.tell(f"{file.path}: {index.phase}{share}, {seconds:.0f} s.")

    def notice(self, file: MigrationFile | None, severity: str, message: str) -> None:
        if file is not None:
            self.shell.tell(f"{file.path}: {severity}: {message}")
