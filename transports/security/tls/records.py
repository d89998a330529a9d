"""The transport phase of `/tls/1.0.0`: TLS records by OpenSSL, over memory buffers."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence

from OpenSSL import SSL

from carrick.errors import HandshakeError, ProtocolError
from carrick.interfaces import Buffer, Role
from carrick.transports.security.tls.frames import HEADER, MAX_FRAGMENT, record_size

__all__ = ["TlsRecords", "drain", "reason"]

_DRAIN = MAX_FRAGMENT + 1024  # bytes taken from OpenSSL at once
_MAX_QUIET = 32  # go's crypto/tls: 16 in a row (maxUselessRecords)


class TlsRecords:
    """`carrick.interfaces.Records` on a finished TLS handshake."""

    max_plain = 4 * MAX_FRAGMENT
    """Four TLS records, sealed together: muxer frames of 64 KiB cost the least."""
    overhead = 512
    """4 x 22 bytes of header, content type and tag, and what OpenSSL has queued to go first: an
    answer to a key update (27 bytes) and the two tickets that nobody can redeem (158)."""

    def __init__(self, tls: SSL.Connection, role: Role) -> None:
        self._tls = tls
        # A client has finished before the server has seen its certificate: until something
        # comes back, an alert means that the server has refused us (tls.md, "Note for clients").
        self._confirmed = role is Role.SERVER
        self._quiet = 0
        self._ended = False

    def open_all(self, buffer: memoryview, lo: int, hi: int, sink: Callable[[bytes], None]) -> int:
        tls = self._tls
        while hi - lo >= HEADER:
            end = lo + record_size(buffer, lo)
            if end > hi:
                break
            if self._ended:  # RFC 8446 6.1: what follows a close_notify is ignored
                return hi
            tls.bio_write(buffer[lo:end])
            lo = end
            try:
                plain = tls.recv(MAX_FRAGMENT)
            except SSL.WantReadError:
                self._count_quiet()
            except SSL.ZeroReturnError:
                self._ended = True
            except SSL.Error as error:
                raise self._failure(error) from None
            else:
                self._confirmed = True
                self._quiet = 0
                sink(plain)
        return lo

    def seal(self, out: bytearray, at: int, pieces: Sequence[Buffer]) -> int:
        tls = self._tls
        rest = memoryview(pieces[0] if len(pieces) == 1 else b"".join(pieces))
        try:
            while rest:
                rest = rest[tls.send(rest[:MAX_FRAGMENT]) :]
                # Drained after each record: OpenSSL keeps a buffer of the most it ever held.
                sealed = tls.bio_read(_DRAIN)
                end = at + len(sealed)
                out[at:end] = sealed
                at = end
        except SSL.Error as error:
            raise self._failure(error) from None
        return at

    def closing(self) -> bytes:
        with contextlib.suppress(SSL.Error):  # after a failure there is only its alert to send
            self._tls.shutdown()
        return drain(self._tls)

    def _count_quiet(self) -> None:
        """A record without data: a ticket, a key update, padding. Each costs us more than them."""
        self._quiet += 1
        if self._quiet > _MAX_QUIET:
            raise ProtocolError(f"more than {_MAX_QUIET} TLS records in a row without data")

    def _failure(self, error: SSL.Error) -> ProtocolError:
        if self._confirmed:
            return ProtocolError(f"TLS: {reason(error)}")
        return HandshakeError(f"the peer refused the TLS handshake: {reason(error)}")


def drain(tls: SSL.Connection) -> bytes:
    """All bytes that OpenSSL wants to send."""
    parts = []
    with contextlib.suppress(SSL.WantReadError):
        while True:
            parts.append(tls.bio_read(_DRAIN))
    return b"".join(parts)


def reason(error: SSL.Error) -> str:
    """What OpenSSL says about an error, in one line."""
    if isinstance(error, SSL.SysCallError):
        return str(error.args[-1]).lower()
    queue = error.args[0] if error.args else ()
    return "; ".join(text for _library, _function, text in queue if text) or "unknown error"
