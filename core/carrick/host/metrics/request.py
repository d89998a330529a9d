"""The part of HTTP/1.1 that a metrics page needs, without I/O (RFC 9112)."""

from __future__ import annotations

import http

from carrick.interfaces import Buffer

__all__ = ["MAX_HEAD", "BadRequest", "RequestReader", "response_head"]

MAX_HEAD = 8 * 1024  # bytes of request line and headers; ours
_END = b"\r\n\r\n"


class BadRequest(Exception):
    """The request cannot be served. `status` is what to answer."""

    def __init__(self, status: http.HTTPStatus) -> None:
        super().__init__(status.phrase)
        self.status = status


class RequestReader:
    """Reads one request for one page.

    Args:
        path: the page.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._head = bytearray()

    def feed(self, data: Buffer) -> str | None:
        """Take received bytes, cut anywhere. Returns the method, GET or HEAD, once all is there.

        What follows the head is not looked at.

        Raises:
            BadRequest: 400 not HTTP/1, or a head of more than 8 KiB; 404 another page; 405 another
                method.
        """
        searched = max(0, len(self._head) - len(_END))
        self._head += data[: MAX_HEAD + 1]
        end = self._head.find(_END, searched)
        if not 0 <= end <= MAX_HEAD - len(_END):
            if len(self._head) > MAX_HEAD:
                raise BadRequest(http.HTTPStatus.BAD_REQUEST)
            return None
        return self._parse(bytes(self._head[:end]))

    def _parse(self, head: bytes) -> str:
        line, _, _ = head.partition(b"\r\n")
        words = line.split(b" ")
        if len(words) != 3 or words[2] not in (b"HTTP/1.0", b"HTTP/1.1") or not line.isascii():
            raise BadRequest(http.HTTPStatus.BAD_REQUEST)
        method, target = words[0].decode(), words[1].decode()
        if not method.isupper() or not target.startswith("/"):
            raise BadRequest(http.HTTPStatus.BAD_REQUEST)
        if target.partition("?")[0] != self._path:
            raise BadRequest(http.HTTPStatus.NOT_FOUND)
        if method not in ("GET", "HEAD"):
            raise BadRequest(http.HTTPStatus.METHOD_NOT_ALLOWED)
        return method


def response_head(status: http.HTTPStatus, length: int, content_type: str) -> bytes:
    """Status line and headers of a response after which the connection ends."""
    lines = [
        f"HTTP/1.1 {status.value} {status.phrase}",
        f"Content-Type: {content_type}",
        f"Content-Length: {length}",
        "Connection: close",
    ]
    if status is http.HTTPStatus.METHOD_NOT_ALLOWED:
        lines.append("Allow: GET, HEAD")
    return "\r\n".join((*lines, "", "")).encode()
