"""What squawk, a linter for migrations, says beyond what the rehearsal has seen.

squawk reads one file, and knows neither the sizes nor what earlier files make. So it is heard where
nothing was seen: at the statements that were not rehearsed, and on rules that no rehearsal answers.
"""

import json
import os
import shutil
import subprocess
import sys
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..deadline import Deadline
from ..escaping import one_line
from ..review.finding import Finding, Severity
from ..review.rules import ANSWERED_BY, RULES
from ..review.statement_effects import EffectKind, effects_of
from ..sql.lexer import LexicalError
from ..sql.splitter import Piece, split
from ..sql.statement import Statement
from ..time_limits import LINT
from .statement_facts import FileFacts

# Rules that are off, by why.
_OF_THE_RUNNER = (
    # It sets both timeouts, opens the transaction, and refuses what can't run in one; a file that
    # fails is undone, and the others are not run again.
    "require-lock-timeout",
    "require-statement-timeout",
    "prefer-robust-stmts",
    "transaction-nesting",
    "ban-uncommitted-transaction",
    "ban-concurrent-index-creation-in-transaction",
)
_OF_THE_SERVER = (
    # It refuses the statement, which the rehearsal reports.
    "ban-drop-database",
    "ban-duplicate-column-assignments",
)
_OF_TASTE = (
    "ban-char-field",
    "ban-create-domain-with-constraint",
    "prefer-bigint-over-int",
    "prefer-bigint-over-smallint",
    "prefer-identity",
    "prefer-text-field",
    "prefer-timestamp-tz",
    "require-enum-value-ordering",
    # It takes a comment for idle that is about a rule which is off here.
    "unused-ignore",
)
OFF = (*_OF_THE_RUNNER, *_OF_THE_SERVER, *_OF_TASTE)
# squawk has no switch for it.
_ALWAYS_ON = ("unused-ignore",)
# That of requirements-local.txt, by which the rehearsal runs.
_POSTGRES = "18.0"
_FOUND_NOTHING, _FOUND_SOMETHING = 0, 1


@dataclass(frozen=True)
class LintReport:
    """What squawk found, and why it did not look at a file, or at any; None if it did."""

    findings: tuple[Finding, ...] = ()
    not_linted: str | None = None


class _LintError(Exception):
    """Why squawk did not look at a file."""


def lint(
    texts: Mapping[str, str],
    files: Iterable[FileFacts],
    *,
    program: Path | None = None,
    limit: float = LINT,
) -> LintReport:
    """Let squawk read the pending files, `texts` by version in their order; at most `limit` s.

    `files` are what the rehearsal has seen of them. `program` is for tests.
    """
    found: list[Finding] = []
    deadline = Deadline.after(limit)
    seen = {file.version: {each.line for each in file.statements} for file in files}
    made: set[str] = set()
    squawk = program or _squawk()
    if squawk is None:
        return LintReport((), "not linted: pip install -r requirements-local.txt brings squawk")
    faults: list[str] = []
    for version, text in texts.items():
        source = _Source(text, made)
        try:
            said = _ask(squawk, source.without_data, deadline)
        except _LintError as error:
            faults.append(f"{version}: {error}")
        else:
            found += _findings(version, said, source, seen.get(version, set()))
        made |= source.made
    more = f", and {len(faults) - 1} more" if len(faults) > 1 else ""
    return LintReport(tuple(found), f"not linted: {faults[0]}{more}" if faults else None)


class _Source:
    """The text of a file, with the lines of its statements and the names of what they make."""

    def __init__(self, text: str, made_before: Iterable[str]) -> None:
        try:
            self._pieces = split(text)
        except LexicalError:
            # Such a file is refused, for that reason.
            self._pieces = ()
        self._text = text
        self._made_before = set(made_before)
        self.made: set[str] = set()
        # The line of each statement, and whether all that it concerns is new.
        self._statements = list(self._read())

    @property
    def without_data(self) -> str:
        """The text with the data of COPY and the commands of psql as empty lines."""
        return "".join(map(self._sql, self._pieces))

    def statement_at(self, line: int) -> tuple[int, bool]:
        """Return the line at which the statement of this line begins, and whether it is exempt."""
        place = bisect_right(self._statements, line, key=lambda each: each[0])
        return self._statements[place - 1] if place else (0, False)

    def _sql(self, piece: Piece) -> str:
        text = self._text[piece.start : piece.end]
        is_sql = piece.kind in ("statement", "space")
        return text if is_sql else "\n" * text.count("\n")

    def _read(self) -> Iterator[tuple[int, bool]]:
        line, at = 1, 0
        for piece in self._pieces:
            if piece.kind != "statement":
                continue
            line += self._text.count("\n", at, piece.first)
            at = piece.first
            statement = Statement(self._text, piece.first, piece.end, piece.terminated)
            effects = effects_of(statement)
            known = self._made_before | self.made
            yield line, bool(effects) and all(each.on.name in known for each in effects)
            self.made |= {each.on.name for each in effects if each.kind is EffectKind.CREATE}


def _findings(
    version: str, said: Iterable[Mapping[str, Any]], source: _Source, seen: set[int]
) -> Iterator[Finding]:
    for each in said:
        rule, line = str(each["rule_name"]), int(each["line"]) + 1
        start, is_exempt = source.statement_at(line)
        if rule in OFF or is_exempt or (rule in ANSWERED_BY and start in seen):
            continue
        severity = RULES[rule].severity if rule in RULES else Severity.WARN
        # A look by text alone: the statement's first line is what the rehearsal says, too.
        yield Finding(
            rule, severity, version, start or line, str(each["message"]), str(each["help"] or "")
        )


def _squawk() -> Path | None:
    """The program beside this interpreter, and no other: one on the PATH may be anybody's."""
    found = shutil.which("squawk", path=Path(sys.executable).parent)
    return Path(found) if found else None


def _ask(squawk: Path, text: str, deadline: Deadline) -> list[dict[str, Any]]:
    """Return what squawk says of a text, which it gets without a name and without a folder."""
    options = (
        "--reporter=json",
        "--assume-in-transaction",
        f"--pg-version={_POSTGRES}",
        # Without it, squawk looks for a .squawk.toml: here, and in every folder above.
        f"--config={os.devnull}",
        f"--exclude={','.join(rule for rule in OFF if rule not in _ALWAYS_ON)}",
        "--stdin-filepath=migration.sql",
    )
    try:
        done = subprocess.run(
            [squawk, *options],
            input=text.encode(),
            capture_output=True,
            env={},
            timeout=deadline.remaining(),
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise _LintError("squawk took too long") from None
    except OSError as error:
        raise _LintError(f"squawk can't be run: {error.strerror}") from None
    if done.returncode not in (_FOUND_NOTHING, _FOUND_SOMETHING):
        last = done.stderr.decode("utf-8", "replace").strip().splitlines()[-1:]
        raise _LintError(f"squawk ended with {done.returncode}: {one_line(' '.join(last))[:200]}")
    return _document(done.stdout)


def _document(stdout: bytes) -> list[dict[str, Any]]:
    try:
        document = json.loads(stdout)
    except ValueError:
        document = None
    if not isinstance(document, list) or not all(map(_is_finding, document)):
        raise _LintError("squawk's answer is not what this version reads")
    return document


def _is_finding(each: object) -> bool:
    return isinstance(each, dict) and {"rule_name", "line", "message", "help"} <= each.keys()
