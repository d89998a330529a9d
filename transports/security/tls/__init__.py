"""`/tls/1.0.0`: TLS 1.3 with libp2p identities (libp2p/specs, `tls/tls.md`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import cached_property

from OpenSSL import SSL

from carrick.identity import PeerId, PrivateKey
from carrick.interfaces import Role
from carrick.transports.security.tls.certificate import (
    HostCertificate,
    make_certificate,
    verify_certificate,
    verify_chain,
)
from carrick.transports.security.tls.context import make_context
from carrick.transports.security.tls.handshake import PeerCheck, TlsHandshake

__all__ = [
    "PROTOCOL",
    "HostCertificate",
    "Tls",
    "TlsHandshake",
    "make_certificate",
    "verify_certificate",
    "verify_chain",
]

PROTOCOL = "/tls/1.0.0"


def _wall_clock() -> datetime:
    return datetime.now(UTC)


class Tls:
    """TLS 1.3 for one host; a `carrick.interfaces.Security`.

    Args:
        key: the host key.
        keylog: opt-in, called with each line of an NSS key log, for Wireshark. Whoever has these
            lines can read the traffic.
        now: the time, with a time zone; certificates are judged by it.
    """

    id = PROTOCOL

    def __init__(
        self,
        key: PrivateKey,
        *,
        keylog: Callable[[str], None] | None = None,
        now: Callable[[], datetime] = _wall_clock,
    ) -> None:
        self._key = key
        self._keylog = keylog
        self._now = now

    def handshake(
        self, role: Role, *, expected_peer: PeerId | None, muxers: Sequence[str]
    ) -> TlsHandshake:
        check = PeerCheck(expected_peer=expected_peer, muxers=muxers, now=self._now)
        context = self._client if role is Role.CLIENT else self._server
        return TlsHandshake(context, role, check)

    @cached_property
    def certificate(self) -> HostCertificate:
        """Our certificate, made when it is first needed and kept."""
        return make_certificate(self._key, now=self._now())

    @cached_property
    def _client(self) -> SSL.Context:
        return make_context(Role.CLIENT, self.certificate, self._keylog)

    @cached_property
    def _server(self) -> SSL.Context:
        return make_context(Role.SERVER, self.certificate, self._keylog)
