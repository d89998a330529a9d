"""The mapper's memory without I/O: the gateway's epoch, and which mapping is due when."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from carrick.protocols.portmap.mapping import MAX_LEASE, Mapping, Port

__all__ = ["EpochWatch", "MappingTable"]

MIN_RENEWAL = 4.0  # s; RFC 6887 section 11.2.1: never more often than this
REFUSED_RETRY = 60.0  # s, doubled for each refusal
MAX_RETRY = 3600.0


class EpochWatch:
    """Tells from a gateway's epochs whether it has lost its state.

    The epoch counts seconds since the state began. Two clocks differ by 1/16 at most (RFC 6887
    section 8.5; RFC 6886 section 3.6 allows 1/8 and does not mind one that runs ahead).
    """

    def __init__(self) -> None:
        self._last: tuple[int, float] | None = None
        self.generation = 0

    def note(self, epoch: int, now: float) -> bool:
        """An answer came with `epoch`. Returns False, and counts `generation` up, if the state of
        the gateway is not the one that it was."""
        last, self._last = self._last, (epoch, now)
        if last is None:
            return True
        server, client = epoch - last[0], now - last[1]
        valid = (
            server >= -1
            and client + 2 >= server - server / 16
            and server + 2 >= client - client / 16
        )
        self.generation += not valid
        return valid


@dataclass(slots=True)
class _Entry:
    mapping: Mapping | None = None
    due: float = -math.inf
    expires: float = math.inf
    refusals: int = 0
    asked: float = -math.inf

    def due_at(self, generation: int) -> float:
        if self.mapping is not None and self.mapping.generation != generation:
            return self.asked + MIN_RENEWAL
        return self.due


class MappingTable:
    """Which ports shall be mapped, which are, and when each one is due."""

    def __init__(self) -> None:
        self._entries: dict[Port, _Entry] = {}

    @property
    def mappings(self) -> list[Mapping]:
        """Those that are in force, in the order in which their ports were wanted."""
        return [each.mapping for each in self._entries.values() if each.mapping is not None]

    def get(self, port: Port) -> Mapping | None:
        entry = self._entries.get(port)
        return entry.mapping if entry else None

    def want(self, ports: Iterable[Port]) -> list[Mapping]:
        """These ports, and no others. Returns mappings that are no longer wanted."""
        wanted = dict.fromkeys(ports)
        gone = [entry for port, entry in self._entries.items() if port not in wanted]
        self._entries = {port: self._entries.get(port) or _Entry() for port in wanted}
        return [entry.mapping for entry in gone if entry.mapping is not None]

    def due(self, now: float, generation: int) -> list[Port]:
        """Ports to be mapped now: new, to be renewed, or lost with the gateway's memory."""
        return [port for port, each in self._entries.items() if each.due_at(generation) <= now]

    def next_due(self, generation: int) -> float:
        """When to look again; `math.inf` if nothing is wanted."""
        times = (min(each.due_at(generation), each.expires) for each in self._entries.values())
        return min(times, default=math.inf)

    def granted(self, mapping: Mapping, now: float, chance: float) -> None:
        """A mapping was granted.

        Args:
            chance: from 0 to 1; renewals are spread from a half to 5/8 of the lifetime (RFC 6887
                section 11.2.1).
        """
        lifetime = min(mapping.lifetime, MAX_LEASE)
        due = now + max(MIN_RENEWAL, lifetime * (0.5 + chance / 8))
        expires = math.inf if math.isinf(mapping.lifetime) else now + lifetime
        self._entries[mapping.port] = _Entry(mapping, due, expires, asked=now)

    def refused(self, port: Port, now: float) -> None:
        """The gateway will not map `port`; it is asked again later."""
        refusals = self._entries[port].refusals + 1
        retry = min(MAX_RETRY, REFUSED_RETRY * 2 ** min(refusals - 1, 16))
        self._entries[port] = _Entry(due=now + retry, refusals=refusals)

    def renew(self) -> None:
        """Everything is due now, and in force meanwhile."""
        for entry in self._entries.values():
            entry.due = -math.inf

    def lost(self, mappings: Iterable[Mapping]) -> None:
        """These are gone, and due at once."""
        for mapping in mappings:
            if self.get(mapping.port) is mapping:
                self._entries[mapping.port] = _Entry()

    def expire(self, now: float) -> None:
        """Drop mappings whose lifetime is over."""
        for port, entry in self._entries.items():
            if entry.expires <= now:
                self._entries[port] = _Entry(due=entry.due)
