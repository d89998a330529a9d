"""TLS under WebSocket (`/wss`): a `ByteSocket` over another, and its certificates.

This TLS is the web's, not libp2p's: the server shows a certificate for its name, the client none.
The identity of the peer is proven above it.
"""

from __future__ import annotations

import logging
import os
import ssl
from contextlib import suppress
from pathlib import Path

import trio

from carrick.errors import HandshakeError, KeyFileError
from carrick.interfaces import ByteSocket, Endpoint

__all__ = ["CertificateFiles", "TlsSocket", "client_context"]

logger = logging.getLogger(__name__)

CHUNK = 64 * 1024  # bytes that are encrypted at once
RECEIVE_SIZE = 32 * 1024  # bytes of records that are taken at once; OpenSSL keeps such a buffer
_ALPN = ["http/1.1"]  # RFC 6455 knows no other


class CertificateFiles:
    """A certificate chain and its key in PEM files, loaded anew when the files change.

    Raises:
        KeyFileError: they cannot be read, or do not belong together.
    """

    def __init__(self, certificate: str | os.PathLike[str], key: str | os.PathLike[str]) -> None:
        self._paths = (Path(certificate), Path(key))
        self._seen = self._state()
        self._context = self._load()

    def context(self) -> ssl.SSLContext:
        """For the next connection. New files that cannot be used are logged, and the old
        certificate stays."""
        state = self._state()
        if state != self._seen:
            self._seen = state
            try:
                self._context = self._load()
            except KeyFileError as error:
                logger.warning("the old certificate stays: %s", error)
        return self._context

    def _state(self) -> list[tuple[int, int, int] | None]:
        return [_stamp(path) for path in self._paths]

    def _load(self) -> ssl.SSLContext:
        certificate, key = self._paths
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.num_tickets = 0
        context.set_alpn_protocols(_ALPN)
        try:
            context.load_cert_chain(certificate, key)
        except OSError as error:
            reason = error.strerror or str(error)
            raise KeyFileError(f"cannot use {certificate} with {key}: {reason}") from error
        return context


def client_context(trust: str | os.PathLike[str] | None, *, verify: bool) -> ssl.SSLContext:
    """For dialling.

    Args:
        trust: a PEM file of certificates to trust, instead of the system's.
        verify: False takes any certificate.

    Raises:
        KeyFileError: the file cannot be read.
    """
    try:
        context = ssl.create_default_context(cafile=None if trust is None else os.fspath(trust))
    except OSError as error:
        raise KeyFileError(f"cannot use {trust}: {error.strerror or error}") from error
    context.set_alpn_protocols(_ALPN)
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


class TlsSocket:
    """A `carrick.interfaces.ByteSocket` that speaks TLS; `handshake` comes first.

    Args:
        server_name: whose certificate the client asks for and checks; None: we are the server.
    """

    def __init__(
        self, socket: ByteSocket, context: ssl.SSLContext, *, server_name: str | None = None
    ) -> None:
        self._socket = socket
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        try:
            self._tls = context.wrap_bio(
                self._incoming,
                self._outgoing,
                server_side=server_name is None,
                server_hostname=server_name,
            )
        except ValueError as error:
            raise HandshakeError(f"TLS cannot ask for {server_name!r}: {error}") from None
        self._unsent = b""
        self._promised = 0  # plaintext that is encrypted, in `_unsent`, and not reported as sent
        self._full = False  # the last `recv_into` ended because the buffer was full
        self._ended = False

    @property
    def local(self) -> Endpoint:
        return self._socket.local

    @property
    def remote(self) -> Endpoint:
        return self._socket.remote

    async def handshake(self) -> None:
        """The deadline is the caller's.

        Raises:
            HandshakeError: it failed; the message says what is wrong with a certificate.
            OSError: as the socket.
        """
        scratch = memoryview(bytearray(RECEIVE_SIZE))
        done = False
        while not done:
            try:
                self._tls.do_handshake()
                done = True
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLError as error:
                with suppress(OSError):
                    self._flush()  # the alert
                reason = getattr(error, "verify_message", "") or error.reason or str(error)
                raise HandshakeError(f"TLS failed: {reason}") from error
            while not self._flush():
                await self._socket.wait_writable()
            while not done and (size := self._socket.recv_into(scratch)) != 0:
                if size is not None:
                    self._incoming.write(scratch[:size])
                    break
                await self._socket.wait_readable()
            else:
                if not done:
                    raise HandshakeError("the peer closed the connection during TLS")
        await trio.lowlevel.checkpoint()

    def recv_into(self, buffer: memoryview) -> int | None:
        if self._ended:
            return 0
        total, asked = 0, False
        self._full = False
        while total < len(buffer):
            try:
                count = int(self._tls.read(len(buffer) - total, buffer[total:]))
            except ssl.SSLWantReadError:
                if asked or total:
                    break
                # The caller's buffer serves for the records too: OpenSSL copies them.
                size = self._socket.recv_into(buffer[:RECEIVE_SIZE])
                if size is None:
                    return None
                if size == 0:
                    self._incoming.write_eof()
                else:
                    self._incoming.write(buffer[:size])
                asked = True
                continue
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                count = 0
            if count == 0:
                self._ended = True
                return total
            total += count
        self._full = total == len(buffer)
        if self._outgoing.pending:
            with suppress(OSError):  # the next send will find out too
                self._flush()
        return total or None

    def send(self, data: memoryview) -> int | None:
        if not self._promised:
            if not data:
                return 0
            if not self._flush():
                return None
            self._promised = self._tls.write(data[:CHUNK])
        if not self._flush():
            return None
        count, self._promised = self._promised, 0
        return count

    def _flush(self) -> bool:
        """Send what is encrypted; True once all of it is gone."""
        if self._outgoing.pending:
            self._unsent += self._outgoing.read()
        while self._unsent:
            sent = self._socket.send(memoryview(self._unsent))
            if sent is None:
                return False
            self._unsent = self._unsent[sent:]
        return True

    async def wait_readable(self) -> None:
        if self._full:
            await trio.lowlevel.checkpoint()
        else:
            await self._socket.wait_readable()

    async def wait_writable(self) -> None:
        await self._socket.wait_writable()

    def close(self) -> None:
        if not (self._ended or self._unsent):
            with suppress(OSError):
                self._tls.unwrap()
            with suppress(OSError):
                self._flush()
        self._ended = True
        self._socket.close()

    def abort(self) -> None:
        self._socket.abort()


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
