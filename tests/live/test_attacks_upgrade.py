"""Attacks on the upgrade, before anybody is authenticated: rows 1 to 16 and 52 to 54 of the list.

Deadlines run under a virtual clock over the memory transport. Counts are scaled down where the
bound does not depend on them: what strangers may hold is limited by `connections_pending`.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from contextlib import suppress

import pytest
import trio
from OpenSSL import SSL
from trio.testing import MockClock

from carrick.errors import DialError, HandshakeError
from carrick.identity import PrivateKey
from carrick.interfaces import Role
from carrick.network.events import ConnectionRefused
from carrick.sockets import KernelSockets
from carrick.transports.multistream import HEADER, encode_message
from carrick.transports.security.tls import Tls
from carrick.wire import encode_varint
from tests.support.attacker import YAMUX, Channel, Wire, data, opening, proposal
from tests.support.noise_peer import NoisePeer
from tests.support.siege import Siege, besieged, held
from tests.support.tls_defects import DEFECTS
from tests.support.tls_peers import RawPeer, raw_context
from tests.support.tls_peers import client as tls_client
from tests.support.waiting import until
from tests.unit.test_noise_attacks import FORGED, LOW_ORDER, payload, rsa_key

PING = "/ipfs/ping/1.0.0"
UPGRADE = 10.0  # s, the deadline for all of it
PENDING = 128  # strangers at a time
GIVES_WAY = 1.0  # s that each of them is safe for, when all places are taken
AT_ONCE = 2.0  # s


async def end_of(wires: list[Wire], within: float) -> list[float]:
    """Wait until the node has ended them all; when it did."""
    ends: list[float] = []

    async def wait(wire: Wire) -> None:
        await wire.ended(within)
        ends.append(trio.current_time())

    async with trio.open_nursery() as nursery:
        for wire in wires:
            nursery.start_soon(wait, wire)
    return ends


def pending(siege: Siege) -> int:
    """The strangers whose upgrade the node has begun."""
    return siege.node.swarm.resources.stat()["transient"]["connections_inbound"]


class LoopWatch(trio.abc.Instrument):
    """Measures the longest step of any task, in seconds of CPU: for so long all others waited."""

    def __init__(self) -> None:
        self.longest = 0.0
        self._since = float("inf")

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self._since = time.thread_time()

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        self.longest = max(self.longest, time.thread_time() - self._since)


# --- nothing, or too slowly -----------------------------------------------------------------------

STALLS = {
    "silent": b"",
    "half a header": HEADER[:7],
    "header": HEADER,
    "/noise agreed": proposal("/noise"),
    "/tls/1.0.0 agreed": proposal("/tls/1.0.0"),
    "half a noise message": proposal("/noise") + b"\x00\x20" + bytes(16),
    "noise message": proposal("/noise") + b"\x00\x20" + b"\x07" * 32,
    "half a hello": proposal("/tls/1.0.0") + b"\x16\x03\x01\x02\x00" + bytes(16),
}


@pytest.mark.parametrize("said", STALLS.values(), ids=STALLS)
async def test_half_open_connections(said: bytes, autojump_clock: MockClock) -> None:
    """Rows 1 and 11: tcp_halfopen, noise_stall; 120 connections, as many as may be pending."""
    async with besieged("memory") as siege:
        wires = [await siege.wire() for _ in range(PENDING - 8)]
        began = trio.current_time()
        for wire in wires:
            await wire.send(said)
        ends = await end_of(wires, UPGRADE + 1)
        assert min(ends) == pytest.approx(began + UPGRADE, abs=0.01)


async def test_more_half_open_connections_than_places(autojump_clock: MockClock) -> None:
    """Row 1: 600 that say nothing. New peers are served all the while, and places come free."""
    async with besieged("memory") as siege:
        wires: list[Wire] = []
        for _ in range(10):
            wires += [await siege.wire() for _ in range(60)]
            await siege.newcomer()
        assert pending(siege) <= PENDING
        began = trio.current_time()
        ends = await end_of(wires, UPGRADE + 5)
        assert max(ends) <= began + UPGRADE


async def test_one_address_cannot_take_all_places() -> None:
    """Row 1‡ where loopback counts: 16 pending, the rest is refused before the upgrade."""
    async with besieged("tcp", healthy_at="/ip4/127.0.0.2/tcp/0", count_loopback=True) as siege:
        served = 0
        for _ in range(60):
            with suppress(OSError):  # it may be refused so early
                wire = await siege.wire(local="127.0.0.3")
                await wire.send(proposal("/noise"))
                served += await wire.receive() == proposal("/noise")
        assert served == 16


async def test_slow_multistream(autojump_clock: MockClock) -> None:
    """Row 2: ms_slowloris, 100 connections, a byte of the header every 2 s: one deadline."""
    await drip(proposal("/noise"))


async def test_slow_client_hello(autojump_clock: MockClock) -> None:
    """Row 54: tls_slow_hello, 100 connections, a byte every 2 s."""
    hello = tls_client(Tls(PrivateKey.generate())).take_output()
    await drip(hello, after=proposal("/tls/1.0.0"))


async def drip(slowly: bytes, *, after: bytes = b"") -> None:
    async with besieged("memory") as siege:
        wires = [await siege.wire() for _ in range(100)]
        began = trio.current_time()
        ends: list[float] = []

        async def attack(wire: Wire) -> None:
            await wire.send(after)
            for at in range(len(slowly)):
                if not await wire.send(slowly[at : at + 1]):
                    ends.append(trio.current_time())
                    return
                await trio.sleep(2)

        async with trio.open_nursery() as nursery:
            for wire in wires:
                nursery.start_soon(attack, wire)
        assert len(ends) == 100
        assert max(ends) <= began + UPGRADE + 2


# --- multistream ----------------------------------------------------------------------------------

TOO_LONG = [encode_varint(1 << bits) for bits in (11, 17, 20, 30, 31, 32, 62)]
MALFORMED = {
    **{f"claims {prefix.hex()}": prefix for prefix in TOO_LONG},
    "varint of 20 bytes": b"\xff" * 20,
    "varint of 2**63": b"\x80" * 9 + b"\x01",
    "varint that is not minimal": b"\x80\x00",
    "no newline": b"\x04/abc",
    "not UTF-8": b"\x05\xff\xfe\xfd\xfc\n",
    "an answer": encode_message("na"),
}


@pytest.mark.parametrize("behind", [b"", HEADER], ids=["first", "second"])
@pytest.mark.parametrize("message", MALFORMED.values(), ids=MALFORMED)
async def test_malformed_multistream(message: bytes, behind: bytes) -> None:
    """Rows 3 and 6: ms_huge_varint, ms_varint_overlong: closed at once, nothing is waited for."""
    async with besieged("tcp") as siege:
        wires = [await siege.wire() for _ in range(3)]
        for wire in wires:
            await wire.send(behind + message)
        await end_of(wires, AT_ONCE)


@pytest.mark.parametrize("message", [b"\x00", b"\x01\x00", b"\x01\n"])
async def test_empty_proposals(message: bytes, autojump_clock: MockClock) -> None:
    """Row 6: nothing to propose is no protocol; an end comes at once or with the deadline."""
    async with besieged("memory") as siege:
        wire = await siege.wire()
        await wire.send(HEADER + message * 100)
        await wire.ended(UPGRADE + 1)


@pytest.mark.parametrize("behind", [b"", HEADER], ids=["first", "second"])
async def test_huge_message_that_is_fed(behind: bytes) -> None:
    """Rows 4 and 5: claims 1 GiB and pushes: next to nothing of it is taken off the wire."""
    async with besieged("memory") as siege:
        for _ in range(4):
            wire = await siege.wire()
            sent = 0
            with trio.fail_after(AT_ONCE):
                await wire.send(behind + encode_varint(1 << 30))
                while await wire.send(bytes(4096)):
                    sent += 4096
            assert sent <= 16 * 1024


async def test_proposals_without_end() -> None:
    """Row 7: ms_na_loop: closed after 16."""
    async with besieged("tcp") as siege:
        wire = await siege.wire()
        await wire.send(HEADER + encode_message("/unknown/1") * 1000)
        answers = await wire.ended(AT_ONCE)
        assert answers.count(encode_message("na")) <= 16


async def test_one_proposal_at_a_time(autojump_clock: MockClock) -> None:
    """Row 7, politely: each answer is waited for."""
    async with besieged("memory") as siege:
        wire = await siege.wire()
        await wire.send(HEADER)
        refusals = 0
        while await wire.send(encode_message(f"/unknown/{refusals}")) and await wire.receive():
            refusals += 1
        assert refusals <= 17


async def test_lists_that_nobody_reads(autojump_clock: MockClock) -> None:
    """Row 8: ms_ls_noread: 20 connections ask for the list without end."""
    async with besieged("memory") as siege:
        wires = [await siege.wire() for _ in range(20)]
        for wire in wires:
            await wire.send(HEADER + encode_message("ls") * 500)
        await end_of(wires, AT_ONCE)


# --- garbage, and ends in the middle --------------------------------------------------------------


def garbage() -> list[bytes]:
    rng = random.Random(9)
    known = [
        b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        tls_client(Tls(PrivateKey.generate())).take_output(),
        b"\x00" * 65536,
        HEADER[:-1] + b"\r\n",
        HEADER + encode_message("/noise")[:-1],
    ]
    return known + [rng.randbytes(rng.choice((1, 20, 700, 5000, 65536))) for _ in range(94)]


async def test_garbage(autojump_clock: MockClock) -> None:
    """Row 9: garbage_bytes on 300 connections, at three depths; no traceback."""
    async with besieged("memory") as siege:
        for depth in (b"", proposal("/noise"), proposal("/tls/1.0.0")):
            wires = [await siege.wire() for _ in range(100)]
            async with trio.open_nursery() as nursery:
                for wire, bytes_ in zip(wires, garbage(), strict=True):
                    nursery.start_soon(wire.send, depth + bytes_)
            await end_of(wires, UPGRADE + 1)


@pytest.mark.parametrize("how", ["rst", "fin"])
async def test_connections_that_end_within_the_upgrade(how: str) -> None:
    """Row 10: tcp_rst_storm, at each step; 240 connections, in which none waits for another."""
    async with besieged("tcp") as siege:
        for number in range(240):
            wire = await siege.wire()
            step = number % 6
            if step > 0:
                await wire.send(list(STALLS.values())[step])
            if step > 3:
                await wire.receive()
            wire.rst() if how == "rst" else wire.fin()
        await until(lambda: not pending(siege), within=AT_ONCE)


# --- Noise ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 31, 33, 65535])
async def test_first_noise_message_of_impossible_length(size: int) -> None:
    """Row 12: noise_truncation: refused at the length."""
    async with besieged("tcp") as siege:
        wire = await siege.wire()
        await wire.negotiate("/noise")
        await wire.send(size.to_bytes(2, "big"))
        await wire.ended(AT_ONCE)


async def test_points_of_low_order() -> None:
    """Row 12."""
    async with besieged("tcp") as siege:
        for point in LOW_ORDER:
            wire = await siege.wire()
            await wire.negotiate("/noise")
            await wire.send(b"\x00\x20" + point)
            await wire.ended(AT_ONCE)


async def test_noise_messages_that_are_cut_off() -> None:
    """Row 12: every length of the first message, then FIN."""
    async with besieged("tcp") as siege:
        for size in range(0, 34, 3):
            wire = await siege.wire()
            await wire.negotiate("/noise")
            await wire.send((b"\x00\x20" + b"\x09" * 32)[:size])
            wire.fin()
        await until(lambda: not pending(siege), within=AT_ONCE)


async def forge(wire: Wire, peer: NoisePeer) -> None:
    """Show the node a Noise payload; it must end the connection and say no more."""
    await wire.negotiate("/noise")
    await wire.send(peer.write())
    answer = await wire.receive()
    peer.noise.read_message(answer[2:])
    await wire.send(peer.write(peer.payload))
    assert await wire.ended(AT_ONCE) == b""


@pytest.mark.parametrize("forged", FORGED)
async def test_forged_identity_of_a_dialer(forged: Callable[[NoisePeer], bytes]) -> None:
    """Row 13: noise_wrong_identity: refused before a muxer is there."""
    async with besieged("tcp") as siege:
        peer = NoisePeer(Role.CLIENT)
        peer.payload = forged(peer)
        with siege.node.events.subscribe(ConnectionRefused) as refusals:
            await forge(await siege.wire(), peer)
            with trio.fail_after(AT_ONCE):
                refusal = await refusals.__anext__()
        assert isinstance(refusal.cause, HandshakeError)
        assert not siege.strangers()


@pytest.mark.parametrize("forged", FORGED[:6])
async def test_forged_identity_of_a_listener(forged: Callable[[NoisePeer], bytes]) -> None:
    """Row 13, the other way round: the node dials the forger."""
    listening = await KernelSockets().listen_tcp(("127.0.0.1", 0))
    peer = NoisePeer(Role.SERVER)
    peer.payload = forged(peer)
    heard: list[bytes] = []

    async def answer() -> None:
        wire = Wire(await listening.accept())
        hello = await wire.receive()
        await wire.send(proposal("/noise"))
        peer.noise.read_message(hello[len(proposal("/noise")) + 2 :])
        await wire.send(peer.write(peer.payload))
        heard.append(await wire.ended(AT_ONCE))

    try:
        async with besieged("tcp") as siege, trio.open_nursery() as nursery:
            nursery.start_soon(answer)
            target = f"/ip4/127.0.0.1/tcp/{listening.local[1]}/p2p/{peer.key.peer_id}"
            with pytest.raises(DialError) as caught:
                await siege.node.connect(target, timeout=5)
            assert isinstance(caught.value.causes[0][1], HandshakeError)
    finally:
        listening.close()
    assert heard == [b""]


async def test_oversized_rsa_keys() -> None:
    """Row 14: noise_rsa_oversized: refused by size; nobody waits for an exponentiation."""
    watch = LoopWatch()
    async with besieged("tcp") as siege:
        for bits, exponent in (
            (1024, b"\1\0\1"),
            (8200, b"\1\0\1"),
            (16384, b"\1\0\1"),
            (64_000, b"\1\0\1"),
            (220_000, b"\1\0\1"),
            (4096, b"\x7f" + b"\xff" * 511),
        ):
            peer = NoisePeer(Role.CLIENT, payload(rsa_key(bits, exponent), bytes(bits // 8)))
            wire = await siege.wire()
            trio.lowlevel.add_instrument(watch)
            await forge(wire, peer)
            trio.lowlevel.remove_instrument(watch)
    assert watch.longest < 0.1


async def test_empty_noise_records() -> None:
    """Row 15: noise_empty_frames: closed after 32 in a row."""
    async with besieged("tcp") as siege:
        channel = await Channel.open(await siege.wire())
        with trio.fail_after(AT_ONCE):
            while await channel.send(b""):
                pass
            await channel.wire.ended(AT_ONCE)


@pytest.mark.parametrize("security", ["noise", "tls"])
@pytest.mark.parametrize("attack", ["flipped", "replayed", "cut"])
async def test_records_that_do_not_authenticate(security: str, attack: str) -> None:
    """Row 16: noise_bad_mac: closed at once, nothing is delivered."""
    async with besieged("tcp") as siege:
        served: list[bytes] = []

        async def serve(stream: object) -> None:
            served.append(b"opened")

        siege.node.handle("/never/1", serve)  # type: ignore[arg-type]
        channel = await Channel.open(await siege.wire(), security)
        good = channel.seal(opening(1, "/x/1"))
        bad = channel.seal(opening(3, "/never/1"))
        await channel.wire.send(good)
        if attack == "flipped":
            await channel.wire.send(bad[:-1] + bytes((bad[-1] ^ 1,)))
        elif attack == "replayed":
            await channel.wire.send(good + bad)
        else:
            await channel.wire.send(bad[:-5] + bad[-4:] + bytes(64))
        await channel.wire.ended(AT_ONCE)
        await until(lambda: not siege.strangers())
        assert not served


# --- TLS ------------------------------------------------------------------------------------------


async def raw_tls(siege: Siege, peer: RawPeer) -> None:
    """Shake hands until the node ends it."""
    wire = await siege.wire()
    await wire.negotiate("/tls/1.0.0")
    await wire.send(peer.step())
    with trio.fail_after(AT_ONCE):
        while received := await wire.receive():
            if peer.error is None and (output := peer.step(received)):
                await wire.send(output)


@pytest.mark.parametrize("name", DEFECTS)
async def test_defective_certificate(name: str) -> None:
    """Row 52: tls_cert_variants: refused, with no state in the swarm.

    The 600 variants of a certificate that is cut are in `tests/property/test_tls_property.py`.
    """
    async with besieged("tcp") as siege:
        context = raw_context(DEFECTS[name]())
        context.set_alpn_protos([YAMUX.encode(), b"libp2p"])
        with siege.node.events.subscribe(ConnectionRefused) as refusals:
            await raw_tls(siege, RawPeer(context, Role.CLIENT))
            with trio.fail_after(AT_ONCE):
                refusal = await refusals.__anext__()
        assert isinstance(refusal.cause, HandshakeError)
        assert not siege.strangers()
        peers = [name for name in held(siege.node) if name.startswith("peer")]
        assert peers == [f"peer {siege.healthy.id}"]


DOWNGRADES: dict[str, Callable[[SSL.Context], object]] = {
    "TLS 1.2": lambda context: context.set_max_proto_version(SSL.TLS1_2_VERSION),
    "another ALPN": lambda context: context.set_alpn_protos([b"h2", b"http/1.1"]),
    "an unknown muxer": lambda context: context.set_alpn_protos([b"/qmux/1.0.0"]),
}


@pytest.mark.parametrize("downgrade", DOWNGRADES.values(), ids=DOWNGRADES)
async def test_downgrade(downgrade: Callable[[SSL.Context], object]) -> None:
    """Row 53: tls_downgrade. Early data and names of 64 KiB: `tests/unit/test_tls.py`."""
    async with besieged("tcp") as siege:
        context = raw_context(Tls(PrivateKey.generate()).certificate)
        downgrade(context)
        peer = RawPeer(context, Role.CLIENT)
        await raw_tls(siege, peer)
        assert peer.error is not None
        assert not siege.strangers()


async def test_plaintext_behind_the_handshake() -> None:
    """What is not sealed, though the handshake is done, is never taken for a frame."""
    async with besieged("tcp") as siege:
        for security in ("noise", "tls"):
            channel = await Channel.open(await siege.wire(), security)
            await channel.wire.send(data(1, bytes(70_000)))
            await channel.wire.ended(AT_ONCE)
