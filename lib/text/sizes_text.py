"""The sizes of tables as text for people."""

from ..console.terminal import Style
from ..escaping import Clean, blocks, one_line, table
from ..review.estimates import bytes_text, span_text
from ..review.live_sizes import SizesReport, TableSize

_HEADINGS = ("table", "rows", "size", "reads", "writes", "oldest transaction")
# From the largest, as far as one screen or two; `--json` has all.
MOST = 50


def sizes_text(report: SizesReport, style: Style) -> Clean:
    """Compose the table, the largest first."""
    tables = report.largest_first
    place = one_line(f"{report.database} ({report.environment})")
    if not tables:
        return table([f"{place} has no tables."])
    rows = [_HEADINGS, *map(_cells, tables[:MOST])]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [style.cut(_line(cells, widths)) for cells in rows]
    lines[0] = style.paint("bold", lines[0])
    return blocks(
        table([f"Tables of {place}: {len(tables)}"]),
        table(lines, color=style.color),
        *_notes(report, tables),
        between="\n\n",
    )


def _cells(size: TableSize) -> tuple[str, ...]:
    oldest = size.oldest_transaction
    return (
        one_line(size.relation),
        f"{size.rows:,}",
        f"{'about ' if size.is_rough else ''}{bytes_text(size.bytes)}",
        "" if size.reads is None else f"{size.reads:,}",
        "" if size.writes is None else f"{size.writes:,}",
        "" if oldest is None else span_text(oldest),
    )


def _line(cells: tuple[str, ...], widths: list[int]) -> str:
    name, *others = (
        cell.ljust(width) if place == 0 else cell.rjust(width)
        for place, (cell, width) in enumerate(zip(cells, widths, strict=True))
    )
    return "  ".join([f"  {name}", *others]).rstrip()


def _notes(report: SizesReport, tables: list[TableSize]) -> list[Clean]:
    notes = []
    if len(tables) > MOST:
        notes.append(f"{len(tables) - MOST} smaller ones are left out; --json has them.")
    if report.sizes.counted_for is not None:
        counted = span_text(report.sizes.counted_for)
        notes.append(f"Rows are estimates; reads and writes were counted in the last {counted}.")
    if any(each.is_rough for each in tables):
        notes.append("About: the table is locked now; so large it was at its last vacuum.")
    return [table(notes)] if notes else []
