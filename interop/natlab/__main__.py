"""``python -m interop.natlab``"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TypeVar

import click
import trio

from carrick.sim import fix_hash_seed
from interop.natlab.expected import EXPECTED
from interop.natlab.lab import PACKAGES, open_lab, unavailable
from interop.natlab.matrix import (
    CLASSIC,
    DELAYS,
    QUICK,
    REGULAR,
    TRANSPORTS,
    Played,
    everything,
    jobs,
    kernel_plan,
    play_in_kernel,
    simulate,
)
from interop.natlab.results import cells, keep, steps, told
from interop.natlab.scenarios import natcheck
from interop.natlab.scenarios.direct import play
from interop.natlab.scenarios.special import SPECIAL
from interop.natlab.stages import play as play_on
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
@click.option("--simulated", is_flag=True, help="In the simulator: no root, no kernel.")
@click.option("--full", is_flag=True, help="In the kernel too: 20 runs of everything.")
@click.option("--quick", is_flag=True, help="Three pairs, once.")
@click.option("--runs", type=int, help="Of each pair, transport, initiator and delay.")
@click.option("--jobs", "at_once", type=int, help="So many pairs at a time (2; kernel: 4).")
@click.option("--pair", "pairs", multiple=True, metavar="A,B", help="These pairs.")
@click.option("--transport", "transports", multiple=True, type=click.Choice(TRANSPORTS))
@click.option("--delay", "delays", multiple=True, type=int, metavar="MS", help="One way.")
@click.option("--seed", default=0, help="Of the simulator.")
@click.option("--traces", is_flag=True, help="Show how the runs went that are not as expected.")
@click.option("--save", is_flag=True, help="Keep the results, and write RESULTS.md.")
def matrix(
    simulated: bool,
    full: bool,
    quick: bool,
    runs: int | None,
    at_once: int | None,
    pairs: tuple[str, ...],
    transports: tuple[str, ...],
    delays: tuple[int, ...],
    seed: int,
    traces: bool,
    save: bool,
) -> None:
    """Every pair of routers: two nodes meet over a relay, and then directly where that is possible.

    Exit code 1 if anything is not as it should be.
    """
    if simulated:
        fix_hash_seed()
    else:
        _needed()
    chosen: Sequence[tuple[str, str]] = QUICK if quick else (*CLASSIC, *REGULAR)
    if pairs:
        chosen = [(one, other) for one, _, other in (pair.partition(",") for pair in pairs)]
    if simulated or full or runs or delays or quick:
        count = runs or (1 if quick else 20)
        plan = everything(count, delays or ((50,) if quick else DELAYS))
    else:
        plan = kernel_plan
    work = jobs(chosen, transports or TRANSPORTS, plan)
    click.echo(f"{len(work)} jobs, {sum(job.runs for job in work)} runs", err=True)
    started, played = time.monotonic(), list[Played]()

    def report(each: Played) -> None:
        played.append(each)
        if save:  # at once: an hour is long
            keep("simulated" if simulated else "kernel", cells([each]))
        for line in told(each, traces=traces):
            click.echo(line)

    if simulated:
        for each in simulate(work, at_once or 2, seed=seed):
            report(each)
    else:
        _run(partial(play_in_kernel, work, at_once or 4, report))
    found = cells(played)
    wrong = [f"{cell}: {words}" for cell in found for words in cell.wrong()]
    for words in wrong:
        click.echo(f"DIFFERENT: {words}", err=True)
    count = sum(cell.runs for cell in found)
    seconds = time.monotonic() - started
    click.echo(f"{count} runs in {seconds:.0f} s, {len(wrong)} differences from what is expected")
    sys.exit(bool(wrong))


@main.command(name="play")
@click.argument("names", nargs=-1)
@click.option("--simulated", is_flag=True, help="In the simulator: no root, no kernel.")
@click.option("--traces", is_flag=True, help="Show how it went, also if that is as it should be.")
def play_special(names: tuple[str, ...], simulated: bool, traces: bool) -> None:
    """Play the other scenarios, all or those whose name begins with one of NAMES."""
    if simulated:
        fix_hash_seed()
    else:
        _needed()
    failed = False
    for name, special in SPECIAL.items():
        if names and not name.startswith(names):
            continue
        started = time.monotonic()
        report = play_on("simulated" if simulated else "kernel", special.topology(), special)
        failed = failed or bool(report.wrong)
        verdict = "; ".join(report.wrong) or "as it should be"
        click.echo(f"{name} ({special.rows}), {time.monotonic() - started:.1f} s: {verdict}")
        for fact, found in report.facts.items():
            if fact == "trace":
                found = (
                    "".join(f"\n      {line}" for line in steps(found))
                    if report.wrong or traces
                    else "…"
                )
            click.echo(f"    {fact}: {found}")
    sys.exit(failed)


@main.command()
@click.option("--runs", default=20, help="Of each type.")
def check(runs: int) -> None:
    """`carrick nat check` behind each type of router, with coturn as the STUN server."""
    _needed()
    if (reason := natcheck.unavailable()) is not None:
        click.echo(f"SKIPPED: {reason}", err=True)
        sys.exit(SKIPPED)
    checked = _run(partial(natcheck.play, runs=runs))
    for kind in natcheck.EXPECTED:
        group = [each for each in checked if each.kind == kind]
        good = sum(not any(each.wrong()) for each in group)
        slowest = max(each.seconds for each in group)
        click.echo(f"{kind:<16} {good}/{len(group)} as expected, up to {slowest:.2f} s")
    wrong = sorted({words for each in checked for words in each.wrong()})
    for words in wrong:
        click.echo(f"DIFFERENT: {words}", err=True)
    sys.exit(bool(wrong))


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
