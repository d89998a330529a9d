"""NAT types, and the nftables rule set that makes a router of each.

The words are RFC 4787's. ``wan0`` is the router's outside, ``br0`` its inside. Linux by itself maps
independently of the endpoint (it keeps the port while that is free) and filters by address and
port; everything else is built from that.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass, replace

from interop.natlab.report import Dependence

# Without a timeout a dynamic map only grows. Longer than any run, shorter than a forgotten lab.
MAP_TIMEOUT = "300s"
# Ports of the hash: 20,000 from 20,000 on. nft 1.0.6 gives them byte-swapped, so they are elsewhere
# in fact, and the steps of a counter are 256.
HASH = "mod 20000 seed 0x5eed offset 20000"


class Ports(enum.Enum):
    """How external ports are chosen."""

    KEPT = "kept"
    HASHED = (
        "hashed"  # the same for the same source (and destination address, if ADM): random looks
    )
    RANDOM = "random"
    STEP_1 = "step 1"
    STEP_256 = "step 256"


class Input(enum.Enum):
    """What the router itself does with what comes unasked."""

    DROP = "drop"
    OPEN = "open"  # its own stack answers: RST, ICMP port unreachable
    REJECT = "reject"


@dataclass(frozen=True)
class NatKind:
    """One type of router. *translates* False: a stateful firewall with public addresses inside."""

    name: str
    mapping: Dependence = Dependence.INDEPENDENT
    filtering: Dependence = Dependence.ADDRESS_AND_PORT
    ports: Ports = Ports.KEPT
    hairpin: bool = False
    input: Input = Input.DROP
    udp_blocked: bool = False
    translates: bool = True

    def __post_init__(self) -> None:
        endpoint_independent = self.mapping is Dependence.INDEPENDENT
        strict = self.filtering is Dependence.ADDRESS_AND_PORT
        supported = {
            Dependence.INDEPENDENT: {Ports.KEPT, Ports.HASHED},
            Dependence.ADDRESS: {Ports.HASHED},
            Dependence.ADDRESS_AND_PORT: {Ports.RANDOM, Ports.STEP_1, Ports.STEP_256},
        }
        if self.ports not in supported[self.mapping]:
            raise ValueError(f"no rules for {self.mapping} mapping with {self.ports.value} ports")
        if not endpoint_independent and (not strict or self.hairpin):
            raise ValueError(f"no rules for {self.mapping} mapping with open filters or hairpin")
        if self.filtering is Dependence.ADDRESS and (self.ports is not Ports.KEPT or self.hairpin):
            raise ValueError("address-dependent filtering: only with kept ports, without hairpin")


_PR = NatKind("pr")
_FC = NatKind("fc", filtering=Dependence.INDEPENDENT)
_SYM = NatKind("sym", mapping=Dependence.ADDRESS_AND_PORT, ports=Ports.RANDOM)

KINDS: dict[str, NatKind] = {
    kind.name: kind
    for kind in (
        _FC,  # full cone
        replace(_FC, name="fchash", ports=Ports.HASHED),
        NatKind("ar", filtering=Dependence.ADDRESS),  # address restricted
        _PR,  # port restricted
        replace(_PR, name="prhash", ports=Ports.HASHED),
        replace(_PR, name="pr-input-rst", input=Input.OPEN),
        replace(_PR, name="pr-input-reject", input=Input.REJECT),
        replace(_PR, name="pr-udp-blocked", udp_blocked=True),
        _SYM,  # symmetric
        NatKind("symaddr", mapping=Dependence.ADDRESS, ports=Ports.HASHED),
        replace(_SYM, name="symseq", ports=Ports.STEP_256),
        replace(_SYM, name="symseq1", ports=Ports.STEP_1),
        replace(_FC, name="fc-hairpin", hairpin=True),
        replace(_FC, name="fchash-hairpin", ports=Ports.HASHED, hairpin=True),
        replace(_PR, name="pr-hairpin", hairpin=True),
        replace(_PR, name="prhash-hairpin", ports=Ports.HASHED, hairpin=True),
        NatKind("fw", translates=False),
    )
}


def ruleset(kind: NatKind, wan: str) -> str:
    """For ``nft -f`` in a router whose outside is *wan* (IPv4); replaces every rule there is."""
    return "\n".join(("flush ruleset", *_nat(kind, wan), *_filter(kind), *FILTER_6, ""))


def _nat(kind: NatKind, wan: str) -> Iterator[str]:
    yield "table ip nat {"
    yield from (f" {line}" for line in (*_maps(kind), *_prerouting(kind, wan)))
    yield " chain post {"
    yield "  type nat hook postrouting priority srcnat; policy accept;"
    yield from (f"  {line}" for line in _postrouting(kind, wan))
    yield " }"
    yield "}"


def _external_port(kind: NatKind, protocol: str) -> str:
    """The expression that chooses the port of a mapping; empty if Linux chooses."""
    if kind.ports is Ports.HASHED:
        also = " . ip daddr" if kind.mapping is Dependence.ADDRESS else ""
        return f"jhash ip saddr . {protocol} sport{also} {HASH}"
    return ""


def _remembers(kind: NatKind) -> bool:
    """Whether the router keeps its mappings in maps of its own, beside conntrack's."""
    return kind.translates and (kind.filtering is not Dependence.ADDRESS_AND_PORT or kind.hairpin)


