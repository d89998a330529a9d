"""What `carrick nat check` found, as a block for people and as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from carrick.cli.output import human_time, milliseconds
from carrick.host import Dependence, Layers, Nat, NatBehaviour, PortDelta

__all__ = ["NatReport"]

_SHORT = {
    Dependence.UNKNOWN: "unknown",
    Dependence.NOTHING: "independent",
    Dependence.ADDRESS: "by address",
    Dependence.ADDRESS_AND_PORT: "by address and port",
}
_DELTA = {
    PortDelta.UNKNOWN: "unknown",
    PortDelta.EQUAL: "equal to those inside",
    PortDelta.PRESERVING: "as far apart as those inside",
    PortDelta.INDEPENDENT: "one after the other, {step:+d} each",
    PortDelta.DEPENDENT: "regular for consecutive ones inside, {step:+d} each",
    PortDelta.RANDOM: "random",
}
_LAYERS = {
    Layers.UNKNOWN: "not known",
    Layers.NONE: "no NAT",
    Layers.ONE: "one NAT",
    Layers.DOUBLE: "double NAT",
    Layers.CARRIER: "carrier-grade NAT",
}


@dataclass(frozen=True, slots=True)
class NatReport:
    """One check.

    Attributes:
        nat: what it amounts to.
        address6: our IPv6 address as a server sees it.
        servers: STUN server, and seconds to its answer; None: it did not answer.
        peers: how many of the peers were asked, and how many answered.
        relays: relay, and its round-trip time in seconds; None: it was not reached.
        port_mapping: the protocols by which the gateway maps ports; None: it was not asked.
        elapsed: seconds.
    """

    nat: Nat
    address6: str | None = None
    servers: Sequence[tuple[str, float | None]] = ()
    peers: tuple[int, int] = (0, 0)
    relays: Sequence[tuple[str, float | None]] = ()
    port_mapping: Sequence[str] | None = None
    elapsed: float = 0.0

    @property
    def found_something(self) -> bool:
        return self.nat.address is not None or self.address6 is not None

    @property
    def type(self) -> str:
        """RFC 3489's name, which is about UDP."""
        return "udp blocked" if self.nat.udp.blocked else self.nat.udp.type

    def fields(self) -> dict[str, Any]:
        nat = self.nat
        return {
            "type": self.type,
            "ipv4": nat.address,
            "ipv6": self.address6,
            "udp": _fields(nat.udp),
            "tcp": _fields(nat.tcp),
            "layers": nat.layers.value,
            "port_mapping": None if self.port_mapping is None else list(self.port_mapping),
            "servers": _latencies(self.servers),
            "peers": {"asked": self.peers[0], "answered": self.peers[1]},
            "relays": _latencies(self.relays),
            "elapsed_ms": milliseconds(self.elapsed),
        }

    def __str__(self) -> str:
        rows = list(self._rows())
        width = max(len(name) for name, _ in rows)
        return "\n".join(f"{name:<{width}}  {text}" for name, text in rows)

    def _rows(self) -> Iterator[tuple[str, str]]:
        nat = self.nat
        udp_seen = nat.udp.mapping is not Dependence.UNKNOWN or nat.udp.translates is not None
        yield "type", self.type
        yield "UDP", "blocked" if nat.udp.blocked else "yes" if udp_seen else "no answer"
        yield "IPv4", nat.address or "no answer"
        yield "IPv6", self.address6 or "no answer"
        for name, behaviour in (("NAT, UDP", nat.udp), ("NAT, TCP", nat.tcp)):
            if behaviour != NatBehaviour() and not behaviour.blocked:
                yield name, _behaviour(behaviour)
        yield "layers", _LAYERS[nat.layers]
        offered = self.port_mapping
        yield "port mapping", "not asked" if offered is None else ", ".join(offered) or "no"
        for name, found in (("STUN", self.servers), ("relay", self.relays)):
            for address, seconds in found:
                answer = "no answer" if seconds is None else human_time(seconds)
                yield name, f"{address}  {answer}"
        if self.peers[0]:
            yield "peers", f"{self.peers[1]} of {self.peers[0]} answered"


def _behaviour(behaviour: NatBehaviour) -> str:
    hairpin = {None: "unknown", True: "yes", False: "no"}[behaviour.hairpin]
    delta = _DELTA[behaviour.delta].format(step=behaviour.step)
    words = [
        f"mapping {_SHORT[behaviour.mapping]}",
        f"filtering {_SHORT[behaviour.filtering]}",
        f"ports {delta}",
        f"hairpin {hairpin}",
    ]
    if behaviour.translates is False:
        words = ["no translation", words[1]]
    return ", ".join(words)


def _fields(behaviour: NatBehaviour) -> dict[str, Any]:
    return {
        "type": behaviour.type,
        "mapping": behaviour.mapping.value,
        "filtering": behaviour.filtering.value,
        "translates": behaviour.translates,
        "delta": behaviour.delta.value,
        "step": behaviour.step,
        "hairpin": behaviour.hairpin,
        "blocked": behaviour.blocked,
    }


def _latencies(found: Sequence[tuple[str, float | None]]) -> list[dict[str, Any]]:
    return [{"addr": address, "rtt_ms": milliseconds(seconds)} for address, seconds in found]
