"""The transport phase of `/tls/1.0.0`: the record layer of TLS 1.3 (RFC 8446 section 5).

OpenSSL runs the handshake. Then its traffic secrets come here, and the connection's records are
sealed and opened without it: its memory buffers would copy every byte three times.

::

    record     = u8 23 | u16 0x0303 | u16 length | sealed
    sealed     = AEAD(content | u8 content type | zeros), the five bytes in front authenticated
    nonce      = IV xor the record's number in its direction and under its key
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from struct import Struct

from cryptography.exceptions import InvalidTag

from carrick.errors import HandshakeError, ProtocolError
from carrick.interfaces import Buffer, Role
from carrick.transports.security.tls.alerts import (
    BAD_RECORD_MAC,
    CLOSE_NOTIFY,
    DECODE_ERROR,
    RECORD_OVERFLOW,
    UNEXPECTED_MESSAGE,
    USER_CANCELED,
    alert,
    alert_name,
)
from carrick.transports.security.tls.frames import (
    ALERT,
    APPLICATION_DATA,
    HANDSHAKE,
    HEADER,
    MAX_FRAGMENT,
    record_size,
)
from carrick.transports.security.tls.keys import IV_BYTES, TAG_BYTES, TrafficSecret
from carrick.transports.security.tls.messages import KEY_UPDATE, Messages, TlsViolation

__all__ = ["REKEY_AFTER", "TlsRecords"]

REKEY_AFTER = 1 << 24
"""Records under one key, after which ours changes. RFC 8446 5.5: at most 2**24.5 with AES-GCM."""

_SEQUENCE_END = 1 << 64  # RFC 8446 5.3: it does not wrap
_MAX_QUIET = 32  # go's crypto/tls: 16 in a row (maxUselessRecords)
_MAX_UPDATES = 32  # key updates of the peer, and one more for each MiB that it sends
_BYTES_PER_UPDATE = 1 << 20
_DELIVER = 4 * MAX_FRAGMENT  # bytes that the sink gets at once, about
_LEAST = 1 + TAG_BYTES  # bytes of a sealed record: content type and tag
_AROUND = HEADER + _LEAST  # what a record adds to its content
_FULL = MAX_FRAGMENT + _LEAST  # bytes behind the header of a record that is full
_HEADER = Struct(">BHH")  # content type, legacy version, length
_VERSION = 0x0303
_DATA = bytes((APPLICATION_DATA,))
_ALERT = bytes((ALERT,))
_HANDSHAKE = bytes((HANDSHAKE,))


class TlsRecords:
    """`carrick.interfaces.Records` with the traffic secrets of a finished handshake.

    Args:
        sending: the secret of what we send.
        receiving: that of what we receive.
    """

    __slots__ = (
        "_alert",
        "_confirmed",
        "_decrypt",
        "_decrypt_into",
        "_encrypt_into",
        "_ended",
        "_messages",
        "_opened",
        "_quiet",
        "_received",
        "_receive_iv",
        "_receiving",
        "_sealed",
        "_send_iv",
        "_sending",
        "_updates",
    )

    max_plain = 4 * MAX_FRAGMENT
    """Four TLS records, sealed together: muxer frames of 64 KiB cost the least."""
    overhead = 4 * _AROUND + _AROUND + len(KEY_UPDATE)
    """Of four records, and of a key update that goes first."""

    def __init__(self, sending: TrafficSecret, receiving: TrafficSecret, role: Role) -> None:
        # A client has finished before the server has seen its certificate: until something
        # comes back, an alert means that the server has refused us (tls.md, "Note for clients").
        self._confirmed = role is Role.SERVER
        self._messages = Messages(role)
        self._alert = CLOSE_NOTIFY
        self._ended = False
        self._quiet = 0
        self._updates = 0
        self._received = 0  # bytes of data
        self._use_sending(sending)
        self._use_receiving(receiving)

    def _use_sending(self, secret: TrafficSecret) -> None:
        self._sending = secret
        self._encrypt_into = secret.cipher().encrypt_into
        self._send_iv = secret.iv()
        self._sealed = 0

    def _use_receiving(self, secret: TrafficSecret) -> None:
        self._receiving = secret
        cipher = secret.cipher()
        self._decrypt, self._decrypt_into = cipher.decrypt, cipher.decrypt_into
        self._receive_iv = secret.iv()
        self._opened = 0

    # --- receiving --------------------------------------------------------------------------------

    def open_all(self, buffer: memoryview, lo: int, hi: int, sink: Callable[[bytes], None]) -> int:
        """Hand the data of the complete records in `buffer[lo:hi]` to `sink`, in order.

        Records of a piece are joined up to 64 KiB: they have a quarter of that at most. Returns
        where the incomplete rest begins.

        Raises:
            ProtocolError: a record is malformed, does not authenticate, or is not allowed here; or
                the peer sent a fatal alert.
            HandshakeError: the server refused our certificate.
        """
        contents: list[memoryview] = []
        filled = 0
        in_place = not buffer.readonly
        try:
            while hi - lo >= HEADER:
                kind, version, length = _HEADER.unpack_from(buffer, lo)
                if kind != APPLICATION_DATA or version != _VERSION or length > _FULL:
                    length = record_size(buffer, lo) - HEADER  # or it says what is wrong
                end = lo + HEADER + length
                if end > hi:
                    break
                if self._ended:  # RFC 8446 6.1: what follows a close_notify is ignored
                    return hi
                inner = self._open(buffer, lo, end, in_place)
                lo = end
                if inner[-1] != APPLICATION_DATA:
                    plain = bytes(inner).rstrip(b"\x00")  # padding, section 5.4
                    if not plain or plain[-1] != APPLICATION_DATA:
                        self._control(plain)
                        continue
                    inner = memoryview(plain)
                if self._messages.partial:
                    raise TlsViolation(UNEXPECTED_MESSAGE, "data within a handshake message")
                self._confirmed = True
                size = len(inner) - 1
                if not size:
                    self._count_quiet()
                    continue
                self._quiet = 0
                contents.append(inner[:-1])
                filled += size
                if filled >= _DELIVER:
                    self._deliver(contents, filled, sink)
                    filled = 0
        except TlsViolation as violation:
            self._alert = violation.alert
            raise ProtocolError(f"TLS: {violation}") from None
        finally:  # what came before a bad record is good
            if contents:
                self._deliver(contents, filled, sink)
        return lo

    def _deliver(
        self, contents: list[memoryview], filled: int, sink: Callable[[bytes], None]
    ) -> None:
        plain = b"".join(contents)
        contents.clear()
        self._received += filled
        sink(plain)

    def _open(self, buffer: memoryview, at: int, end: int, in_place: bool) -> memoryview:
        """Content, content type and padding of the record `buffer[at:end]`.

        In place if that can be: a new `bytes` object is filled with zeros first.
        """
        start = at + HEADER
        if buffer[at] != APPLICATION_DATA:
            raise TlsViolation(UNEXPECTED_MESSAGE, "a record that is not protected")
        if end - start < _LEAST:
            raise TlsViolation(DECODE_ERROR, f"a record of {end - start} bytes")
        sequence = self._opened
        if sequence == _SEQUENCE_END:
            raise TlsViolation(UNEXPECTED_MESSAGE, "the peer's sequence numbers are used up")
        nonce = (self._receive_iv ^ sequence).to_bytes(IV_BYTES, "big")
        try:
            if in_place:
                inner = buffer[start : end - TAG_BYTES]
                self._decrypt_into(nonce, buffer[start:end], buffer[at:start], inner)
            else:
                inner = memoryview(self._decrypt(nonce, buffer[start:end], buffer[at:start]))
        except InvalidTag:
            raise TlsViolation(
                BAD_RECORD_MAC, f"record {sequence} does not authenticate (bad record mac)"
            ) from None
        if len(inner) > MAX_FRAGMENT + 1:
            raise TlsViolation(RECORD_OVERFLOW, f"{len(inner)} bytes in a record")
        self._opened = sequence + 1
        return inner

    def _control(self, inner: bytes) -> None:
        """A record that carries no data."""
        kind, content = inner[-1:], inner[:-1]
        self._count_quiet()
        if kind == _ALERT:
            self._take_alert(content)
        elif kind == _HANDSHAKE:
            if self._messages.receive(content):
                self._update_receiving()
        else:
            what = f"content type {kind[0]}" if kind else "no content type"
            raise TlsViolation(UNEXPECTED_MESSAGE, f"a record with {what}")

    def _take_alert(self, content: bytes) -> None:
        if len(content) != 2:
            raise TlsViolation(DECODE_ERROR, f"an alert of {len(content)} bytes")
        description = content[1]
        if description == CLOSE_NOTIFY:
            self._ended = True
        elif description != USER_CANCELED:
            what = f"alert {alert_name(description)}"
            if self._confirmed:
                raise ProtocolError(f"TLS: {what}")
            raise HandshakeError(f"the peer refused the TLS handshake: {what}")

    def _update_receiving(self) -> None:
        self._updates += 1
        if self._updates > _MAX_UPDATES + self._received // _BYTES_PER_UPDATE:
            raise TlsViolation(UNEXPECTED_MESSAGE, "too many key updates")
        self._use_receiving(self._receiving.updated())

    def _count_quiet(self) -> None:
        """A record without data: a ticket, a key update, padding. Each costs us more than them."""
        self._quiet += 1
        if self._quiet > _MAX_QUIET:
            raise TlsViolation(
                UNEXPECTED_MESSAGE, f"more than {_MAX_QUIET} records in a row without data"
            )

    # --- sending ----------------------------------------------------------------------------------

    def seal(self, out: bytearray, at: int, pieces: Sequence[Buffer]) -> int:
        """Write the joined `pieces` in as many records as they need; returns where these end."""
        if self._messages.update_due or self._sealed >= REKEY_AFTER:
            at = self._seal_update(out, at)
        contents: list[Buffer] = []
        room = MAX_FRAGMENT
        target = memoryview(out)
        for piece in pieces:
            size = len(piece)
            if size <= room:
                contents.append(piece)
                room -= size
                continue
            view = memoryview(piece)
            taken = 0
            while size - taken > room:
                contents.append(view[taken : taken + room])
                at = self._seal_record(target, at, contents, _DATA)
                contents = []
                taken += room
                room = MAX_FRAGMENT
            contents.append(view[taken:])
            room -= size - taken
        return self._seal_record(target, at, contents, _DATA)

    def _seal_record(self, out: memoryview, at: int, contents: list[Buffer], kind: bytes) -> int:
        contents.append(kind)
        inner = b"".join(contents)
        length = len(inner) + TAG_BYTES
        start = at + HEADER
        end = start + length
        sequence = self._sealed
        self._sealed = sequence + 1
        header = _HEADER.pack(APPLICATION_DATA, _VERSION, length)
        out[at:start] = header
        nonce = (self._send_iv ^ sequence).to_bytes(IV_BYTES, "big")
        self._encrypt_into(nonce, inner, header, out[start:end])
        return end

    def _seal_update(self, out: bytearray, at: int) -> int:
        """A key update: the last record under the present key (RFC 8446 section 4.6.3)."""
        at = self._seal_record(memoryview(out), at, [KEY_UPDATE], _HANDSHAKE)
        self._messages.update_due = False
        self._use_sending(self._sending.updated())
        return at

    def closing(self) -> bytes:
        """close_notify, or the alert that says why we fail."""
        out = bytearray(_AROUND + 2)
        self._seal_record(memoryview(out), 0, [alert(self._alert)], _ALERT)
        return bytes(out)
