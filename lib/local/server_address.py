"""The address of a project's embedded server: its port, its password, its URL.

Imports little: each command whose URL leads to this machine asks whether the URL means that server.
"""

import os
import re
import stat
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

from .. import COMMAND
from ..settings.connection_target import ConnectionTarget
from .server_folder import home

SOURCE = "the embedded PostgreSQL"
HOST = "127.0.0.1"
DATABASE = "postgres"
USER = "postgres"

PASSWORD_FILE = "password"
PORT_FILE = "port"
# In bytes: the forms that a password has, and that the folder's files have, are shorter.
_LONGEST_FILE = 200

_LOOPBACK = ("localhost", HOST, "::1")
# What secrets.token_urlsafe makes of 24 bytes: no character of it has to be encoded in a URL.
_PASSWORD = re.compile(r"[A-Za-z0-9_-]{32}")
_OUTDATED = (
    "If it is that of the embedded PostgreSQL, its URL is outdated: "
    f"`{COMMAND} url --write-env` writes the present one into .env.local."
)


def kept_port(folder: Path) -> int | None:
    """Return the port at which the server is, or will be after its next start."""
    text = _read(folder / PORT_FILE).strip()
    return int(text) if is_port(text) else None


def kept_password(folder: Path) -> str:
    """Return the password of the server, which outlives its data; empty if it is gone."""
    return _read(folder / PASSWORD_FILE)


def is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 6 and 0 < int(text) < 65536


def recognized(target: ConnectionTarget, root: Path) -> ConnectionTarget:
    """Return the target, marked if it is the embedded database of the project at `root`.

    A target that may be outdated gets an advice.
    """
    if is_named(target, root):
        # Another database of that server was made by somebody, and is started like this one.
        if target.database in ("", DATABASE):
            return replace(target, source=SOURCE, why="", is_embedded=True)
    elif looks_embedded(target):
        return replace(target, advice=_OUTDATED)
    return target


def is_named(target: ConnectionTarget, root: Path) -> bool:
    """True if the target is a database of the embedded server of the project at `root`.

    The password tells, also where the port is outdated: there, if the folder of the project was
    copied, the server of the other project would answer, which has the same password.
    """
    kept = kept_password(home(root))
    return _is_superuser_here(target) and target.parameters.get("password") == kept


def looks_embedded(target: ConnectionTarget) -> bool:
    """True if the target has the form of an embedded server's, perhaps of one that is gone."""
    password = target.parameters.get("password", "")
    return _is_superuser_here(target) and _PASSWORD.fullmatch(password) is not None


def _is_superuser_here(target: ConnectionTarget) -> bool:
    hosts = (target.host, target.parameters.get("hostaddr", HOST))
    return set(hosts) <= {*_LOOPBACK} and target.parameters.get("user") == USER


def url(target: ConnectionTarget) -> str:
    """Return the URL of the server for an application."""
    password = quote(target.parameters["password"], safe="")
    return f"postgresql://{USER}:{password}@{target.address}/{DATABASE}"


def _read(path: Path) -> str:
    """Return a short file of the folder; empty if it is not there, or not the caller's own.

    Under /var/tmp, anybody could have made the folder, with a pipe in it that never ends.
    """
    try:
        found = path.lstat()
        is_own = not hasattr(os, "geteuid") or found.st_uid == os.geteuid()
        if stat.S_ISREG(found.st_mode) and is_own and found.st_size < _LONGEST_FILE:
            return path.read_text()
    except (OSError, UnicodeError):
        pass
    return ""
