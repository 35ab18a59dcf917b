"""`python -m lib`: the command line, given the one thing of the web's that it needs."""

import os
import signal
import sys


def _serve(*arguments: object) -> None:
    """Import the web only when it is asked for."""
    from lib.local_server import serve

    serve(*arguments)  # type: ignore[arg-type]


def _run() -> int:
    # From the first moment on, while the imports take theirs.
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, lambda signum, _: sys.exit(128 + signum))
    try:
        from lib.cli import main
    except ModuleNotFoundError as missing:
        print(f"{missing.name} is not installed: run ./build.sh, or pip install -r requirements.txt", file=sys.stderr)
        return 2
    return main(sys.argv[1:], os.environ, _serve)


if __name__ == "__main__":
    sys.exit(_run())
