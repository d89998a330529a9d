"""Protocols, addresses and NATs in plain words."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from carrick import Connection
from carrick.addressing import Multiaddr, is_relayed, parts, transport_name
from carrick.cli.peers import short_protocol
from carrick.errors import DialError
from carrick.host import NatBehaviour

__all__ = ["nat_in_words", "pretty", "reasons", "show_address", "show_path"]

_NAMES = {
    "quic-v1": "QUIC",
    "tcp": "TCP",
    "ws": "WebSocket",
    "tls": "TLS",
    "noise": "Noise",
    "yamux": "Yamux",
}

_NATS = {
    "open": "no NAT, anybody can come in",
    "firewall": "no NAT, but only answers are let in",
    "full cone": "one door, open for anybody",
    "restricted cone": "one door, open for hosts that were written to",
    "port restricted cone": "one door, open for exactly the ports that were written to",
    "cone": "one door; for whom it opens is not known",
    "symmetric": "another door for everybody who is written to, and nobody can tell which",
    "blocked": "nothing gets out",
}


def nat_in_words(behaviour: NatBehaviour) -> str:
    """`port restricted cone (one door, …)`."""
    meaning = _NATS.get(behaviour.type, "too little is known")
    if behaviour.is_predictable:
        meaning = "another door for everybody, but they are counted: the next can be foretold"
    return f"{behaviour.type} ({meaning})"


def pretty(protocol: str | None) -> str:
    """`QUIC` for `quic-v1`, `TLS` for `/tls/1.0.0`."""
    name = short_protocol(protocol or "?")
    return _NAMES.get(name, name)


def show_path(connection: Connection) -> str:
    """`11.0.0.7 port 4001 (QUIC)`, `the relay at 11.0.0.2 port 4001 (QUIC)`."""
    return show_address(connection.remote_address)


def show_address(address: Multiaddr) -> str:
    """`11.0.0.7 port 4001 (QUIC)`; `the relay at …` for an address over one."""
    named = dict(parts(address))
    host = named.get("ip4") or named.get("ip6")
    udp = named.get("udp")
    kind = ("QUIC" if udp else "TCP") if is_relayed(address) else pretty(transport_name(address))
    text = f"{host} port {udp or named.get('tcp')} ({kind})"
    return f"the relay at {text}" if is_relayed(address) else text


def reasons(error: DialError) -> Iterable[tuple[Any, str]]:
    """(address, reason) for every address that was tried in vain."""
    causes = sorted(error.causes, key=lambda each: str(each[0]))  # several may fail at one time
    return [(address, getattr(cause, "message", str(cause))) for address, cause in causes]
