"""A network address translator and its filter (RFC 4787, RFC 5382), without I/O."""

from __future__ import annotations

import enum
import zlib
from dataclasses import dataclass
from math import inf
from random import Random
from typing import TypeAlias

from carrick.sim.packet import FIN, RST, SYN, UDP, Endpoint

__all__ = ["Dependence", "Nat", "NatBehaviour", "PortTaken", "Ports", "Unsolicited"]

Key: TypeAlias = tuple[object, ...]

LOWEST_PORT, HIGHEST_PORT = 1024, 65535
RANGE = 20000, 40000  # of sequential and hashed ports
PURGE_AT = 256  # entries from which on expired ones are looked for


class Dependence(enum.Enum):
    """What a mapping or a filter depends on (RFC 4787, sections 4.1 and 5)."""

    ENDPOINT_INDEPENDENT = "endpoint-independent"
    ADDRESS_DEPENDENT = "address-dependent"
    ADDRESS_AND_PORT_DEPENDENT = "address-and-port-dependent"


class Ports(enum.Enum):
    """How an external port is chosen (RFC 4787, section 4.2)."""

    PRESERVE = "preserve"
    """The internal port; a random one if that is taken."""
    SEQUENTIAL = "sequential"
    RANDOM = "random"
    HASH = "hash"
    """Arbitrary, but the same again for the same endpoints."""
    NONE = "none"
    """No translation: a stateful firewall."""


class Unsolicited(enum.Enum):
    """What happens to packets from outside that no mapping or filter lets in."""

    DROP = "drop"
    REJECT = "reject"
    """RST or ICMP."""
    OPEN = "open"
    """The router's own stack answers RST or ICMP, and (as in Linux) remembers the sender: its
    endpoint cannot be mapped to the port that it tried for a while."""


@dataclass(frozen=True, slots=True)
class NatBehaviour:
    """How a NAT or firewall behaves. Times in seconds; their defaults are those of Linux.

    Attributes:
        shared_ports: an external port is taken only for one remote endpoint at a time, as in Linux
            masquerading; several internal endpoints may then have one external port.
        delta: the step between sequential ports.
        hairpin: internal hosts reach each other by their external endpoints.
        udp: False: no UDP passes.
        refresh_inbound: packets from outside keep a mapping alive too (RFC 4787, REQ-6).
        udp_timeout: of a mapping with traffic one way only.
        udp_stream_timeout: of a mapping with traffic both ways.
        tcp_transitory_timeout: in the handshake, or after a FIN.
        tcp_established_timeout: in between.
    """

    mapping: Dependence = Dependence.ENDPOINT_INDEPENDENT
    filtering: Dependence = Dependence.ADDRESS_AND_PORT_DEPENDENT
    ports: Ports = Ports.PRESERVE
    shared_ports: bool = False
    delta: int = 1
    hairpin: bool = False
    unsolicited: Unsolicited = Unsolicited.DROP
    udp: bool = True
    refresh_inbound: bool = True
    udp_timeout: float = 30.0
    udp_stream_timeout: float = 120.0
    tcp_transitory_timeout: float = 120.0
    tcp_established_timeout: float = 432000.0

    @property
    def is_open(self) -> bool:
        """Whether everything passes, unchanged."""
        return self.ports is Ports.NONE and self.filtering is Dependence.ENDPOINT_INDEPENDENT

    def __post_init__(self) -> None:
        if self.shared_ports and self.mapping is not Dependence.ADDRESS_AND_PORT_DEPENDENT:
            raise ValueError("ports can be shared only if mappings depend on address and port")


class PortTaken(Exception):
    """The external port belongs to another internal endpoint."""


class Session:
    """Traffic between one internal and one remote endpoint."""

    __slots__ = ("closing", "expires", "received", "sent")

    def __init__(self) -> None:
        self.expires = 0.0
        self.sent = self.received = self.closing = False


class Mapping:
    """One internal endpoint's external endpoint, and with whom it was in contact."""

    __slots__ = ("expires", "external", "internal", "keys", "protocol", "sessions")

    def __init__(self, protocol: int, internal: Endpoint, external: Endpoint) -> None:
        self.protocol = protocol
        self.internal = internal
        self.external = external
        self.sessions: dict[Endpoint, Session] = {}
        self.expires = 0.0
        self.keys: tuple[Key, Key] = ((), ())  # in the tables by internal and external endpoint


