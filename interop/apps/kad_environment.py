"""What the kad-dht suite says to an app. No I/O."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass

from interop.apps.environment import (
    DEFAULT_TIMEOUT,
    Dialect,
    Settings,
    SettingsError,
    parse_endpoint,
    read_flag,
    read_number,
    read_value,
)

__all__ = ["KadSettings", "Role", "parse"]


class Role(enum.Enum):
    BOOTSTRAP = "bootstrap"
    PROVIDER = "provider"
    QUERIER = "querier"


@dataclass(frozen=True, slots=True, kw_only=True)
class KadSettings:
    """One role of one test.

    Attributes:
        node: what the host is made of; always TCP, Noise and Yamux.
        address_key, done_key: where the bootstrap node's address is, and that all is provided.
        content: what is provided: no multihash, but bytes all the same.
        record: under which key the value is.
    """

    role: Role
    node: Settings
    address_key: str
    done_key: str
    content: bytes
    record: bytes

    @property
    def timeout(self) -> int:
        return self.node.timeout

    @property
    def debug(self) -> bool:
        return self.node.debug


def parse(env: Mapping[str, str]) -> KadSettings:
    """Read the environment of unified-testing.

    Raises:
        SettingsError: a variable is missing or malformed.
    """
    try:
        role = Role(_needed(env, "ROLE"))
    except ValueError as error:
        raise SettingsError(f"ROLE is no role: {error}") from None
    key = _needed(env, "TEST_KEY")
    return KadSettings(
        role=role,
        node=Settings(
            dialect=Dialect.UT,
            is_dialer=role is Role.QUERIER,
            redis=parse_endpoint("REDIS_ADDR", _needed(env, "REDIS_ADDR")),
            key=key,
            transport="tcp",
            security="noise",
            muxer="yamux",
            listen_ip="0.0.0.0",  # as the app finds out
            timeout=max(1, read_number(env, "TEST_TIMEOUT_SECS", DEFAULT_TIMEOUT)),
            debug=read_flag("DEBUG", read_value(env, "DEBUG") or "false"),
        ),
        address_key=f"{key}_bootstrap_addr",
        done_key=f"{key}_provider_done",
        content=f"interop-test-key-{key}".encode(),
        record=f"/example/data/{key}".encode(),
    )


def _needed(env: Mapping[str, str], name: str) -> str:
    value = read_value(env, name)
    if value is None:
        raise SettingsError(f"{name} is not set")
    return value
