"""A network's health as plots, and as one HTML page that needs nothing else."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from html import escape
from pathlib import Path
from typing import Any

from carrick.cli.health.charts import bars, curve, histogram
from carrick.cli.health.measure import Health

__all__ = ["html_report", "plots", "write_pngs"]

_ROWS = 15  # of agents, protocols, errors
_POINTS = 400  # of the removal curve


def plots(health: Health) -> dict[str, str]:
    """By name, SVG."""
    found = {
        "agents": bars("Agents of dialable peers", health.agents.most_common(_ROWS)),
        "protocols": bars("Protocols of dialable peers", health.protocols.most_common(_ROWS)),
        "errors": bars("Why peers could not be dialled", health.errors.most_common(_ROWS)),
    }
    if health.has_tables:
        found |= {
            "tables": histogram("Contacts in a peer's table", health.table_sizes),
            "degrees": histogram("In how many tables a peer is", health.named),
            "removal": curve(
                "Largest connected part, as the best connected peers are removed",
                _removal_points(health),
                ideal=True,
            ),
        }
    return found


def _removal_points(health: Health) -> list[tuple[float, float]]:
    total = len(health.removal) - 1
    if total < 1:
        return [(0.0, 0.0)]
    step = max(1, total // _POINTS)
    removed = [*range(0, total, step), total]
    return [(each / total, health.removal[each] / total) for each in removed]


def html_report(health: Health, title: str) -> str:
    """The page."""
    charts = "\n".join(
        f'<figure id="{name}">\n{svg}</figure>' for name, svg in plots(health).items()
    )
    fields = health.fields()
    rows = [
        ("crawl began", fields["started_at"] or "?"),
        ("peers visited", f"{health.crawled:,}"),
        ("dialable", f"{health.dialable:,} ({health.dialable_share:.1%})"),
        ("time to connect", _spread(fields["connect_ms"], " ms")),
    ]
    if health.has_tables:
        collapse = health.collapse()
        rows += [
            ("contacts in a table", _spread(fields["table_size"], "")),
            ("tables that a peer is in", _spread(fields["in_tables"], "")),
            ("graph of dialable peers", f"{fields['nodes']:,} peers, {fields['edges']:,} edges"),
            (
                "falls apart",
                "not by the loss of the best connected peers"
                if collapse is None
                else f"when the {collapse:,} best connected peers are gone: less than half of the "
                "others hangs together then",
            ),
        ]
    table = "\n".join(
        f"<tr><th>{escape(name)}</th><td>{escape(str(value))}</td></tr>" for name, value in rows
    )
    removal = "\n".join(
        f"<tr><td>{share:.1%}</td><td>{removed:,}</td><td>{largest:,}</td></tr>"
        for share, removed, largest in health.removals()
    )
    if removal:
        removal = (
            "<h2>Removing the best connected peers</h2>\n<table>\n<tr><th>share</th><th>peers"
            f"</th><th>largest part left</th></tr>\n{removal}\n</table>\n"
        )
    return (
        '<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width">\n'
        f"<title>{escape(title)}</title>\n<style>body{{font:15px system-ui,sans-serif;margin:2em;"
        "max-width:760px}figure{margin:1.5em 0}svg{max-width:100%;height:auto}"
        "th{text-align:left;padding-right:2em;font-weight:600}td{padding-right:2em}</style>\n"
        f"<h1>{escape(title)}</h1>\n<table>\n{table}\n</table>\n{charts}\n{removal}</html>\n"
    )


def _spread(values: Mapping[str, float], unit: str) -> str:
    shares = ", ".join(f"{name} {value:,g}{unit}" for name, value in values.items() if name != "n")
    return f"{shares} (n = {values['n']:,})"


def write_pngs(health: Health, name: Callable[[str], Path]) -> list[Path]:
    """The same plots as PNG. Needs matplotlib: the extra `lab`.

    Raises:
        MissingLibrary: it is not there.
    """
    from carrick.protocols.kademlia.crawler import MissingLibrary

    try:
        from matplotlib.figure import Figure  # type: ignore[import-not-found, unused-ignore]
    except ImportError as error:
        raise MissingLibrary(
            "PNG needs matplotlib, which is not installed: pip install 'carrick[lab]'"
        ) from error
    written = []

    def save(plot: str, title: str, draw: Callable[[Any], object]) -> None:
        figure = Figure(figsize=(8, 4.5), layout="constrained")
        axes = figure.subplots()
        axes.set_title(title)
        draw(axes)
        path = name(plot)
        figure.savefig(path, dpi=150)
        written.append(path)

    for plot, title, counts in (
        ("agents", "Agents of dialable peers", health.agents),
        ("protocols", "Protocols of dialable peers", health.protocols),
        ("errors", "Why peers could not be dialled", health.errors),
    ):
        shown = counts.most_common(_ROWS)[::-1]
        save(plot, title, lambda axes, shown=shown: axes.barh(*_columns(shown)))  # type: ignore[misc]
    if health.has_tables:
        for plot, title, values in (
            ("tables", "Contacts in a peer's table", health.table_sizes),
            ("degrees", "In how many tables a peer is", health.named),
        ):
            save(plot, title, lambda axes, values=values: axes.hist(values, bins=40))  # type: ignore[misc]
        save(
            "removal",
            "Largest connected part, as the best connected peers are removed",
            lambda axes: axes.plot(*_columns(_removal_points(health))),
        )
    return written


def _columns(pairs: list[tuple[Any, Any]]) -> tuple[list[Any], list[Any]]:
    return [first for first, _ in pairs], [second for _, second in pairs]
