"""The table at the end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich import box
from rich.table import Table

from carrick.cli.demo.words import show_address
from carrick.cli.output import human_bytes, human_rate, human_time

__all__ = ["summary"]

_WAYS = {
    "direct": "direct, at once",
    "reverse": "direct: dialled back",
    "punch": "direct, through a punched hole",
    "relay": "on the relay",
}
_OTHERS = {"hopeless": "Cleo and Dan", "reversal": "Eva and Dan"}


def summary(found: Mapping[str, Any]) -> Table:
    """What was found, of what `--json` prints."""
    table = Table(box=box.ROUNDED, show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, nat in (("Ana", found["nat_a"]), ("Ben", found["nat_b"])):
        seen, strangers = found["nat"][name], found["reachable"][name]
        table.add_row(
            f"{name}'s router",
            f"{nat}: {seen['udp']} for UDP, {seen['tcp']} for TCP; "
            f"strangers {'get in' if strangers else 'do not get in'}",
        )
    table.add_section()
    if (meeting := found.get("meeting")) is not None:
        table.add_row("Ana and Ben", _meeting(meeting))
        for name, words in (("relayed", "  over the relay"), ("direct", "  directly")):
            if name in found:
                table.add_row(words, _talk(found[name]))
        if (transfer := found.get("transfer")) is not None:
            rate = human_rate(transfer["bits_per_second"] / 8)
            table.add_row("  a file", f"{human_bytes(transfer['bytes'])} at {rate}")
    else:
        table.add_row("Ana and Ben", "not connected")
    for name, who in _OTHERS.items():
        if name in found:
            table.add_row(who, _meeting(found[name]))
    if (forwarding := found.get("forwarding")) is not None:
        how = " and ".join(forwarding["via"])
        table.add_row("Fay", f"{show_address(forwarding['address'])}, forwarded by {how}")
    table.add_section()
    table.add_row("packets", f"{found['packets']}, {found['lost']} of them dropped on the way")
    virtual, real = (human_time(found[name] / 1000) for name in ("virtual_ms", "real_ms"))
    table.add_row("time", f"{virtual} of virtual time, in {real} of yours")
    return table


def _meeting(meeting: Mapping[str, Any]) -> str:
    way = _WAYS[meeting["way"]]
    return f"{way}: {meeting['reason']}" if meeting["reason"] else way


def _talk(talk: Mapping[str, Any]) -> str:
    rtt, took = (human_time(talk[name] / 1000) for name in ("rtt_ms", "took_ms"))
    return f"ping {rtt}; {human_bytes(talk['bytes'])} in {took}"
