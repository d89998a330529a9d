"""What the hole-punch suites say to the app."""

from __future__ import annotations

import pytest

from interop.apps.environment import Dialect, SettingsError
from interop.apps.punch_environment import Role, Route, parse

COMMON = {
    "REDIS_ADDR": "hole-punch-redis:6379",
    "TEST_KEY": "a5b50d5e",
    "TRANSPORT": "tcp",
    "SECURE_CHANNEL": "noise",
    "MUXER": "yamux",
    "DEBUG": "false",
}
RELAY = {
    **COMMON,
    "RELAY_IP": "10.32.40.68",
    "DIALER_LAN_SUBNET": "10.32.40.96/27",
    "DIALER_ROUTER_IP": "10.32.40.66",
    "LISTENER_LAN_SUBNET": "10.32.40.128/27",
    "LISTENER_ROUTER_IP": "10.32.40.67",
}
PEER = {**COMMON, "WAN_SUBNET": "10.32.40.64/27", "WAN_ROUTER_IP": "10.32.40.98"}
DIALER = {**PEER, "IS_DIALER": "true", "DIALER_IP": "10.32.40.99"}
LISTENER = {**PEER, "IS_DIALER": "false", "LISTENER_IP": "10.32.40.131"}


@pytest.mark.parametrize(
    ("env", "role", "ip"),
    [
        (RELAY, Role.RELAY, "10.32.40.68"),
        (DIALER, Role.DIALER, "10.32.40.99"),
        (LISTENER, Role.LISTENER, "10.32.40.131"),
    ],
)
def test_the_roles_of_unified_testing(env: dict[str, str], role: Role, ip: str) -> None:
    settings = parse(env)
    node = settings.node
    assert (settings.role, node.listen_ip, node.is_dialer) == (role, ip, False)
    assert settings.relay_key == "a5b50d5e_relay_multiaddr"
    assert settings.peer_key == "a5b50d5e_listener_peer_id"
    assert (node.dialect, node.redis) == (Dialect.UT, ("hole-punch-redis", 6379))
    assert (node.transport, node.security, node.muxer) == ("tcp", "noise", "yamux")


def test_a_standalone_transport_has_no_security_and_no_muxer() -> None:
    env = {name: value for name, value in DIALER.items() if name not in ("SECURE_CHANNEL", "MUXER")}
    node = parse({**env, "TRANSPORT": "quic-v1"}).node
    assert (node.transport, node.security, node.muxer) == ("quic-v1", None, None)


def test_everybody_sets_up_routes() -> None:
    assert parse(DIALER).routes == (Route("10.32.40.64/27", "10.32.40.98", "lan0"),)
    assert parse(RELAY).routes == (
        Route("10.32.40.96/27", "10.32.40.66", "wan0"),
        Route("10.32.40.128/27", "10.32.40.67", "wan0"),
    )
    assert parse({**COMMON, "RELAY_IP": "127.0.0.1"}).routes == ()


@pytest.mark.parametrize(
    ("transport", "ours", "key"),
    [("tcp", "tcp", "RELAY_TCP_ADDRESS"), ("quic", "quic-v1", "RELAY_QUIC_ADDRESS")],
)
def test_the_roles_of_test_plans(transport: str, ours: str, key: str) -> None:
    settings = parse({"MODE": "listen", "TRANSPORT": transport})
    assert (settings.role, settings.node.transport) == (Role.LISTENER, ours)
    assert (settings.relay_key, settings.peer_key) == (key, "LISTEN_CLIENT_PEER_ID")
    assert (settings.node.dialect, settings.node.redis) == (Dialect.TP, ("redis", 6379))
    assert (settings.node.listen_ip, settings.timeout) == ("0.0.0.0", 60)
    assert parse({"MODE": "dial", "TRANSPORT": transport}).role is Role.DIALER


@pytest.mark.parametrize(
    ("env", "says"),
    [
        ({}, "TEST_KEY"),
        ({"MODE": "relay", "TRANSPORT": "tcp"}, "MODE"),
        ({"MODE": "dial", "TRANSPORT": "ws"}, "TRANSPORT"),
        ({**DIALER, "DIALER_IP": ""}, "DIALER_IP"),
        ({**DIALER, "MUXER": "null"}, "MUXER"),
        ({**DIALER, "IS_DIALER": "maybe"}, "IS_DIALER"),
        ({**DIALER, "REDIS_ADDR": "redis"}, "REDIS_ADDR"),
    ],
)
def test_what_is_missing_or_malformed_is_named(env: dict[str, str], says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        parse(env)
