"""Port mapping: messages by their RFCs' layouts, what is due when, what is advertised."""

from __future__ import annotations

import math
import sys
from ipaddress import IPv4Address, ip_interface

import pytest

from carrick.addressing import parse_address
from carrick.errors import MessageTooLarge, ProtocolError
from carrick.host import Layers
from carrick.protocols.portmap import (
    Mapping,
    MappingRefused,
    Port,
    PortMapperOptions,
    find_place,
    layers_of,
    natpmp,
    pcp,
)
from carrick.protocols.portmap.listeners import any_to_map, mapped_addresses, ports_to_map
from carrick.protocols.portmap.state import MAX_LEASE, MIN_RENEWAL, EpochWatch, MappingTable
from carrick.protocols.portmap.upnp import soap, ssdp
from carrick.protocols.portmap.upnp.description import decode_description
from carrick.protocols.portmap.upnp.http import HttpExchange, Url
from carrick.protocols.portmap.upnp.xml import MAX_DOCUMENT, parse_xml
from carrick.sockets.routes import default_gateways

TCP, UDP = Port("tcp", 4001), Port("udp", 4001)
CLIENT = IPv4Address("192.168.1.2")
OUTSIDE = IPv4Address("11.0.113.11")
NONCE = bytes(range(12))


def hexed(text: str) -> bytes:
    return bytes.fromhex(text.replace(" ", ""))


# --- NAT-PMP (RFC 6886, section 3) ----------------------------------------------------------------


def test_nat_pmp_requests() -> None:
    assert natpmp.encode_address_request() == hexed("00 00")
    assert natpmp.encode_map_request(UDP, 4002, 7200) == hexed("00 01 0000 0fa1 0fa2 00001c20")
    assert natpmp.encode_map_request(TCP, 4001, 3600) == hexed("00 02 0000 0fa1 0fa1 00000e10")
    assert natpmp.encode_map_request(TCP, 0, 0) == hexed("00 02 0000 0fa1 0000 00000000")


def test_nat_pmp_responses() -> None:
    assert natpmp.decode(hexed("00 80 0000 00000102 0b00710b")) == natpmp.ExternalAddress(
        258, OUTSIDE
    )
    assert natpmp.decode(hexed("00 81 0000 00000001 0fa1 0fa2 00001c20")) == natpmp.PortMapped(
        1, UDP, 4002, 7200
    )
    assert natpmp.decode(hexed("00 82 0000 00000001 0fa1 0000 00000000")) == natpmp.PortMapped(
        1, TCP, 0, 0
    )
    assert natpmp.decode(hexed("00 80 0003 00000001 00000000")) == natpmp.Refusal(1, 0, 3)
    assert natpmp.decode(hexed("00 82 0001 00000001")) == natpmp.Refusal(1, 2, 1)


@pytest.mark.parametrize(
    "message",
    [
        "",
        "00 80 0000 000000",
        "00 00 0000 00000000 00000000",  # a request
        "02 80 0000 00000001 0b00710b",
        "00 80 0000 00000001 0b0071",
        "00 81 0000 00000001 0fa1 0000 00001c20",  # external port 0
        "00 81 0000 00000001 0000 0fa1 00001c20",
        "00 90 0000 00000001 0fa1 0fa1 00001c20",
        "00 80 0000 00000001" + "00" * 1100,
    ],
)
def test_nat_pmp_nonsense(message: str) -> None:
    with pytest.raises(ProtocolError):
        natpmp.decode(hexed(message))


# --- PCP (RFC 6887, sections 7 and 11) ------------------------------------------------------------

V4 = "00000000000000000000ffff"


def test_pcp_requests() -> None:
    header = f"02 00 0000 00000000 {V4} c0a80102"
    assert pcp.encode_announce(CLIENT) == hexed(header)
    mapped = pcp.encode_map(CLIENT, NONCE, TCP, lifetime=3600, external_port=4002)
    assert mapped == hexed(
        f"02 01 0000 00000e10 {V4} c0a80102"
        f"000102030405060708090a0b 06 000000 0fa1 0fa2 {V4} 00000000"
    )
    removed = pcp.encode_map(CLIENT, NONCE, UDP, lifetime=0, external_address=OUTSIDE)
    assert removed[4:8] == bytes(4) and removed[36] == 17 and removed[-4:] == OUTSIDE.packed
    assert len(mapped) == len(removed) == 60


