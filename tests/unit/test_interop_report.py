"""What is made of a run."""

from __future__ import annotations

import json

from interop.runner.implementations import Implementation
from interop.runner.matrix import Pair
from interop.runner.report import markdown, page, to_json
from interop.runner.results import Counts, Result, Run, Side, excerpt, merge

ROWS = [
    Result(
        Pair("carrick", "carrick", "tcp", "noise", "yamux"),
        "passed",
        handshake_ms=7.0,
        ping_ms=0.5,
    ),
    Result(
        Pair("carrick", "js", "tcp", "noise", "yamux"),
        "failed",
        "the dialer failed, with exit code 1",
        dialer=Side(1, "itself", "Error: <b> | no"),
        listener=Side(-15, "stopped", ""),
    ),
    Result(Pair("carrick", "go", "tcp", "noise", "yamux"), "skipped", "go: no go"),
    Result(Pair("js", "py", "tcp", "tls", "yamux"), "failed", "the dialer failed"),
]


def make_run(results: list[Result]) -> Run:
    return Run(
        command="python -m interop run",
        commit="abc",
        date="2026-01-01",
        network="loopback",
        machine="2 cores",
        seconds=3.0,
        implementations=[
            Implementation("carrick", "carrick", "0.1.0", "Python", ("c",)),
            Implementation("js", "npm libp2p", "3", "node", ("c",)),
            Implementation("py", "PyPI libp2p", "0.8", "Python", ("c",)),
            Implementation("go", "go-libp2p", "-", "-", (), "no go"),
        ],
        results=results,
    )


def test_counts_separate_ours_from_others() -> None:
    run = make_run(ROWS)
    assert Counts.of(run.ours) == Counts(3, 1, 1, 1)
    assert Counts.of(run.others) == Counts(1, 0, 1, 0)


def test_a_failure_of_ours_fails_the_run_and_a_known_one_of_others_does_not() -> None:
    assert not make_run(ROWS).ok
    assert make_run([ROWS[0], ROWS[2], ROWS[3]]).ok


def test_json_has_everything() -> None:
    document = json.loads(to_json(make_run(ROWS)))
    assert document["counts"]["carrick"] == dict(expected=3, passed=1, failed=1, skipped=1)
    assert [entry["name"] for entry in document["results"]] == [row.pair.name for row in ROWS]
    assert "certificate" in document["results"][3]["known"]


def test_the_document() -> None:
    text = markdown(make_run(ROWS))
    assert "| with Carrick | 3 | 1 | 1 | 1 |" in text
    assert "| go | go-libp2p | not there: no go | - |" in text
    assert "| carrick | 1/1 | 0/1 | – | skipped |" in text
    assert "| carrick x carrick | 7.0 / 0.50 |" in text
    assert "**carrick x js (tcp, noise, yamux)**: the dialer failed" in text


def test_the_page_escapes_what_others_say() -> None:
    text = page(make_run(ROWS))
    assert "Error: &lt;b&gt; | no" in text
    assert "<b>" not in text
    assert text.count('class="dot ') == len(ROWS)


def test_repetitions_are_merged_to_medians_or_to_the_failure() -> None:
    pair = ROWS[0].pair
    runs = [Result(pair, "passed", handshake_ms=ms, ping_ms=1.0) for ms in (9.0, 5.0, 7.0)]
    merged = merge(runs)
    assert (merged.handshake_ms, merged.ping_ms, merged.repeats) == (7.0, 1.0, 3)
    assert merge([runs[0], ROWS[1]]).status == "failed"


def test_excerpts_are_printable_and_name_no_folders() -> None:
    said = (
        "\x1b[31mfirst\nsecond\x00\n\n at run (file:///home/x/peer.mjs:3:1)\n/ip4/192.0.2.1/tcp/1\n"
    )
    assert excerpt(said) == "second\nat run (peer.mjs:3:1)\n/ip4/192.0.2.1/tcp/1"
