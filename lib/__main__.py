"""The command line. The web server that `serve` needs is imported only for that command."""

import gc
import os
import sys


def _serve(*arguments: object) -> None:
    """Import the web server when a command needs it."""
    from .local.web_server import serve

    serve(*arguments)  # type: ignore[arg-type]


def _collect_again() -> None:
    gc.freeze()
    gc.enable()


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
        from .errors import not_installed

        print(message(str(not_installed(fault))), file=sys.stderr)
        return 2
    return main(sys.argv[1:], os.environ, _serve, on_imported=_collect_again)


if __name__ == "__main__":
    sys.exit(_run())
