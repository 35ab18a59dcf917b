"""What a file breaks for deployed code, and which of its statements does it.

PostgreSQL's own numbers tell a rename from a drop: a table, a type or the value of an enum keeps
its OID, and a column its number.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ..actions.review_check import read_live_objects
from ..database.connection import Connection
from ..files.runnable_script import Script
from ..interface.code_changes import changes_for_code
from ..interface.code_view import CodeChange, CodeView, Relation
from ..review.advice import DELETE_IN_BATCHES
from ..review.file_review import (
    LiveObject,
    PlacedEffect,
    Question,
    QuestionKind,
    placed_effects,
    review_files,
)
from ..review.finding import Finding, Severity
from ..review.live_sizes import LiveSizes
from ..sql.lexer import LexicalError, tokens
from ..sql.statement import unquoted
from .statement_facts import Breaking, FileFacts, StatementFacts

# The words of a statement that does what a rule finds.
_VERBS: Mapping[str, tuple[str, ...]] = {
    "changes-function": ("function", "procedure", "aggregate"),
    "changes-type": ("type",),
    "removes-value": ("rename", "type"),
    "requires-column": ("not", "null", "default"),
    "adds-constraint": ("add", "unique"),
    "enables-row-security": ("row", "level", "security"),
    "revokes-privilege": ("revoke",),
}
# What they do stands elsewhere.
_HIDE = ("do", "call", "select")


@dataclass(frozen=True)
class CodeReview:
    """What a file means for deployed code; each of `breaking` is one of `findings` too."""

    breaking: tuple[Breaking, ...] = ()
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True)
class UnrunFiles:
    """Files that could not be rehearsed to their end: what they say, and what that is about."""

    effects: tuple[PlacedEffect, ...] = ()
    objects: Mapping[Question, LiveObject] = field(default_factory=dict)

    def findings(self, sizes: LiveSizes | None) -> tuple[Finding, ...]:
        """Judge them by their texts: one that did not run is no less dangerous."""
        live = {
            question: replace(found, size=sizes.of(found.name) if sizes else None)
            for question, found in self.objects.items()
        }
        return review_files(self.effects, live, deployed_code=Severity.STOP)


def read_unrun(
    connection: Connection, scripts: Sequence[Script], deployed: CodeView, search_path: str
) -> UnrunFiles:
    """Look for what the files name. What a pending file has made is in no deployed code."""
    effects = placed_effects(scripts)
    if not effects:
        return UnrunFiles()
    questions = tuple(dict.fromkeys(each.question for each in effects))
    found = read_live_objects(connection, questions, search_path)
    return UnrunFiles(
        effects,
        {
            question: each
            for question, each in found.items()
            if question.kind is not QuestionKind.RELATION or each.name in deployed.relations
        },
    )


def review_code(
    facts: FileFacts, deployed: CodeView, before: CodeView, after: CodeView
) -> CodeReview:
    """Return what the file means for deployed code, which knows the database as `deployed`.

    `before` and `after` are the states around the file; `deployed` is that before all pending ones.
    """
    written = frozenset(name for each in facts.statements for name in each.written)
    written |= frozenset(_copied(facts, before))
    changes = changes_for_code(deployed, before, after, written=written)
    found = [(change, _line(change, facts)) for change in changes]
    found += [
        (_emptied(name, deployed.relations[name]), each.line)
        for each in facts.statements
        for name in each.truncated
        if name in deployed.relations
    ]
    return CodeReview(
        tuple(
            Breaking(each.kind, each.object, each.change, facts.version, line)
            for each, line in found
            # The rows of a table are no part of what code relies on to exist.
            if each.severity is Severity.STOP and each.rule != "truncates-table"
        ),
        tuple(
            Finding(
                each.rule,
                each.severity,
                facts.version,
                line,
                f"{each.object} {each.change}.",
                each.instead,
            )
            for each, line in found
        ),
    )


def _copied(facts: FileFacts, before: CodeView) -> Iterator[str]:
    """The tables that an INSERT or a CREATE TABLE AS of the file names."""
    words = [words for each in facts.statements if (words := _words(each.text))]
    named = {
        word
        for each in words
        if each[0] in ("insert", "with") or (each[:2] == ["create", "table"] and "select" in each)
        for word in each
    }
    for name, relation in before.relations.items():
        if relation.kind == "table" and [*_names(name)][-1] in named:
            yield name


def _emptied(name: str, table: Relation) -> CodeChange:
    return CodeChange(
        "truncates-table", Severity.STOP, table.kind, name, "is emptied", DELETE_IN_BATCHES
    )


def _line(change: CodeChange, facts: FileFacts) -> int:
    """Return the line of the statement that most likely makes the change.

    If no text tells, it is that of the only DO block, the only CALL or the only SELECT, else 0.
    """
    scores = [(_score(change, each), -each.number, each.line) for each in facts.statements]
    score, _, line = max(scores, default=(0, 0, 0))
    if score:
        return line
    for command in _HIDE:
        lines = [each.line for each in facts.statements if _words(each.text)[:1] == [command]]
        if lines:
            return lines[0] if len(lines) == 1 else 0
    return 0


def _score(change: CodeChange, statement: StatementFacts) -> int:
    """Count what the statement has of the change: the object dropped, its names, and the verb."""
    if statement.failure is not None:
        return 0
    words = _words(statement.text)
    if not words or words[0] in ("select", "insert", "update", "delete", "comment"):
        return 0
    # The last name is the object's own, or that of the part it is about; the others say where.
    *places, name = [*_names(change.object), *_names(change.part)]
    # A column may go with its view, which is made anew without it.
    gone = any(f"{change.object}.".startswith(f"{each}.") for each in statement.dropped)
    if name not in words and not gone and not (change.part and places[-1] in words):
        # What depends on another object goes with it.
        return int("drop" in words and "cascade" in words)
    named = sum(each in words for each in places) + 2 * (name in words)
    verbs = _VERBS.get(change.rule, (change.rule.partition("-")[0].rstrip("s"),))
    return 8 * gone + 2 * named + 3 * sum(verb in words for verb in verbs)


def _words(text: str) -> list[str]:
    try:
        return [unquoted(token) for token in tokens(text)]
    except LexicalError:
        return []


def _names(identity: str) -> Iterator[str]:
    """The names in `public."a.b".email`, without the arguments of a function."""
    for token in tokens(identity):
        if token == "(":
            return
        if token != ".":
            yield unquoted(token)
