"""What the apps compute and print."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from multiaddr import Multiaddr

from carrick.protocols.perf import Dialect as PerfDialect
from interop.apps.environment import STANDALONE, Dialect, SettingsError, parse
from interop.apps.node import Unsupported, make_builder, published
from interop.apps.perf import dialect_of, server_key
from interop.apps.statistics import percentile, summarize
from interop.apps.transport import report
from interop.runner.offers import OFFERS
from interop.runner.results import read_latency

ROOT = Path(__file__).resolve().parents[2]


def test_the_result_for_unified_testing() -> None:
    text = report(Dialect.UT, 5.0114, 0.599)
    assert text == ("latency:\n  handshake_plus_one_rtt: 5.011\n  ping_rtt: 0.599\n  unit: ms")
    assert read_latency("noise\n" + text + "\nmore") == (5.011, 0.599)
    assert read_latency(text[:-1]) is None


def test_the_result_for_test_plans() -> None:
    assert json.loads(report(Dialect.TP, 5.0, 0.5)) == {
        "handshakePlusOneRTTMillis": 5.0,
        "pingRTTMilllis": 0.5,
    }


def test_percentiles_are_linear_between_neighbours() -> None:
    assert percentile([1, 2, 3, 4], 50) == 2.5
    assert percentile([1, 2, 3, 4], 25) == 1.75
    assert percentile([7], 75) == 7


def test_outliers_do_not_count_as_extremes() -> None:
    summary = summarize([2.06, 2.05, 100.0, 2.04, 2.07, 2.05])
    assert (summary.low, summary.high, summary.outliers) == (2.04, 2.07, (100.0,))
    assert summary.samples == (2.04, 2.05, 2.05, 2.06, 2.07, 100.0)
    with pytest.raises(ValueError, match="no samples"):
        summarize([])


def test_the_block_of_a_series() -> None:
    assert summarize([2.0, 2.02]).block("upload", "Gbps", 2) == (
        "upload:\n  iterations: 2\n  min: 2.00\n  q1: 2.00\n  median: 2.01\n  q3: 2.02\n"
        "  max: 2.02\n  outliers: []\n  samples: [2.00, 2.02]\n  unit: Gbps"
    )


def test_a_listener_tells_an_address_that_others_reach() -> None:
    loopback, outside = Multiaddr("/ip4/127.0.0.1/tcp/1"), Multiaddr("/ip4/10.16.0.2/tcp/1")
    assert published([loopback, outside]) == str(outside)
    assert published([loopback]) == str(loopback)


def test_the_perf_dialect_follows_the_peer() -> None:
    assert dialect_of("", "rust-libp2p/0.48.0") is PerfDialect.UT16
    assert dialect_of("", "js-libp2p/3.3.11") is PerfDialect.SPEC
    assert dialect_of("spec", "rust-libp2p/0.48.0") is PerfDialect.SPEC
    with pytest.raises(SettingsError):
        dialect_of("go", "")


def test_the_perf_server_of_test_plans() -> None:
    # libp2p/test-plans, perf: the key of an all-zero seed
    expected = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN"
    assert str(server_key().peer_id) == expected


def test_the_app_offers_what_the_table_says() -> None:
    offer = OFFERS["carrick"]
    for transport in ("tcp", "ws", "wss", "quic-v1", "webrtc-direct"):
        for security in ("noise", "tls", "plaintext"):
            for muxer in ("yamux", "mplex", "none"):
                env = {
                    "IS_DIALER": "true",
                    "TEST_KEY": "k",
                    "REDIS_ADDR": "r:1",
                    "TRANSPORT": transport,
                    "SECURE_CHANNEL": security,
                    "MUXER": muxer,
                }
                offered = transport in offer.transports and (
                    transport in STANDALONE
                    or (security in offer.securities and muxer in offer.muxers)
                )
                if offered:
                    make_builder(parse(env))
                else:
                    with pytest.raises(Unsupported):
                        make_builder(parse(env))


def test_the_entries_for_the_suites_say_what_the_table_says() -> None:
    images = (ROOT / "interop" / "images.yaml").read_text()
    (plan,) = json.loads((ROOT / "interop" / "versionsInput.json").read_text())
    offer = OFFERS["carrick"]
    for field, values in (
        ("transports", offer.transports),
        ("secureChannels", offer.securities),
        ("muxers", offer.muxers),
    ):
        listed = re.findall(rf"^ +{field}: \[(.*)\]$", images, re.MULTILINE)
        transport, perf, *hole_punch = [set(text.split(", ")) for text in listed]
        assert transport == perf == set(plan[field]) == values
        assert len(hole_punch) == 2 and hole_punch[0] == hole_punch[1] <= values
    dockerfiles = re.findall(r"^ +dockerfile: (.+)$", images, re.MULTILINE)
    assert len(dockerfiles) == 5 and all((ROOT / file).exists() for file in dockerfiles)
