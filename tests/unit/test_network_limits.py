from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from carrick.network.limits import MIB, Limits, default_memory

DOCS = Path(__file__).resolve().parents[2] / "docs" / "limits.md"


def test_the_promised_defaults() -> None:
    """ATTACKS section 6.1, promises 3 to 8."""
    limits = Limits()
    assert limits.connections_per_address == 64
    assert limits.connections_per_private_address == 256
    assert limits.connections_pending == 128
    assert limits.connections_pending_per_address == 16
    assert (limits.connection_rate_per_address, limits.connection_burst_per_address) == (8, 64)
    assert limits.connections_per_peer == 8
    assert limits.connections_inbound <= 0.75 * limits.connections
    assert limits.streams_inbound_per_connection == 512
    assert limits.streams_pending_per_connection == 256
    assert limits.streams_inbound_per_protocol_and_peer == 64
    assert limits.protocol_streams_per_peer["/ipfs/ping/1.0.0"] == 2
    assert limits.protocol_streams_per_peer["/ipfs/id/1.0.0"] == 16
    assert limits.violations_per_connection == 1000
    assert limits.upgrade_timeout == limits.negotiation_timeout == 10
    assert limits.close_timeout == 1
    assert default_memory() >= 128 * MIB
    assert (limits.low_water, limits.high_water) == (160, 192)
    assert limits.high_water < limits.connections_inbound


def test_overrides() -> None:
    assert Limits().with_overrides(dials=3).dials == 3
    with pytest.raises(ValueError, match="no limit 'dial'; did you mean dials"):
        Limits().with_overrides(dial=3)
    with pytest.raises(ValueError, match="connections must be a number from 0 up"):
        Limits().with_overrides(connections=-1)
    with pytest.raises(ValueError, match="dial_timeout"):
        Limits().with_overrides(dial_timeout=float("nan"))
    with pytest.raises(ValueError, match="low_water"):
        Limits().with_overrides(low_water=200)


def test_settings_of_the_command_line() -> None:
    limits = Limits().with_settings(
        ["connections=1000", "memory=512MiB", "dial_timeout=2.5", "/echo/1.0.0=7"]
    )
    assert limits.connections == 1000
    assert limits.memory == 512 * MIB
    assert limits.dial_timeout == 2.5
    assert limits.protocol_streams_per_peer["/echo/1.0.0"] == 7
    assert limits.protocol_streams_per_peer["/ipfs/ping/1.0.0"] == 2
    assert Limits().with_settings(["count_loopback=true"]).count_loopback is True


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("connections", "NAME=VALUE"),
        ("connections=many", "must be a number"),
        ("connections=1.5", "must be a number"),
        ("conections=1", "did you mean connections"),
        ("count_loopback=maybe", "true or false"),
        ("/echo/1.0.0=x", "must be a number"),
    ],
)
def test_wrong_settings(setting: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Limits().with_settings([setting])


def test_the_documentation_lists_every_limit_with_its_default() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| ([^|]+?) \|", DOCS.read_text(), re.MULTILINE))
    assert set(rows) == set(Limits.names())
    for entry in dataclasses.fields(Limits):
        if entry.default is not dataclasses.MISSING and not entry.name.startswith("memory"):
            assert rows[entry.name] == f"{entry.default:g}".replace("False", "0"), entry.name