def pcp_map(
    result: str = "00", lifetime: str = "00000e10", protocol: str = "06", port: str = "0fa2"
) -> bytes:
    return hexed(
        f"02 81 00 {result} {lifetime} 00000102 {'00' * 12}"
        f"000102030405060708090a0b {protocol} 000000 0fa1 {port} {V4} 0b00710b"
    )


def test_pcp_responses() -> None:
    response = pcp.decode(pcp_map())
    assert response == pcp.Response(
        0, 3600, 258, pcp.MapAnswer(NONCE, TCP, 4002, OUTSIDE), is_announce=False
    )
    announce = pcp.decode(hexed("02 80 00 00 00000000 00000005" + "00" * 12))
    assert announce == pcp.Response(0, 0, 5, None, is_announce=True)
    refused = pcp.decode(pcp_map(result="02"))
    assert refused.result == 2 and refused.map is not None
    short = pcp.decode(hexed("02 81 00 01 0000001e 00000005" + "00" * 12))
    assert short.result == 1 and short.map is None


@pytest.mark.parametrize(
    "message",
    [
        b"",
        pcp_map()[:23],
        pcp_map()[:40],  # a success without its end
        pcp_map()[:58],
        pcp_map() + bytes(1),
        pcp_map() + bytes(1100),
        b"\x01" + pcp_map()[1:],
        b"\x02\x01" + pcp_map()[2:],  # a request
        b"\x02\x82" + pcp_map()[2:],  # PEER, which we do not speak
        pcp_map(protocol="84"),
        pcp_map(port="0000"),
    ],
)
def test_pcp_nonsense(message: bytes) -> None:
    with pytest.raises(ProtocolError):
        pcp.decode(message)


def test_an_address_outside_that_is_no_ipv4() -> None:
    message = pcp_map()[:-16] + bytes(15) + b"\x01"
    answer = pcp.decode(message).map
    assert answer is not None and answer.external_address is None


def test_results_have_words() -> None:
    assert "not authorized" in pcp.result_text(2) and "result 99" in pcp.result_text(99)
    assert "network failure" in natpmp.result_text(3) and "result 99" in natpmp.result_text(99)


# --- state ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "epoch, now, valid",
    [
        (110, 20.0, True),
        (109, 20.0, True),
        (98, 10.5, False),  # went back by more than 1 s
        (5, 20.0, False),
        (101, 60.0, False),  # stood still
        (300, 20.0, False),  # leapt
        (1060, 970.0 + 10, True),  # within 1/16
    ],
)
def test_epochs(epoch: int, now: float, valid: bool) -> None:
    """RFC 6887 section 8.5."""
    watch = EpochWatch()
    assert watch.note(100, 10.0)
    assert watch.note(epoch, now) is valid
    assert watch.generation == (not valid)


def mapping(port: Port = TCP, lifetime: float = 3600, generation: int = 0, **more: int) -> Mapping:
    return Mapping(
        port, CLIENT, more.get("external_port", port.number), OUTSIDE, lifetime, "pcp", generation
    )


def test_a_mapping_is_renewed_between_a_half_and_five_eighths() -> None:
    table = MappingTable()
    assert table.want([TCP, UDP]) == []
    assert table.due(0.0, 0) == [TCP, UDP]
    table.granted(mapping(TCP), 0.0, 0.0)
    table.granted(mapping(UDP), 0.0, 1.0)
    assert table.due(1799.0, 0) == []
    assert table.due(1800.0, 0) == [TCP]
    assert table.due(2250.0, 0) == [TCP, UDP]
    assert table.next_due(0) == 1800.0
    table.expire(3599.0)
    assert len(table.mappings) == 2
    table.expire(3600.0)
    assert table.mappings == [] and table.due(3600.0, 0) == [TCP, UDP]


def test_lifetimes_are_capped_at_both_ends() -> None:
    table = MappingTable()
    table.want([TCP])
    table.granted(mapping(lifetime=2.0**32), 0.0, 0.0)
    assert table.next_due(0) == MAX_LEASE / 2
    table.granted(mapping(lifetime=1), 0.0, 0.0)
    assert table.due(MIN_RENEWAL - 0.1, 0) == []
    table.granted(mapping(lifetime=math.inf), 0.0, 0.0)
    table.expire(1e9)
    assert table.mappings != []


def test_everything_of_an_older_generation_is_due() -> None:
    table = MappingTable()
    table.want([TCP, UDP])
    table.granted(mapping(TCP, generation=1), 0.0, 0.0)
    table.granted(mapping(UDP, generation=2), 0.0, 0.0)
    assert table.due(MIN_RENEWAL - 0.1, 2) == []
    assert table.next_due(2) == MIN_RENEWAL
    assert table.due(MIN_RENEWAL, 2) == [TCP]
    table.granted(mapping(TCP, generation=2), MIN_RENEWAL, 0.0)
    assert table.due(1000.0, 2) == []


