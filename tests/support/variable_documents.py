"""The table of variables in README.md, and .env.example, from the declarations of the variables.

`python tests/support/variable_documents.py` writes both.
"""

import re
import sys
import textwrap
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))  # the package is not installed

from lib.settings.variables import VARIABLES, Variable  # noqa: E402

README, ENV_EXAMPLE = ROOT / "README.md", ROOT / ".env.example"
_TABLE = re.compile(r"^\| variable \|.*\n(?:\|.*\n)+", re.MULTILINE)
_LINK = re.compile(r"\[([^\]]+)\]\([^)]*\)")

ENV_EXAMPLE_HEAD = """\
# For local work: copy this file to .env.local, which git ignores, and uncomment what you need.
# It is not read on Vercel or in CI, and VERCEL* and CI in it are ignored, since `vercel env pull`
# may write them. Without any URL the commands start an embedded PostgreSQL.
# Percent-encode special characters in a password: @ as %40, / as %2F, % as %25.
# Durations are 500ms, 2s, 10min, or a number of seconds.
"""


def readme_table() -> str:
    """The table, with a line end."""
    lines = ["| variable | default | read by | what it does |", "|---|---|---|---|"]
    return "\n".join([*lines, *map(_row, VARIABLES)]) + "\n"


def _row(variable: Variable[Any]) -> str:
    default = variable.default_note or (f"`{variable.default}`" if variable.default else "")
    cells = (f"`{variable.name}`", default, ", ".join(variable.readers), variable.help)
    return "| " + " | ".join(cells).replace("|  |", "| |") + " |"


def env_example() -> str:
    examples = [_example(variable) for variable in VARIABLES if variable.example is not None]
    return "\n".join([ENV_EXAMPLE_HEAD, *examples])


def _example(variable: Variable[Any]) -> str:
    comment = _LINK.sub(r"\1", variable.help).replace("`", "")
    lines = textwrap.wrap(comment, 98, break_on_hyphens=False)
    return "".join(f"# {line}\n" for line in lines) + f"#{variable.name}={variable.example}\n"


def table_in(readme: str) -> str:
    (table,) = _TABLE.findall(readme)
    return str(table)


def write() -> None:
    text = README.read_text()
    README.write_text(text.replace(table_in(text), readme_table()))
    ENV_EXAMPLE.write_text(env_example())


if __name__ == "__main__":
    write()
