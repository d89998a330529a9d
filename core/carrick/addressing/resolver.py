"""Names in addresses: `/dns`, `/dns4` and `/dns6` to IP addresses, `/dnsaddr` to whole addresses.

Specification: addressing, "IP and Name Resolution". A name may stand behind `/p2p-circuit` too,
and the answers for `/dnsaddr` may hold further names. Whoever owns a name decides what comes
back, so depth, width, queries and time are bounded, all together for one `resolve`.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Awaitable, Callable, Sequence
from typing import Literal, TypeAlias

import trio
from multiaddr import Multiaddr

from carrick.addressing.address import ip_parts, join_parts
from carrick.addressing.codec import Parts, parse_address, parts
from carrick.addressing.system_dns import SystemDns
from carrick.errors import CarrickError, InvalidAddress, ResolutionError

RecordType: TypeAlias = Literal["A", "AAAA", "TXT"]
Query: TypeAlias = Callable[[str, RecordType], Awaitable[Sequence[str]]]
"""Asks for the records of a name: IP addresses, or TXT records with their strings joined.

No records is an empty sequence. Raises: ResolutionError, OSError.
"""

MAX_DEPTH = 4  # of /dnsaddr within /dnsaddr; go-libp2p p2p/net/swarm/swarm_dial.go
MAX_ADDRESSES = 100  # of one resolve in all; go-libp2p p2p/net/swarm/swarm_dial.go
MAX_QUERIES = 32  # of one resolve in all; rust-libp2p transports/dns/src/lib.rs
MAX_STEPS = MAX_ADDRESSES + MAX_QUERIES  # names that need no query are work too
MAX_CAUSES = 16  # reasons that an error tells; more help nobody
TIMEOUT = 5.0  # seconds, of one resolve in all
# Seconds that the second family may take longer than the first. RFC 8305 section 3 would start
# dialling after 50 ms and add later answers; here all answers come together.
FAMILY_GRACE = 0.25

_FAMILIES: dict[str, tuple[RecordType, ...]] = {
    "dns": ("AAAA", "A"),
    "dns4": ("A",),
    "dns6": ("AAAA",),
}
_LOCALHOST = {"A": "127.0.0.1", "AAAA": "::1"}  # RFC 6761 section 6.3


class Resolver:
    """Resolves the names in addresses.

    Args:
        query: asks the DNS; by default `SystemDns()`, the hosts file and name servers of the
            operating system. Never asked for `localhost` and names under it, nor for IP addresses
            in a name's place.
        timeout: seconds that one `resolve` may take.
    """

    def __init__(self, query: Query | None = None, *, timeout: float = TIMEOUT) -> None:
        self._query: Query = SystemDns() if query is None else query
        self._timeout = timeout

    async def resolve(self, address: Multiaddr) -> list[Multiaddr]:
        """The addresses without names that `address` stands for: 1 to `MAX_ADDRESSES` of them.

        An address without a name comes back alone. `/dnsaddr/<name>/<rest>` gives those of the
        name's addresses that end with `<rest>`. Where a name stands before `/tls/ws` or `/wss`, it
        is kept as `/tls/sni/<name>/ws`, for the certificate. When a limit cuts the work short,
        what was found until then is the answer.

        Raises:
            ResolutionError: nothing was found; the message has every reason, and `__cause__` is an
                `ExceptionGroup` of them.
        """
        if _first_name(parts(address)) is None:
            return [address]
        job = _Job(self._query)
        found: _Found = []
        with trio.move_on_after(self._timeout) as scope:
            await job.expand(address, 0, found)
        if scope.cancelled_caught:
            job.fail(f"it took longer than {self._timeout:g} s")
        resolved = list(dict.fromkeys(_flatten(found)))[:MAX_ADDRESSES]
        if resolved:
            return resolved
        reasons = "; ".join(cause.message for cause in job.causes)
        raise ResolutionError(
            f"the name leads nowhere: {reasons}", address=address
        ) from ExceptionGroup("while resolving", job.causes)


_Found: TypeAlias = "list[Multiaddr | _Found]"
"""Addresses in the order of the names, whichever answer came first."""


class _Job:
    """One `resolve`: its budget, and why branches ended."""

    def __init__(self, query: Query) -> None:
        self.causes: list[CarrickError] = []
        self._query = query
        self._queries = 0
        self._addresses = 0
        self._seen: set[Multiaddr] = set()

    def fail(self, reason: str | CarrickError) -> None:
        cause = ResolutionError(reason) if isinstance(reason, str) else reason
        if all(cause.message != known.message for known in self.causes):
            self.causes = [*self.causes, cause][:MAX_CAUSES]

    async def expand(self, address: Multiaddr, depth: int, found: _Found) -> None:
        """Put what `address` stands for into `found`; `depth` counts the dnsaddrs passed."""
        if self._addresses == MAX_ADDRESSES:
            return
        if address in self._seen:
            self.fail("a name leads to itself")
            return
        if len(self._seen) == MAX_STEPS:
            self.fail(f"more than {MAX_STEPS} addresses on the way")
            return
        self._seen.add(address)
        components = parts(address)
        at = _first_name(components)
        if at is None:
            self._addresses += 1
            found.append(address)
            return
        name, value = components[at]
        assert value is not None
        if name != "dnsaddr":
            try:
                nested = _with_hosts(components, at, await self._hosts(name, value))
            except InvalidAddress as error:  # too long, with the name kept as well
                self.fail(error)
                return
        elif depth == MAX_DEPTH:
            self.fail(f"{value}: more than {MAX_DEPTH} dnsaddr within each other")
            return
        else:
            nested = _with_links(components, at, await self._links(value))
            if not nested:
                self.fail(f"{value}: no dnsaddr record fits")
            depth += 1
        async with trio.open_nursery() as nursery:
            for child in nested:
                if _first_name(parts(child)) is None:
                    await self.expand(child, depth, found)
                elif self._queries < MAX_QUERIES:
                    slot: _Found = []
                    found.append(slot)
                    nursery.start_soon(self.expand, child, depth, slot)

    async def _links(self, name: str) -> Sequence[str]:
        try:
            return await self._ask(f"_dnsaddr.{name}", "TXT")
        except (ResolutionError, OSError) as error:
            self.fail(_named(name, error))
            return ()

    async def _hosts(self, kind: str, name: str) -> list[str]:
        """The IP addresses of `name`: both families at once, IPv6 before IPv4."""
        types = _FAMILIES[kind]
        literal = _literal(name)
        if literal is not None:
            answers = [[literal] if (":" in literal) == (type == "AAAA") else [] for type in types]
        elif name.lower().removesuffix(".").rpartition(".")[2] == "localhost":
            answers = [[_LOCALHOST[type]] for type in types]
        else:
            answers = [[] for _ in types]
            async with trio.open_nursery() as nursery:

                async def ask(type: RecordType, answer: list[str]) -> None:
                    try:
                        answer += await self._ask(name, type)
                    except (ResolutionError, OSError) as error:
                        self.fail(_named(f"{name} {type}", error))
                    if answer:
                        nursery.cancel_scope.deadline = trio.current_time() + FAMILY_GRACE

                for type, answer in zip(types, answers, strict=True):
                    nursery.start_soon(ask, type, answer)
        found = [ip for answer in answers for ip in answer]
        if not found:
            self.fail(f"{name}: no address ({', '.join(types)})")
        return found

    async def _ask(self, name: str, type: RecordType) -> Sequence[str]:
        if self._queries >= MAX_QUERIES:
            raise ResolutionError(f"more than {MAX_QUERIES} queries")
        self._queries += 1
        return (await self._query(name, type))[:MAX_ADDRESSES]


def _first_name(components: Parts) -> int | None:
    names = (index for index, (name, _) in enumerate(components) if name.startswith("dns"))
    return next(names, None)


def _with_hosts(components: Parts, at: int, hosts: Sequence[str]) -> list[Multiaddr]:
    """`hosts` in the place of the name. Raises: InvalidAddress."""
    before, after = components[:at], _with_sni(components[at + 1 :], components[at][1] or "")
    return [join_parts((*before, *ip_parts(ipaddress.ip_address(ip)), *after)) for ip in hosts]


def _with_sni(after: Parts, name: str) -> Parts:
    """Keep the name for TLS, as go-libp2p's WebSocket transport does."""
    if _literal(name) is not None:
        return after  # RFC 6066 section 3: no IP addresses in SNI
    at = 1 if after and after[0][0] == "tcp" else 0  # without a port it is 443
    match after[at:]:
        case (("wss", _), *rest) | (("tls", _), ("ws", _), *rest):
            sni = ("sni", name.removesuffix("."))
            return (*after[:at], ("tls", None), sni, ("ws", None), *rest)
        case _:
            return after


def _with_links(components: Parts, at: int, texts: Sequence[str]) -> list[Multiaddr]:
    """Those addresses of the TXT records that end with what followed the dnsaddr."""
    before, suffix = components[:at], components[at + 1 :]
    addresses = []
    for text in texts:
        if not text.startswith("dnsaddr="):
            continue
        try:
            link = parts(parse_address(text.removeprefix("dnsaddr=")))
            if link[max(len(link) - len(suffix), 0) :] == suffix:
                addresses.append(join_parts((*before, *link)))
        except InvalidAddress:
            continue  # protocols to come
    return addresses


def _literal(name: str) -> str | None:
    try:
        return str(ipaddress.ip_address(name))
    except ValueError:
        return None


def _named(name: str, error: ResolutionError | OSError) -> ResolutionError:
    wrapped = ResolutionError(f"{name}: {getattr(error, 'message', error)}")
    wrapped.__cause__ = error
    return wrapped


def _flatten(found: _Found) -> list[Multiaddr]:
    flat: list[Multiaddr] = []
    for entry in found:
        flat += _flatten(entry) if isinstance(entry, list) else [entry]
    return flat
