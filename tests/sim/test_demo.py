"""The demonstration: what it shows was observed, and depends on the NATs."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from carrick.cli.demo import Options, show
from carrick.cli.options import Settings

PORT_RESTRICTED = "port-restricted"


def play(
    capsys: pytest.CaptureFixture[str],
    nat_a: str = PORT_RESTRICTED,
    nat_b: str = PORT_RESTRICTED,
    **options: Any,
) -> dict[str, Any]:
    wanted = {"seed": 1, "latency": 0.02, "page": None, "size": 0, **options}
    show(Settings(json=True), Options(nat_a, nat_b, **wanted))
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_a_port_has_to_be_forwarded(capsys: pytest.CaptureFixture[str]) -> None:
    found = play(capsys)
    assert found["reachable"] == {"Ana": False, "Ben": False}
    assert found["forwarded"] == {"tcp": 4001, "udp": 4001}
    outside = found["people"]["Ben"]["outside"]
    assert found["connection"]["addr"].startswith(f"/ip4/{outside}/")
    assert min(found["rtt_ms"]) == pytest.approx(90, abs=1)  # twice 20 ms and 25 ms
    assert found["http"]["status"] == 200
    failed = [moment["what"] for moment in found["timeline"] if moment["failed"]]
    assert any("expected Ben, but Ana answered" in what for what in failed)
    assert any("no answer within 5 s" in what for what in failed)


def test_a_full_cone_lets_everybody_in(capsys: pytest.CaptureFixture[str]) -> None:
    found = play(capsys, "symmetric", "full-cone")
    assert found["reachable"] == {"Ana": False, "Ben": True}
    assert "forwarded" not in found
    assert found["connection"]["transport"] == "quic-v1"
    for transport in ("tcp", "quic-v1"):
        assert "dependent mapping" in found["mapping"]["Ana"][transport]
        ports = set(found["people"]["Ana"]["seen"][transport].values())
        assert len(ports) == len(found["people"]["Ana"]["seen"][transport])
        assert "endpoint-independent" in found["mapping"]["Ben"][transport]


def test_without_udp_it_is_tcp(capsys: pytest.CaptureFixture[str]) -> None:
    found = play(capsys, "udp-blocked", "open")
    assert found["connection"]["transport"] == "tcp"
    assert "quic-v1" not in found["people"]["Ana"]["seen"]
    assert found["mapping"]["Ben"]["tcp"] == "no translation"


def test_the_same_seed_gives_the_same_timeline(capsys: pytest.CaptureFixture[str]) -> None:
    def timeline(seed: int) -> list[tuple[str, str]]:
        # QUIC's packets are of random lengths by some bytes, and so is the time they take; what
        # happens at nearly the same time may change places.
        return sorted(
            (moment["who"], re.sub(r"[\d.]+ (ms|s|Mbit/s)", "…", moment["what"]))
            for moment in play(capsys, seed=seed, nat_a="symmetric")["timeline"]
        )

    once = timeline(5)
    assert timeline(5) == once
    assert timeline(6) != once


def test_the_page_and_the_capture(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    page, capture = tmp_path / "demo.html", tmp_path / "demo.pcapng"
    found = play(capsys, nat_b="full-cone", page=page, capture=capture)
    text = page.read_text()
    assert text.count("<svg") >= 5
    assert "http" not in text.replace("http://www.w3.org/2000/svg", "")  # nothing to be loaded
    for moment in found["timeline"]:
        assert moment["what"].split(";")[0][:40].replace("'", "&#x27;") in text
    assert capture.read_bytes().startswith(b"\x0a\x0d\x0d\x0a")
