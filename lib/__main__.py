"""`python -m lib`: the command line, given the one thing of the web's that it needs."""

import os
import sys

from lib.cli import main


def _serve(*arguments: object) -> None:
    """Import the web only when it is asked for."""
    from lib.local_server import serve

    serve(*arguments)  # type: ignore[arg-type]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ, _serve))
