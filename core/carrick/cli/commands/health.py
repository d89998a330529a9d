"""`carrick health`: what a crawl tells about a network."""

from __future__ import annotations

from pathlib import Path

import click

from carrick.cli.health.measure import Health, measure
from carrick.cli.health.page import html_report, plots, write_pngs
from carrick.cli.options import Command, Settings
from carrick.cli.output import Output
from carrick.errors import FileError
from carrick.protocols.kademlia.crawler import CrawlReader

__all__ = ["command"]

_TOP = 5  # agents and errors that people are shown


@click.command("health", cls=Command)
@click.argument(
    "folder", type=click.Path(path_type=Path, file_okay=False, exists=True), metavar="DIR"
)
@click.option("--png", is_flag=True, help="Draw the plots as PNG too (needs the extra `lab`).")
@click.option("--no-files", is_flag=True, help="Write neither the report nor the plots.")
@click.pass_obj
def command(settings: Settings, folder: Path, png: bool, no_files: bool) -> None:
    """Measure a network's health from the last crawl in DIR: how many peers can be dialled, what
    they run, and how many may go until it falls apart (crawl with --neighbors).

    Writes a report, and its plots as SVG, beside the crawl's files.
    """
    reader = CrawlReader.latest(folder)
    health = measure(reader)
    written = [] if no_files else _write(reader, health, png)
    Output(settings, "health").result(
        {**health.fields(), "files": [*map(str, written)]},
        "\n".join([*_lines(health), *map(str, written)]),
    )


def _write(reader: CrawlReader, health: Health, png: bool) -> list[Path]:
    prefix = reader.prefix

    def name(plot: str, ending: str) -> Path:
        return prefix.with_name(f"{prefix.name}_health_{plot}.{ending}")

    written = [prefix.with_name(f"{prefix.name}_health.html")]
    try:
        written[0].write_text(html_report(health, f"Crawl of {prefix.name}"), encoding="utf-8")
        for plot, svg in plots(health).items():
            path = name(plot, "svg")
            path.write_text(svg, encoding="utf-8")
            written.append(path)
        if png:
            written += write_pngs(health, lambda plot: name(plot, "png"))
    except OSError as error:
        raise FileError(f"{error.filename}: {error.strerror}") from error
    return written


def _lines(health: Health) -> list[str]:
    lines = [f"{health.dialable} of {health.crawled} peers dialable ({health.dialable_share:.1%})"]
    lines += [f"  {count:>7}  {agent}" for agent, count in health.agents.most_common(_TOP)]
    if health.errors:
        lines.append("the others:")
        lines += [f"  {count:>7}  {error}" for error, count in health.errors.most_common(_TOP)]
    if not health.has_tables:
        return [*lines, "who knows whom is not in the files: crawl with --neighbors"]
    fields = health.fields()
    for title, spread in (
        ("contacts in a table", fields["table_size"]),
        ("tables that a peer is in", fields["in_tables"]),
    ):
        shown = ", ".join(f"{name} {value:g}" for name, value in spread.items() if name != "n")
        lines.append(f"{title}: {shown}")
    lines.append(f"largest connected part of {fields['nodes']} dialable peers, without the best:")
    lines += [
        f"  {share:>6.1%}  {removed:>6} gone  {largest:>6} left together"
        for share, removed, largest in health.removals()
    ]
    return lines