class Nat:
    """The table of a NAT with one external address, or of a stateful firewall.

    Args:
        address: the external IP address; unused by a firewall.
        rng: chooses ports.
    """

    def __init__(self, behaviour: NatBehaviour, address: str, rng: Random) -> None:
        self.behaviour = behaviour
        self.address = address
        self._rng = rng
        self._salt = rng.getrandbits(32)
        self._sequence = rng.randrange(*RANGE)
        self._by_internal: dict[Key, Mapping] = {}
        self._by_external: dict[Key, Mapping] = {}
        self._forwards: dict[tuple[int, int], tuple[Endpoint, float]] = {}
        self._strangers: dict[tuple[int, int, Endpoint], float] = {}
        self._purge_at = PURGE_AT

    def outbound(
        self, protocol: int, internal: Endpoint, remote: Endpoint, flags: int, now: float
    ) -> Endpoint:
        """A packet goes out: the external endpoint that it leaves from."""
        key = self._internal_key(protocol, internal, remote)
        mapping = None
        if self._forwards:  # came the remote endpoint in by a forward, it is answered from there
            mapping = self._by_internal.get((protocol, internal, remote))
        if mapping is None or mapping.expires <= now:
            mapping = self._by_internal.get(key)
        if mapping is None or mapping.expires <= now:
            if mapping is not None:
                self._remove(mapping)
            external = self._forwarded_from(protocol, internal, now)
            if external is None:
                external = self._allocate(protocol, internal, remote, key, now)
            mapping = self._add(protocol, internal, external, key, remote, now)
        self._note(mapping, remote, flags, now, outbound=True)
        return mapping.external

    def inbound(
        self,
        protocol: int,
        external: Endpoint,
        remote: Endpoint,
        flags: int,
        now: float,
        *,
        hairpin: bool = False,
    ) -> Endpoint | None:
        """A packet comes in: the internal endpoint that it is for; None if it is not let in.

        Args:
            hairpin: it comes from an internal host, and no filter applies.
        """
        if self.behaviour.is_open:
            return external
        mapping = self._by_external.get(self._external_key(protocol, external, remote))
        if mapping is not None and mapping.expires <= now:
            self._remove(mapping)
            mapping = None
        forward = self._forwards.get((protocol, external[1]))
        if forward is not None and forward[1] > now:
            mapping = self._forwarded(protocol, forward[0], external, remote, now)
            if mapping is None:
                return None
        elif mapping is None or not (hairpin or self._admits(mapping, remote, now)):
            return None
        self._note(mapping, remote, flags, now, outbound=False)
        return mapping.internal

    def _forwarded(
        self, protocol: int, internal: Endpoint, external: Endpoint, remote: Endpoint, now: float
    ) -> Mapping | None:
        """The mapping by which `remote` reaches a forwarded port; a new one if need be. None if the
        two talk over another external port already."""
        shared = self._internal_key(protocol, internal, remote)
        alone = (protocol, internal, remote)
        for key in (alone, shared):
            mapping = self._by_internal.get(key)
            if mapping is None or mapping.expires <= now:
                continue
            if mapping.external == external:
                return mapping
            session = mapping.sessions.get(remote)
            if key == alone or (session is not None and session.expires > now):
                return None
            return self._add(protocol, internal, external, alone, remote, now)
        return self._add(protocol, internal, external, shared, remote, now)

    def stranger(self, protocol: int, external: Endpoint, remote: Endpoint, now: float) -> None:
        """The router's own stack took a packet from outside that was not let in."""
        if protocol == UDP:
            self._strangers[protocol, external[1], remote] = now + self.behaviour.udp_timeout

    # --- port mappings by request -----------------------------------------------------------------

    def forward(
        self, protocol: int, port: int, internal: Endpoint, expires: float, now: float
    ) -> None:
        """Let everybody reach `internal` at the external `port` until `expires`.

        Raises:
            PortTaken: `port` belongs to another internal endpoint.
        """
        held, until = self._forwards.get((protocol, port), (internal, inf))
        if held != internal and until > now:
            raise PortTaken(f"port {port} is forwarded to {held[0]} port {held[1]}")
        mapping = self._by_external.get((protocol, port))
        if mapping is not None and mapping.internal != internal and mapping.expires > now:
            raise PortTaken(f"port {port} is in use")
        self._forwards[protocol, port] = internal, expires

    def unforward(self, protocol: int, port: int) -> None:
        """Undo `forward`; nothing if there is none."""
        self._forwards.pop((protocol, port), None)

    def forwards(self, now: float) -> dict[tuple[int, int], tuple[Endpoint, float]]:
        """(protocol, external port) → (internal endpoint, expiry) of those in force."""
        return {key: value for key, value in self._forwards.items() if value[1] > now}

    def clear(self) -> None:
        """Forget every mapping, as after a restart; forwards stay."""
        self._by_internal.clear()
        self._by_external.clear()
        self._strangers.clear()

    def __len__(self) -> int:
        return len(self._by_internal)

    # --- the table --------------------------------------------------------------------------------

    def _internal_key(self, protocol: int, internal: Endpoint, remote: Endpoint) -> Key:
        mapping = self.behaviour.mapping
        if mapping is Dependence.ENDPOINT_INDEPENDENT:
            return protocol, internal
        if mapping is Dependence.ADDRESS_DEPENDENT:
            return protocol, internal, remote[0]
        return protocol, internal, remote

    def _external_key(self, protocol: int, external: Endpoint, remote: Endpoint) -> Key:
        place = external if self.behaviour.ports is Ports.NONE else external[1]
        if self.behaviour.shared_ports:
            return protocol, place, remote
        return protocol, place

    def _add(
        self,
        protocol: int,
        internal: Endpoint,
        external: Endpoint,
        key: Key,
        remote: Endpoint,
        now: float,
    ) -> Mapping:
        if len(self._by_internal) >= self._purge_at:
            for old in [m for m in self._by_internal.values() if m.expires <= now]:
                self._remove(old)
            self._strangers = {k: t for k, t in self._strangers.items() if t > now}
            self._purge_at = max(PURGE_AT, 2 * len(self._by_internal))
        mapping = Mapping(protocol, internal, external)
        mapping.keys = key, self._external_key(protocol, external, remote)
        self._by_internal[key] = mapping
        self._by_external[mapping.keys[1]] = mapping
        return mapping

    def _remove(self, mapping: Mapping) -> None:
        inside, outside = mapping.keys
        if self._by_internal.get(inside) is mapping:
            del self._by_internal[inside]
        if self._by_external.get(outside) is mapping:
            del self._by_external[outside]

    def _admits(self, mapping: Mapping, remote: Endpoint, now: float) -> bool:
        filtering = self.behaviour.filtering
        if filtering is Dependence.ENDPOINT_INDEPENDENT:
            return True
        session = mapping.sessions.get(remote)
        if session is not None and session.expires > now:
            return True
        return filtering is Dependence.ADDRESS_DEPENDENT and any(
            session.sent and session.expires > now
            for (ip, _), session in mapping.sessions.items()
            if ip == remote[0]
        )

    def _note(
        self, mapping: Mapping, remote: Endpoint, flags: int, now: float, *, outbound: bool
    ) -> None:
        """A packet of `mapping` passed: keep it alive, or let it end."""
        behaviour = self.behaviour
        sessions = mapping.sessions
        session = sessions.get(remote)
        if session is None or session.expires <= now:
            if len(sessions) >= PURGE_AT:
                for old in [end for end, other in sessions.items() if other.expires <= now]:
                    del sessions[old]
            session = sessions[remote] = Session()
        if outbound:
            session.sent = True
        else:
            session.received = True
        if mapping.protocol == UDP:
            both = session.sent and session.received
            lifetime = behaviour.udp_stream_timeout if both else behaviour.udp_timeout
        elif flags & RST:
            del sessions[remote]
            if behaviour.filtering is not Dependence.ENDPOINT_INDEPENDENT:
                mapping.expires = max((s.expires for s in sessions.values()), default=now)
            return
        else:
            session.closing = session.closing or bool(flags & FIN)
            transitory = session.closing or flags & SYN
            lifetime = (
                behaviour.tcp_transitory_timeout
                if transitory
                else behaviour.tcp_established_timeout
            )
        if outbound or behaviour.refresh_inbound or mapping.expires <= now:
            session.expires = now + lifetime
            if mapping.expires < session.expires or len(sessions) == 1:
                mapping.expires = session.expires

    # --- ports ------------------------------------------------------------------------------------

    def _forwarded_from(self, protocol: int, internal: Endpoint, now: float) -> Endpoint | None:
        """A forward serves the other direction too, if mappings are endpoint-independent."""
        if self.behaviour.mapping is Dependence.ENDPOINT_INDEPENDENT:
            for (held, port), (target, expires) in self._forwards.items():
                if held == protocol and target == internal and expires > now:
                    return self.address, port
        return None

    def _allocate(
        self, protocol: int, internal: Endpoint, remote: Endpoint, key: Key, now: float
    ) -> Endpoint:
        how = self.behaviour.ports
        if how is Ports.NONE:
            return internal
        low, high = RANGE
        if how is Ports.SEQUENTIAL:
            port, step = self._sequence, self.behaviour.delta
        elif how is Ports.HASH:
            salted = repr((self._salt, key[1:]))  # the same for TCP and UDP
            port, step = low + zlib.crc32(salted.encode()) % (high - low), 1
        elif how is Ports.PRESERVE and self._is_free(protocol, internal[1], internal, remote, now):
            return self.address, internal[1]
        else:
            port, step = self._rng.randint(LOWEST_PORT, HIGHEST_PORT), 0
        for _ in range(HIGHEST_PORT):
            if self._is_free(protocol, port, internal, remote, now):
                self._sequence = low + (port + self.behaviour.delta - low) % (high - low)
                return self.address, port
            if step:
                port = low + (port + step - low) % (high - low)
            else:
                port = self._rng.randint(LOWEST_PORT, HIGHEST_PORT)
        raise PortTaken("every port is in use")

    def _is_free(
        self, protocol: int, port: int, internal: Endpoint, remote: Endpoint, now: float
    ) -> bool:
        target, expires = self._forwards.get((protocol, port), (internal, 0.0))
        if target != internal and expires > now:
            return False
        if self._strangers and self._strangers.get((protocol, port, remote), 0.0) > now:
            return False
        mapping = self._by_external.get(self._external_key(protocol, (self.address, port), remote))
        return mapping is None or mapping.expires <= now
