"""The command that prints a script for completion, from the options as argparse has them."""

import argparse
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from io import TextIOWrapper

from ..calls.invocation import Invocation
from ..escaping import table
from .completion_scripts import Command, Kind, Option, Value, script
from .options import make_parser

# What a value is, by the word that stands for it in the help.
_KINDS: Mapping[str, Kind] = {
    "VERSION": "version",
    "OLD": "version",
    "FILE": "file",
    "FOLDER": "folder",
}
_END_OF_SUMMARY = re.compile(r"[:;] ")


def _print_script(call: Invocation) -> int:
    if isinstance(call.console.out, TextIOWrapper):
        # On Windows too: the shell there is the bash of git.
        call.console.out.reconfigure(newline="\n")
    call.console.show(table(completion_script(call.arguments.shell).splitlines()))
    return 0


def completion_script(shell: str) -> str:
    """Make the script for a shell from the parser of the command line."""
    program = make_parser()
    names = defaultdict(list)
    for name, parser in program.commands.items():
        names[parser].append(name)
    about = {name: text for rows in program.sections.values() for name, text in rows}
    commands = [
        Command(
            names=tuple(of_parser),
            about=about[of_parser[0]],
            options=tuple(_options(parser)),
            argument=_argument(parser),
            passes_on=parser.passes_on,
        )
        for parser, of_parser in names.items()
    ]
    return script(shell, tuple(_options(program)), commands)


def _options(parser: argparse.ArgumentParser) -> Iterator[Option]:
    for action in parser._actions:
        if action.option_strings:
            yield Option(
                names=tuple(action.option_strings),
                about=_END_OF_SUMMARY.split((action.help or "") % vars(action), maxsplit=1)[0],
                value=None if action.nargs == 0 else _value(action),
                excluded=_excluded(parser, action),
            )


def _argument(parser: argparse.ArgumentParser) -> Value | None:
    """What the arguments of a command are; no command has arguments of two kinds."""
    found = [_value(action) for action in parser._actions if not action.option_strings]
    return found[0] if found else None


def _value(action: argparse.Action) -> Value:
    choices = tuple(map(str, action.choices or ()))
    return Value(
        kind="choice" if choices else _KINDS.get(str(action.metavar), "other"),
        label=str(action.metavar or action.dest).lower(),
        choices=choices,
        is_many=action.nargs in ("*", "+"),
    )


def _excluded(parser: argparse.ArgumentParser, action: argparse.Action) -> tuple[str, ...]:
    """The options that may not stand beside this one, itself included."""
    groups = [
        group._group_actions
        for group in parser._mutually_exclusive_groups
        if action in group._group_actions
    ]
    return tuple(name for each in groups or [[action]] for a in each for name in a.option_strings)


COMMANDS: Mapping[str, Callable[[Invocation], int]] = {"completion": _print_script}
