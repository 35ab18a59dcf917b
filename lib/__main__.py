"""The command line. The web server that `serve` needs is imported only for that command."""

import gc
import os
import sys


def _serve(*arguments: object) -> None:
    """Import the web server when a command needs it."""
    from .local.web_server import serve

    serve(*arguments)  # type: ignore[arg-type]


def _run() -> int:
    if sys.version_info < (3, 11):  # noqa: UP036  the environment may be of another tool
        print(
            f"Python {sys.version.split()[0]} is too old: 3.11 or newer is needed.",
            file=sys.stderr,
        )
        return 2
    from .signals import exit_on_signals

    # Before the other imports, which take some time.
    exit_on_signals()
    from .escaping import message

    # What imports leave stays to the end: to look for garbage among it would take a tenth of a run
    # that has nothing to apply.
    gc.disable()
    try:
        from .cli.main import main
    except ImportError as fault:
        # An ImportError without a name: psycopg is installed, but not its libpq.
        what = (
            f"{fault.name} is not installed"
            if fault.name
            else "psycopg is installed without its binary"
        )
        advice = "see that requirements.txt names flask and psycopg[binary], and run ./build.sh."
        print(message(f"{what}: {advice}"), file=sys.stderr)
        return 2
    gc.freeze()
    gc.enable()
    return main(sys.argv[1:], os.environ, _serve)


if __name__ == "__main__":
    sys.exit(_run())
