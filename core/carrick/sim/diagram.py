"""Traces as sequence diagrams: SVG, and HTML pages that need nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

from carrick.sim.trace import Entry

__all__ = ["Note", "html_page", "sequence_diagram"]

LANE = 180  # pixels between two nodes
MARGIN = 110
TOP = 50
ROW = 22  # pixels per event
MAX_ROWS = 5000

_STYLE = """
svg { font: 12px system-ui, sans-serif; background: #fff; color: #222; }
.node { font-weight: 600; text-anchor: middle; }
.life { stroke: #bbb; stroke-dasharray: 2 4; }
.time { fill: #777; text-anchor: end; font-size: 11px; }
.label { text-anchor: middle; font-size: 11px; fill: #333; }
.tcp { stroke: #2563a8; } .udp { stroke: #2e8540; } .icmp { stroke: #b8860b; }
.lost { stroke: #c0392b; stroke-dasharray: 5 3; }
.note { fill: #fff6d6; stroke: #d9c36a; }
.note-text { text-anchor: middle; }
line { stroke-width: 1.4; fill: none; }
"""


@dataclass(frozen=True, slots=True)
class Note:
    """Something that happened at a node, to be written into the diagram.

    Attributes:
        time: seconds of virtual time.
        node: the name of the node; None for all of them.
        text: one line.
    """

    time: float
    node: str | None
    text: str


def sequence_diagram(
    entries: Iterable[Entry],
    *,
    notes: Iterable[Note] = (),
    nodes: Sequence[str] | None = None,
    title: str = "",
) -> str:
    """An SVG document: a column per node, a row per packet or note, in the order of time.

    Rows are evenly spaced; the times stand at the left. Past 5,000 rows the rest is left out, and
    the diagram says so.

    Args:
        nodes: the columns from left to right; by default all that occur, as they occur. Packets of
            others are left out.
    """
    events: list[tuple[float, Entry | Note]] = [(entry.time, entry) for entry in entries]
    if nodes is None:
        seen = [name for _, e in events if isinstance(e, Entry) for name in (e.sender, e.receiver)]
        nodes = list(dict.fromkeys(name for name in seen if name is not None))
    columns = {name: MARGIN + LANE // 2 + LANE * number for number, name in enumerate(nodes)}
    events = [
        (time, entry)
        for time, entry in events
        if isinstance(entry, Entry)
        and entry.sender in columns
        and (entry.receiver is None or entry.receiver in columns)
    ]
    events += [(n.time, n) for n in notes if n.node is None or n.node in columns]
    events.sort(key=lambda event: event[0])
    left_out = len(events) - MAX_ROWS
    rows: list[str] = []
    y = TOP
    for time, event in events[:MAX_ROWS]:
        y += ROW
        rows.append(f'<text class="time" x="{MARGIN - 16}" y="{y + 4}">{_seconds(time)}</text>')
        if isinstance(event, Note):
            rows += _note(event, columns, y)
        else:
            rows += _arrow(event, columns, y)
    if left_out > 0:
        y += ROW
        rows.append(f'<text x="{MARGIN}" y="{y}">… and {left_out} more</text>')
    width, height = MARGIN + LANE * max(1, len(columns)), y + ROW
    lanes = [
        f'<line class="life" x1="{x}" y1="{TOP}" x2="{x}" y2="{height}"/>'
        f'<text class="node" x="{x}" y="{TOP - 14}">{escape(name)}</text>'
        for name, x in columns.items()
    ]
    return "\n".join(
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}"'
            f' viewBox="0 0 {width} {height}" role="img">',
            f"<title>{escape(title)}</title>",
            f"<style>{_STYLE}</style>",
            '<defs><marker id="head" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7"'
            ' markerHeight="7" orient="auto"><path d="M0 0 8 4 0 8z" fill="#555"/></marker></defs>',
            *lanes,
            *rows,
            "</svg>",
        )
    )


def html_page(diagram: str, *, title: str, body: str = "") -> str:
    """A page with the diagram.

    Args:
        diagram: an SVG document of `sequence_diagram`.
        body: HTML to stand above it; what it contains must be escaped already.
    """
    return (
        '<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width">\n'
        f"<title>{escape(title)}</title>\n"
        "<style>body { font: 15px system-ui, sans-serif; margin: 2em; }"
        " .diagram { overflow-x: auto; }</style>\n"
        f'<h1>{escape(title)}</h1>\n{body}\n<div class="diagram">\n{diagram}\n</div>\n</html>\n'
    )


def _arrow(entry: Entry, columns: dict[str, int], y: int) -> list[str]:
    start = columns[entry.sender]
    lost = entry.receiver is None
    if entry.receiver is None:
        end = start + (LANE // 3 if start < max(columns.values()) else -(LANE // 3))
    else:
        end = columns[entry.receiver]
        if end == start:
            end = start + LANE // 4
    kind = f"{entry.protocol.lower()}{' lost' if lost else ''}"
    what = " ".join(part for part in (entry.protocol, entry.flags) if part)
    size = f" {entry.length} B" if entry.length else ""
    fate = f" – {entry.fate or 'on its way'}" if lost else ""
    details = (
        f"{entry.source[0]} port {entry.source[1]} → "
        f"{entry.destination[0]} port {entry.destination[1]}"
    )
    if entry.arrived is not None:
        details += f", arrived at {_seconds(entry.arrived)} s"
    return [
        f"<g><title>{escape(details)}</title>"
        f'<line class="{kind}" x1="{start}" y1="{y}" x2="{end}" y2="{y}" marker-end="url(#head)"/>'
        f'<text class="label" x="{(start + end) // 2}" y="{y - 4}">'
        f"{escape(what + size + fate)}</text></g>"
    ]


def _note(note: Note, columns: dict[str, int], y: int) -> list[str]:
    everywhere = list(columns.values()) or [MARGIN + LANE // 2]
    middle = columns[note.node] if note.node is not None else sum(everywhere) // len(everywhere)
    width = max(60, 7 * len(note.text) + 16)
    return [
        f'<rect class="note" x="{middle - width // 2}" y="{y - 12}" width="{width}" height="17"'
        ' rx="3"/>',
        f'<text class="note-text" x="{middle}" y="{y + 1}">{escape(note.text)}</text>',
    ]


def _seconds(time: float) -> str:
    return f"{time:.3f}"