def test_refusals_back_off() -> None:
    table = MappingTable()
    table.want([TCP])
    waits = []
    now = 0.0
    for _ in range(10):
        table.refused(TCP, now)
        waits.append(table.next_due(0) - now)
        now = table.next_due(0)
    assert waits[:3] == [60, 120, 240] and waits[-1] == 3600
    table.granted(mapping(), now, 0.0)
    table.refused(TCP, now)
    assert table.mappings == [] and table.next_due(0) - now == 60


def test_lost_unwanted_and_renewed() -> None:
    table = MappingTable()
    table.want([TCP, UDP])
    old, new = mapping(TCP), mapping(TCP, external_port=5000)
    table.granted(old, 0.0, 0.0)
    table.granted(new, 0.0, 0.0)
    table.lost([old])  # replaced meanwhile
    assert table.get(TCP) == new
    table.renew()
    assert table.due(0.0, 0) == [TCP, UDP] and table.mappings == [new]
    table.lost([new])
    assert table.mappings == []
    table.granted(new, 0.0, 0.0)
    assert table.want([UDP]) == [new]
    assert table.get(TCP) is None and table.due(0.0, 0) == [UDP]


# --- listeners ------------------------------------------------------------------------------------


def addresses(*texts: str) -> list:  # type: ignore[type-arg]
    return [parse_address(text) for text in texts]


EVERY = addresses(
    "/ip4/0.0.0.0/tcp/4001",
    "/ip4/0.0.0.0/tcp/4001/ws",
    "/ip4/192.168.1.2/udp/4001/quic-v1",
    "/ip4/10.9.9.9/tcp/4002",
    "/ip4/127.0.0.1/tcp/4003",
    "/ip6/::/tcp/4004",
    "/ip4/11.1.1.1/tcp/4005",
    "/ip4/11.1.1.1/tcp/4001/p2p/12D3KooWSp7oRfgqmz8iM6Rd3PUcqJbHVTUW63CcJwfCYvAYvoxK/p2p-circuit",
)


def test_what_is_mapped() -> None:
    assert ports_to_map(EVERY, CLIENT) == [TCP, UDP]
    assert any_to_map(EVERY)
    assert not any_to_map(addresses("/ip4/127.0.0.1/tcp/1", "/ip6/::/tcp/1", "/memory/1"))
    many = addresses(*(f"/ip4/0.0.0.0/tcp/{port}" for port in range(1000, 1100)))
    assert len(ports_to_map(many, CLIENT)) == 16


def test_what_is_advertised() -> None:
    found = mapped_addresses(EVERY, {TCP: mapping(TCP), UDP: mapping(UDP, external_port=999)})
    assert [str(each) for each in found] == [
        "/ip4/11.0.113.11/tcp/4001",
        "/ip4/11.0.113.11/tcp/4001/ws",
        "/ip4/11.0.113.11/udp/999/quic-v1",
    ]
    for outside in ("100.64.0.1", "192.168.0.1", "127.0.0.1", "224.0.0.1", "0.0.0.0", "8.8.8.8"):
        other = Mapping(TCP, CLIENT, 4001, IPv4Address(outside), 60, "upnp")
        advertised = list(mapped_addresses(EVERY, {TCP: other}))
        assert bool(advertised) == (outside == "8.8.8.8")
    nowhere = Mapping(TCP, CLIENT, 4001, None, 60, "pcp")
    assert list(mapped_addresses(EVERY, {TCP: nowhere})) == []


INTERFACES = [ip_interface(text) for text in ("127.0.0.1/8", "192.168.1.2/24", "fe80::1/64")]


@pytest.mark.parametrize(
    "outside, layers",
    [
        ("11.0.113.11", Layers.ONE),
        ("10.0.0.5", Layers.DOUBLE),
        ("100.64.0.2", Layers.CARRIER),
        ("192.168.1.2", Layers.UNKNOWN),  # on an interface of ours
        ("0.0.0.0", Layers.UNKNOWN),
        ("203.0.113.5", Layers.UNKNOWN),
    ],
)
def test_layers(outside: str, layers: Layers) -> None:
    assert layers_of(IPv4Address(outside), INTERFACES) is layers


