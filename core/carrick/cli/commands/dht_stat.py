"""`carrick dht stat`: what the DHT looks like from here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import trio

from carrick.cli.asking import api_option, ask_node
from carrick.cli.dht.asking import Asking, asking_options
from carrick.cli.options import Command, Settings
from carrick.cli.output import Output, human_time

__all__ = ["command"]


@click.command("stat", cls=Command)
@asking_options
@api_option
@click.pass_obj
def command(settings: Settings, asking: Asking, api: Path | None) -> None:
    """Show the tables of the running node, or, with --bootstrap or --network, those that a new
    node comes to within --timeout."""
    output = Output(settings, "dht_stat")
    flags = asking.flags
    if asking.at is not None:
        raise click.UsageError(
            "--at: `carrick crawl --bootstrap MADDR --limit 1 --neighbors` reads one node's table"
        )
    if flags.bootstrap or flags.network != "local":
        networks = trio.run(_look, settings, output, asking)
    else:
        networks = ask_node(settings, "dht", api=api)
        if not networks:
            raise click.UsageError("the running node takes part in no DHT: carrick listen --dht")
    for each in networks:
        output.result(each, "\n".join(_lines(each)))


async def _look(settings: Settings, output: Output, asking: Asking) -> list[dict[str, Any]]:
    from carrick.cli.dht.tables import table_fields

    async with asking.client(settings, output) as client:
        for network in client.kademlia.networks:
            await network.upkeep.refresh()
        return [table_fields(each) for each in client.kademlia.networks]


def _lines(network: dict[str, Any]) -> list[str]:
    mode = "server" if network["serving"] else "client"
    lines = [f"{network['protocol']}: {mode}, {network['contacts']} contacts"]
    if (size := network["estimated_peers"]) is not None:
        lines[0] += f", about {size} peers in the network"
    if (full := network["full_table"]) is not None:
        lines.append(f"  all servers: {_crawl_text(full)}")
    lines += [f"  bucket {bits:>3}: {count}" for bits, count in network["buckets"].items()]
    return lines


def _crawl_text(full: dict[str, Any]) -> str:
    if full["age_ms"] is None:
        return "the first crawl goes on" if full["crawling"] else "not crawled yet"
    ago, took = (human_time(full[each] / 1000) for each in ("age_ms", "crawl_ms"))
    return f"{full['servers']}, as a crawl found that took {took} and ended {ago} ago"
