"""In which order addresses are dialled."""

from __future__ import annotations

from carrick.addressing import parse_address, rank

QM = "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N"
V4, OTHER_V4, V6 = "/ip4/8.8.8.8", "/ip4/8.8.4.4", "/ip6/2a00::1"


def ranked(*texts: str) -> list[tuple[str, float]]:
    order = rank(parse_address(text) for text in texts)
    return [(str(address), round(delay, 3)) for address, delay in order]


def test_nothing() -> None:
    assert ranked() == []


def test_one_goes_at_once() -> None:
    for text in (
        f"{V4}/tcp/1",
        f"{V4}/udp/1/webrtc-direct",
        f"{V4}/tcp/1/p2p/{QM}/p2p-circuit",
        "/ip4/10.0.0.1/tcp/1",
        "/memory/7",
        "/dns/example.com/tcp/1",
        "/ip6/2002:808:808::1/tcp/1",
    ):
        assert ranked(text) == [(text, 0.0)]


def test_ipv6_quic_then_ipv4_quic_then_the_rest() -> None:
    assert ranked(
        f"{V4}/udp/2/quic-v1",
        f"{V6}/udp/9/quic-v1",
        f"{V4}/udp/1/quic-v1",
        f"{V6}/udp/3/quic-v1",
    ) == [
        (f"{V6}/udp/3/quic-v1", 0.0),
        (f"{V4}/udp/1/quic-v1", 0.25),
        (f"{V6}/udp/9/quic-v1", 0.5),
        (f"{V4}/udp/2/quic-v1", 0.5),
    ]


def test_one_family_of_quic() -> None:
    assert ranked(f"{V4}/udp/3/quic-v1", f"{V4}/udp/2/quic-v1", f"{OTHER_V4}/udp/1/quic-v1") == [
        (f"{OTHER_V4}/udp/1/quic-v1", 0.0),
        (f"{V4}/udp/2/quic-v1", 0.25),
        (f"{V4}/udp/3/quic-v1", 0.25),
    ]


def test_tcp_counts_from_the_last_quic() -> None:
    assert ranked(f"{V4}/tcp/1", f"{V6}/tcp/1", f"{V4}/udp/1/quic-v1", f"{V6}/udp/1/quic-v1") == [
        (f"{V6}/udp/1/quic-v1", 0.0),
        (f"{V4}/udp/1/quic-v1", 0.25),
        (f"{V6}/tcp/1", 0.5),
        (f"{V4}/tcp/1", 0.75),
    ]


def test_tcp_alone_starts_at_once() -> None:
    assert ranked(f"{V4}/tcp/1", f"{V6}/tcp/1", f"{V6}/tcp/2", f"{V6}/tcp/1/ws") == [
        (f"{V6}/tcp/1", 0.0),
        (f"{V4}/tcp/1", 0.25),
        (f"{V6}/tcp/2", 0.5),
        (f"{V6}/tcp/1/ws", 0.5),
    ]


def test_others_wait_a_second() -> None:
    assert ranked(f"{V4}/udp/1/webrtc-direct", f"{V4}/tcp/1") == [
        (f"{V4}/tcp/1", 0.0),
        (f"{V4}/udp/1/webrtc-direct", 1.0),
    ]


def test_private_delays_run_beside_the_public_ones() -> None:
    assert ranked(
        "/ip4/10.0.0.1/tcp/1",
        "/ip4/10.0.0.1/udp/1/quic-v1",
        "/ip4/10.0.0.1/udp/1/webrtc-direct",
        f"{V4}/udp/1/quic-v1",
        f"{V4}/tcp/1",
    ) == [
        ("/ip4/10.0.0.1/udp/1/quic-v1", 0.0),
        (f"{V4}/udp/1/quic-v1", 0.0),
        ("/ip4/10.0.0.1/tcp/1", 0.03),
        ("/ip4/10.0.0.1/udp/1/webrtc-direct", 0.13),
        (f"{V4}/tcp/1", 0.25),
    ]


def test_relays_wait_for_public_addresses() -> None:
    relay4, relay6 = (f"{ip}/udp/1/quic-v1/p2p/{QM}/p2p-circuit" for ip in (V4, V6))
    assert ranked(relay4, relay6, f"{OTHER_V4}/tcp/1") == [
        (f"{OTHER_V4}/tcp/1", 0.0),
        (relay6, 0.5),
        (relay4, 0.75),
    ]
    assert ranked(relay4, "/ip4/10.0.0.1/tcp/1")[1] == (relay4, 0.0)


def test_webtransport_is_dropped_beside_quic() -> None:
    quic, webtransport = f"{V4}/udp/1/quic-v1", f"{V4}/udp/1/quic-v1/webtransport"
    elsewhere = f"{V4}/udp/2/quic-v1/webtransport"
    assert ranked(webtransport, quic) == [(quic, 0.0)]
    assert ranked(webtransport) == [(webtransport, 0.0)]
    assert ranked(elsewhere, quic) == [(quic, 0.0), (elsewhere, 0.25)]


def test_a_relays_webtransport_address_stays() -> None:
    relay = f"{V4}/udp/1/quic-v1/webtransport/p2p/{QM}/p2p-circuit"
    assert len(ranked(relay, f"{V4}/udp/1/quic-v1")) == 2


def test_a_webtransport_relay_does_not_hide_webtransport() -> None:
    relay = f"{V4}/udp/1/quic-v1/p2p/{QM}/p2p-circuit"
    direct = f"{V4}/udp/1/quic-v1/webtransport"
    assert [text for text, _ in ranked(relay, direct)] == [direct, relay]


def test_tunnels_come_last() -> None:
    teredo, sixtofour = "/ip6/2001:0:53aa:64c::1/udp/1/quic-v1", "/ip6/2002:808:808::1/tcp/1"
    order = ranked(sixtofour, teredo, f"{V4}/tcp/1")
    assert order[0] == (f"{V4}/tcp/1", 0.0)
    assert order[1:] == [(teredo, 1.0), (sixtofour, 1.0)]


def test_unspecified_and_repeated_are_left_out() -> None:
    assert ranked("/ip4/0.0.0.0/tcp/1", "/ip6/::/tcp/1", f"{V4}/tcp/1", f"{V4}/tcp/1") == [
        (f"{V4}/tcp/1", 0.0)
    ]