def test_where_we_are() -> None:
    place = find_place(INTERFACES, ["192.168.1.1"])
    assert place is not None and str(place.local) == "192.168.1.2/24"
    assert place.gateway == "192.168.1.1"
    unknown = find_place(INTERFACES, [])
    assert unknown is not None and unknown.gateway is None
    assert find_place(INTERFACES, ["10.0.0.1"]) is None
    assert find_place([ip_interface("11.0.0.2/24")], ["11.0.0.1"]) is None
    assert find_place([ip_interface("127.0.0.1/8")], []) is None
    named = find_place(INTERFACES, ["10.0.0.1"], "192.168.1.254")
    assert named is not None and named.gateway == "192.168.1.254"


def test_the_routing_table_of_linux() -> None:
    head = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n"
    lines = [
        "eth0 00000000 0101A8C0 0003 0 0 600 00000000 0 0 0",
        "wlan0 00000000 FE01A8C0 0003 0 0 100 00000000 0 0 0",
        "eth0 0001A8C0 00000000 0001 0 0 0 00FFFFFF 0 0 0",
        "tun0 00000000 01000A0A 0003 0 0 0 00000080 0 0 0",  # 0/1, as some VPNs do
        "eth1 00000000 010000AC 0002 0 0 0 00000000 0 0 0",  # down
        "short",
        "x zz zz zz 0 0 0 zz 0 0 0",
    ]
    if sys.byteorder == "little":
        assert default_gateways(head + "\n".join(lines)) == ["192.168.1.254", "192.168.1.1"]
    assert default_gateways("") == default_gateways(head) == []


def test_options_are_checked() -> None:
    with pytest.raises(ValueError, match="protocols"):
        PortMapperOptions(protocols=("igd",))
    with pytest.raises(ValueError, match="lifetime"):
        PortMapperOptions(lifetime=0)
    with pytest.raises(ValueError, match="router"):
        PortMapperOptions(gateway="router")


# --- UPnP -----------------------------------------------------------------------------------------

HOST = "192.168.1.1"


def test_a_search_and_its_answer() -> None:
    assert ssdp.encode_search(ssdp.TARGETS[0]) == (
        b'M-SEARCH * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\nMAN: "ssdp:discover"\r\nMX: 1\r\n'
        b"ST: urn:schemas-upnp-org:device:InternetGatewayDevice:1\r\n\r\n"
    )
    answer = (
        b"HTTP/1.1 200 OK\r\nCACHE-CONTROL: max-age=120\r\n"
        b"st: urn:schemas-upnp-org:device:InternetGatewayDevice:1\r\nEXT:\r\n"
        b"Location:http://192.168.1.1:5000/rootDesc.xml\r\n\r\n"
    )
    assert ssdp.decode_answer(answer, HOST) == Url(HOST, 5000, "/rootDesc.xml")
    for wrong in (
        answer.replace(b"200", b"404"),
        answer.replace(b"Gateway", b"Television"),
        answer.replace(b"192.168.1.1", b"192.168.1.9"),
        answer.replace(b"Location", b"Elsewhere"),
        answer.replace(b"EXT:", b"X: " + b"x" * 3000),
        b"NOTIFY * HTTP/1.1\r\n\r\n",
        b"",
    ):
        with pytest.raises(ProtocolError):
            ssdp.decode_answer(wrong, HOST)


def test_urls_of_a_device() -> None:
    base = Url(HOST, 5000, "/igd/root.xml?x")
    assert ssdp.local_url("ctl/a?b=1", HOST, base) == Url(HOST, 5000, "/igd/ctl/a?b=1")
    assert ssdp.local_url("/ctl", HOST, base) == Url(HOST, 5000, "/ctl")
    assert ssdp.local_url(f"http://{HOST}/c", HOST, base) == Url(HOST, 80, "/c")
    for wrong in (
        "//1.2.3.4/x",
        "http://a b/",
        "http://192.168.1.1:0/",
        "http://192.168.1.1:99999/",
        "ftp://192.168.1.1/",
        "x" * 600,
        "/\r\nHost: x",
        "http://192.168.001.001/",
    ):
        with pytest.raises(ProtocolError):
            ssdp.local_url(wrong, HOST, base)


def service(kind: str, control: str = "/ctl") -> str:
    type_ = f"urn:schemas-upnp-org:service:{kind}"
    return (
        f"<service><serviceType>{type_}</serviceType><controlURL>{control}</controlURL></service>"
    )


