"""The table at the end."""

from __future__ import annotations

from typing import Any

from rich import box
from rich.table import Table

from carrick.cli.demo.stage import pretty, show_address
from carrick.cli.output import human_bytes, human_rate, human_time

__all__ = ["summary"]


def summary(found: dict[str, Any]) -> Table:
    """What was found, of what `--json` prints."""
    table = Table(box=box.ROUNDED, show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, nat in zip(found["people"], (found["nat_a"], found["nat_b"]), strict=True):
        person = found["people"][name]
        table.add_row(name, str(person["id"]))
        table.add_row("  router", f"{nat}: {person['address']} inside, {person['outside']} outside")
        for transport, verdict in sorted(found["mapping"][name].items()):
            table.add_row(f"  by {pretty(transport)}", verdict)
        open_to_all = found["reachable"][name]
        table.add_row("  strangers", "are let in" if open_to_all else "are not let in")
    table.add_section()
    connection = found["connection"]
    if connection is None:
        table.add_row("connection", "none")
    else:
        how = "after Ben forwarded a port" if "forwarded" in found else "at once"
        address = show_address(connection["addr"])
        layers = f"{pretty(connection['security'])} and {pretty(connection['muxer'])}"
        table.add_row("connection", f"direct, {how}: {address}, {layers}")
        table.add_row("ping", human_time(min(found["rtt_ms"]) / 1000))
        http, transfer = found["http"], found["transfer"]
        table.add_row("HTTP", f"{http['status']}, {human_time(http['took_ms'] / 1000)}")
        rate = human_rate(transfer["bits_per_second"] / 8)
        table.add_row("transfer", f"{human_bytes(transfer['bytes'])} at {rate}")
    table.add_section()
    table.add_row("packets", f"{found['packets']}, {found['lost']} of them dropped on the way")
    virtual, real = (human_time(found[name] / 1000) for name in ("virtual_ms", "real_ms"))
    table.add_row("time", f"{virtual} of virtual time, in {real} of yours")
    return table
