"""The seeds as text for people, and the question that a reset asks."""

from collections import Counter
from collections.abc import Sequence

from ..console.terminal import Style, counted, moment_text
from ..duration import in_words
from ..escaping import Clean, blocks, message, one_line, signed, table
from ..rebuild.reset import ResetPlan
from ..rebuild.seed_reports import Seed, SeedReport

# As many as fit on a few lines; the document of `--json` has all.
MOST_TABLES = 20


def seeds_text(seeds: Sequence[Seed], style: Style) -> Clean:
    """Compose a list of the seeds, after a blank line: when each was applied, or that it wasn't."""
    width = max(len(seed.file.name) for seed in seeds)
    lines = [
        style.paint("bold", f"Seeds ({len(seeds)}):"),
        *(_line(seed, style, width) for seed in seeds),
    ]
    return blocks(message(""), table(lines, color=style.color))


def seed_text(report: SeedReport, folder: str, style: Style) -> Clean:
    """Compose the last line of a command that has applied the seeds of this folder."""
    where = one_line(f"{report.database} ({report.environment})")
    if not report.applied and report.left:
        return signed(style.dot, f"No seed was applied to {where}.")
    if not report.applied:
        none = f"{where} has them all, or there is none in {one_line(folder)}"
        return signed(style.tick, f"No seed to apply: {none}.")
    total = in_words(sum(seed.execution_time_ms for seed in report.applied) / 1000)
    return signed(
        style.tick, f"Applied {counted(len(report.applied), 'seed')} to {where} in {total}."
    )


def reset_text(planned: ResetPlan) -> str:
    """Say what a reset drops and what stays, and ask for the name of the database."""
    by_schema = Counter(each.schema for each in planned.objects if each.kind != "schema")
    dropped = [
        *(f"{counted(count, 'object')} in {schema}" for schema, count in by_schema.items()),
        *(str(each) for each in planned.objects if each.kind == "schema"),
    ]
    tables = [each.identity for each in planned.objects if each.kind == "table"]
    named = ", ".join(tables[:MOST_TABLES]) + (", …" if len(tables) > MOST_TABLES else "")
    lines = [
        f"This drops, in {planned.place}: {', '.join(dropped) or 'nothing'}.",
        f"All rows of {counted(len(tables), 'table')} are lost: {named}." if tables else "",
        f"These stay, so the files that create them fail without `if not exists`: "
        f"{', '.join(planned.stays)}."
        if planned.stays
        else "",
        f"Type {planned.place} to go on:",
    ]
    return "\n".join(filter(None, lines))


def _line(seed: Seed, style: Style, width: int) -> str:
    sign = style.tick if seed.state == "applied" else style.dot
    what = {
        "applied": moment_text(seed.applied_at),
        "pending": "pending",
        "changed": "changed since it was applied",
        "skipped": "skipped in this environment",
    }[seed.state]
    return f"  {sign} {seed.file.name:<{width}}  {what}"
