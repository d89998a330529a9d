"""What people read of a running node: CLI.md's line, word for word."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from carrick.cli.commands.status import summary
from carrick.cli.relays import limit_text, reservation_text

UNKNOWN = {"type": "unknown", "delta": "unknown"}
PORT_RESTRICTED = {"type": "port restricted cone", "delta": "equal"}
STATUS: dict[str, Any] = {
    "reachability": "private",
    "nat": {"udp": PORT_RESTRICTED, "tcp": PORT_RESTRICTED, "layers": "nat", "addr": "1.2.3.4"},
    "public_addr": {
        "addr": "/ip4/1.2.3.4/tcp/1",
        "source": "observed",
        "observers": 2,
        "needed": 4,
    },
    "relay": {"reservations": [{"active": True, "left_ms": 54 * 60_000.0}]},
    "peers": {"total": 31, "direct": 28, "relayed": 3},
}


def changed(**changes: Any) -> str:
    return summary({**copy.deepcopy(STATUS), **changes})


def test_the_line_of_the_design() -> None:
    """The observers' line of CAPABILITIES, and CLI.md section 3."""
    assert summary(STATUS) == (
        "reachability private (nat: port-restricted, equal) · public addr 2/4 observers · "
        "relay 1 reserved, 54 min left · peers 31 (28 direct, 3 relayed)"
    )


def test_nothing_is_known_yet() -> None:
    line = summary(
        {
            "reachability": "unknown",
            "nat": {"udp": UNKNOWN, "tcp": UNKNOWN, "layers": "unknown", "addr": None},
            "public_addr": {"addr": None, "source": "observed", "observers": 0, "needed": 4},
            "relay": {"reservations": []},
            "peers": {"total": 0, "direct": 0, "relayed": 0},
        }
    )
    assert line == (
        "reachability unknown · public addr 0/4 observers · relay none · "
        "peers 0 (0 direct, 0 relayed)"
    )


@pytest.mark.parametrize(
    ("udp", "tcp", "layers", "words"),
    [
        (("symmetric", "random"), ("symmetric", "random"), "nat", "(nat: symmetric, random)"),
        (("full cone", "unknown"), ("unknown", "unknown"), "nat", "(nat: full-cone)"),
        (
            ("restricted cone", "equal"),
            ("symmetric", "unknown"),
            "cgnat",
            "(nat: udp address-restricted, equal, tcp symmetric, cgnat)",
        ),
        (("blocked", "unknown"), ("open", "equal"), "nat", "(nat: udp blocked, tcp open, equal)"),
    ],
)
def test_nats(udp: tuple[str, str], tcp: tuple[str, str], layers: str, words: str) -> None:
    behaviours = [{"type": name, "delta": delta} for name, delta in (udp, tcp)]
    nat = {"udp": behaviours[0], "tcp": behaviours[1], "layers": layers, "addr": None}
    assert changed(nat=nat).startswith(f"reachability private {words} · ")


def test_addresses_and_relays() -> None:
    own = {"addr": "/ip4/8.8.8.8/tcp/1", "source": "own", "observers": 0, "needed": 4}
    assert "public addr /ip4/8.8.8.8/tcp/1 ·" in changed(public_addr=own)
    lost = {"active": False, "left_ms": None}
    soon = {"active": True, "left_ms": 40_000.0}
    assert "relay 0 of 1 reserved ·" in changed(relay={"reservations": [lost]})
    both = STATUS["relay"]["reservations"] + [soon, lost]
    assert "relay 2 reserved, 40 s left ·" in changed(relay={"reservations": both})


def test_limits() -> None:
    assert limit_text({"limit_time_ms": None, "limit_bytes": None}) == "no limit"
    assert limit_text({"limit_time_ms": 90_000, "limit_bytes": None}) == "90 s"
    slot = {"relay": "R", "active": True, "left_ms": 3.6e6, "limit_time_ms": 120_000}
    assert reservation_text({**slot, "limit_bytes": 1 << 17}) == (
        "R: reserved, 60 min left; 2 min and 128.0 KiB each way for each circuit"
    )
    assert reservation_text({**slot, "active": False}) == "R: not reserved at the moment"
