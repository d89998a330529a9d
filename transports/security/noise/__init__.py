"""Noise (`/noise`): proves both identities and encrypts, for transports that carry bytes.

Source: libp2p/specs, noise/README.md, r5.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from carrick.identity import PeerId, PrivateKey
from carrick.interfaces import Role
from carrick.transports.security.noise.handshake import NoiseHandshake
from carrick.transports.security.noise.payload import signed_payload
from carrick.transports.security.noise.records import NoiseRecords
from carrick.transports.security.noise.xx import StaticKey

__all__ = ["Noise", "NoiseHandshake", "NoiseRecords"]


class Noise:
    """The Noise security of one host: a `carrick.interfaces.Security`.

    The Noise key pair is made here and signed once, and serves every connection.

    Args:
        key: our identity.
        keylog: for debugging with captured traffic: called once per connection with the line
            `NOISE <initiator's ephemeral public key> <key from initiator to responder> <key from
            responder to initiator>`, each 32 bytes in hex. Whoever has the line reads the
            connection.
    """

    id = "/noise"

    def __init__(self, key: PrivateKey, *, keylog: Callable[[str], None] | None = None) -> None:
        self._static = StaticKey()
        self._payload = signed_payload(key, self._static.public)
        self._keylog = keylog

    def handshake(
        self,
        role: Role,
        *,
        expected_peer: PeerId | None,
        muxers: Sequence[str],
        certhashes: Sequence[bytes] = (),
    ) -> NoiseHandshake:
        """Begin a handshake. CLIENT is Noise's initiator; see `carrick.interfaces.Security`.

        Args:
            certhashes: multihashes of our WebTransport certificates, to be confirmed by it.
        """
        return NoiseHandshake(
            role,
            static=self._static,
            payload=self._payload,
            expected_peer=expected_peer,
            muxers=muxers,
            certhashes=certhashes,
            keylog=self._keylog,
        )
