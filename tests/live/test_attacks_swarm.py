"""Attacks on the swarm: rows 49 to 51 and 79 to 81 of the list, and what a lifetime leaves behind.

Row 79 attacks `carrick listen` in a process of its own, for it takes away that process's
descriptors. Torture is in `tests/live/test_attacks_torture.py`.
"""

from __future__ import annotations

import logging
from contextlib import suppress

import psutil
import pytest
import trio
from trio.testing import MockClock

from carrick.builder import HostBuilder
from carrick.identity import PrivateKey
from carrick.network import Stream
from carrick.protocols.ping import Ping
from carrick.transports.multistream import HEADER
from carrick.transports.muxers.yamux.frame import FIN, GO_AWAY, RST, SYN, pack
from tests.support.attacker import Frames, Wire, data, opening, proposal
from tests.support.processes import listening_node
from tests.support.siege import Siege, besieged, held
from tests.support.waiting import until

PING_ID = "/ipfs/ping/1.0.0"
ECHO = len(proposal(PING_ID)) + 32


async def ping_once(frames: Frames) -> None:
    await frames.send(opening(1, PING_ID, bytes(32)))
    await frames.read(1, ECHO)


# --- coming and going -----------------------------------------------------------------------------


async def garbage(siege: Siege) -> None:
    wire = await siege.wire()
    await wire.send(b"GET / HTTP/1.1\r\n\r\n")
    await wire.ended()


async def end_within_the_upgrade(siege: Siege) -> None:
    wire = await siege.wire()
    await wire.send(proposal("/noise") + b"\x00\x20" + bytes(5))
    wire.rst()


async def fin(siege: Siege) -> None:
    frames = await siege.frames()
    await ping_once(frames)
    frames.channel.wire.fin()


async def rst(siege: Siege) -> None:
    frames = await siege.frames()
    await ping_once(frames)
    frames.channel.wire.rst()


async def polite(siege: Siege) -> None:
    frames = await siege.frames()
    await ping_once(frames)
    await frames.send(data(1, b"", FIN))
    await frames.frame_for(1, flags=FIN)
    await frames.send(pack(GO_AWAY, 0, 0, 0))
    frames.channel.wire.fin()


async def garbage_behind_the_upgrade(siege: Siege) -> None:
    frames = await siege.frames()
    await frames.send(b"\xff" * 64)
    await frames.ended()


WAYS = (fin, end_within_the_upgrade, rst, garbage, polite, end_within_the_upgrade, garbage)
WAYS += (garbage_behind_the_upgrade,)


async def test_the_thousandth_connection_is_served_like_the_first() -> None:
    """Whatever way the others ended: FIN, RST, within the upgrade, politely, with garbage."""
    async with besieged() as siege:
        for number in range(999):
            await WAYS[number % len(WAYS)](siege)
            siege.wires.clear()
        await siege.newcomer()
        await until(lambda: not siege.strangers())


async def test_peers_that_vanish() -> None:
    """Row 49: conn_churn: 100 identities ping once and are gone; nothing of them is left."""
    async with besieged() as siege:
        for number in range(100):
            frames = await siege.frames()
            await ping_once(frames)
            if number % 30 == 29:
                siege.leave()
        siege.leave()
        await until(lambda: not siege.strangers())
        await siege.newcomer()


async def test_a_connection_that_has_ended_leaves_at_once(autojump_clock: MockClock) -> None:
    """Nothing of it waits for a deadline: so churn holds no more than what is open."""
    async with besieged("memory") as siege:
        frames = await siege.frames()
        await until(lambda: siege.strangers())
        connection = siege.strangers()[0]
        await ping_once(frames)
        frames.channel.wire.rst()
        await connection.ended.wait()
        carried = connection.muxed
        await until(lambda: not carries(carried), within=0.2)


def carries(muxed: object) -> bool:
    """Whether some task still serves the connection."""
    waiting = [trio.lowlevel.current_root_task()]
    while waiting:
        task = waiting.pop()
        if task is None:
            continue
        frame = getattr(task.coro, "cr_frame", None)
        served = frame and frame.f_locals.get("connection")
        if (
            served is not None
            and getattr(served, "muxed", None) is muxed
            and task.name.endswith("carry")
        ):
            return True
        waiting += [child for nursery in task.child_nurseries for child in nursery.child_tasks]
    return False


# --- too many -------------------------------------------------------------------------------------


async def test_connections_of_one_peer() -> None:
    """Row 50: conn_same_peer: of 40 that one identity holds, eight stay."""
    key = PrivateKey.generate()
    async with besieged() as siege:
        for _ in range(40):
            with suppress(AssertionError):
                await siege.frames(key=key)
        await until(lambda: len(siege.strangers()) == 8)
        await siege.newcomer()


