"""The demonstration as a page: what happened, scene by scene, each with its packets."""

from __future__ import annotations

from html import escape
from itertools import groupby

from carrick.cli.demo.stage import Stage
from carrick.cli.demo.timeline import Chapter, Moment
from carrick.cli.output import human_time
from carrick.sim import Entry, Note, html_page, sequence_diagram

__all__ = ["page"]

TITLE = "Two people behind NATs"
NOTE = 24  # characters
MAX_PACKETS = 150  # of one scene; a transfer has thousands that are all alike
MAX_OPEN = 90  # a diagram of more has to be asked for

_STYLE = """<style>
table { border-collapse: collapse; margin: .5em 0 1em; }
td { padding: .15em .8em .15em 0; vertical-align: top; }
td.time { color: #777; font-variant-numeric: tabular-nums; white-space: nowrap; }
tr.failed td { color: #a02818; }
summary { cursor: pointer; color: #2563a8; }
</style>"""


def page(stage: Stage) -> str:
    """A self-contained HTML page."""
    facts = stage.facts
    intro = (
        f"<p>Carrick on a simulated internet, in virtual time. Ana is behind a router of the kind "
        f"<b>{escape(facts['nat_a'])}</b>, Ben behind <b>{escape(facts['nat_b'])}</b>; "
        f"seed {facts['seed']}. Blue is TCP, green UDP, red what did not arrive; the addresses of "
        "a packet appear when the pointer rests on it.</p>"
    )
    chapters = "\n".join(_chapter(stage, chapter) for chapter in stage.timeline.chapters)
    return html_page(chapters, title=TITLE, body=_STYLE + intro)


def _chapter(stage: Stage, chapter: Chapter) -> str:
    rows = "\n".join(
        f'<tr{" class=failed" if moment.failed else ""}><td class="time">{moment.time:.3f} s</td>'
        f"<td><b>{escape(moment.who)}</b></td><td>{escape(moment.text)}</td>"
        f'<td class="time">{"" if moment.took is None else human_time(moment.took)}</td></tr>'
        for moment in chapter.moments
    )
    return (
        f"<h2>{escape(chapter.title)}</h2>\n<table>\n{rows}\n</table>\n{_diagram(stage, chapter)}"
    )


def _diagram(stage: Stage, chapter: Chapter) -> str:
    packets = [
        entry
        for entry in stage.internet.trace
        if chapter.start <= entry.time <= chapter.end
        and entry.sender in chapter.lanes
        and (entry.receiver is None or entry.receiver in chapter.lanes)
    ]
    if not packets:
        return ""
    shown = packets[:MAX_PACKETS]
    until = chapter.end if len(shown) == len(packets) else shown[-1].time
    notes = [
        Note(time, node, _brief(next(moments)))
        for (time, node), moments in groupby(
            chapter.moments, key=lambda each: (each.time, each.node)
        )
        if time <= until and (node is None or node in chapter.lanes)
    ]
    svg = sequence_diagram(shown, notes=notes, nodes=_lanes(chapter, shown), title=chapter.title)
    left_out = len(packets) - len(shown)
    more = f"; {left_out} more are left out" if left_out else ""
    opened = " open" if len(packets) <= MAX_OPEN else ""
    return f"<details{opened}><summary>{len(packets)} packets{more}</summary>\n{svg}\n</details>"


def _brief(moment: Moment) -> str:
    """What fits beside a lane."""
    text = moment.note or moment.text
    return text if len(text) <= NOTE else text[: NOTE - 1].rstrip(" ,:") + "…"


def _lanes(chapter: Chapter, packets: list[Entry]) -> list[str]:
    """The columns: who sent or received anything here."""
    busy = {name for entry in packets for name in (entry.sender, entry.receiver)}
    return [name for name in chapter.lanes if name in busy]
