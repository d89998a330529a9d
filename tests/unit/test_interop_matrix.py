"""Which pairs are expected, and which are chosen."""

from __future__ import annotations

import pytest

from interop.peers import build
from interop.runner.matrix import Pair, cover, expected, matches
from interop.runner.offers import OFFERS, known_fault, offer_of

ALL = ["carrick", "go", "js", "py", "rust"]


def test_names_and_keys_are_those_of_the_suite() -> None:
    pair = Pair("carrick", "go-v0.38", "tcp", "noise", "yamux")
    assert pair.name == "carrick x go-v0.38 (tcp, noise, yamux)"
    assert pair.slug == "carrick-x-go-v0.38-tcp-noise-yamux"
    assert Pair("a", "b", "quic-v1").name == "a x b (quic-v1)"
    # echo "carrick x go-v0.38 (tcp, noise, yamux)" | sha256sum
    assert pair.test_key == "6f38f358"


def test_all_that_both_libraries_offer_is_expected() -> None:
    names = {pair.name for pair in expected(ALL, ["tcp"]) if pair.ours}
    assert len(names) == 4 + 2 * (4 + 4 + 4 + 2)
    assert "carrick x go (tcp, noise, mplex)" not in names
    assert {"rust x carrick (tcp, tls, mplex)", "carrick x py (tcp, tls, yamux)"} <= names


def test_a_standalone_transport_is_one_pair() -> None:
    pairs = expected(["go", "rust"], ["quic-v1"])
    assert len(pairs) == 4
    assert all(pair.security is None and pair.muxer is None for pair in pairs)


def test_nobody_listens_where_the_library_only_dials() -> None:
    names = {(pair.dialer, pair.listener) for pair in expected(["go", "js"], ["wss"])}
    assert names == {("go", "go"), ("js", "go")}


def test_every_peer_has_an_offer() -> None:
    for name in build.names():
        assert offer_of(name).transports
    assert offer_of("carrick-mine") == OFFERS["carrick"]
    with pytest.raises(KeyError):
        offer_of("lua")


def test_the_small_subset_shows_every_value_in_both_roles() -> None:
    pairs = expected(ALL, ["tcp"])
    chosen = cover(pairs)
    assert len(chosen) <= 40
    for name in ALL:
        for role in ("dialer", "listener"):
            shown = [pair for pair in chosen if getattr(pair, role) == name and pair.ours]
            offer, ours = OFFERS[name], OFFERS["carrick"]
            assert {pair.security for pair in shown} == offer.securities & ours.securities
            assert {pair.muxer for pair in shown} == offer.muxers & ours.muxers


@pytest.mark.parametrize(
    ("only", "skip", "fits"),
    [
        ([], [], True),
        (["noise"], [], True),
        (["tls"], [], False),
        (["tls", "x go"], [], True),
        (["carrick x & yamux"], [], True),
        (["carrick x & mplex"], [], False),
        ([], ["noise & yamux"], False),
        (["noise"], ["carrick"], False),
    ],
)
def test_filters(only: list[str], skip: list[str], fits: bool) -> None:
    assert matches(Pair("carrick", "go", "tcp", "noise", "yamux"), only, skip) is fits


def test_no_fault_of_ours_is_known() -> None:
    for name in ALL:
        for security in ("noise", "tls"):
            assert known_fault("carrick", name, security) is None
            assert known_fault(name, "carrick", security) is None
