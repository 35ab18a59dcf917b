"""How many files of real projects a rehearsal finds something about, and what.

Each file of the public chains of the tests is taken for the pending one on a database to which all
files before it were applied: once as if every table had 100 rows, once as if every table had 10 GB.
What breaks deployed code does not depend on sizes, and is counted apart.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from contenders import ROOT
from server import Server, exit_code_of, started

sys.path.insert(0, str(ROOT / "tests" / "support"))
sys.path.insert(0, str(ROOT / "tests"))

from chains import CHAINS, Chain

from lib.database.connection import Connection
from lib.errors import MigrationFileError
from lib.files.folder import MigrationFile, discover
from lib.files.prepare_script import prepare
from lib.interface.code_view import CodeView
from lib.interface.code_view_query import read_code_view
from lib.rehearse.breaking import review_code
from lib.rehearse.lint import lint
from lib.rehearse.observed_run import observe_file
from lib.rehearse.statement_facts import FileFacts
from lib.rehearse.weighing import weigh
from lib.review.finding import Finding, Severity
from lib.review.ignored_rules import sort_out
from lib.review.live_sizes import LiveSizes, TableSize
from lib.review.rules import BY_DEPLOYED_CODE, BY_SIZE

# Rows and bytes of every table.
SCALES = ((100, 64 * 1024), (50_000_000, 10 * 1024**3))
OF_SIZE = {rule.name for rule in BY_SIZE}
OF_CODE = {rule.name for rule in BY_DEPLOYED_CODE}


@dataclass(frozen=True)
class Seen:
    """What is found about one file, at each of the scales."""

    version: str
    small: tuple[Finding, ...]
    large: tuple[Finding, ...]


def judge(file: MigrationFile, facts: FileFacts, before: CodeView, after: CodeView) -> Seen:
    review = review_code(facts, before, before, after)
    texts = {file.version: file.text}
    linted = lint(texts, [facts]).findings
    small, large = (
        sort_out((*weigh([facts], sized(before, scale)), *review.findings, *linted), texts).findings
        for scale in SCALES
    )
    return Seen(file.version, small, large)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", help="titles of chains, with commas between them")
    parser.add_argument("--findings", action="store_true", help="print each finding at 10 GB")
    arguments = parser.parse_args()
    wanted = arguments.only.split(",") if arguments.only else None
    found = {}
    with started() as server:
        for chain in CHAINS:
            if wanted is None or chain.title in wanted:
                found[chain.title] = list(watch(server, chain))
                print(f"{chain.title}: {len(found[chain.title])} files", file=sys.stderr)
    print("\n".join(shares(found)))
    print("\n".join(rules([seen for each in found.values() for seen in each])))
    if arguments.findings:
        for title, files in found.items():
            print("\n".join(listed(title, files)))


def watch(server: Server, chain: Chain) -> Iterator[Seen]:
    """Yield what each file of the chain does after all files before it."""
    database = server.create_database()
    if chain.prepare:
        with server.connect(database) as connection:
            connection.execute(chain.prepare.encode())
    with TemporaryDirectory() as folder:
        for name, path in chain.files().items():
            (Path(folder) / name).write_bytes(chain.content(path))
        files = discover(Path(folder))
    before = None
    for file in files:
        try:
            script = prepare(file)
        except MigrationFileError as error:
            print(f"{file.version}: {error}", file=sys.stderr)
            continue
        with Connection(server.connect(database)) as connection:
            before = before or read_code_view(connection)
            facts = observe_file(connection, script)
            after = read_code_view(connection)
        for each in facts.statements:
            if each.failure:
                print(f"{file.version}:{each.line}: {each.failure}", file=sys.stderr)
        yield judge(file, facts, before, after)
        before = after


def sized(before: CodeView, scale: tuple[int, int]) -> LiveSizes:
    """What a live database says that has the tables of this state."""
    return LiveSizes({name: TableSize(name, *scale) for name in before.relations})


def shares(found: Mapping[str, Sequence[Seen]]) -> Iterator[str]:
    """The share of the files with a finding, chain by chain."""
    yield (
        "| chain | files | by size, 100 rows | by size, 10 GB | of which stop "
        "| by code: stop | by code: warn | by code: note | lint |"
    )
    yield "|---|---|---|---|---|---|---|---|---|"
    everything = [seen for files in found.values() for seen in files]
    for title, files in (*found.items(), ("**all**", everything)):
        small, large = [seen.small for seen in files], [seen.large for seen in files]
        cells = [
            share(small, OF_SIZE),
            share(large, OF_SIZE),
            share(large, OF_SIZE, Severity.STOP),
            *(share(large, OF_CODE, severity) for severity in Severity),
            share(large, {each.rule for found in large for each in found} - OF_SIZE - OF_CODE),
        ]
        yield f"| {title} | {len(files)} | {' | '.join(cells)} |"


def share(
    files: Sequence[Sequence[Finding]], wanted: set[str], severity: Severity | None = None
) -> str:
    count = sum(
        any(each.rule in wanted and severity in (None, each.severity) for each in found)
        for found in files
    )
    return f"{count} ({100 * count / max(1, len(files)):.0f}%)" if count else "0"


def rules(files: Sequence[Seen]) -> Iterator[str]:
    """How often each rule finds something, by severity."""
    yield "\n| rule | 100 rows: stop, warn, note | 10 GB: stop, warn, note | files, 10 GB |"
    yield "|---|---|---|---|"
    counts = [
        Counter((each.rule, each.severity) for some in found for each in some)
        for found in ([seen.small for seen in files], [seen.large for seen in files])
    ]
    in_files = Counter(rule for seen in files for rule in {each.rule for each in seen.large})
    for rule, number in in_files.most_common():
        cells = [", ".join(str(count[rule, severity]) for severity in Severity) for count in counts]
        yield f"| {rule} | {' | '.join(cells)} | {number} |"


def listed(title: str, files: Sequence[Seen]) -> Iterator[str]:
    for seen in files:
        for each in seen.large:
            text = " ".join(each.message.split())
            yield f"{title} {each.version}:{each.line} {each.severity} {each.rule}: {text}"


if __name__ == "__main__":
    sys.exit(exit_code_of(main))