def test_descriptions() -> None:
    url = Url(HOST, 5000, "/root.xml")
    document = (
        '<?xml version="1.0"?><root xmlns="urn:schemas-upnp-org:device-1-0"><device><deviceList>'
        f"<device><serviceList>{service('WANPPPConnection:1', '/ppp')}"
        f"{service('Layer3Forwarding:1')}{service('WANIPConnection:2', 'ip')}"
        "</serviceList></device></deviceList></device></root>"
    )
    best, second = decode_description(document.encode(), url)
    assert best.type.endswith("WANIPConnection:2") and best.control == Url(HOST, 5000, "/ip")
    assert best.has_any_port and not second.has_any_port
    assert second.control.path == "/ppp"
    based = document.replace("<device>", "<URLBase>http://192.168.1.1:80/b/</URLBase><device>", 1)
    assert decode_description(based.encode(), url)[0].control == Url(HOST, 80, "/b/ip")
    with pytest.raises(ProtocolError, match="no service"):
        decode_description(f"<root>{service('Layer3Forwarding:1')}</root>".encode(), url)


def test_xml_is_bounded_and_has_no_entities() -> None:
    root = parse_xml(b"<a:x xmlns:a='u'> <b> t&amp;<!-- no --></b><b/><?pi?><![CDATA[<]]></a:x>")
    assert (root.name, root.value("b"), root.text) == ("x", "t&", "<")
    assert parse_xml("<a>é</a>".encode("latin-1").replace(b"<a>", b"<?xml version='1.0' "
                     b"encoding='latin-1'?><a>")).text == "é"  # fmt: skip
    for wrong in (b"", b"<a>", b"<a></b>", b"<!DOCTYPE a><a/>", b"<a>&b;</a>", b"\xff\xfe",
                  b"<?xml version='1.0' encoding='no-such'?><a/>", b"<a>" * 33 + b"</a>" * 33,
                  b"<a>" + b"<b/>" * 4096 + b"</a>"):  # fmt: skip
        with pytest.raises(ProtocolError):
            parse_xml(wrong)
    with pytest.raises(MessageTooLarge):
        parse_xml(b" " * (MAX_DOCUMENT + 1))


def test_actions_and_answers() -> None:
    type_ = "urn:schemas-upnp-org:service:WANIPConnection:1"
    body = soap.encode_action(type_, "AddPortMapping", {"NewRemoteHost": "", "NewX": "<&>"})
    call = parse_xml(body).child("Body")
    assert call is not None
    assert [(each.name, each.text) for each in call.children[0].children] == [
        ("NewRemoteHost", ""),
        ("NewX", "<&>"),
    ]
    assert soap.headers(type_, "AddPortMapping")["SOAPAction"] == f'"{type_}#AddPortMapping"'
    answer = b"<e:Envelope xmlns:e='e'><e:Body><u:GoResponse xmlns:u='u'><A>1</A></u:GoResponse></e:Body></e:Envelope>"  # noqa: E501
    assert soap.decode_answer(answer, "Go") == {"A": "1"}
    with pytest.raises(ProtocolError):
        soap.decode_answer(answer, "Other")
    fault = "<Envelope><Body><Fault><detail><UPnPError><errorCode>{}</errorCode></UPnPError></detail></Fault></Body></Envelope>"  # noqa: E501
    with pytest.raises(MappingRefused, match="718") as refused:
        soap.decode_answer(fault.format(718).encode(), "Go")
    assert refused.value.code == 718
    for wrong in ("", "x", "-1", "99999999999", "٣"):
        with pytest.raises(ProtocolError):
            soap.decode_answer(fault.format(wrong).encode(), "Go")
    with pytest.raises(ProtocolError, match="without a body"):
        soap.decode_answer(b"<Envelope/>", "Go")


def test_an_http_exchange() -> None:
    url = Url(HOST, 5000, "/ctl")
    exchange = HttpExchange(url, {"SOAPAction": '"x"'}, b"<a/>")
    assert exchange.request == (
        b"POST /ctl HTTP/1.1\r\nHost: 192.168.1.1:5000\r\nConnection: close\r\n"
        b'SOAPAction: "x"\r\nContent-Length: 4\r\n\r\n<a/>'
    )
    assert exchange.receive(b"HTTP/1.1 500 Oh\r\nContent-Length: 2\r\n\r\n<") is None
    answer = exchange.receive(b"/")
    assert answer is not None and (answer.status, answer.body) == (500, b"</")
    old = HttpExchange(url)
    assert old.receive(b"HTTP/1.0 200 OK\r\n\r\nabc") is None
    answer = old.receive(b"")
    assert answer is not None and answer.body == b"abc"
    with pytest.raises(ProtocolError):
        HttpExchange(url).receive(b"")
    with pytest.raises(ProtocolError, match="redirect"):
        HttpExchange(url).receive(b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n")
