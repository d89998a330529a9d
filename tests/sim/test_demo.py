"""The demonstration: what it shows was observed, and depends on the NATs."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from carrick.cli.demo import Options, show
from carrick.cli.demo.scenes import ANA_AND_BEN, OTHERS
from carrick.cli.options import Settings

PORT_RESTRICTED = "port-restricted"
UNTIL_THEY_MEET = ANA_AND_BEN[:-1]


def play(
    capsys: pytest.CaptureFixture[str],
    nat_a: str = PORT_RESTRICTED,
    nat_b: str = PORT_RESTRICTED,
    **options: Any,
) -> dict[str, Any]:
    wanted = {
        "seed": 1,
        "latency": 0.02,
        "page": None,
        "size": 0,
        "scenes": UNTIL_THEY_MEET,
        **options,
    }
    show(Settings(json=True), Options(nat_a, nat_b, **wanted))
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def said(found: dict[str, Any]) -> str:
    return "\n".join(f"{moment['who']} {moment['what']}" for moment in found["timeline"])


# The limits of physics, as measured between real NATs (the matrix of interop/natlab); who lets
# strangers in needs no punch, and who can be dialled back neither.
@pytest.mark.parametrize(
    ("nat_a", "nat_b", "way"),
    [
        ("port-restricted", "full-cone", "direct"),
        ("symmetric", "address-restricted", "punch"),
        ("symmetric", "port-restricted", "relay"),
        ("udp-blocked", "port-restricted", "punch"),
    ],
)
def test_what_can_be_reached_directly(
    capsys: pytest.CaptureFixture[str], nat_a: str, nat_b: str, way: str
) -> None:
    found = play(capsys, nat_a, nat_b)
    meeting = found["meeting"]
    assert meeting["way"] == way
    assert ("p2p-circuit" in meeting["address"]) == (way == "relay")
    assert (meeting["reason"] is not None) == (way == "relay")
    assert found["http"]["status"] == 200
    if way == "relay":
        assert meeting["outcome"] == "FAILED"
        assert f"stays on the relay: {meeting['reason']}" in said(found)
        assert meeting["reason"].startswith("symmetric NAT here, ")
    if nat_a == "udp-blocked":
        assert found["nat"]["Ana"]["udp"] == "blocked"
        assert "(TCP)" in said(found).splitlines()[-1]
    assert found["reachable"]["Ben"] == (nat_b in ("open", "full-cone"))


def test_the_whole_story(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    page, capture = tmp_path / "demo.html", tmp_path / "demo.pcapng"
    found = play(capsys, scenes=ANA_AND_BEN + OTHERS, page=page, capture=capture)
    assert found["nat"]["Ana"]["udp"] == found["nat"]["Ben"]["udp"] == "port restricted cone"
    assert found["nat"]["Ben"]["address"] == found["people"]["Ben"]["outside"]
    assert found["reserved"] == {"Ana": "relay", "Ben": "relay"}
    assert found["meeting"]["outcome"] == "SUCCESS"
    assert found["apart_ms"] < 1
    # Twice 20 and 25 ms; over the relay there are twice 22 ms more each way.
    assert found["direct"]["rtt_ms"] == pytest.approx(90, abs=1)
    assert found["relayed"]["rtt_ms"] == pytest.approx(178, abs=3)
    assert found["direct"]["took_ms"] < found["relayed"]["took_ms"]
    assert "the relayed connection any more: it is closed" in said(found)
    # The others.
    assert found["hopeless"]["way"] == "relay"
    assert found["hopeless"]["reason"].startswith("symmetric NAT here, symmetric there")
    assert found["reversal"]["outcome"] == "CONNECTION_REVERSED"
    assert set(found["forwarding"]["via"]) <= {"upnp", "nat-pmp", "pcp"}
    assert sorted(found["forwarding"]["mappings"]) == ["4001/tcp", "4001/udp"]
    assert found["people"]["Fay"]["outside"] in found["forwarding"]["address"]
    # The files.
    text = page.read_text()
    assert text.count("<svg") == len(ANA_AND_BEN + OTHERS) - 1  # nothing is sent in the first
    assert "http" not in text.replace("http://www.w3.org/2000/svg", "")  # nothing to be loaded
    for moment in found["timeline"]:
        assert moment["what"].split(";")[0][:40].replace("'", "&#x27;") in text
    assert capture.read_bytes().startswith(b"\x0a\x0d\x0d\x0a")


def test_the_same_seed_gives_the_same_timeline(capsys: pytest.CaptureFixture[str]) -> None:
    def timeline(seed: int) -> list[tuple[str, str]]:
        # QUIC's packets are of random lengths by some bytes, and so is the time they take; what
        # happens at nearly the same time may change places.
        return sorted(
            (moment["who"], re.sub(r"[\d.]+ (ms|s|Mbit/s)", "…", moment["what"]))
            for moment in play(capsys, seed=seed, nat_a="symmetric", scenes=ANA_AND_BEN[:4])[
                "timeline"
            ]
        )

    once = timeline(5)
    assert timeline(5) == once
    assert timeline(6) != once
