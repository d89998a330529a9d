"""One bounded HTTP/1.1 exchange with a gateway: no redirects, no second request.

The state machine is h11; `HttpExchange` puts limits on it, and `fetch` moves its bytes.
"""

from __future__ import annotations

from dataclasses import dataclass

import h11
import trio

from carrick.errors import MessageTooLarge, ProtocolError
from carrick.interfaces import Endpoint, SocketOpener
from carrick.protocols.portmap.mapping import NoGateway
from carrick.protocols.portmap.upnp.xml import MAX_DOCUMENT

__all__ = ["HttpAnswer", "HttpExchange", "Url", "fetch"]

MAX_HEADERS = 8 * 1024  # bytes
MAX_ANSWER = 2 * MAX_DOCUMENT  # bytes in all, framing included
MAX_EVENTS = 4096  # pieces of it: a byte each would be a lot of work
TIMEOUT = 3.0  # s, of one exchange


@dataclass(frozen=True, slots=True)
class Url:
    """Where on a gateway something is: its IPv4 address, a port, and a path that starts with /."""

    host: str
    port: int
    path: str

    @property
    def endpoint(self) -> Endpoint:
        return self.host, self.port


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    status: int
    body: bytes


class HttpExchange:
    """A request and its answer, without I/O.

    Args:
        headers: besides Host, Connection and Content-Length.
        body: sent by POST; None: a GET.
    """

    def __init__(
        self, url: Url, headers: dict[str, str] | None = None, body: bytes | None = None
    ) -> None:
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEADERS)
        self._status = 0
        self._body = bytearray()
        self._room = MAX_ANSWER
        self._events = MAX_EVENTS
        fields = {"Host": f"{url.host}:{url.port}", "Connection": "close", **(headers or {})}
        if body is not None:
            fields["Content-Length"] = str(len(body))
        try:
            request = h11.Request(
                method="GET" if body is None else "POST",
                target=url.path,
                headers=list(fields.items()),
            )
        except h11.LocalProtocolError as error:  # a path that it made up
            raise ProtocolError(f"no HTTP request can be made of it: {error}") from None
        parts = [self._http.send(request)]
        if body is not None:
            parts.append(self._http.send(h11.Data(data=body)))
        parts.append(self._http.send(h11.EndOfMessage()))
        self.request = b"".join(part for part in parts if part)
        """What is to be sent."""

    def receive(self, data: bytes) -> HttpAnswer | None:
        """Take bytes of the answer; empty: the gateway closed. Returns it when it is whole.

        Raises:
            MessageTooLarge: its body is longer than `MAX_DOCUMENT`, or all of it than `MAX_ANSWER`.
            ProtocolError: it is no HTTP, a redirect, or ends too early.
        """
        self._room -= len(data)
        if self._room < 0:
            raise MessageTooLarge("the gateway's answer does not end")
        try:
            self._http.receive_data(data)
            while True:
                event = self._http.next_event()
                self._events -= 1
                if self._events < 0:
                    raise MessageTooLarge("the gateway's answer is in too many pieces")
                if event is h11.NEED_DATA or event is h11.PAUSED:
                    return None
                if isinstance(event, h11.Response):
                    self._status = event.status_code
                    if 300 <= self._status < 400:
                        raise ProtocolError("the gateway answers with a redirect")
                elif isinstance(event, h11.Data):
                    self._body += event.data
                    if len(self._body) > MAX_DOCUMENT:
                        raise MessageTooLarge("the gateway's answer is too long")
                elif isinstance(event, h11.EndOfMessage):
                    return HttpAnswer(self._status, bytes(self._body))
                elif not isinstance(event, h11.InformationalResponse):
                    raise ProtocolError("the gateway closed without an answer")
        except h11.RemoteProtocolError as error:
            raise ProtocolError(f"the gateway's HTTP: {error}") from None


async def fetch(
    sockets: SocketOpener, local: str, exchange: HttpExchange, endpoint: Endpoint
) -> HttpAnswer:
    """Make `exchange` with `endpoint`, from our address `local`.

    Raises:
        NoGateway: no answer within 3 s.
        ProtocolError, OSError.
    """
    with trio.move_on_after(TIMEOUT):
        connected = await sockets.connect_tcp(endpoint, local=(local, 0))
        try:
            rest = memoryview(exchange.request)
            while rest:
                sent = connected.send(rest)
                if sent is None:
                    await connected.wait_writable()
                else:
                    rest = rest[sent:]
            buffer = memoryview(bytearray(16 * 1024))
            while True:
                received = connected.recv_into(buffer)
                if received is None:
                    await connected.wait_readable()
                    continue
                answer = exchange.receive(bytes(buffer[:received]))
                if answer is not None:
                    return answer
        finally:
            connected.close()
    raise NoGateway(f"{endpoint[0]}:{endpoint[1]} does not answer within {TIMEOUT:g} s")
