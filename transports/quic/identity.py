"""Profiles for the application protocol `libp2p`: who we are, and whom we take."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from carrick.identity import PeerId, PrivateKey, PublicKey
from carrick.transports.quic.tls import Profile, load_credentials
from carrick.transports.security.tls.certificate import make_certificate, verify_chain

__all__ = ["ALPN", "HostIdentity"]

ALPN = "libp2p"  # libp2p/specs quic/README.md


def _now() -> datetime:
    return datetime.now(UTC)


class HostIdentity:
    """Our certificate, made once.

    Args:
        key: the host key.
        clock: the time of day, with a time zone.
    """

    def __init__(self, key: PrivateKey, *, clock: Callable[[], datetime] = _now) -> None:
        made = make_certificate(key, now=clock())
        self._credentials = load_credentials(made.der, made.private_key)
        self._clock = clock

    def profile(self, expected: PeerId | None = None) -> Profile:
        """A handshake in which the peer proves who it is.

        Args:
            expected: refuse any other identity.
        """

        def check(chain: Sequence[bytes]) -> PublicKey:
            return verify_chain(chain, now=self._clock(), expected_peer=expected)

        return Profile(ALPN, self._credentials, check)
