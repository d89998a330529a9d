"""Negotiation under any cut, any garbage and any set of protocols."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st

from carrick.errors import CarrickError, NegotiationError, ProtocolNotSupported
from carrick.transports.multistream import (
    HEADER,
    MAX_LISTS,
    MAX_MESSAGE,
    Dialer,
    Listener,
    encode_message,
)

NAMES = ["/a", "/b", "/c/1.0.0", "/d/é", "/" + "e" * 200]
MAX_PROPOSALS = 6
OUTPUT_BOUND = len(HEADER) + MAX_LISTS * (MAX_MESSAGE + 2) + MAX_PROPOSALS * 4 + MAX_MESSAGE + 2

protocols = st.lists(st.sampled_from(NAMES), unique=True, min_size=1)
cuts = st.lists(st.integers(0), max_size=10)
messages = st.lists(
    st.one_of(
        st.sampled_from([HEADER, *map(encode_message, ["na", "ls", *NAMES])]),
        st.binary(max_size=6),
    ),
    max_size=10,
).map(b"".join)
# Most runs get beyond the header, some not.
inputs = st.one_of(messages.map(HEADER.__add__), messages)


def new_listener(supported: list[str]) -> Listener:
    return Listener(set(supported).__contains__, supported, max_proposals=MAX_PROPOSALS)


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    bounds = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[a:b] for a, b in zip(bounds, bounds[1:], strict=False)]


Outcome = tuple[type[Exception] | None, str | None, bytes, bytes]


def outcome(side: Dialer | Listener, parts: list[bytes]) -> Outcome:
    """What `side` makes of `parts`: its error, selection, rest and output."""
    output = side.take_output()
    error = None
    try:
        for part in parts:
            side.receive(part)
            output += side.take_output()
    except (NegotiationError, ProtocolNotSupported) as failure:
        error = type(failure)
        output += side.take_output()
    assert len(output) <= OUTPUT_BOUND
    return error, side.selected, side.rest, output


MAKERS: list[Callable[[list[str]], Dialer | Listener]] = [Dialer, new_listener]


@settings(max_examples=300)
@given(st.sampled_from(MAKERS), protocols, inputs, cuts)
def test_any_cut_gives_the_same(
    make: Callable[[list[str]], Dialer | Listener], names: list[str], data: bytes, cuts: list[int]
) -> None:
    whole = outcome(make(names), [data])
    assert outcome(make(names), pieces(data, cuts)) == whole
    assert outcome(make(names), pieces(data, list(range(len(data))))) == whole


@given(st.sampled_from(MAKERS), st.binary(max_size=100), st.booleans())
def test_garbage_raises_only_negotiation_errors(
    make: Callable[[list[str]], Dialer | Listener], data: bytes, header: bool
) -> None:
    outcome(make(["/a", "/b"]), [HEADER + data if header else data])


@given(protocols, protocols, st.data())
def test_dialer_finds_the_first_that_the_listener_speaks(
    wanted: list[str], supported: list[str], data: st.DataObject
) -> None:
    dialer, listener = Dialer(wanted), new_listener(supported)
    expected = next((name for name in wanted if name in supported), None)
    refused = False
    while dialer.selected is None and not refused:
        for part in pieces(dialer.take_output(), data.draw(cuts)):
            listener.receive(part)
        try:
            for part in pieces(listener.take_output(), data.draw(cuts)):
                dialer.receive(part)
        except ProtocolNotSupported:
            refused = True
    assert dialer.selected == listener.selected == expected
    assert refused == (expected is None)


@given(protocols, protocols, st.data())
def test_two_dialers_both_select_or_both_fail(
    ours: list[str], theirs: list[str], data: st.DataObject
) -> None:
    sides = Dialer(ours), Dialer(theirs)
    wires = [bytearray(sides[0].take_output()), bytearray(sides[1].take_output())]
    failed = [False, False]
    while any(wires):
        at = data.draw(st.integers(0, 1))
        if not wires[at]:
            at = 1 - at
        count = data.draw(st.integers(1, len(wires[at])))
        part = bytes(wires[at][:count])
        del wires[at][:count]
        with contextlib.suppress(CarrickError):
            if not failed[1 - at]:
                failed[1 - at] = True
                sides[1 - at].receive(part)
                failed[1 - at] = False
        wires[1 - at] += sides[1 - at].take_output()
    agree = ours[0] == theirs[0]
    assert [side.selected for side in sides] == ([ours[0]] * 2 if agree else [None, None])
    assert failed == [not agree] * 2


@given(st.sampled_from(NAMES), st.binary(max_size=50), st.binary(max_size=50), cuts)
def test_lazy_bytes_arrive_behind_the_negotiation(
    name: str, request: bytes, reply: bytes, cuts: list[int]
) -> None:
    dialer, listener = Dialer([name], lazy=True), new_listener([name])
    for part in pieces(dialer.take_output() + request, cuts):
        listener.receive(part)
    assert (listener.selected, listener.rest) == (name, request)
    for part in pieces(listener.take_output() + reply, cuts):
        dialer.receive(part)
    assert (dialer.selected, dialer.rest) == (name, reply)
