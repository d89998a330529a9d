"""Gateways that lie, for tests in the simulator."""

from __future__ import annotations

from collections.abc import Callable

import trio

from carrick.sim import Host

SEARCH_TARGET = "urn:schemas-upnp-org:device:InternetGatewayDevice:1"
SERVICE = "urn:schemas-upnp-org:service:WANIPConnection:1"
DESCRIPTION = (
    "<root><device><serviceList><service>"
    f"<serviceType>{SERVICE}</serviceType><controlURL>{{control}}</controlURL>"
    "</service></serviceList></device></root>"
)


def http(body: str | bytes, status: str = "200 OK", *headers: str) -> bytes:
    content = body.encode() if isinstance(body, str) else body
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(content)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + content


class LyingDevice:
    """Answers every SSDP search with `location`, and HTTP requests as `pages` say.

    Args:
        address: of the host, on the LAN.

    Attributes:
        requests: the first line of each HTTP request.
        searches: how many it has answered.
    """

    def __init__(
        self, host: Host, address: str, location: str, pages: dict[str, bytes] | None = None
    ) -> None:
        self.requests: list[str] = []
        self.searches = 0
        self._address = address
        self._host = host
        self._location = location
        self._pages = pages or {}

    async def serve(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._serve_searches)
            nursery.start_soon(trio.serve_tcp, self._serve_http, 5000)

    async def _serve_searches(self) -> None:
        socket = await self._host.sockets.open_udp(("0.0.0.0", 1900), share_port=True)
        socket.join("239.255.255.250", self._address)
        buffer = memoryview(bytearray(2048))
        while True:
            await socket.wait_readable()
            received = socket.recv_into(buffer)
            if received is not None:
                self.searches += 1
                answer = (
                    f"HTTP/1.1 200 OK\r\nST: {SEARCH_TARGET}\r\nLOCATION: {self._location}\r\n\r\n"
                ).encode()
                socket.send(answer, len(answer), received[2])

    async def _serve_http(self, stream: trio.SocketStream) -> None:
        request = b""
        while b"\r\n\r\n" not in request:
            piece = await stream.receive_some()
            if not piece:
                return
            request += piece
        line = request.partition(b"\r\n")[0].decode()
        self.requests.append(line)
        page = self._pages.get(line.split()[1], http("", "404 Not Found"))
        try:
            if page == b"":  # nothing but drops, for ever
                while True:
                    await stream.send_all(b"H")
                    await trio.sleep(1)
            await stream.send_all(page)
        except trio.BrokenResourceError:
            return


async def serve_udp(host: Host, address: str, answer: Callable[[bytes], list[bytes]]) -> None:
    """Answer whatever comes to port 5351 of `address`."""
    socket = await host.sockets.open_udp((address, 5351))
    buffer = memoryview(bytearray(65535))
    try:
        while True:
            await socket.wait_readable()
            received = socket.recv_into(buffer)
            if received is not None:
                for each in answer(bytes(buffer[: received[0]])):
                    socket.send(each, len(each), received[2])
    finally:
        socket.close()
