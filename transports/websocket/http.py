"""The HTTP upgrade (RFC 6455, section 4), without I/O, on h11."""

from __future__ import annotations

import base64
import binascii
import hashlib
import http

import h11

from carrick.errors import HandshakeError

__all__ = ["MAX_HEADERS", "ClientUpgrade", "ServerUpgrade"]

MAX_HEADERS = 16 * 1024  # bytes of a request or response, in all
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # section 1.3
_NONCE = 16  # bytes of Sec-WebSocket-Key when decoded
_UPGRADE = [(b"Upgrade", b"websocket"), (b"Connection", b"Upgrade")]


class _Upgrade:
    """What both sides share: feed bytes until `done`, and send what `take_output` gives."""

    def __init__(self, role: type[h11._util.Sentinel]) -> None:
        self._http = h11.Connection(role, max_incomplete_event_size=MAX_HEADERS)
        self._output = b""
        self._room = MAX_HEADERS
        self.done = False

    @property
    def room(self) -> int:
        """How many bytes `receive` takes at most."""
        return self._room

    @property
    def rest(self) -> bytes:
        """What came behind the upgrade: frames."""
        return self._http.trailing_data[0]

    def take_output(self) -> bytes:
        output, self._output = self._output, b""
        return output

    def _send(self, event: h11.Event) -> None:
        self._output += self._http.send(event) or b""

    def _feed(self, data: bytes) -> object:
        """The next event. Raises: h11.RemoteProtocolError."""
        self._room -= len(data)
        self._http.receive_data(data)
        event = self._http.next_event()
        if event is h11.NEED_DATA and self._room <= 0:
            raise h11.RemoteProtocolError("the headers are too long", error_status_hint=431)
        return event


class ServerUpgrade(_Upgrade):
    """A listener's side."""

    def __init__(self) -> None:
        super().__init__(h11.SERVER)

    def receive(self, data: bytes) -> None:
        """Take bytes of the request; of any cut, at most `room`.

        Raises:
            HandshakeError: it asks for something else. `take_output` then has an HTTP error.
        """
        try:
            request = self._feed(data)
            if not isinstance(request, h11.Request):
                if request is not h11.NEED_DATA:
                    raise h11.RemoteProtocolError("the client ended the request")
                return
            if not isinstance(self._http.next_event(), h11.EndOfMessage):
                raise h11.RemoteProtocolError("the request has a body")
        except h11.RemoteProtocolError as error:
            raise self._refusal(error.error_status_hint, str(error)) from None
        accept = self._check(request)
        headers = [*_UPGRADE, (b"Sec-WebSocket-Accept", accept)]
        self._send(h11.InformationalResponse(status_code=101, headers=headers))
        self.done = True

    def _check(self, request: h11.Request) -> bytes:
        """The answer to the client's key."""
        headers = dict(request.headers)  # h11 has lower-cased the names
        if request.http_version != b"1.1" or request.method != b"GET":
            raise self._refusal(400, "only GET of HTTP/1.1 is served")
        if b"websocket" not in _tokens(headers, b"upgrade") or b"upgrade" not in _tokens(
            headers, b"connection"
        ):
            raise self._refusal(426, "this is a WebSocket server")
        if headers.get(b"sec-websocket-version") != b"13":
            raise self._refusal(426, "the WebSocket version is not 13")
        key = headers.get(b"sec-websocket-key", b"")
        try:
            nonce = base64.b64decode(key, validate=True)
        except binascii.Error:
            nonce = b""
        if len(nonce) != _NONCE:
            raise self._refusal(400, "Sec-WebSocket-Key is no key")
        return _accept(key)

    def _refusal(self, status: int, why: str) -> HandshakeError:
        body = f"{why}\n".encode("ascii", "replace")
        headers = [
            (b"Content-Type", b"text/plain"),
            (b"Content-Length", str(len(body)).encode()),
            (b"Connection", b"close"),
        ]
        if status == 426:  # RFC 9110 section 15.5.22; RFC 6455 section 4.4
            headers[-1:] = [
                (b"Upgrade", b"websocket"),
                (b"Connection", b"Upgrade, close"),
                (b"Sec-WebSocket-Version", b"13"),
            ]
        reason = http.HTTPStatus(status).phrase.encode()
        try:
            self._send(h11.Response(status_code=status, headers=headers, reason=reason))
            self._send(h11.Data(data=body))
            self._send(h11.EndOfMessage())
        except h11.LocalProtocolError:  # too late for an answer
            self._output = b""
        return HandshakeError(f"no WebSocket client: {why}")


class ClientUpgrade(_Upgrade):
    """A dialer's side.

    Args:
        host: the Host header.
        path: what to ask for.
        nonce: 16 random bytes.

    Raises:
        HandshakeError: host or path cannot stand in a request.
    """

    def __init__(self, host: str, path: str, nonce: bytes) -> None:
        super().__init__(h11.CLIENT)
        key = base64.b64encode(nonce)
        self._expected = _accept(key)
        headers = [
            (b"Host", host.encode("ascii", "replace")),
            *_UPGRADE,
            (b"Sec-WebSocket-Key", key),
            (b"Sec-WebSocket-Version", b"13"),
        ]
        try:
            self._send(h11.Request(method=b"GET", target=path.encode(), headers=headers))
            self._send(h11.EndOfMessage())
        except h11.LocalProtocolError as error:
            raise HandshakeError(f"no HTTP request can be made of the address: {error}") from None

    def receive(self, data: bytes) -> None:
        """Take bytes of the response; of any cut, at most `room`.

        Raises:
            HandshakeError: the server is no WebSocket server, or refused.
        """
        try:
            response = self._feed(data)
            while isinstance(response, h11.InformationalResponse) and response.status_code != 101:
                response = self._http.next_event()
        except h11.RemoteProtocolError as error:
            raise HandshakeError(f"no WebSocket server: {error}") from None
        if response is h11.NEED_DATA:
            return
        if not isinstance(response, h11.InformationalResponse):
            status = getattr(response, "status_code", "nothing")
            raise HandshakeError(f"no WebSocket server: it answered {status} to the upgrade")
        headers = dict(response.headers)
        if b"websocket" not in _tokens(headers, b"upgrade") or b"upgrade" not in _tokens(
            headers, b"connection"
        ):
            raise HandshakeError("no WebSocket server: it switched to another protocol")
        if headers.get(b"sec-websocket-accept") != self._expected:
            raise HandshakeError("no WebSocket server: it answers another key")
        if b"sec-websocket-extensions" in headers or b"sec-websocket-protocol" in headers:
            raise HandshakeError("the server chose an extension that was not offered")
        self.done = True


def _accept(key: bytes) -> bytes:
    return base64.b64encode(hashlib.sha1(key + _GUID).digest())


def _tokens(headers: dict[bytes, bytes], name: bytes) -> list[bytes]:
    return [token.strip().lower() for token in headers.get(name, b"").split(b",")]
