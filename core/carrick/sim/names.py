"""DNS: a name server on the simulated internet, and the name resolution of simulated hosts."""

from __future__ import annotations

import errno
import socket as stdlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import dns.asyncresolver
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.resolver
import dns.rrset
import trio
from trio.abc import HostnameResolver

from carrick.sim.host import Host, current_host
from carrick.sim.packet import Endpoint, canonical

if TYPE_CHECKING:
    from carrick.sim.internet import Internet

__all__ = ["NameServer", "SimulatedResolver"]

ADDRESS, ADDRESS6 = "11.53.53.53", "2a00:1:53::53"
PORT = 53
TTL = 300  # s
MAX_TXT = 255  # bytes of one string of a TXT record (RFC 1035, section 3.3)
EPOCH = 1_700_000_000.0  # s; the time of day at virtual time 0, in November 2023


class NameServer:
    """Authoritative for every name (RFC 1035). Answers over UDP on the core of the internet."""

    def __init__(self, internet: Internet) -> None:
        self.host: Host = internet.host(
            "name-server", address=ADDRESS, address6=ADDRESS6, ipv6=True
        )
        self._records: dict[tuple[str, str], list[str]] = {}
        for address in ("0.0.0.0", "::"):
            socket = self.host.stack.open_udp((address, PORT))

            def answer(query: bytes, sender: Endpoint, socket: Any = socket) -> None:
                reply = self.reply(query)
                if reply is not None:
                    socket.send(reply, len(reply), sender)

            socket.on_datagram = answer

    def add(self, name: str, type: str, *values: str) -> None:
        """Add records: addresses for A and AAAA, whole texts for TXT, a name for CNAME."""
        self._records.setdefault((_key(name), type.upper()), []).extend(values)

    def add_host(self, name: str, host: Host) -> None:
        """Add A and AAAA records for the present addresses of `host`."""
        for address in host.addresses:
            self.add(name, "AAAA" if ":" in address else "A", address)

    def remove(self, name: str, type: str) -> None:
        """Remove the records of one name and type."""
        self._records.pop((_key(name), type.upper()), None)

    def reply(self, wire: bytes) -> bytes | None:
        """The answer to a query; None to what is no query."""
        try:
            query = dns.message.from_wire(wire)
        except dns.exception.DNSException:
            return None
        if len(query.question) != 1 or query.flags & dns.flags.QR:
            return None
        question = query.question[0]
        response = dns.message.make_response(query, recursion_available=True)
        response.flags |= dns.flags.AA
        name, kind = question.name, dns.rdatatype.to_text(question.rdtype)
        for _ in range(8):  # CNAME records may lead on
            values = self._records.get((_key(str(name)), kind))
            alias = self._records.get((_key(str(name)), "CNAME"))
            if values:
                response.answer.append(_rrset(name, kind, values))
                break
            if not alias:
                break
            response.answer.append(_rrset(name, "CNAME", alias[:1]))
            name = dns.name.from_text(alias[0])
        if not response.answer and not any(known == _key(str(name)) for known, _ in self._records):
            response.set_rcode(dns.rcode.NXDOMAIN)
        return response.to_wire(max_size=65535)


