"""The private network itself: a stream cipher around every socket of its members.

Source: libp2p/specs, `pnet/Private-Networks-PSK-V1.md`. It keeps strangers out, and no more: the
security protocol above it authenticates.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from Crypto.Cipher.Salsa20 import Salsa20Cipher

from carrick.errors import InvalidKey
from carrick.interfaces import ByteSocket, Endpoint
from carrick.transports.security.pnet.xsalsa20 import KEY_SIZE, NONCE_SIZE, xsalsa20

__all__ = ["PrivateNetwork", "ProtectedSocket"]

_CHUNK = 64 * 1024  # bytes encrypted at once; as many may be kept if the socket is full


class PrivateNetwork:
    """A network of those who know a key of 32 bytes.

    Args:
        psk: the key, as `load_swarm_key` reads it.
        random: gives that many random bytes; nonces come from it.

    Raises:
        InvalidKey: the key has another length.
    """

    def __init__(self, psk: bytes, *, random: Callable[[int], bytes] = os.urandom) -> None:
        if len(psk) != KEY_SIZE:
            raise InvalidKey(f"a private network's key has {KEY_SIZE} bytes, not {len(psk)}")
        self._psk = bytes(psk)
        self._random = random

    def wrap(self, socket: ByteSocket) -> ProtectedSocket:
        """Protect a fresh socket, before any byte has passed through it."""
        return ProtectedSocket(socket, self._psk, self._random(NONCE_SIZE))


class ProtectedSocket:
    """A `carrick.interfaces.ByteSocket` that XORs all bytes with XSalsa20's key stream.

    Each direction has its own nonce, which goes first, in the clear.
    """

    def __init__(self, socket: ByteSocket, psk: bytes, nonce: bytes) -> None:
        self._socket = socket
        self._psk = psk
        self._sending = xsalsa20(psk, nonce)
        # Encrypted, but not sent: the nonce's rest, then what belongs to the bytes that the next
        # `send` offers. The key stream has moved on, so these bytes must not be encrypted again.
        self._unsent = nonce
        self._nonce_unsent = len(nonce)
        self._receiving: Salsa20Cipher | None = None
        self._their_nonce = b""

    @property
    def local(self) -> Endpoint:
        return self._socket.local

    @property
    def remote(self) -> Endpoint:
        return self._socket.remote

    def recv_into(self, buffer: memoryview) -> int | None:
        while self._receiving is None:
            count = self._receive_nonce()
            if not count:
                return count
        count = self._socket.recv_into(buffer)
        if count:
            received = buffer[:count]
            self._receiving.decrypt(received, output=received)
        return count

    def _receive_nonce(self) -> int | None:
        part = bytearray(NONCE_SIZE - len(self._their_nonce))
        count = self._socket.recv_into(memoryview(part))
        if count:
            self._their_nonce += part[:count]
            if len(self._their_nonce) == NONCE_SIZE:
                self._receiving = xsalsa20(self._psk, self._their_nonce)
        return count

    def send(self, data: memoryview) -> int | None:
        data = data[:_CHUNK]
        fresh = data[len(self._unsent) - self._nonce_unsent :]
        if fresh:
            self._unsent += self._sending.encrypt(fresh)
        while True:
            offered = memoryview(self._unsent)[: self._nonce_unsent + len(data)]
            count = self._socket.send(offered)
            if count is None:
                return None
            self._unsent = self._unsent[count:]
            nonce_sent = min(count, self._nonce_unsent)
            self._nonce_unsent -= nonce_sent
            if count > nonce_sent or not data:
                return count - nonce_sent

    async def wait_readable(self) -> None:
        await self._socket.wait_readable()

    async def wait_writable(self) -> None:
        await self._socket.wait_writable()

    def close(self) -> None:
        self._socket.close()

    def abort(self) -> None:
        self._socket.abort()
