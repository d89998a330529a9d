"""``python -m interop.natlab``"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

import click
import trio

from interop.natlab.expected import EXPECTED
from interop.natlab.lab import PACKAGES, open_lab, unavailable
from interop.natlab.scenarios.direct import play
from interop.natlab.table import compare, markdown, measure
from interop.natlab.topology import Topology

T = TypeVar("T")

SKIPPED = 77  # the exit code by which test runners know "skipped"


@click.group()
def main() -> None:
    """Real NATs in network namespaces. Needs Linux, root and nftables."""


@main.command()
def setup() -> None:
    """Install what the laboratory needs and is not there (Debian, Ubuntu)."""
    reason = unavailable()
    if reason is None:
        click.echo("everything is here")
        return
    click.echo(reason)
    if "not installed" not in reason or shutil.which("apt-get") is None:
        raise click.ClickException(f"install by your system's means: {', '.join(PACKAGES)}")
    subprocess.run(["apt-get", "update", "--quiet"], check=True)
    subprocess.run(
        ["apt-get", "install", "--quiet", "--yes", "--no-install-recommends", *PACKAGES],
        check=True,
    )
    _needed()


@main.command()
@click.option("--only", multiple=True, type=click.Choice(list(EXPECTED)), help="These rows.")
@click.option("--delay", default=0, metavar="MS", help="Of every access link, each direction.")
def table(only: tuple[str, ...], delay: int) -> None:
    """Probe every type of router; exit code 1 if one is not as expected."""
    _needed()
    reports = _run(partial(measure, only or tuple(EXPECTED), delay=delay))
    for line in markdown(reports):
        click.echo(line)
    wrong = compare(reports)
    for words in wrong:
        click.echo(f"DIFFERENT: {words}", err=True)
    click.echo(f"{len(reports)} types, {len(wrong)} differences from what is expected")
    sys.exit(bool(wrong))


@main.command()
@click.option("--delay", default=0, metavar="MS", help="Of every access link, each direction.")
def direct(delay: int) -> None:
    """Carrick through routers without NAT traversal: outward it connects, inward it fails."""
    _needed()
    for outcome in _run(partial(play, delay=delay)):
        rtts = ", ".join(f"{rtt:.1f}" for rtt in outcome.rtts)
        inward = f"{outcome.error or 'CONNECTED'} after {outcome.seconds:.1f} s"
        click.echo(f"{outcome.router:<16} out: ping {rtts} ms   in: {inward}")


@main.command()
def hold() -> None:
    """Build a small laboratory, print its holder's process id, and wait to be killed."""
    _needed()
    _run(_hold)


async def _hold() -> None:
    topology = Topology()
    topology.host("h", topology.router("r", "pr"))
    async with open_lab(topology) as lab, lab.process("h", ["sleep", "infinity"]):
        click.echo(lab.pid)
        await trio.sleep_forever()


def _run(what: Callable[[], Awaitable[T]]) -> T:
    try:
        return trio.run(what)
    except* KeyboardInterrupt:
        sys.exit(130)


def _needed() -> None:
    reason = unavailable()
    if reason is not None:
        click.echo(f"SKIPPED: no NAT laboratory: {reason}", err=True)
        sys.exit(SKIPPED)


if __name__ == "__main__":
    main(prog_name="python -m interop.natlab")
