"""Header fields of the one request that we know, without I/O.

QPACK is qh3's, with no dynamic table: neither side needs encoder and decoder streams then. Sources:
RFC 9204; RFC 9220; RFC 8441; libp2p/specs, `webtransport/README.md`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from qh3._hazmat import (
    DecoderStreamError,
    DecompressionFailed,
    EncoderStreamError,
    HeaderTooLarge,
    QpackDecoder,
    QpackEncoder,
    StreamBlocked,
)

from carrick.transports.webtransport.codes import (
    EXCESSIVE_LOAD,
    MESSAGE_ERROR,
    QPACK_FAILED,
    Http3Error,
)
from carrick.transports.webtransport.frames import MAX_HEADERS

__all__ = [
    "PATH",
    "Headers",
    "answer",
    "connect_request",
    "decode_headers",
    "encode_headers",
    "judge_request",
    "status_of",
]

Headers: TypeAlias = Sequence[tuple[bytes, bytes]]

PATH = b"/.well-known/libp2p-webtransport"
_QUERY = b"type=noise"
_PROTOCOLS = (b"webtransport", b"webtransport-h3")  # the second since draft-15
_DRAFT_ASKED = b"sec-webtransport-http3-draft02"  # draft-02 section 3.3; later drafts have settings
_DRAFT_GIVEN = (b"sec-webtransport-http3-draft", b"draft02")


def encode_headers(headers: Headers) -> bytes:
    _, encoded = QpackEncoder().encode(0, list(headers))
    return encoded


def decode_headers(data: bytes) -> Headers:
    """Raises: Http3Error."""
    try:
        _, headers = QpackDecoder(0, 0, max_field_section_size=MAX_HEADERS).feed_header(0, data)
    except HeaderTooLarge as error:
        raise Http3Error("too many header fields", EXCESSIVE_LOAD) from error
    except (DecompressionFailed, DecoderStreamError, EncoderStreamError, StreamBlocked) as error:
        raise Http3Error("malformed header fields", QPACK_FAILED) from error
    return headers


def _pseudo(headers: Headers) -> dict[bytes, bytes]:
    """The pseudo-header fields (RFC 9114 section 4.3)."""
    found: dict[bytes, bytes] = {}
    regular = False
    for name, value in headers:
        if name != name.lower():
            raise Http3Error("a header name with capitals", MESSAGE_ERROR)
        if not name.startswith(b":"):
            regular = True
        elif regular or name in found:
            raise Http3Error(f"{name!r} is twice, or too late", MESSAGE_ERROR)
        else:
            found[name] = value
    return found


def judge_request(headers: Headers) -> int:
    """The status that a request deserves: 200 for a libp2p session.

    Raises:
        Http3Error: it is no HTTP/3 request at all.
    """
    pseudo = _pseudo(headers)
    if b":method" not in pseudo:
        raise Http3Error("a request without a method", MESSAGE_ERROR)
    path, _, query = pseudo.get(b":path", b"").partition(b"?")
    if path != PATH:
        return 404
    if pseudo[b":method"] != b"CONNECT":
        return 405
    if pseudo.get(b":protocol") not in _PROTOCOLS:
        return 501
    if pseudo.get(b":scheme") != b"https" or not pseudo.get(b":authority"):
        return 400
    types = [each for each in query.split(b"&") if each.partition(b"=")[0] == b"type"]
    return 200 if types == [_QUERY] else 400


def answer(status: int, request: Headers) -> bytes:
    """The field section of the response."""
    headers = [(b":status", b"%d" % status)]
    if any(name == _DRAFT_ASKED for name, _ in request):
        headers.append(_DRAFT_GIVEN)
    return encode_headers(headers)


def connect_request(authority: str, *, draft_15: bool) -> bytes:
    """The field section that asks for a session.

    Args:
        draft_15: in the words of draft-15 and later.
    """
    headers = [
        (b":method", b"CONNECT"),
        (b":protocol", _PROTOCOLS[draft_15]),
        (b":scheme", b"https"),
        (b":authority", authority.encode()),
        (b":path", PATH + b"?" + _QUERY),
    ]
    if not draft_15:
        headers.append((_DRAFT_ASKED, b"1"))
    return encode_headers(headers)


def status_of(headers: Headers) -> int:
    """The status of a response. Raises: Http3Error."""
    status = _pseudo(headers).get(b":status", b"")
    if len(status) != 3 or not status.isdigit() or status < b"100":
        raise Http3Error(f"a response with the status {status[:20]!r}", MESSAGE_ERROR)
    return int(status)
