"""`carrick crawl`: visits every server of a DHT."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Unpack

import click
import trio

from carrick import __version__
from carrick.cli.crawling import CrawlRun, affordable_workers
from carrick.cli.dht.flags import DhtFlags, dht_options
from carrick.cli.node import NodeOptions, make_builder, node_options
from carrick.cli.options import Command, Duration, Settings
from carrick.cli.output import Output
from carrick.protocols.identify import Identify, IdentifyOptions
from carrick.protocols.kademlia.crawler import (
    AddressKind,
    CrawlOptions,
    VisitSettings,
    check_parquet,
    crawl_limits,
)

__all__ = ["command"]

RESULTS = Path("results")


@click.command("crawl", cls=Command)
@dht_options
@click.option(
    "--json-out",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=RESULTS,
    show_default=True,
    metavar="DIR",
    help="Where the files go.",
)
@click.option("--dry-run", is_flag=True, help="Write no files.")
@click.option("--resume", is_flag=True, help="Go on with the last crawl in --json-out.")
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    default=1000,
    show_default=True,
    help="Visit so many at once.",
)
@click.option("--rate", type=click.FloatRange(min=0, min_open=True), help="Visits a second.")
@click.option(
    "--requests",
    type=click.IntRange(1, 16),
    default=VisitSettings().requests,
    show_default=True,
    help="Ask each peer for so many buckets at once.",
)
@click.option(
    "--dial-timeout", type=Duration(), default="15s", show_default=True, help="For each peer."
)
@click.option(
    "--addr-dial-type",
    type=click.Choice([each.value for each in AddressKind]),
    help="Which addresses to dial. Default: public in amino, any in a network of one's own.",
)
@click.option("--neighbors", is_flag=True, help="Write whom each peer has in its table.")
@click.option("--csv-edges", is_flag=True, help="Write that as CSV too, a line for each edge.")
@click.option("--parquet", is_flag=True, help="Write Parquet too (needs the extra `lab`).")
@click.option(
    "--contact", metavar="TEXT", help="Tell peers in our agent version how to reach a person."
)
@node_options
@click.pass_obj
def command(
    settings: Settings,
    flags: DhtFlags,
    folder: Path,
    dry_run: bool,
    resume: bool,
    workers: int,
    rate: float | None,
    requests: int,
    dial_timeout: float,
    addr_dial_type: str | None,
    neighbors: bool,
    csv_edges: bool,
    parquet: bool,
    contact: str | None,
    **node: Unpack[NodeOptions],
) -> int:
    """Visit every server of a DHT, from the bootstrap peers on, and write down what each tells of
    itself and whom it has in its table.

    The files have nebula's names and fields. Ctrl-C stops; --resume goes on. --limit N visits N
    peers at most.
    """
    if parquet:
        check_parquet()
    visits, given = _limits(node["limit"])
    node["limit"] = given
    described, peers = flags.described(), flags.bootstrap_peers(at=False)
    output = Output(settings, "crawl")
    workers = affordable_workers(workers, output)
    dial = addr_dial_type or ("public" if described.scope == "wan" else "any")
    options = CrawlOptions(
        workers=workers,
        rate=rate,
        limit=visits or None,
        visits=VisitSettings(
            protocol=described.protocol,
            dial=AddressKind(dial),
            dial_timeout=dial_timeout,
            requests=requests,
        ),
    )
    agent = f"carrick-crawler/{__version__}" + (f" ({contact})" if contact else "")
    names = {each.rpartition("=")[0] for each in given}
    limits: Any = {name: each for name, each in crawl_limits(workers).items() if name not in names}
    builder = make_builder(settings, node, **limits)
    builder = builder.services(Identify(IdentifyOptions(agent_version=agent)))
    run = CrawlRun(
        output=output,
        options=options,
        bootstrap=peers,
        folder=None if dry_run else folder,
        resume=resume,
        neighbors=neighbors,
        edges=csv_edges,
        parquet=parquet,
        about={"network": flags.network, "protocol": described.protocol, "agent": agent},
    )
    return trio.run(run.run, builder)


def _limits(texts: tuple[str, ...]) -> tuple[int, tuple[str, ...]]:
    """`--limit N` as nebula has it, and `--limit NAME=VALUE` as every node has it."""
    numbers = [each for each in texts if each.isascii() and each.isdigit()]
    return int(numbers[-1]) if numbers else 0, tuple(each for each in texts if each not in numbers)
