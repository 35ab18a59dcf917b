"""One command as it was called."""

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..text.output_streams import Console

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
