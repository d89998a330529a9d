"""The ends of streams wait until the bytes before them have arrived."""

from __future__ import annotations

import random

import pytest

from carrick.transports.quic.backend import StreamData, StreamFinished, StreamReset
from carrick.transports.quic.endings import Endings
from carrick.transports.quic.engine import Engine
from carrick.transports.quic.settings import EngineSettings
from tests.support.quic import EnginePair

SIZE = 60_000


def test_an_end_leaves_when_all_before_it_is_acknowledged() -> None:
    endings = Endings()
    endings.hold(4, losses=0)
    assert endings.take_nudge() and not endings.take_nudge()
    assert endings.release([], losses=0) == []  # what waited has not left yet
    endings.sent([7, 8, 9])
    assert endings.release([9, 10], losses=0) == []
    assert endings.release([10], losses=0) == [4]
    assert not endings


def test_a_loss_makes_it_wait_for_what_is_sent_again() -> None:
    endings = Endings()
    endings.hold(4, losses=0)
    endings.sent([7])
    assert endings.release([], losses=1) == []
    assert endings.release([], losses=1) == []
    endings.sent([8])
    assert endings.release([8], losses=1) == []
    assert endings.release([], losses=1) == [4]


def test_losses_without_end_do_not_hold_it_for_ever() -> None:
    endings = Endings()
    endings.hold(4, losses=0)
    for losses in range(1, 100):
        endings.sent([losses])
        if endings.release([], losses) == [4]:
            return
    pytest.fail("it waits still")


def test_a_stream_that_is_reset_does_not_end() -> None:
    endings = Endings()
    endings.hold(4, losses=0)
    endings.forget(4)
    endings.sent([1])
    assert endings.release([], losses=0) == []


def ends(pair: EnginePair, stream: int) -> set[str]:
    finished = StreamFinished(stream)
    return {name for name, events in pair.events.items() if finished in events}


def test_an_end_that_is_lost_behind_lost_bytes() -> None:
    """qh3 forgets a FIN without bytes that gets lost before the bytes have arrived."""
    lose = False
    pair = EnginePair(change=lambda datagrams, to: [] if lose else datagrams)
    pair.exchange()
    stream = pair.client.open_stream()
    assert stream is not None
    lose = True
    pair.client.write(stream, b"all of it")
    pair.exchange()
    pair.client.write(stream, b"", fin=True)
    pair.exchange()
    lose = False
    pair.sleep(5)
    assert pair.server is not None
    pair.server.write(stream, b"", fin=True)
    pair.exchange()
    pair.sleep(5)
    assert [each.data for each in pair.events["server"] if isinstance(each, StreamData)] == [
        b"all of it",
        b"",
    ]
    assert ends(pair, stream) == {"client", "server"}


def test_a_reset_overtakes_an_end_that_waits() -> None:
    pair = EnginePair()
    pair.exchange()
    stream = pair.client.open_stream()
    assert stream is not None
    pair.client.write(stream, b"x")
    pair.client.poll(pair.now, 10)
    pair.client.write(stream, b"", fin=True)
    pair.client.reset(stream, 7)
    pair.exchange()
    assert StreamReset(stream, 7) in pair.events["server"]


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("share", [0.02, 0.2])
def test_streams_end_whatever_gets_lost(seed: int, share: float) -> None:
    """What is sent, and then its end, when all of it has left and little has arrived."""
    rng = random.Random(seed)
    lossy = False

    def change(datagrams: list[bytes], to: str) -> list[bytes]:
        return [each for each in datagrams if not (lossy and rng.random() < share)]

    pair = EnginePair(settings=EngineSettings(stream_window=2 * SIZE), change=change)
    pair.exchange()
    stream = pair.client.open_stream()
    assert stream is not None
    pair.client.write(stream, b"?", fin=True)
    pair.exchange()
    lossy = True
    assert isinstance(pair.server, Engine)
    pair.server.write(stream, bytes(SIZE))
    while pair.server.unsent(stream):
        pair.exchange(rounds=1)
        pair.sleep(0.003)
    pair.server.write(stream, b"", fin=True)
    pair.exchange()
    pair.sleep(25)
    data = [each for each in pair.events["client"] if isinstance(each, StreamData)]
    assert sum(len(each.data) for each in data) == SIZE and data[-1].fin
    assert ends(pair, stream) == {"client", "server"}
