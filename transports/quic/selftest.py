"""Proves at start-up that a listener refuses clients without a proven certificate.

`tls` adds client authentication to a library that has none, by means that are no public interface.
Should another release behave differently, nobody must listen with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from carrick.errors import ListenError
from carrick.identity import PublicKey
from carrick.transports.quic.backend import Established
from carrick.transports.quic.engine import Engine
from carrick.transports.quic.packets import parse_long
from carrick.transports.quic.settings import EngineSettings
from carrick.transports.quic.tls import Credentials, Profile, load_credentials

__all__ = ["require_client_authentication"]

_CLIENT, _SERVER = ("127.0.0.1", 1), ("127.0.0.1", 2)
_ROUNDS = 8
_DATAGRAMS = 64


@lru_cache(1)
def require_client_authentication() -> None:
    """Once in a process: three handshakes in memory, some milliseconds.

    Raises:
        ListenError: the QUIC library does not do what it should.
    """
    server, client, other = _credentials(), _credentials(), _credentials()
    forged = Credentials(client.certificate, other.private_key)
    expected = ((client, True), (None, False), (forged, False))
    for number, (shown, accepted) in enumerate(expected):
        if _handshake(server, shown) is not accepted:
            raise ListenError(
                f"cannot listen on QUIC: the installed qh3 fails Carrick's self-test {number}; "
                "install qh3==2.1.*"
            )


def _credentials() -> Credentials:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    return load_credentials(certificate.public_bytes(Encoding.DER), key)


def _handshake(ours: Credentials, shown: Credentials | None) -> bool:
    """Whether a server of ours takes a client that shows these credentials."""

    def accept(chain: Sequence[bytes]) -> PublicKey | None:
        return None

    settings = EngineSettings()
    client = Engine({"t": Profile("t", shown, accept)}, settings, is_client=True)
    client.start(_SERVER, 0.0)
    server: Engine | None = None
    for now in range(_ROUNDS):
        for datagram, _ in client.poll(now, _DATAGRAMS):
            if server is None:
                header = parse_long(datagram)
                assert header is not None
                server = Engine(
                    {"t": Profile("t", ours, accept)},
                    settings,
                    is_client=False,
                    original_id=header.destination,
                )
            server.receive(datagram, len(datagram), _CLIENT, now)
        for datagram, _ in server.poll(now, _DATAGRAMS) if server is not None else ():
            client.receive(datagram, len(datagram), _SERVER, now)
    while server is not None and (event := server.next_event()) is not None:
        if isinstance(event, Established):
            return True
    return False
