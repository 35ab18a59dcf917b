"""What pending files do to this database, told before the first of them runs.

Only the catalog is read, in one message, so nobody's lock is waited for. A review that cannot be
made never fails a run: the run says so, and goes on.
"""

import json
from collections.abc import Sequence

from psycopg import sql

from ..database.connection import Connection
from ..database.send_and_receive import Row, Rows
from ..database.server_error import StatementError
from ..database.sql_composition import OWN_SETTINGS, filled, joined
from ..duration import milliseconds
from ..errors import IntegrityError
from ..files.runnable_script import Script
from ..plan.reports import FileReview
from ..review.file_review import (
    LiveColumn,
    LiveObject,
    Question,
    QuestionKind,
    placed_effects,
    review_files,
)
from ..review.finding import Finding, Severity
from ..review.ignored_rules import sort_out
from ..review.live_sizes import LiveSizes
from ..review.sizes_query import find_on_record, sizes_on_record
from ..time_limits import ANSWER, REVIEWED_OBJECTS
from .run_parameters import RunContext, RunState

_NO_ANSWER = "The database stopped answering while the pending files were reviewed."
# A log is read by people; the JSON document has all of them.
MOST_IN_A_LOG = 20
# Where the message keeps the schemas in which the files will look.
_SCHEMAS = "migrations.reviewed_schemas"
# The search_path that the files will find, which is not that of the runner's own statements.
_FILES_PATH = """
select set_config('search_path', coalesce(nullif({path}, ''), reset_val), true)
  from pg_settings where name = 'search_path'
"""
# No operator, and each name qualified: that search_path is in force.
_KEEP_SCHEMAS = """
select pg_catalog.set_config({setting}, pg_catalog.current_schemas(false)::pg_catalog.text, true)
"""
# A check proves that a column has no null if it says just that; pg_get_constraintdef would wait for
# a lock on the table. A NOT NULL that is not valid is set in pg_attribute all the same
# (PostgreSQL 18).
_FIND = r"""
with asked as (
    select *
      from jsonb_to_recordset({asked}::jsonb) as a (id int, kind text, path text[], name text)
), place as (
    select a.id, a.kind, a.name, n.oid as schema, quote_ident(n.nspname) as schema_name, s.position
      from asked a
      cross join lateral unnest(coalesce(a.path, current_setting({setting})::text[]))
            with ordinality as s (schema, position)
      join pg_namespace n
        on n.nspname = case s.schema when '$user' then current_user::text else s.schema end
), object as (
    select p.id, p.position, c.oid as relation, p.schema_name || '.' || quote_ident(p.name) as name,
           c.relkind = 'p' as is_partitioned
      from place p join pg_class c on c.relnamespace = p.schema and c.relname = p.name
     where p.kind = 'relation'
    union all
    select p.id, p.position, null, p.schema_name || '.' || quote_ident(p.name), false
      from place p
     where p.kind = 'type'
       and exists (select from pg_type t where t.typnamespace = p.schema and t.typname = p.name)
        or p.kind = 'routine'
       and exists (select from pg_proc f where f.pronamespace = p.schema and f.proname = p.name)
    union all
    select a.id, 1, null, quote_ident(a.name), false
      from asked a join pg_namespace n on n.nspname = a.name
     where a.kind = 'schema'
), found as (
    select distinct on (id) * from object order by id, position
)
select f.id, f.name, f.is_partitioned, a.attname, format_type(a.atttypid, a.atttypmod),
       a.attnotnull and not exists (
           select from pg_constraint k
            where k.conrelid = a.attrelid and k.contype = 'n' and not k.convalidated
              and k.conkey = array[a.attnum])
       or exists (
           select from pg_constraint k
            where k.conrelid = a.attrelid and k.contype = 'c' and k.convalidated
              and k.conkey = array[a.attnum]
              and k.conbin::text ~ '^[{{]NULLTEST :arg [{{]VAR [^{{}}]*[}}] :nulltesttype 1 ')
  from found f
  left join pg_attribute a
    on a.attrelid = f.relation and a.attnum > 0 and not a.attisdropped
"""


class ReviewError(IntegrityError):
    """A finding is severe, and `MIGRATION_REVIEW` is `stop`."""

    def __init__(self, findings: Sequence[Finding], lines: Sequence[str]) -> None:
        severe = [each for each in findings if each.severity is Severity.STOP]
        what = "1 finding is" if len(severe) == 1 else f"{len(severe)} findings are"
        super().__init__(
            "\n".join(
                (
                    f"Nothing was applied: MIGRATION_REVIEW is stop, and {what} severe.",
                    *lines,
                    "Write this in the safer way, or say above the statement why it is safe: "
                    f"-- review: ignore {severe[0].rule} because …",
                )
            ),
            version=severe[0].version,
        )
        self._findings = findings

    def details(self) -> dict[str, object]:
        return {**super().details(), "findings": [each.to_dict() for each in self._findings]}


