"""Admission by address: how many connections, and how quickly, one address may open to us.

It stands in front of the upgrade, so that an address over its share costs next to nothing.
No I/O; `now` is passed in.
"""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from dataclasses import dataclass, field

from carrick.addressing import IPAddress, Reach, ip_reach
from carrick.errors import ResourceLimitExceeded
from carrick.network.limits import Limits

__all__ = ["AddressAdmission", "AddressSlot", "TokenBucket"]

_MAX_REMEMBERED = 16384  # addresses without a connection whose token bucket is not full again
_PRIVATE = frozenset({Reach.PRIVATE, Reach.CGNAT, Reach.LINK_LOCAL})


class TokenBucket:
    """`burst` at once, `rate` per second on average."""

    __slots__ = ("_burst", "_rate", "_tokens", "_updated")

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self._rate = rate
        self._burst = burst
        self._tokens = float(burst)
        self._updated = now

    def take(self, now: float) -> bool:
        """Take one token; False if there is none."""
        self._fill(now)
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def wait(self, now: float) -> float:
        """In how many seconds there will be a token."""
        self._fill(now)
        return max(0.0, 1 - self._tokens) / self._rate

    def is_full(self, now: float) -> bool:
        self._fill(now)
        return self._tokens >= self._burst

    def _fill(self, now: float) -> None:
        self._tokens = min(self._burst, self._tokens + (now - self._updated) * self._rate)
        self._updated = now


@dataclass(slots=True)
class _Group:
    """One address, or one IPv6 prefix, and what it has."""

    name: str
    limit: str
    maximum: int
    bucket: TokenBucket | None
    pending: int = 0
    established: int = 0


@dataclass(slots=True)
class AddressSlot:
    """One inbound connection's place. `release` it once it has ended; a second time is harmless."""

    _admission: AddressAdmission
    _groups: list[_Group]
    _pending: bool = True
    _released: bool = field(default=False)

    def establish(self) -> None:
        """The connection is authenticated now.

        Raises:
            ResourceLimitExceeded: the address has all the connections that it may have.
        """
        for group in self._groups:
            if group.established >= group.maximum:
                raise ResourceLimitExceeded(
                    scope=group.name,
                    limit=group.limit,
                    maximum=group.maximum,
                    present=group.established,
                )
        self._pending = False
        for group in self._groups:
            group.pending -= 1
            group.established += 1

    def release(self) -> None:
        if self._released:
            return
        self._released = True
        for group in self._groups:
            if self._pending:
                group.pending -= 1
            else:
                group.established -= 1
            self._admission._left(group)


class AddressAdmission:
    """Counts inbound connections by IPv4 address, by IPv6 /56 and by IPv6 /48."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._groups: dict[str, _Group] = {}
        self._idle: OrderedDict[str, None] = OrderedDict()
        """Groups without a connection, kept until their token bucket is full; oldest first."""

    def __len__(self) -> int:
        return len(self._groups)

    def admit(self, ip: IPAddress | None, now: float) -> AddressSlot:
        """A place for a new connection from `ip`; None (no IP transport) is not counted.

        Raises:
            ResourceLimitExceeded: too many connections, too many pending, or too quickly.
        """
        self._forget(now)
        groups = [] if ip is None else self._groups_of(ip, now)
        for group in groups:
            self._check(group, now)
        for group in groups:
            group.pending += 1
            self._groups[group.name] = group
            self._idle.pop(group.name, None)
        return AddressSlot(self, groups)

    def _check(self, group: _Group, now: float) -> None:
        limits = self._limits
        if group.established + group.pending >= group.maximum:
            limit, maximum, present = group.limit, group.maximum, group.established + group.pending
        elif group.bucket is None:
            return
        elif group.pending >= limits.connections_pending_per_address:
            limit, maximum = (
                "connections_pending_per_address",
                limits.connections_pending_per_address,
            )
            present = group.pending
        elif not group.bucket.take(now):
            limit, maximum = "connection_burst_per_address", limits.connection_burst_per_address
            present = maximum
        else:
            return
        raise ResourceLimitExceeded(scope=group.name, limit=limit, maximum=maximum, present=present)

    def _groups_of(self, ip: IPAddress, now: float) -> list[_Group]:
        limits = self._limits
        if ip.version == 6 and ip.ipv4_mapped is not None:
            ip = ip.ipv4_mapped
        if ip.is_loopback and not limits.count_loopback:
            return []
        if ip_reach(ip) in _PRIVATE:
            limit = "connections_per_private_address"
        else:
            limit = "connections_per_address"
        if ip.version == 4:
            return [self._group(f"address {ip}", limit, now, rated=True)]
        if ip.is_link_local:  # all of a link are in one /56
            return [self._group(f"address {ip}", limit, now, rated=True)]
        groups = [self._group(f"address {_prefix(ip, 56)}", limit, now, rated=True)]
        if limit == "connections_per_address":
            groups.append(self._group(f"site {_prefix(ip, 48)}", "connections_per_site", now))
        return groups

    def _group(self, name: str, limit: str, now: float, rated: bool = False) -> _Group:
        group = self._groups.get(name)
        if group is None:
            limits = self._limits
            bucket = None
            if rated:
                bucket = TokenBucket(
                    limits.connection_rate_per_address, limits.connection_burst_per_address, now
                )
            group = _Group(name, limit, getattr(limits, limit), bucket)
        return group

    def _left(self, group: _Group) -> None:
        if group.pending or group.established:
            return
        if group.bucket is None:
            del self._groups[group.name]
            return
        self._idle[group.name] = None
        if len(self._idle) > _MAX_REMEMBERED:
            name, _ = self._idle.popitem(last=False)
            del self._groups[name]

    def _forget(self, now: float) -> None:
        """Drop idle groups from the oldest on, while their bucket is full again."""
        while self._idle:
            name = next(iter(self._idle))
            bucket = self._groups[name].bucket
            if bucket is not None and not bucket.is_full(now):
                return
            del self._idle[name], self._groups[name]


def _prefix(ip: ipaddress.IPv6Address, bits: int) -> ipaddress.IPv6Network:
    return ipaddress.IPv6Network((ip, bits), strict=False)
