"""The example of docs/pull-requests.md: a made-up project, three pushes, and what is said of each.

`python tests/support/pull_request_example.py` writes the comments and their picture anew. The
picture needs Chromium, and GitHub's stylesheet from npm; the comments need neither.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))  # the package is not installed

from lib.github.report_document import report_of  # noqa: E402
from lib.github.report_markdown import Place, compose  # noqa: E402

FOLDER = ROOT / "docs" / "pull-requests"
PICTURE = FOLDER / "comment.png"

_BASE = {
    "001-create-users.sql": """\
create table users (
    id bigint generated always as identity primary key,
    email text not null unique,
    nickname text
);
""",
    "002-create-orders.sql": """\
create table orders (
    id bigint generated always as identity primary key,
    user_id bigint not null,
    total_cents integer not null,
    created_at timestamptz not null default now()
);
""",
}
_TOTAL = "003-widen-order-totals.sql"
_USERS = "004-tie-orders-to-users.sql"
_INDEX = "004-index-orders-by-user.sql"
# What each push has, beside the files of the target branch.
PUSHES: Mapping[str, Mapping[str, str]] = {
    "first-push": {
        _TOTAL: "alter table orders alter column total_cents type bigint;\n",
        _USERS: """\
create index orders_user_id_idx on orders (user_id);
alter table orders
    add constraint orders_user_id_fkey foreign key (user_id) references users (id);
alter table users drop column nickname;
""",
    },
    "second-push": {
        _TOTAL: "alter table orders add column total bigint;\n",
        _INDEX: "create index concurrently orders_user_id_idx on orders (user_id);\n",
        "005-tie-orders-to-users.sql": """\
alter table orders
    add constraint orders_user_id_fkey foreign key (user_id) references users (id);
""",
    },
    "fix": {
        _TOTAL: "alter table orders add column total bigint;\n",
        _INDEX: "create index concurrently orders_user_id_idx on orders (user_id);\n",
        "005-tie-orders-to-users.sql": """\
alter table orders
    add constraint orders_user_id_fkey foreign key (user_id) references users (id) not valid;
""",
        "006-check-orders-of-users.sql": """\
alter table orders validate constraint orders_user_id_fkey;
""",
    },
}
# As `sizes --json` prints them.
SIZES = {
    "success": True,
    "action": "sizes",
    "environment": "production",
    "database": "shop",
    "measuredAt": "2026-11-28T09:00:00.000Z",
    "tables": [
        {"table": name, "rows": rows, "bytes": size, "reads": 500_000, "writes": 20_000,
         "oldestTransactionSeconds": None}
        for name, rows, size in (
            ("public.orders", 180_000_000, 26 << 30), ("public.users", 90_000, 24 << 20),
        )
    ],
}  # fmt: skip
_COMMITS = ("3f1c9a7e2b60", "8d24e0b95c17", "c07f5e61a3d8")


def comments(folder: Path) -> dict[str, str]:
    """What is said after each push, by its name. The project is made in `folder`."""
    project = Project(folder)
    return {
        name: project.comment(files, commit)
        for (name, files), commit in zip(PUSHES.items(), _COMMITS, strict=True)
    }


class Project:
    """A repository with a target branch."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._migrations = folder / "migrations"
        self._migrations.mkdir()
        first = "000-create-migration-table.sql"
        shutil.copyfile(ROOT / "migrations" / first, self._migrations / first)
        self._write(_BASE)
        self._git("init", "-q", "-b", "main")
        self._git("add", "-A")
        self._git("-c", "user.name=x", "-c", "user.email=x@localhost", "commit", "-qm", "x")
        self._sizes = folder.parent / "sizes.json"
        self._sizes.write_text(json.dumps(SIZES))

    def comment(self, files: Mapping[str, str], commit: str) -> str:
        self.push(files)
        document = self._rehearse()
        repository = "https://github.com/acme/shop"
        place = Place(
            blob=f"{repository}/blob/{commit}",
            run=f"{repository}/actions/runs/{int(commit[:6], 16)}",
            commit=commit,
        )
        return compose(report_of(document), place) + "\n"

    def push(self, files: Mapping[str, str]) -> None:
        """Replace what the branch has."""
        self._git("clean", "-fdq")
        self._write(files)

    def _rehearse(self) -> object:
        # As in action.yml.
        done = subprocess.run(
            [sys.executable, "-m", "lib", "rehearse", "--json", "--fail-on", "never",
             "--base", "main", "--sizes", str(self._sizes)],
            cwd=ROOT,
            env={
                "PATH": os.environ["PATH"], "HOME": str(self._folder), "LANG": "C.UTF-8",
                "CI": "true", "MIGRATE_COMMAND": "./migrate",
                "MIGRATIONS_DIR": str(self._migrations),
            },
            stdout=subprocess.PIPE, check=True,
        )  # fmt: skip
        return json.loads(done.stdout)

    def _write(self, files: Mapping[str, str]) -> None:
        for name, text in files.items():
            (self._migrations / name).write_text(text)

    def _git(self, *words: str) -> None:
        subprocess.run(["git", "-C", str(self._folder), *words], check=True)


def write() -> None:
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "shop"
        folder.mkdir()
        made = comments(folder)
    for name, text in made.items():
        (FOLDER / f"{name}.md").write_text(text)
    if shutil.which("chromium"):
        from comment_picture import draw

        draw(made["first-push"], PICTURE)


if __name__ == "__main__":
    write()
