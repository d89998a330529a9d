"""`carrick connect` and `carrick ping` between NATs, on the simulated internet."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from carrick.cli.commands import connect, ping
from carrick.cli.dialling import STRATEGIES, Dialling
from carrick.cli.options import Settings
from carrick.sim import Internet, Link, run
from carrick.testing.nodes import on_machine
from tests.support.dcutr import Scene, scene

HERE = Link(latency=0.01)

Lines = list[dict[str, Any]]


def dialling(transport: str, strategies: str = STRATEGIES) -> Dialling:
    return Dialling(
        strategies=tuple(strategies.split(",")),
        relay=(),
        family=None,
        transport=(transport,),
        addresses=(),
        observers=1,
        node={
            "security": ("noise",),
            "muxer": ("yamux",),
            "limit": (),
            "psk": None,
            "peerstore": None,
            "trace_frames": None,
        },
    )


def played(
    nat: str,
    transport: str,
    capsys: pytest.CaptureFixture[str],
    command: Callable[[Scene, Settings, Dialling], Awaitable[int]],
) -> tuple[int, Lines]:
    """Run a command at A's, with B behind a NAT of the same kind: exit code, JSON."""
    codes: list[int] = []

    async def program(internet: Internet) -> None:
        async with scene(internet, nat, nat, transport, link=HERE) as two:
            with on_machine(two.a.machine):
                settings = Settings(json=True)
                codes.append(await command(two, settings, dialling(transport)))

    run(program)
    return codes[0], [json.loads(line) for line in capsys.readouterr().out.splitlines()]


async def do_connect(two: Scene, settings: Settings, how: Dialling) -> int:
    return await connect._connect(settings, two.circuit_address, how, True, 10.0, True)


async def do_ping(two: Scene, settings: Settings, how: Dialling) -> int:
    return await ping._run(settings, two.circuit_address, how, 8, 1.0, True)


@pytest.mark.parametrize("transport", ["quic", "tcp"])
def test_connect_is_punched(transport: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, (found,) = played("port-restricted", transport, capsys, do_connect)
    assert code == 0
    assert (found["path"], found["strategy"], found["outcome"]) == ("direct", "punch", "SUCCESS")
    assert [attempt["result"] for attempt in found["attempts"]] == ["ok"]
    assert 0 < found["connect_ms"] < 5000
    assert found["rtt_ms"] == pytest.approx(40, abs=1)
    told = {step["strategy"]: step["result"] for step in found["trace"]}
    assert told["relay"] == told["punch"] == "ok"


def test_connect_stays_relayed(capsys: pytest.CaptureFixture[str]) -> None:
    code, (found,) = played("symmetric", "quic", capsys, do_connect)
    assert code == 3
    assert (found["path"], found["strategy"], found["outcome"]) == ("relayed", "relay", "FAILED")
    assert found["rtt_ms"] == pytest.approx(80, abs=1)


@pytest.mark.parametrize("transport", ["quic", "tcp"])
def test_pings_move_to_the_direct_connection(
    transport: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, (*pongs, summary) = played("port-restricted", transport, capsys, do_ping)
    assert code == 0
    *before, last = pongs
    assert before
    assert all(pong["path"] == "relayed" for pong in before)
    assert (last["path"], last["rtt_ms"]) == ("direct", pytest.approx(40, abs=1))
    assert before[0]["rtt_ms"] == pytest.approx(80, abs=1)
    assert summary["received"] == len(pongs)


def test_pings_that_never_do(capsys: pytest.CaptureFixture[str]) -> None:
    code, (*pongs, summary) = played("symmetric", "quic", capsys, do_ping)
    assert code == 3
    assert {pong["path"] for pong in pongs} == {"relayed"}
    assert summary["received"] == 8
