"""`carrick connect` and `carrick ping`: by which way, and what they make of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from carrick.identity import PrivateKey
from tests.support.commands import Node, Run, failure, listening, runner


@dataclass
class Relayed:
    """A peer, and the relay on which it has a slot."""

    relay: Node
    peer: Node

    @property
    def address(self) -> str:
        return next(each for each in self.peer.ready["addresses"] if "/p2p-circuit/" in each)


@pytest.fixture(scope="module")
def relayed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Relayed]:
    folder = tmp_path_factory.mktemp("relayed")
    with (
        listening(folder / "relay", "--relay-service") as relay,
        listening(folder / "peer", command=("relay", "reserve", relay.address)) as peer,
    ):
        yield Relayed(relay, peer)


@pytest.fixture
def run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Run]:
    with runner(tmp_path, capsys, monkeypatch) as run:
        yield run


def test_connect_says_how(relayed: Relayed, run: Run) -> None:
    target = relayed.relay.address
    code, out, err = run("connect", target, "--trace")
    assert (code, err) == (0, "")
    first, second, *trace = out.splitlines()
    assert first.startswith(f"direct {target.partition('/p2p/')[0]}, noise, yamux, ")
    assert second == f"/p2p/{relayed.relay.id}"
    assert trace[0].startswith("direct ")
    assert "ok" in trace[1]  # the address

    code, out, err = run("connect", target, "--direct", "--trace", "--json")
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert (found["path"], found["strategy"], found["outcome"]) == ("direct", "direct", None)
    assert found["attempts"] == []
    (step,) = found["trace"]
    assert (step["strategy"], step["result"]) == ("direct", "ok")
    assert step["address"] == step["attempts"][0]["address"] == found["addr"]
    assert 0 <= step["start_ms"] < step["end_ms"]


def test_connect_over_a_relay(relayed: Relayed, run: Run) -> None:
    args = ("--wait-direct", "200ms", "--json", "--trace")
    code, out, err = run("connect", relayed.address, *args)
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert (found["path"], found["strategy"]) == ("relayed", "relay")
    assert found["id"] == relayed.peer.id
    assert found["rtt_ms"] > 0
    assert "relay" in [step["strategy"] for step in found["trace"] if step["result"] == "ok"]
    # Who asked for a direct one is told that it is none.
    assert run("connect", relayed.address, *args, "--direct")[0] == 3


def test_connect_by_the_id_alone(relayed: Relayed, run: Run) -> None:
    args = ("--relay", relayed.relay.address, "--strategies", "relay")
    code, out, err = run("connect", relayed.peer.id, *args)
    assert (code, err) == (0, "")
    assert out.startswith("relayed /ip4/127.0.0.1/tcp/")
    assert failure(run, "connect", relayed.peer.id) == (4, "not_found")
    assert failure(run, "connect", PrivateKey.generate().peer_id, *args)[0] != 0


def test_only_the_strategies_that_are_named(relayed: Relayed, run: Run) -> None:
    target = relayed.relay.address
    assert failure(run, "connect", target, "--strategies", "relay") == (4, "not_found")
    assert failure(run, "connect", target, "--strategies", "reverse,tunnel") == (2, "usage")
    assert run("connect", target, "--strategies", "direct")[0] == 0


def test_families_and_transports(relayed: Relayed, run: Run) -> None:
    target = relayed.relay.address
    assert run("connect", target, "-4", "--transport", "tcp")[0] == 0
    assert failure(run, "connect", target, "-6") == (5, "gated")
    assert failure(run, "connect", target, "--transport", "quic") == (1, "unsupported_address")
    assert failure(run, "connect", target, "--transport", "pigeon") == (2, "usage")


def test_wrong_relays(relayed: Relayed, run: Run) -> None:
    for relay in ("/ip4/127.0.0.1/tcp/1", "nonsense"):
        assert failure(run, "connect", relayed.peer.id, "--relay", relay) == (2, "usage")
    assert failure(run, "ping", "4001", "--relay", relayed.relay.address) == (2, "usage")


def test_pongs_say_via_what(relayed: Relayed, run: Run) -> None:
    args = ("-n", 2, "-i", "10ms")
    code, out, _ = run("ping", relayed.address, *args, "--force-relay")
    assert code == 0
    assert out.count(f"pong from {relayed.peer.id} via relay {relayed.relay.id} ") == 2
    code, out, _ = run("ping", relayed.relay.address, *args)
    assert code == 0
    assert out.count(f"pong from {relayed.relay.id} via direct /ip4/127.0.0.1/tcp/") == 2


def test_ping_until_direct(relayed: Relayed, run: Run) -> None:
    args = ("-n", 3, "-i", "10ms", "--until-direct")
    assert run("ping", relayed.address, *args)[0] == 3  # it never is
    code, out, _ = run("ping", relayed.relay.address, *args, "--json")
    assert code == 0
    pong, summary = map(json.loads, out.splitlines())  # the first one will do
    assert (pong["path"], summary["received"]) == ("direct", 1)
    assert failure(run, "ping", relayed.address, *args, "--force-relay") == (2, "usage")
