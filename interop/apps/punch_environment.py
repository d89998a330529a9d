"""What the hole-punch suites say to an app. No I/O."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass

from interop.apps.environment import (
    DEFAULT_TIMEOUT,
    STANDALONE,
    Dialect,
    Settings,
    SettingsError,
    parse_endpoint,
    read_flag,
    read_number,
    read_value,
)

__all__ = ["PunchSettings", "Role", "Route", "parse"]

TP_TIMEOUT = 60  # s, the harness of test-plans
TP_REDIS = "redis:6379"
TP_TRANSPORTS = {"tcp": "tcp", "quic": "quic-v1"}


class Role(enum.Enum):
    RELAY = "relay"
    LISTENER = "listener"
    DIALER = "dialer"


@dataclass(frozen=True, slots=True)
class Route:
    """A route that the suite has each container set up for itself."""

    subnet: str
    via: str
    device: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PunchSettings:
    """One role of one test.

    Attributes:
        node: what the host is made of; everybody listens.
        relay_key: where the relay's address is.
        peer_key: where the listener's peer id is.
        routes: to set up before anything else.
    """

    role: Role
    node: Settings
    relay_key: str
    peer_key: str
    routes: tuple[Route, ...] = ()

    @property
    def timeout(self) -> int:
        return self.node.timeout

    @property
    def debug(self) -> bool:
        return self.node.debug


def parse(env: Mapping[str, str]) -> PunchSettings:
    """Read the environment of either suite.

    Raises:
        SettingsError: a variable is missing or malformed.
    """
    if "MODE" in env:
        return _test_plans(env)
    if "TEST_KEY" in env:
        return _unified_testing(env)
    raise SettingsError("neither TEST_KEY (unified-testing) nor MODE (test-plans) is set")


def _unified_testing(env: Mapping[str, str]) -> PunchSettings:
    role = _role(env)
    transport, key = _needed(env, "TRANSPORT"), _needed(env, "TEST_KEY")
    standalone = transport in STANDALONE
    own_ip = f"{role.name}_IP"
    return PunchSettings(
        role=role,
        node=Settings(
            dialect=Dialect.UT,
            is_dialer=False,
            redis=parse_endpoint("REDIS_ADDR", _needed(env, "REDIS_ADDR")),
            key=key,
            transport=transport,
            security=None if standalone else _needed(env, "SECURE_CHANNEL"),
            muxer=None if standalone else _needed(env, "MUXER"),
            # Not all addresses: peers could see each other in Redis' network.
            listen_ip=_needed(env, own_ip),
            timeout=max(1, read_number(env, "TEST_TIMEOUT_SECS", DEFAULT_TIMEOUT)),
            debug=read_flag("DEBUG", read_value(env, "DEBUG") or "false"),
        ),
        relay_key=f"{key}_relay_multiaddr",
        peer_key=f"{key}_listener_peer_id",
        routes=tuple(_routes(env, role)),
    )


def _role(env: Mapping[str, str]) -> Role:
    """The relay is the one that is not asked whether it dials."""
    dials = read_value(env, "IS_DIALER")
    if dials is None:
        return Role.RELAY
    return Role.DIALER if read_flag("IS_DIALER", dials) else Role.LISTENER


def _routes(env: Mapping[str, str], role: Role) -> list[Route]:
    if role is Role.RELAY:
        ways = [
            ("DIALER_LAN_SUBNET", "DIALER_ROUTER_IP", "wan0"),
            ("LISTENER_LAN_SUBNET", "LISTENER_ROUTER_IP", "wan0"),
        ]
    else:
        ways = [("WAN_SUBNET", "WAN_ROUTER_IP", "lan0")]
    found = []
    for subnet, via, device in ways:
        to, by = read_value(env, subnet), read_value(env, via)
        if to is not None and by is not None:
            found.append(Route(to, by, device))
    return found


def _test_plans(env: Mapping[str, str]) -> PunchSettings:
    roles = {"listen": Role.LISTENER, "dial": Role.DIALER}
    mode, transport = _needed(env, "MODE"), _needed(env, "TRANSPORT")
    if mode not in roles:
        raise SettingsError(f"MODE is neither listen nor dial: {mode!r}")
    if transport not in TP_TRANSPORTS:
        raise SettingsError(f"TRANSPORT is neither tcp nor quic: {transport!r}")
    tcp = transport == "tcp"
    return PunchSettings(
        role=roles[mode],
        node=Settings(
            dialect=Dialect.TP,
            is_dialer=False,
            redis=parse_endpoint("REDIS_ADDR", read_value(env, "REDIS_ADDR") or TP_REDIS),
            key="",
            transport=TP_TRANSPORTS[transport],
            security="noise" if tcp else None,
            muxer="yamux" if tcp else None,
            listen_ip=read_value(env, "LISTEN_IP") or "0.0.0.0",
            timeout=max(1, read_number(env, "TEST_TIMEOUT_SECS", TP_TIMEOUT)),
            debug=False,
        ),
        relay_key=f"RELAY_{transport.upper()}_ADDRESS",
        peer_key="LISTEN_CLIENT_PEER_ID",
    )


def _needed(env: Mapping[str, str], name: str) -> str:
    value = read_value(env, name)
    if value is None:
        raise SettingsError(f"{name} is not set")
    return value
