"""The history of another tool as text for people: what becomes of it, and what is in the way."""

from collections.abc import Iterator

from ..adopt.adoption import AdoptedFile, Adoption, Caller
from ..adopt.proof import NEEDED
from ..catalog.schema_objects import Change, ChangeKind
from ..console.terminal import Style, counted
from ..escaping import Clean, blocks, message, one_line, signed, table
from ..tools.tool import Problem, Verified

_VERIFIED = {
    Verified.CHECKSUM: "it is what ran, by its checksum",
    Verified.TEXT: "it is what ran, by its text",
    Verified.SCHEMA: "it was made of what the database has",
    None: "nothing tells whether it is what ran",
}
_NO_HARM = (
    "If the differences do no harm, or the next migrations are to remove them, record the history "
    "with --accept-differences."
)
_NEXT = (
    "Commit the files. Each other database with this history is adopted by the same command, with "
    "its URL."
)
_CHANGES = {
    ChangeKind.ADDED: "only in the database",
    ChangeKind.REMOVED: "only in the files",
    ChangeKind.CHANGED: "not the same",
}


def adoption_text(adoption: Adoption, style: Style) -> Clean:
    """Compose the plan: each file, the problems, the proof, the callers."""
    where = one_line(f"{adoption.database} ({adoption.environment})")
    ledger = f", recorded in {one_line(adoption.ledger)}" if adoption.ledger else ""
    lines = [style.paint("bold", f"{adoption.title} in {where}: {adoption.folder}{ledger}")]
    lines += [_file(each, style) for each in adoption.files] or ["  No migration."]
    return blocks(
        table(lines, color=style.color),
        *(_problem(each, style) for each in adoption.problems),
        *(message(f"Note: {note}") for note in (*adoption.notes, *adoption.proof.notes)),
        *_proof(adoption, style),
        *_callers(adoption.callers, adoption.title),
    )


def outcome_text(adoption: Adoption, style: Style, *, command: str) -> Clean:
    """Compose what was done, or what `--apply` would do."""
    if adoption.has_just_applied:
        return blocks(
            signed(style.tick, f"Adopted: {', '.join(_deeds(adoption, 'past'))}."),
            *([message(_NEXT)] if adoption.written else []),
        )
    if adoption.is_done and not adoption.files:
        return message(f"{adoption.title} has no migration here: there is nothing to adopt.")
    if adoption.is_done:
        return signed(style.tick, "Adopted already: there is nothing to write or to record.")
    deeds = ", ".join(_deeds(adoption, "future"))
    return message(f"`{command} --apply` would {deeds}. Nothing was written or recorded yet.")


def _file(adopted: AdoptedFile, style: Style) -> str:
    sign = style.tick if adopted.state == "applied" and not adopted.is_altered else style.dot
    state = "pending" if adopted.state == "pending" else _VERIFIED[adopted.verified]
    if adopted.is_altered:
        sign, state = style.cross, "it is not what ran"
    source, to = one_line(adopted.source), one_line(f"{adopted.file.version}.sql")
    return f"  {sign} {source} -> {to}: {state}"


def _problem(problem: Problem, style: Style) -> Clean:
    return signed(style.cross, f"{problem.place}: {problem.fault};\n{problem.remedy}.")


def _proof(adoption: Adoption, style: Style) -> Iterator[Clean]:
    proof = adoption.proof
    if proof.is_equal:
        yield signed(style.tick, "Proven: the files make what the database has.")
    elif proof.differences:
        count = counted(len(proof.differences), "difference")
        yield signed(style.cross, f"The files do not make what the database has: {count}.")
        yield table(map(_difference, proof.differences))
        if any(each.change is not ChangeKind.ADDED for each in proof.differences):
            yield message(NEEDED)
        yield message(_NO_HARM)
    elif proof.reason:
        yield signed(style.cross, f"Not proven. {proof.reason}")


def _difference(change: Change) -> str:
    return f"  {change.kind} {change.identity}: {_CHANGES[change.change]}"


def _callers(callers: tuple[Caller, ...], title: str) -> Iterator[Clean]:
    if callers:
        yield message(f"{title} is still called, and must not run here once it is adopted:")
        yield table(f"  {each.file}:{each.line}: {each.text}" for each in callers)


def _deeds(adoption: Adoption, tense: str) -> Iterator[str]:
    is_past = tense == "past"
    if adoption.written:
        files = counted(len(adoption.written), "file")
        yield f"{'wrote' if is_past else 'write'} {files}"
    if adoption.recorded:
        files = counted(len(adoption.recorded), "file")
        yield f"{'recorded' if is_past else 'record'} {files} as applied without running them"
    if adoption.rename:
        verb = "renamed" if is_past else "rename"
        yield f"{verb} {adoption.rename.old} to {adoption.rename.new}"