class SimulatedResolver(HostnameResolver):
    """`trio.socket.getaddrinfo` on simulated hosts: asks their name server."""

    async def getaddrinfo(
        self,
        host: bytes | None,
        port: bytes | str | int | None,
        family: int = 0,
        type: int = 0,
        proto: int = 0,
        flags: int = 0,
    ) -> Any:
        name = (host or b"").decode("ascii").removesuffix(".").lower()
        here = current_host()
        if here is None:
            raise stdlib.gaierror(stdlib.EAI_AGAIN, "no simulated host in this context")
        found: list[Any] = []
        for version, record in ((stdlib.AF_INET6, "AAAA"), (stdlib.AF_INET, "A")):
            if family not in (0, version):
                continue
            for address in await self._addresses(name, record, here):
                found += stdlib.getaddrinfo(
                    address, port, version, type, proto, flags | stdlib.AI_NUMERICHOST
                )
        if not found:
            raise stdlib.gaierror(stdlib.EAI_NONAME, "Name or service not known")
        return found

    async def getnameinfo(self, sockaddr: Any, flags: int) -> tuple[str, str]:
        await trio.lowlevel.checkpoint()
        return canonical(sockaddr[0]), str(sockaddr[1])

    async def _addresses(self, name: str, record: str, here: Host) -> list[str]:
        if name == "localhost" or name.endswith(".localhost"):
            return ["::1" if record == "AAAA" else "127.0.0.1"]
        resolver = dns.asyncresolver.Resolver(configure=False)
        resolver.nameservers = list(name_servers(here))
        try:
            answer = await resolver.resolve(name, record, search=False)
        except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
            return []
        except dns.exception.DNSException as error:
            raise stdlib.gaierror(stdlib.EAI_AGAIN, str(error)) from error
        return [item.to_text() for item in answer]


def name_servers(host: Host) -> list[str]:
    """Whom `host` asks for names."""
    servers = [ADDRESS]
    if not any(":" not in address for address in host.addresses):
        servers = [ADDRESS6]
    host.internet.dns  # noqa: B018 - it exists from the first question on
    return servers


class _VirtualTime:
    """The module `time`, but that its clocks show virtual time."""

    def __getattr__(self, name: str) -> Any:
        import time

        return getattr(time, name)

    @staticmethod
    def time() -> float:
        return EPOCH + trio.current_time()

    monotonic = time


@contextmanager
def dnspython_simulated() -> Iterator[None]:
    """Within the block dnspython asks the simulated name server, and counts virtual time.

    It reads the machine's resolv.conf and `time.time` otherwise: neither is the simulation's.
    """
    import dns.asyncquery
    import dns.query

    def configure(self: dns.resolver.BaseResolver, *_: object) -> None:
        here = current_host()
        if here is None:
            raise OSError(errno.ENETDOWN, "no simulated host in this context")
        self.nameservers = list(name_servers(here))

    virtual = _VirtualTime()
    changes: list[tuple[Any, str, Any]] = [
        (dns.resolver.BaseResolver, "read_resolv_conf", configure),
        *(
            (module, "time", virtual)
            for module in (dns.resolver, dns.asyncresolver, dns.query, dns.asyncquery)
            if hasattr(module, "time")
        ),
    ]
    if hasattr(dns.resolver.BaseResolver, "read_registry"):
        changes.append((dns.resolver.BaseResolver, "read_registry", configure))
    kept = [(target, name, getattr(target, name)) for target, name, _ in changes]
    for target, name, value in changes:
        setattr(target, name, value)
    try:
        yield
    finally:
        for target, name, value in kept:
            setattr(target, name, value)


def _key(name: str) -> str:
    return name.removesuffix(".").lower()


def _rrset(name: dns.name.Name, type: str, values: list[str]) -> dns.rrset.RRset:
    if type == "TXT":
        values = [_quoted(value) for value in values]
    if type == "CNAME":
        values = [value.removesuffix(".") + "." for value in values]
    return dns.rrset.from_text(name, TTL, dns.rdataclass.IN, type, *values)


def _quoted(text: str) -> str:
    """A TXT record in the form of zone files, in strings of at most 255 bytes."""
    escaped = []
    raw = text.encode()
    for start in range(0, max(1, len(raw)), MAX_TXT):
        piece = raw[start : start + MAX_TXT]
        escaped.append('"' + "".join(_escape(byte) for byte in piece) + '"')
    return " ".join(escaped)


def _escape(byte: int) -> str:
    character = chr(byte)
    if character in '"\\':
        return "\\" + character
    return character if 32 <= byte < 127 else f"\\{byte:03d}"
