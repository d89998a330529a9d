"""What can go wrong with a visit, folded into nebula's fixed names. No I/O.

Source: dennis-tra/nebula, db/errors.go and db/models/pg/boil_types.go (65580d4).
"""

from __future__ import annotations

import errno
from collections.abc import Iterator

import trio

from carrick import errors

__all__ = ["NAMES", "NOT_DIALED", "net_error"]

# The names of libp2p, by what tells most: of several addresses' errors the first of these counts,
# as in nebula's `knownErrorsPrecedence`. Those of devp2p, and those that nebula no longer gives
# (`no_recent_network_activity`, `context_deadline_exceeded`, `maddr_reset`), are left out.
NAMES = (
    "io_timeout",
    "cant_assign_requested_address",
    "connection_gated",
    "connection_refused",
    "connection_reset_by_peer",
    "protocol_not_supported",
    "peer_id_mismatch",
    "no_route_to_host",
    "network_unreachable",
    "no_good_addresses",
    "no_ip_address",
    "max_dial_attempts_exceeded",
    "host_is_down",
    "stream_reset",
    "negotiate_stream_multiplexer",
    "resource_limit_exceeded",
    "write_on_stream",
    "no_transport_for_protocol",
    "cant_connect_over_relay",
    "black_hole_refused",
    "negotiate_security_protocol",
    "unknown",
)
NOT_DIALED = "not_dialed"
"""Of an address that was not tried."""

_ERRNO = {
    errno.ECONNREFUSED: "connection_refused",
    errno.ECONNRESET: "connection_reset_by_peer",
    errno.EPIPE: "connection_reset_by_peer",
    errno.EHOSTUNREACH: "no_route_to_host",
    errno.ENETUNREACH: "network_unreachable",
    errno.EADDRNOTAVAIL: "cant_assign_requested_address",
    errno.EHOSTDOWN: "host_is_down",
    errno.ETIMEDOUT: "io_timeout",
}

# The first row that fits counts.
_TYPES: tuple[tuple[type[BaseException], str], ...] = (
    (TimeoutError, "io_timeout"),  # `PeerTimeout` too
    (trio.TooSlowError, "io_timeout"),
    (errors.PeerIdMismatch, "peer_id_mismatch"),
    (errors.ConnectionGated, "connection_gated"),
    (errors.PrivateNetworkRequired, "negotiate_security_protocol"),
    (errors.MuxerError, "negotiate_stream_multiplexer"),
    (errors.HandshakeError, "negotiate_security_protocol"),
    (errors.NegotiationError, "negotiate_security_protocol"),
    (errors.ProtocolNotSupported, "protocol_not_supported"),
    (errors.NoAddresses, "no_ip_address"),
    (errors.UnsupportedAddress, "no_transport_for_protocol"),
    (errors.ResolutionError, "no_good_addresses"),
    (errors.InvalidAddress, "no_good_addresses"),
    (errors.DialBackoff, "max_dial_attempts_exceeded"),
    (errors.ResourceLimitExceeded, "resource_limit_exceeded"),
    (errors.LimitedConnection, "cant_connect_over_relay"),
    (errors.StreamReset, "stream_reset"),
    (errors.ConnectionClosed, "connection_reset_by_peer"),
    (trio.BrokenResourceError, "write_on_stream"),
    (trio.ClosedResourceError, "stream_reset"),
)

# Some `DialError`s have nothing but their words.
_WORDS = {"refused": "connection_refused", "swallows": "black_hole_refused"}


def net_error(error: BaseException) -> str:
    """nebula's name for `error`; of a dial that failed everywhere, what tells most."""
    return min(map(_name, _leaves(error)), key=NAMES.index)


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, errors.DialError) and error.causes:
        for _, cause in error.causes:
            yield from _leaves(cause)
    else:
        yield error


def _name(error: BaseException) -> str:
    cause = error.__cause__
    for each in (error, cause):
        if isinstance(each, OSError) and each.errno in _ERRNO:
            return _ERRNO[each.errno]
    found = next((name for type, name in _TYPES if isinstance(error, type)), None)
    if found is None and isinstance(error, errors.DialError):
        found = next((name for word, name in _WORDS.items() if word in error.message), None)
    return found or "unknown"
