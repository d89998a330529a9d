"""Decoders of port mapping: whatever comes, they raise their typed error and nothing else."""

from __future__ import annotations

from contextlib import suppress
from ipaddress import IPv4Address

from hypothesis import example, given, settings
from hypothesis import strategies as st

from carrick.errors import ProtocolError
from carrick.protocols.portmap import Mapping, MappingRefused, Port, natpmp, pcp
from carrick.protocols.portmap.state import MIN_RENEWAL, EpochWatch, MappingTable
from carrick.protocols.portmap.upnp import soap, ssdp
from carrick.protocols.portmap.upnp.description import decode_description
from carrick.protocols.portmap.upnp.http import HttpAnswer, HttpExchange, Url
from carrick.protocols.portmap.upnp.xml import parse_xml
from carrick.sockets.routes import default_gateways

URL = Url("192.168.1.1", 5000, "/root.xml")
PORTS = st.builds(Port, st.sampled_from(["tcp", "udp"]), st.integers(1, 65535))
ADDRESSES = st.integers(0, 2**32 - 1).map(IPv4Address)
XML = st.recursive(
    st.sampled_from(["", "a", "&amp;", "&x;", "]]>", "\x00", "718", "http://192.168.1.1/x"]),
    lambda inner: st.builds(
        "<{0}>{1}{2}</{0}>".format,
        st.sampled_from(
            ["root", "service", "serviceType", "controlURL", "Body", "errorCode", "URLBase", "s:x"]
        ),
        inner,
        inner,
    ),
    max_leaves=12,
)


@given(st.binary(max_size=80) | st.binary(max_size=70).map(lambda tail: b"\x02\x81\x00" + tail))
@example(b"\x00\x80" + bytes(10))
def test_datagrams(data: bytes) -> None:
    for decode in (natpmp.decode, pcp.decode):
        with suppress(ProtocolError):
            decode(data)
    with suppress(ProtocolError):
        ssdp.decode_answer(data, "192.168.1.1")


@given(PORTS, st.integers(0, 65535), st.integers(0, 2**32 - 1), st.binary(min_size=12, max_size=12))
def test_requests_have_the_layout_of_their_answers(
    port: Port, external: int, lifetime: int, nonce: bytes
) -> None:
    """A gateway that grants all it is asked for."""
    external = external or 1
    request = natpmp.encode_map_request(port, external, lifetime)
    answer = bytes((0, request[1] + 128)) + bytes(6) + request[4:]
    assert natpmp.decode(answer) == natpmp.PortMapped(0, port, external, lifetime)
    request = pcp.encode_map(IPv4Address(1), nonce, port, lifetime=lifetime, external_port=external)
    answer = bytes((2, 129, 0, 0)) + request[4:8] + bytes(16) + request[24:]
    decoded = pcp.decode(answer)
    assert decoded.lifetime == lifetime
    assert decoded.map == pcp.MapAnswer(nonce, port, external, IPv4Address(0))


@given(XML | st.binary(max_size=200))
@settings(max_examples=200)
def test_documents(document: str | bytes) -> None:
    data = document.encode() if isinstance(document, str) else document
    with suppress(ProtocolError):
        parse_xml(data)
    with suppress(ProtocolError):
        for service in decode_description(data, URL):
            assert service.control.host == URL.host
    with suppress(ProtocolError, MappingRefused):
        soap.decode_answer(data, "Go")


@given(
    st.text(max_size=60) | st.from_regex(r"[a-z]*:?/{0,2}[\w.:@\[\]-]*/[\w?./]*", fullmatch=True)
)
@settings(max_examples=200)
def test_urls_stay_on_the_device(text: str) -> None:
    for base in (None, URL):
        with suppress(ProtocolError):
            url = ssdp.local_url(text, URL.host, base)
            assert url.host == URL.host and url.path.startswith("/") and 0 < url.port < 65536
            HttpExchange(url)


ANSWERS = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
]


@given(st.sampled_from(ANSWERS), st.lists(st.integers(1, 20), max_size=20))
def test_an_answer_in_any_pieces(answer: bytes, sizes: list[int]) -> None:
    exchange = HttpExchange(URL)
    for size in [*sizes, len(answer)]:
        piece, answer = answer[:size], answer[size:]
        found = exchange.receive(piece) if piece else None
        if found is not None:
            assert found == HttpAnswer(200, b"hello") and not answer
            return
    raise AssertionError("no answer")


@given(st.lists(st.binary(min_size=1, max_size=60), max_size=5))
def test_http_nonsense(pieces: list[bytes]) -> None:
    exchange = HttpExchange(URL)
    with suppress(ProtocolError):
        for piece in [b"HTTP/1.1 200 OK\r\n", *pieces, b""]:
            if exchange.receive(piece) is not None:
                return


@given(st.text(max_size=300))
def test_routing_tables(table: str) -> None:
    default_gateways(table)


@given(st.lists(st.tuples(st.integers(0, 2**32 - 1), st.floats(0, 1e6)), max_size=20))
def test_an_honest_clock_is_never_doubted(steps: list[tuple[int, float]]) -> None:
    watch, now, epoch = EpochWatch(), 0.0, 7
    for _, passed in steps:
        now += passed
        assert watch.note(epoch + int(now), now)
    for value, passed in steps:
        now += passed
        watch.note(value, now)
    assert 0 <= watch.generation <= len(steps)


ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(["grant", "refuse", "lose", "expire", "renew", "want"]),
        st.integers(0, 3),
        st.floats(0, 1e5) | st.just(float("inf")),
    ),
    max_size=40,
)


@given(ACTIONS)
def test_the_table_keeps_what_is_wanted_and_no_more(actions: list[tuple[str, int, float]]) -> None:
    table, now = MappingTable(), 0.0
    ports = [Port("tcp", 1 + number) for number in range(4)]
    wanted = ports
    table.want(ports)
    for action, number, value in actions:
        port = ports[number]
        now += 1.0
        if action == "want":
            wanted = ports[: number + 1]
            assert all(each.port not in wanted for each in table.want(wanted))
        elif port not in wanted:
            continue
        elif action == "grant":
            table.granted(Mapping(port, IPv4Address(1), 1, None, value, "pcp"), now, 0.5)
            assert port not in table.due(now + MIN_RENEWAL - 0.5, 0)
        elif action == "refuse":
            table.refused(port, now)
            assert table.get(port) is None and port not in table.due(now + 59, 0)
        elif action == "lose":
            table.lost(table.mappings)
            assert table.mappings == []
        elif action == "renew":
            table.renew()
            assert table.due(now, 0) == wanted
        else:
            table.expire(now)
        assert {each.port for each in table.mappings} <= set(wanted)
        assert all(port in wanted for port in table.due(now, 0))
        if table.next_due(0) > now:
            assert table.due(now, 0) == []
