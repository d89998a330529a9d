"""The RESP parser: any cut gives the same replies, garbage only the typed error."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interop.apps.resp import (
    INCOMPLETE,
    MAX_DEPTH,
    MAX_ITEMS,
    MAX_LINE,
    MAX_REPLY,
    RedisError,
    Reply,
    ReplyParser,
    encode_command,
)


def encode(reply: Reply) -> bytes:
    if reply is None:
        return b"$-1\r\n"
    if isinstance(reply, int):
        return b":%d\r\n" % reply
    if isinstance(reply, str):
        return b"$%d\r\n%s\r\n" % (len(reply.encode()), reply.encode())
    return b"*%d\r\n" % len(reply) + b"".join(map(encode, reply))


leaves = st.none() | st.integers(-(2**63), 2**63 - 1) | st.text(max_size=50)
replies = leaves | st.lists(leaves | st.lists(leaves, max_size=4), max_size=6)


def drain(parser: ReplyParser) -> list[object]:
    found: list[object] = []
    while (reply := parser.next()) is not INCOMPLETE:
        found.append(reply)
    return found


@given(st.lists(replies, max_size=4), st.data())
def test_any_cut_gives_the_same(sent: list[Reply], data: st.DataObject) -> None:
    wire = b"".join(map(encode, sent))
    parser, found, at = ReplyParser(), [], 0
    while at < len(wire):
        size = data.draw(st.integers(1, 40))
        parser.feed(wire[at : at + size])
        found += drain(parser)
        at += size
    assert found == sent


@given(
    st.lists(st.sampled_from(b"+-:$*0123456789\r\nax\xff").map(lambda b: bytes([b])), max_size=60)
)
def test_garbage_raises_only_the_typed_error(pieces: list[bytes]) -> None:
    parser = ReplyParser()
    try:
        for piece in pieces:
            parser.feed(piece)
            drain(parser)
    except RedisError:
        pass


@pytest.mark.parametrize(
    "wire",
    [
        b"-ERR no\r\n",
        b"?\r\n",
        b"\r\n",
        b"$x\r\n",
        b"$-2\r\n",
        b"$%d\r\n" % (MAX_REPLY + 1),
        b"*%d\r\n" % (MAX_ITEMS + 1),
        b"$1\r\nab\r\n",
        b"$1\r\n\xff\r\n",
        b":" + b"9" * 30 + b"\r\n",
        b":9223372036854775808\r\n",
        b"+" + b"a" * MAX_LINE,
        b"*1\r\n" * (MAX_DEPTH + 1) + b":1\r\n",
    ],
)
def test_refused(wire: bytes) -> None:
    parser = ReplyParser()
    parser.feed(wire)
    with pytest.raises(RedisError):
        parser.next()


def test_a_reply_is_bounded() -> None:
    parser = ReplyParser()
    parser.feed(bytes(MAX_REPLY))
    with pytest.raises(RedisError):
        parser.feed(b"x")


def test_commands() -> None:
    assert encode_command("BLPOP", "k\u00e9y", "3") == (
        b"*3\r\n$5\r\nBLPOP\r\n$4\r\nk\xc3\xa9y\r\n$1\r\n3\r\n"
    )
