"""`carrick status`: how the running node is doing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from carrick.cli.asking import api_option, ask_node
from carrick.cli.options import Command, Settings
from carrick.cli.output import Output
from carrick.cli.relays import left_text

__all__ = ["command", "summary"]

# RFC 3489's names, as RFC 4787 and CLI.md say them.
_NAMES = {
    "full cone": "full-cone",
    "restricted cone": "address-restricted",
    "port restricted cone": "port-restricted",
}


@click.command("status", cls=Command)
@api_option
@click.pass_obj
def command(settings: Settings, api: Path | None) -> None:
    """Show how the running node is reached, and by how many peers."""
    status = ask_node(settings, "status", api=api)
    interfaces = [f"interface {each['addr']} ({each['reach']})" for each in status["interfaces"]]
    text = "\n".join([summary(status), status["id"], *interfaces])
    Output(settings, "status").result(status, text)


def summary(status: Mapping[str, Any]) -> str:
    """`reachability private (nat: port-restricted, equal) · public addr 2/4 observers · …`."""
    nat, peers = _nat(status["nat"]), status["peers"]
    reached = f"reachability {status['reachability']}" + (f" (nat: {nat})" if nat else "")
    counts = f"{peers['direct']} direct, {peers['relayed']} relayed"
    return " · ".join(
        (
            reached,
            _public_address(status["public_addr"]),
            _relay(status["relay"]),
            f"peers {peers['total']} ({counts})",
        )
    )


def _nat(nat: Mapping[str, Any]) -> str:
    """UDP's type and port delta, TCP's too where it differs, and whether there are several NATs."""
    udp, tcp = _behaviour(nat["udp"]), _behaviour(nat["tcp"])
    if udp and tcp and udp != tcp:
        words = [f"udp {udp}", f"tcp {tcp}"]
    else:
        words = [each for each in (udp or tcp,) if each]
    if nat["layers"] in ("double-nat", "cgnat"):
        words.append(nat["layers"])
    return ", ".join(words)


def _behaviour(nat: Mapping[str, Any]) -> str:
    if nat["type"] == "unknown":
        return ""
    name = _NAMES.get(nat["type"], nat["type"])
    return name if nat["delta"] == "unknown" else f"{name}, {nat['delta']}"


def _public_address(found: Mapping[str, Any]) -> str:
    if found["source"] != "observed":
        return f"public addr {found['addr']}"
    return f"public addr {found['observers']}/{found['needed']} observers"


def _relay(relay: Mapping[str, Any]) -> str:
    left = [each["left_ms"] for each in relay["reservations"] if each["active"]]
    if left:
        return f"relay {len(left)} reserved, {left_text(min(left))} left"
    wanted = len(relay["reservations"])
    return f"relay 0 of {wanted} reserved" if wanted else "relay none"
