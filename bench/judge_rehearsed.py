"""What the rehearsal says of each file, if its tables are small, as large as here, or huge.

The parts of a rehearsal, on a database without rows, without the throw-away server around them.
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack

from judge_load import admit_application
from judge_page import SIZES
from judged_statements import INDEXES, SCHEMA, Judged
from server import Server

from lib.database.connection import Connection
from lib.files.folder import parse
from lib.files.prepare_script import prepare
from lib.interface.code_view_query import read_code_view
from lib.rehearse.breaking import review_code
from lib.rehearse.lint import lint
from lib.rehearse.observed_run import Conditions, observe_file
from lib.rehearse.statement_facts import FileFacts
from lib.rehearse.weighing import weigh
from lib.review.finding import Finding, Severity
from lib.review.ignored_rules import sort_out
from lib.review.live_sizes import LiveSizes, TableSize

VERSION = "002-judged"
# Of a day: the tables are in use, and on the average not busy.
DAY, USES = 86_400, 10_000
HUGE_ROWS, HUGE_BYTES = 40_000_000, 10 * 1024**3
SMALL_ROWS, SMALL_BYTES = 100, 100_000


def rehearsed(
    server: Server, judged: Judged, measured: Mapping[str, tuple[int, int]]
) -> dict[str, list[str]]:
    """Return the rules that speak, by the size of the tables; `measured` has rows and bytes."""
    facts, others = observed(server, judged)
    found = {
        SIZES[0]: dict.fromkeys(measured, (SMALL_ROWS, SMALL_BYTES)),
        SIZES[1]: measured,
        SIZES[2]: dict.fromkeys(measured, (HUGE_ROWS, HUGE_BYTES)),
    }
    return {
        name: spoken(judged, [*failures(facts), *weigh([facts], sizes(judged, tables)), *others])
        for name, tables in found.items()
    }


def observed(server: Server, judged: Judged) -> tuple[FileFacts, tuple[Finding, ...]]:
    """Return what the file did, and the findings for which no size counts."""
    database = server.create_database()
    script = prepare(parse(f"{VERSION}.sql", f"{judged.sql};\n".encode()))
    try:
        with ExitStack() as stack:
            raw = stack.enter_context(server.connect(database))
            for text in (SCHEMA, INDEXES):
                raw.execute(text.encode())
            admit_application(raw)
            for text in filter(None, judged.before.split(";\n")):
                raw.execute(text.encode())
            connection = Connection(raw)
            deployed = read_code_view(connection)
            conditions = Conditions(time_zone=judged.time_zone)
            facts = observe_file(connection, script, conditions)
            after = read_code_view(connection)
            of_code = review_code(facts, deployed, deployed, after).findings
            return facts, (*of_code, *lint({VERSION: script.file.text}, [facts]).findings)
    finally:
        server.drop_database(database)


def failures(facts: FileFacts) -> Iterator[Finding]:
    for each in facts.statements:
        if each.failure is not None:
            yield Finding("fails", Severity.STOP, facts.version, each.line, each.failure)


def sizes(judged: Judged, tables: Mapping[str, tuple[int, int]]) -> LiveSizes:
    oldest = int(judged.report + 1) if judged.report else None
    found = {
        f"public.{name}": TableSize(f"public.{name}", rows, size, USES, USES, oldest)
        for name, (rows, size) in tables.items()
    }
    return LiveSizes(found, DAY)


def spoken(judged: Judged, findings: list[Finding]) -> list[str]:
    """Each rule once, with how severe it is at its worst."""
    left = sort_out(findings, {VERSION: judged.sql}, is_complete=True).findings
    worst: dict[str, Severity] = {}
    for each in left:
        known = worst.get(each.rule)
        if known is None or each.severity.is_at_least(known):
            worst[each.rule] = each.severity
    return [f"{rule} ({severity.value})" for rule, severity in worst.items()]