def _maps(kind: NatKind) -> Iterator[str]:
    if not _remembers(kind):
        return
    remote = "ipv4_addr . " if kind.filtering is Dependence.ADDRESS else ""
    for protocol in ("udp", "tcp"):
        yield (
            f"map open_{protocol} {{ type {remote}inet_service : ipv4_addr . inet_service; "
            f"flags dynamic,timeout; timeout {MAP_TIMEOUT}; }}"
        )


def _prerouting(kind: NatKind, wan: str) -> Iterator[str]:
    yield "chain pre {"
    yield " type nat hook prerouting priority dstnat; policy accept;"
    if _remembers(kind):
        remote = "ip saddr . " if kind.filtering is Dependence.ADDRESS else ""
        for protocol in ("udp", "tcp"):
            target = f"dnat ip to {remote}{protocol} dport map @open_{protocol}"
            if kind.filtering is not Dependence.ADDRESS_AND_PORT:
                yield f' iifname "wan0" meta l4proto {protocol} {target}'
            if kind.hairpin:
                yield f' iifname "br0" ip daddr {wan} meta l4proto {protocol} {target}'
    yield "}"


def _postrouting(kind: NatKind, wan: str) -> Iterator[str]:
    if not kind.translates:
        return
    for protocol in ("udp", "tcp"):
        outside = f'oifname "wan0" meta l4proto {protocol}'
        port = _external_port(kind, protocol)
        source = f"snat ip to {wan} : {port}" if port else f"snat ip to {wan}"
        if kind.hairpin:
            # The source of a hairpinned packet is the external endpoint (RFC 4787 REQ-9).
            yield f'iifname "br0" oifname "br0" ct status dnat meta l4proto {protocol} {source}'
        if _remembers(kind):
            remote = "ip daddr . " if kind.filtering is Dependence.ADDRESS else ""
            key = port or f"{protocol} sport"
            inside = f"ip saddr . {protocol} sport"
            yield f"{outside} update @open_{protocol} {{ {remote}{key} : {inside} }}"
        if port:
            yield f"{outside} {source}"
    if kind.ports is Ports.STEP_1:
        ports = ", ".join(f"{i} : {20000 + i}" for i in range(1000))
        yield (
            'oifname "wan0" meta l4proto { tcp, udp } '
            f"masquerade to : numgen inc mod 1000 map {{ {ports} }}"
        )
    elif kind.ports is Ports.STEP_256:
        yield (
            'oifname "wan0" meta l4proto { tcp, udp } '
            "masquerade to : numgen inc mod 20000 offset 20000"
        )
    random = " random,fully-random" if kind.ports is Ports.RANDOM else ""
    yield f'oifname "wan0" masquerade{random}'


def _filter(kind: NatKind) -> Iterator[str]:
    yield "table ip filter {"
    yield " chain input {"
    yield "  type filter hook input priority filter; policy accept;"
    if kind.input is not Input.OPEN:
        yield '  iifname "wan0" ct state established,related accept'
    if kind.input is Input.REJECT:
        yield '  iifname "wan0" meta l4proto tcp reject with tcp reset'
        yield '  iifname "wan0" counter reject comment "rejected"'
    elif kind.input is Input.DROP:
        yield '  iifname "wan0" counter drop comment "unsolicited"'
    yield " }"
    yield " chain forward {"
    yield "  type filter hook forward priority filter; policy drop;"
    if kind.udp_blocked:
        yield '  iifname "br0" meta l4proto udp counter drop comment "udp blocked"'
    yield "  ct state established,related accept"
    yield "  ct state invalid drop"
    yield '  iifname "br0" oifname "wan0" accept'
    yield "  ct status dnat accept"
    if kind.hairpin:
        yield '  iifname "br0" oifname "br0" accept'
    yield '  iifname "wan0" counter comment "filtered"'
    yield " }"
    yield "}"


# IPv6 is the same behind every router: public addresses and a stateful firewall.
FILTER_6 = (
    "table ip6 filter {",
    " chain input {",
    "  type filter hook input priority filter; policy accept;",
    '  iifname "wan0" meta l4proto ipv6-icmp accept',
    '  iifname "wan0" ct state established,related accept',
    '  iifname "wan0" counter drop comment "unsolicited 6"',
    " }",
    " chain forward {",
    "  type filter hook forward priority filter; policy drop;",
    "  ct state established,related accept",
    "  ct state invalid drop",
    '  iifname "br0" oifname "wan0" accept',
    "  meta l4proto ipv6-icmp icmpv6 type { destination-unreachable, packet-too-big, "
    "time-exceeded, parameter-problem } accept",
    '  iifname "wan0" counter comment "filtered 6"',
    " }",
    "}",
)

# What the real internet would not carry. The counters show that nothing private came out.
INTERNET = """\
flush ruleset
table ip internet {
 set bogon {
  type ipv4_addr; flags interval;
  elements = { 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16, 100.64.0.0/10 }
 }
 chain forward {
  type filter hook forward priority filter; policy accept;
  ip saddr @bogon counter drop comment "leaked source"
  ip daddr @bogon counter drop comment "leaked destination"
 }
}
"""