def review_run(
    context: RunContext, connection: Connection, state: RunState, scripts: Sequence[Script]
) -> None:
    """Warn of what the files of a run do; ReviewError if that stops the run."""
    review = state.review = review_pending(context, connection, scripts)
    if review.error:
        raise review.error
    for warning in review.warnings:
        state.warn_also(context.progress, warning)


def review_pending(
    context: RunContext, connection: Connection, scripts: Sequence[Script]
) -> FileReview:
    """Review the files that a run would apply. Nothing is asked if nothing in them could matter.

    MIGRATION_REVIEW says whether a severe finding stops the run.
    """
    effects = placed_effects(scripts) if context.settings.review != "off" else ()
    if not effects:
        return FileReview()
    questions = tuple(dict.fromkeys(each.question for each in effects))
    try:
        found = read_live_objects(connection, questions, context.target.search_path)
    except StatementError as error:
        return FileReview(warnings=(f"The pending files could not be reviewed: {error}",))
    judged = review_files(
        effects,
        found,
        deployed_code=_deployed_code(context),
        server_version=connection.server_version,
    )
    # Where nothing is found, what a comment would ignore is of no interest.
    judged_files = {each.version for each in judged}
    files = {script.file.version: script.file for script in scripts}
    texts = {version: file.text for version, file in files.items() if version in judged_files}
    # The rehearsal knows more rules, and what a comment ignores may be one of its own.
    left = sort_out(judged, texts, is_complete=False)
    warnings = _in_words(left.findings, {version: file.path for version, file in files.items()})
    is_stop = context.settings.review == "stop" and any(
        each.severity is Severity.STOP for each in left.findings
    )
    stop = ReviewError(left.findings, warnings) if is_stop else None
    return FileReview(left.findings, left.ignored, warnings, stop)


def _deployed_code(context: RunContext) -> Severity:
    """How severe it is that deployed code breaks: on a laptop there is none."""
    return {"production": Severity.STOP, "development": Severity.NOTE}.get(
        context.settings.environment, Severity.WARN
    )


def _in_words(findings: Sequence[Finding], paths: dict[str, str]) -> tuple[str, ...]:
    told = [each for each in findings if each.severity is not Severity.NOTE]
    lines = [
        f"{paths[each.version]}:{each.line}: {each.message} ({each.rule}){_instead(each)}"
        for each in told[:MOST_IN_A_LOG]
    ]
    if len(told) > MOST_IN_A_LOG:
        lines.append(f"… and {len(told) - MOST_IN_A_LOG} more findings; --json lists them all.")
    return tuple(lines)


def _instead(finding: Finding) -> str:
    """What to write in its place: SQL begins on a line of its own."""
    between = "\n" if "\n" in finding.instead else " "
    return f"{between}{finding.instead}" if finding.instead else ""


def read_live_objects(
    connection: Connection, questions: Sequence[Question], search_path: str = ""
) -> dict[Question, LiveObject]:
    """Return the objects that exist, of those asked for.

    `search_path` is that of the URL, which the files will have; empty for that of the session.
    Raises StatementError if the server refuses, or takes too long.
    """
    with connection.limit_to(ANSWER, _NO_ANSWER):
        *_, objects, tables = connection.query(_message(questions, search_path), read_only=True)
    return _objects(questions, objects, sizes_on_record(tables))


def _message(questions: Sequence[Question], search_path: str) -> sql.Composed:
    schemas = {schema for question in questions for schema in question.path or ()}
    names = {each.name for each in questions if each.kind is QuestionKind.RELATION}
    which = filled(
        "c.relname = any ({names}::name[]) "
        "and n.nspname = any (current_setting({setting})::name[] || {schemas}::name[] "
        "|| current_user)",
        names=sorted(names),
        schemas=sorted(schemas),
        setting=_SCHEMAS,
    )
    asked = [
        {"id": at, "kind": each.kind, "path": each.path, "name": each.name}
        for at, each in enumerate(questions)
    ]
    return joined(
        f"set local statement_timeout = {milliseconds(REVIEWED_OBJECTS)}",
        filled(_FILES_PATH, path=search_path),
        filled(_KEEP_SCHEMAS, setting=_SCHEMAS),
        OWN_SETTINGS[0],
        filled(_FIND, asked=json.dumps(asked), setting=_SCHEMAS),
        find_on_record(which),
    )


def _objects(
    questions: Sequence[Question], rows: Rows, sizes: LiveSizes
) -> dict[Question, LiveObject]:
    by_question: dict[Question, list[Row]] = {}
    for row in rows:
        by_question.setdefault(questions[int(row[0] or 0)], []).append(row)
    return {
        question: LiveObject(
            found[0][1] or "",
            {
                column: LiveColumn(kind or "", has_no_null == "t")
                for _, _, _, column, kind, has_no_null in found
                if column
            },
            sizes.of(found[0][1] or ""),
            is_partitioned=found[0][2] == "t",
        )
        for question, found in by_question.items()
    }
