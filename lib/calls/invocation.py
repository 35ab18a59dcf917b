"""One command as it was called."""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..console.output_streams import Console

# Serves until a signal ends the process: the environment, the bundle, the database to use where
# the environment names none, and the ports, of which the first that is available is taken.
Serve = Callable[[Mapping[str, str], Path, Any, Sequence[int]], None]


# Of `serve`, unless it is taken.
DEFAULT_PORT = 3000


@dataclass
class Invocation:
    """A command: its arguments, the environment, the bundle, and where the command prints.

    `secrets` grows with everything that no traceback may show.
    """

    arguments: argparse.Namespace
    environ: Mapping[str, str]
    root: Path
    console: Console
    serve: Serve
    secrets: list[str] = field(default_factory=list)

    @property
    def may_ask(self) -> bool:
        """True if somebody at a terminal can answer a question."""
        return not self.arguments.json and bool(sys.stdin and sys.stdin.isatty())

    def is_confirmed(self, question: str) -> bool:
        """Ask, and return whether the answer is yes."""
        self.console.tell(f"{question} [y/N]")
        return sys.stdin.readline().strip().lower() in ("y", "yes")
