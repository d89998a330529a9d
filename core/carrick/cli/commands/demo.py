"""`carrick demo`"""

from __future__ import annotations

from pathlib import Path

import click

from carrick.cli.demo import DEFAULT_PAGE, DEFAULT_SIZE, Options, show
from carrick.cli.options import Command, Duration, Settings, Size
from carrick.sim import PRESETS

__all__ = ["command"]

_NAT = click.Choice(sorted(PRESETS))
_FILE = click.Path(path_type=Path, dir_okay=False)


@click.command("demo", cls=Command)
@click.option(
    "--nat-a",
    type=_NAT,
    metavar="NAT",
    default="port-restricted",
    show_default=True,
    help="The router of Ana: full-cone, address-restricted, port-restricted, symmetric, "
    "udp-blocked, firewall, open, …; a wrong name lists them all.",
)
@click.option(
    "--nat-b",
    type=_NAT,
    metavar="NAT",
    default="port-restricted",
    show_default=True,
    help="The router of Ben.",
)
@click.option("--seed", type=int, default=1, show_default=True, help="Decides what chance decides.")
@click.option(
    "--latency",
    type=Duration(),
    default=0.02,
    help="Of Ana's line, one way; others are longer. Default: 20ms.",
)
@click.option(
    "--html",
    type=_FILE,
    default=DEFAULT_PAGE,
    show_default=True,
    help="Where the page with the sequence diagram goes; '' for nowhere.",
)
@click.option("--pcap", type=_FILE, help="Where a capture (pcapng) for Wireshark goes.")
@click.option(
    "--size",
    type=Size(),
    default=DEFAULT_SIZE,
    help="How much to transfer on this machine's own sockets at the end, 64MiB; 0: leave it out.",
)
@click.pass_obj
def command(
    settings: Settings,
    nat_a: str,
    nat_b: str,
    seed: int,
    latency: float,
    html: Path,
    pcap: Path | None,
    size: int,
) -> None:
    """Two people behind NATs find and reach each other, on a simulated internet.

    It needs neither a network nor root. Times are virtual: the same seed gives the same timeline.
    """
    page = html if html.name else None
    show(settings, Options(nat_a, nat_b, seed, latency, page, pcap, size))
