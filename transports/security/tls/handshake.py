"""The handshake of `/tls/1.0.0`: OpenSSL runs TLS 1.3, this module decides who the peer is."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from datetime import datetime

from OpenSSL import SSL, crypto

from carrick.errors import BothDialed, HandshakeError, ProtocolError
from carrick.identity import PeerId, PublicKey
from carrick.interfaces import Buffer, Role, Session
from carrick.transports.security.tls.certificate import verify_chain
from carrick.transports.security.tls.frames import HEADER, record_size
from carrick.transports.security.tls.keys import SUITES, TrafficSecret
from carrick.transports.security.tls.records import TlsRecords

__all__ = ["PeerCheck", "TlsHandshake"]

ALPN = b"libp2p"
MAX_HANDSHAKE = 16 * 1024
"""Bytes that a peer may send before it is authenticated. Honest ones need up to 8 KiB, with RSA
keys of 8192 bits; 64 KiB of memory are allowed (ATTACKS 6.1, promise 3)."""

_CLIENT_SECRET = b"CLIENT_TRAFFIC_SECRET_0"  # labels of the NSS key log
_SERVER_SECRET = b"SERVER_TRAFFIC_SECRET_0"
_DRAIN = 16 * 1024  # bytes taken from OpenSSL at once


class PeerCheck:
    """What one handshake demands of its peer, and what it learns. OpenSSL's callbacks find it on
    the connection."""

    def __init__(
        self,
        *,
        expected_peer: PeerId | None,
        muxers: Sequence[str],
        now: Callable[[], datetime],
    ) -> None:
        self.protocols = [*(muxer.encode() for muxer in muxers), ALPN]
        self._error: HandshakeError | None = None
        self._expected_peer = expected_peer
        self._now = now
        self._verified: tuple[list[bytes], PublicKey] | None = None
        self.secrets: dict[bytes, bytes] = {}
        """By their label in the key log, which is the only way that OpenSSL gives them out."""

    def learn_secret(self, line: bytes) -> None:
        """Take a line of the key log: `label client-random secret`, in hexadecimal digits."""
        label, _, secret = line.split()
        self.secrets[label] = bytes.fromhex(secret.decode())

    def choose_protocol(self, offered: Sequence[bytes]) -> bytes:
        """A server's choice: the client's first that we know.

        Source: `connections/inlined-muxer-negotiation.md`.

        Raises:
            HandshakeError: there is none.
        """
        for protocol in offered:
            if protocol in self.protocols:
                return protocol
        raise HandshakeError("the peer's TLS offers no protocol of ours (ALPN)")

    def accepts(self, certificate: crypto.X509, depth: int) -> bool:
        """What OpenSSL asks during the handshake; False makes it send an alert."""
        try:
            if depth:
                raise HandshakeError("the peer sent more than one certificate")
            self.identify([certificate])
        except HandshakeError as error:
            self._error = error.with_traceback(None)  # which would lead back here: a cycle
            return False
        return True

    def take_error(self) -> HandshakeError | None:
        """Why `accepts` said no."""
        error, self._error = self._error, None
        return error

    def identify(self, chain: Sequence[crypto.X509]) -> PublicKey:
        """The peer's host key.

        Raises:
            HandshakeError: the certificates are not good, or not of the expected peer.
        """
        ders = [crypto.dump_certificate(crypto.FILETYPE_ASN1, each) for each in chain]
        if self._verified is None or self._verified[0] != ders:
            key = verify_chain(ders, now=self._now(), expected_peer=self._expected_peer)
            self._verified = ders, key
        return self._verified[1]


class TlsHandshake:
    """`carrick.interfaces.Handshake`. There is no `Session` before `PeerCheck.identify`."""

    def __init__(self, context: SSL.Context, role: Role, check: PeerCheck) -> None:
        self._role = role
        self._check = check
        self._tls = SSL.Connection(context)
        self._tls.set_app_data(check)
        self._held = b""
        self._total = 0
        self._done = False
        self._session: Session | None = None
        self._failed = False
        if role is Role.CLIENT:
            self._tls.set_connect_state()
            self._tls.set_alpn_protos(check.protocols)
            self._advance()
        else:
            self._tls.set_accept_state()

    @property
    def session(self) -> Session | None:
        return self._session

    def receive(self, data: Buffer) -> None:
        if self._failed:
            raise HandshakeError("this TLS handshake has failed before")
        self._failed = True  # unless it ends well
        try:
            self._receive(memoryview(self._held + data))
        except HandshakeError:
            raise
        except ProtocolError as error:
            raise HandshakeError(error.message) from None
        self._failed = False

    def take_output(self) -> bytes:
        if self._session is not None and self._role is Role.SERVER:
            # Only session tickets are left. A server need not send any, and so the first record
            # of `TlsRecords` has the number 0.
            return b""
        return _drain(self._tls)

    def _receive(self, data: memoryview) -> None:
        at = 0
        while not self._done and len(data) - at >= HEADER:
            end = at + record_size(data, at)
            if self._total + end > MAX_HANDSHAKE:
                raise HandshakeError(f"a TLS handshake of more than {MAX_HANDSHAKE} bytes")
            if end > len(data):
                break
            if self._role is Role.CLIENT and _begins(data[at:end]):
                raise BothDialed("the other side began the handshake too")
            self._tls.bio_write(data[at:end])
            at = end
            self._advance()
        self._total += at
        self._held = bytes(data[at:])
        if self._done:
            self._session = self._finish()

    def _advance(self) -> None:
        try:
            self._tls.do_handshake()
        except SSL.WantReadError:
            return
        except SSL.Error as error:
            refusal = _reason(error)
        else:
            self._done = True
            return
        # Not from within `except`: OpenSSL's error would keep its frames, and us, alive.
        raise self._check.take_error() or HandshakeError(f"TLS: {refusal}")

    def _finish(self) -> Session:
        """OpenSSL is content, which proves nothing yet: its callback could have been passed by."""
        tls = self._tls
        key = self._check.identify(self._peer_chain())
        if tls.get_protocol_version() != SSL.TLS1_3_VERSION:
            raise HandshakeError(f"the peer negotiated {tls.get_protocol_version_name()}")
        protocol = tls.get_alpn_proto_negotiated()
        if protocol and protocol not in self._check.protocols:
            raise HandshakeError("the peer chose a protocol that was not offered (ALPN)")
        return Session(
            peer_id=key.peer_id,
            public_key=key,
            records=self._records(),
            muxer=None if protocol in (b"", ALPN) else protocol.decode(),
            received=self._held,
        )

    def _records(self) -> TlsRecords:
        """What seals and opens records from here on, both directions from number 0."""
        suite = SUITES.get(self._tls.get_cipher_name() or "")
        secrets = self._check.secrets
        if suite is None or not secrets.keys() >= {_CLIENT_SECRET, _SERVER_SECRET}:
            raise HandshakeError("this OpenSSL does not tell the traffic secrets")
        mine, theirs = _CLIENT_SECRET, _SERVER_SECRET
        if self._role is Role.SERVER:
            mine, theirs = theirs, mine
        sending, receiving = (TrafficSecret(suite, secrets[each]) for each in (mine, theirs))
        return TlsRecords(sending, receiving, self._role)

    def _peer_chain(self) -> list[crypto.X509]:
        """All certificates that the peer sent. OpenSSL's list lacks the first on a server."""
        chain = list(self._tls.get_peer_cert_chain() or ())
        first = self._tls.get_peer_certificate()
        if self._role is Role.SERVER and first is not None:
            chain.insert(0, first)
        return chain


def _begins(record: memoryview) -> bool:
    """Whether it is a ClientHello (RFC 8446 sections 4 and 5.1), which no server sends."""
    return record[0] == 22 and len(record) > HEADER and record[HEADER] == 1


def _drain(tls: SSL.Connection) -> bytes:
    """All bytes that OpenSSL wants to send."""
    parts = []
    with contextlib.suppress(SSL.WantReadError):
        while True:
            parts.append(tls.bio_read(_DRAIN))
    return b"".join(parts)


def _reason(error: SSL.Error) -> str:
    """What OpenSSL says about an error, in one line."""
    if isinstance(error, SSL.SysCallError):
        return str(error.args[-1]).lower()
    queue = error.args[0] if error.args else ()
    return "; ".join(text for _library, _function, text in queue if text) or "unknown error"