async def test_idle_connections_of_many_peers(autojump_clock: MockClock) -> None:
    """Row 51: conn_many_peers, a tenth of it: 60 identities hold connections where 40 may come in.

    The healthy peer is not the one that is closed, and newcomers are served all the while.
    """
    async with besieged("memory", connections_inbound=40) as siege:
        for number in range(60):
            with suppress(AssertionError):  # refused, so early that the handshake is not through
                await siege.frames()
            if number % 10 == 0:
                await trio.sleep(1)
                await siege.newcomer()
        await trio.sleep(2)
        assert len(siege.node.connections) <= 40
        await siege.newcomer()


async def test_busy_connections_are_not_closed_for_newcomers(autojump_clock: MockClock) -> None:
    async with besieged("memory", connections_inbound=5) as siege:
        served = trio.Event()

        async def serve(stream: Stream) -> None:
            await served.wait()

        siege.node.handle("/busy/1", serve)
        busy = [await siege.frames() for _ in range(3)]
        for frames in busy:
            await frames.send(opening(1, "/busy/1"))
            await frames.frame_for(1)
        idle = await siege.frames()
        await trio.sleep(6)
        await siege.newcomer()
        assert await idle.ended() is not None
        assert len(siege.strangers()) == 3
        served.set()


# --- descriptors ----------------------------------------------------------------------------------


async def test_descriptors_run_out() -> None:
    """Row 79: fd_exhaustion: no spin, the healthy peer is served, and service comes back."""
    async with listening_node(descriptors=64) as node, HostBuilder().open() as healthy:
        connection = await healthy.connect(node.address)
        ping = healthy.service(Ping)
        wires = [await Wire.connect(node.address) for _ in range(100)]
        process = psutil.Process(node.pid)
        await until(lambda: process.num_fds() >= 64)
        before = process.cpu_times()
        for _ in range(15):
            with trio.fail_after(2):
                await ping.ping_once(connection)
            await trio.sleep(0.1)
        after = process.cpu_times()
        spent = after.user + after.system - before.user - before.system
        assert spent < 0.2 * 1.5
        for wire in wires:
            wire.rst()
        with trio.fail_after(5):
            async with HostBuilder().open() as newcomer:
                await newcomer.service(Ping).ping_once(await newcomer.connect(node.address))
    assert len(node.log) < 4096, node.log.decode()


# --- the log --------------------------------------------------------------------------------------


async def test_the_log_is_not_a_weapon() -> None:
    """Row 80: log_flood: each kind of message at most ten times a minute."""
    async with besieged(errors_logged=True) as siege:

        async def broken(stream: Stream) -> None:
            raise RuntimeError("a defect of ours")

        siege.node.handle("/broken/1", broken)
        frames = await siege.frames()
        for n in range(400):
            stream = 2 * n + 1
            await frames.send(
                opening(stream, "/broken/1", b"x") if n % 2 else data(stream, b"\xff" * 50, SYN)
            )
            await frames.frame_for(stream, flags=RST)
        for _ in range(100):
            await garbage(siege)
            await garbage_behind_the_upgrade(siege)
        errors = [record for record in siege.records if record.levelno >= logging.ERROR]
        assert 1 <= len(errors) <= 10
        assert len(siege.records) <= 20


# --- exceptions -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error", [RuntimeError, OSError, trio.Cancelled, RecursionError, MemoryError]
)
async def test_a_handler_that_raises(error: type[BaseException]) -> None:
    """Row 81: only its stream ends, whatever it raises."""
    async with besieged(errors_logged=True) as siege:

        async def broken(stream: Stream) -> None:
            if error is trio.Cancelled:
                with trio.CancelScope() as scope:
                    scope.cancel()
                    await trio.sleep_forever()
                return
            raise error("torture")

        siege.node.handle("/broken/1", broken)
        frames = await siege.frames()
        await ping_once(frames)
        for n in range(5):
            await frames.send(opening(2 * n + 3, "/broken/1"))
            await frames.frame_for(2 * n + 3)
        await frames.send(data(1, b"y" * 32))
        assert await frames.read(1, 32) == b"y" * 32


async def test_a_group_of_exceptions_from_a_handler() -> None:
    async with besieged(errors_logged=True) as siege:

        async def fail() -> None:
            raise ValueError("torture")

        async def broken(stream: Stream) -> None:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(fail)
                nursery.start_soon(fail)

        siege.node.handle("/broken/1", broken)
        frames = await siege.frames()
        await frames.send(opening(1, "/broken/1"))
        await frames.frame_for(1, flags=RST)
        await frames.send(data(3, HEADER, SYN))
        assert len(siege.strangers()) == 1


async def test_a_connection_step_that_raises() -> None:
    async with besieged(errors_logged=True) as siege:

        async def broken(connection: object) -> None:
            raise RuntimeError("torture")

        siege.node.add_connection_step(broken)
        await siege.newcomer()
        assert held(siege.node)
