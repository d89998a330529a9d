"""Address validation tokens: the proof that a client receives at the address it sends from.

Layout: milliseconds of our clock (8 bytes), the client's first destination id, a MAC (16 bytes)
over these, the client's address and the id that our Retry gave (RFC 9000 section 8.1).
"""

from __future__ import annotations

import hmac
import ipaddress

from carrick.interfaces import Endpoint

__all__ = ["AddressTokens"]

LIFETIME = 10.0  # s; a round trip, and the client's patience
_MAC = 16
_TIME = 8


class AddressTokens:
    """Gives tokens and knows them again.

    Args:
        secret: 32 random bytes that nobody else knows.
    """

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def issue(self, remote: Endpoint, original: bytes, retry: bytes, now: float) -> bytes:
        """A token for the client at `remote`.

        Args:
            original: the destination id of its first packet.
            retry: the source id of our Retry, which it must use from now on.
            now: seconds of a monotonic clock.
        """
        body = int(now * 1000).to_bytes(_TIME, "big") + original
        return body + self._mac(body, remote, retry)

    def original_id(self, token: bytes, remote: Endpoint, retry: bytes, now: float) -> bytes | None:
        """The client's first destination id; None if the token is not good here and now."""
        body, mac = token[:-_MAC], token[-_MAC:]
        if len(body) < _TIME or not hmac.compare_digest(mac, self._mac(body, remote, retry)):
            return None
        age = now - int.from_bytes(body[:_TIME], "big") / 1000
        return body[_TIME:] if -1 <= age <= LIFETIME else None

    def _mac(self, body: bytes, remote: Endpoint, retry: bytes) -> bytes:
        ip = ipaddress.ip_address(remote[0].partition("%")[0]).packed
        place = b"".join(
            (bytes((len(ip),)), ip, remote[1].to_bytes(2, "big"), bytes((len(retry),)))
        )
        return hmac.digest(self._secret, place + retry + body, "sha256")[:_MAC]
