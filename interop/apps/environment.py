"""What the official suites say to an app: two dialects of environment variables.

UT is libp2p/unified-testing (upper case, a key for each test), TP is libp2p/test-plans (lower case,
one key). The app finds out by itself which one it is started by. No I/O.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass

__all__ = [
    "STANDALONE",
    "Dialect",
    "Settings",
    "SettingsError",
    "parse",
    "parse_endpoint",
    "read_flag",
    "read_number",
    "read_value",
]

DEFAULT_TIMEOUT = 180  # s, both suites

STANDALONE = frozenset({"quic-v1", "webtransport", "webrtc", "webrtc-direct"})
"""Transports that bring their own security and muxer."""

_UNSET = ("", "null")  # a matrix without a value writes `null`


class SettingsError(ValueError):
    """The environment is neither suite's; the message names the variable."""


class Dialect(enum.Enum):
    """Which suite started us."""

    UT = "unified-testing"
    TP = "test-plans"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """One role of one test.

    Attributes:
        dialect: the suite that started us.
        is_dialer: which role.
        redis: host and port of the Redis server.
        key: where the listener's address goes.
        transport: such as `tcp`.
        security: such as `noise`; None for a standalone transport.
        muxer: such as `yamux`; None for a standalone transport.
        listen_ip: where a listener binds.
        timeout: of the whole test, in seconds.
        debug: log everything.
    """

    dialect: Dialect
    is_dialer: bool
    redis: tuple[str, int]
    key: str
    transport: str
    security: str | None
    muxer: str | None
    listen_ip: str
    timeout: int
    debug: bool


_NAMES = {
    Dialect.UT: {
        "role": "IS_DIALER",
        "redis": "REDIS_ADDR",
        "transport": "TRANSPORT",
        "security": "SECURE_CHANNEL",
        "muxer": "MUXER",
        "ip": "LISTENER_IP",
        "timeout": "TEST_TIMEOUT_SECS",
        "debug": "DEBUG",
    },
    Dialect.TP: {
        "role": "is_dialer",
        "redis": "redis_addr",
        "transport": "transport",
        "security": "security",
        "muxer": "muxer",
        "ip": "ip",
        "timeout": "test_timeout_seconds",
        "debug": "debug",
    },
}


def parse(env: Mapping[str, str]) -> Settings:
    """Read the environment of either suite.

    Raises:
        SettingsError: a variable is missing or malformed.
    """
    if "TEST_KEY" in env or "IS_DIALER" in env:
        dialect = Dialect.UT
    elif "is_dialer" in env:
        dialect = Dialect.TP
    else:
        raise SettingsError("neither IS_DIALER (unified-testing) nor is_dialer (test-plans) is set")
    names = _NAMES[dialect]

    def value(field: str, default: str | None = None) -> str:
        found = read_value(env, names[field]) or default
        if found is None:
            raise SettingsError(f"{names[field]} is not set")
        return found

    transport = value("transport")
    standalone = transport in STANDALONE
    if dialect is Dialect.UT:
        test_key = read_value(env, "TEST_KEY")
        if test_key is None:
            raise SettingsError("TEST_KEY is not set")
        key, redis = f"{test_key}_listener_multiaddr", value("redis")
    else:
        key, redis = "listenerAddr", value("redis", "redis:6379")
    return Settings(
        dialect=dialect,
        is_dialer=read_flag(names["role"], value("role")),
        redis=parse_endpoint(names["redis"], redis),
        key=key,
        transport=transport,
        security=None if standalone else value("security"),
        muxer=None if standalone else value("muxer"),
        listen_ip=value("ip", "0.0.0.0"),
        timeout=max(1, read_number(env, names["timeout"], DEFAULT_TIMEOUT)),
        debug=read_flag(names["debug"], value("debug", "false")),
    )


def read_number(env: Mapping[str, str], name: str, default: int) -> int:
    """A count; `default` where it is not set, empty or `null`.

    Raises:
        SettingsError: it is no count.
    """
    text = read_value(env, name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit()) or len(text) > 18:
        raise SettingsError(f"{name} is no count: {text!r}")
    return int(text)


def read_value(env: Mapping[str, str], name: str) -> str | None:
    """What is set; None where it is not, is empty or `null`."""
    text = env.get(name, "").strip()
    return None if text in _UNSET else text


def read_flag(name: str, text: str) -> bool:
    """`true` or `false`; `name` is for the error.

    Raises:
        SettingsError: it is neither.
    """
    if text not in ("true", "false"):
        raise SettingsError(f"{name} is neither true nor false: {text!r}")
    return text == "true"


def parse_endpoint(name: str, text: str) -> tuple[str, int]:
    """`host:port`; `name` is for the error.

    Raises:
        SettingsError: it is not of that form.
    """
    host, _, port = text.rpartition(":")
    if not host or not (port.isascii() and port.isdigit()) or not 0 < int(port[:6]) < 65536:
        raise SettingsError(f"{name} is not host:port: {text!r}")
    return host.strip("[]"), int(port)
