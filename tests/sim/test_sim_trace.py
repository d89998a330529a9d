"""What is recorded of a simulation, and the files that are made of it."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
import trio

from carrick.sim import Internet, Link, Note, html_page, pcapng, run, sequence_diagram

ROOT = Path(__file__).resolve().parents[2]


async def conversation(internet: Internet) -> None:
    """TCP through a NAT, UDP to nobody, a train, and IPv6."""
    home = internet.router("home", "symmetric", ipv6=True)
    alice, server = home.host("alice"), internet.host("server", ipv6=True)
    for ip, to in (("0.0.0.0", server.addresses[0]), ("::", server.addresses[1])):
        listener = await server.sockets.listen_tcp((ip, 80))
        dialed = await alice.sockets.connect_tcp((to, 80))
        accepted = await listener.accept()
        dialed.send(memoryview(b"hello"))
        await accepted.wait_readable()
        assert accepted.recv_into(memoryview(bytearray(9))) == 5
        dialed.close()
        accepted.close()
        socket = await alice.sockets.open_udp((ip, 0))
        socket.send(bytes(2500), 1200, (to, 9))
    await trio.sleep(1)


def recorded(*, record_payload: bool = False, seed: int = 0) -> Internet:
    kept: list[Internet] = []

    async def program(internet: Internet) -> None:
        kept.append(internet)
        await conversation(internet)

    run(program, record_payload=record_payload, seed=seed, access=Link(latency=0.01, loss=0.1))
    return kept[0]


def test_entries_show_both_ends_of_a_nat() -> None:
    kept: list[Internet] = []

    async def program(internet: Internet) -> None:
        kept.append(internet)
        await conversation(internet)

    run(program)
    trace = kept[0].trace
    syn = trace[0]
    assert syn.line == (0.0, syn.source, ("11.0.0.2", 80), "TCP", "SYN", 0)
    assert syn.source[0] == "192.168.1.2" and syn.seen_source[0] == "11.0.0.1"
    assert (syn.sender, syn.receiver, syn.arrived) == ("alice", "server", 0.02)
    assert [e.length for e in trace if e.protocol == "UDP"] == [2500, 2500]
    assert [e.sender for e in trace if e.protocol == "ICMP"] == ["server", "server"]


def test_nothing_is_recorded_if_that_is_not_wanted() -> None:
    async def program(internet: Internet) -> None:
        await conversation(internet)
        assert internet.trace == []

    run(program, record=False)


# --- capture files --------------------------------------------------------------------------------


def blocks(capture: bytes) -> list[tuple[int, bytes]]:
    found, at = [], 0
    while at < len(capture):
        kind, length = struct.unpack_from("<II", capture, at)
        assert length % 4 == 0
        assert capture[at + length - 4 : at + length] == struct.pack("<I", length)
        found.append((kind, capture[at + 8 : at + length - 4]))
        at += length
    return found


def ones_complement_sum(data: bytes) -> int:
    total = sum(struct.unpack(f"!{len(data) // 2}H", data + bytes(len(data) % 2)))
    return (total & 0xFFFF) + (total >> 16)


@pytest.mark.parametrize("record_payload", [True, False])
def test_captures_are_well_formed(record_payload: bool) -> None:
    internet = recorded(record_payload=record_payload)
    (section, _), *rest = blocks(pcapng(internet.trace))
    assert section == 0x0A0D0D0A
    names = [
        body[12 : 12 + struct.unpack_from("<H", body, 10)[0]] for kind, body in rest if kind == 1
    ]
    assert names == [b"alice", b"server"]
    last = 0
    for body in [body for kind, body in rest if kind == 6]:
        _, high, low, captured, length = struct.unpack_from("<IIIII", body)
        assert last <= (last := high << 32 | low)
        packet = body[20 : 20 + captured]
        if packet[0] >> 4 == 4:
            assert struct.unpack_from("!H", packet, 2)[0] == length
            assert ones_complement_sum(packet[:20]) % 0xFFFF == 0
            kind, pseudo, above = packet[9], packet[12:20], packet[20:]
        else:
            assert struct.unpack_from("!H", packet, 4)[0] == length - 40
            kind, pseudo, above = packet[6], packet[8:40], packet[40:]
        if captured == length and kind in (6, 17):
            pseudo += struct.pack("!II", len(above), kind)
            assert ones_complement_sum(pseudo + above + bytes(len(above) % 2)) % 0xFFFF == 0
        assert (captured == length) or not record_payload


def test_captures_of_one_node_show_its_side(tmp_path: Path) -> None:
    internet = recorded(record_payload=True)
    internet.write_pcapng(tmp_path / "server.pcapng", "server")
    packets = [
        body[20:] for kind, body in blocks((tmp_path / "server.pcapng").read_bytes()) if kind == 6
    ]
    sources = {packet[12:16] for packet in packets if packet[0] >> 4 == 4}
    assert sources == {bytes((11, 0, 0, 1)), bytes((11, 0, 0, 2))}
    assert any(b"hello" in packet for packet in packets)


# --- diagrams -------------------------------------------------------------------------------------


def test_diagrams_are_documents_and_escape_everything() -> None:
    internet = recorded()
    evil = '<script>alert("1")</script> & more'
    notes = [Note(0.0, "alice", evil), Note(0.5, None, "later"), Note(0.1, "nobody", "unseen")]
    diagram = sequence_diagram(internet.trace, notes=notes, title=evil)
    root = ElementTree.fromstring(diagram)
    texts = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"alice", "server", evil, "later"} <= set(texts)
    assert "unseen" not in texts
    assert any(text and text.startswith("TCP SYN") for text in texts)
    assert any(text and "lost on a link" in text for text in texts)
    page = html_page(diagram, title=evil)
    assert "<script" not in page and "http://" not in page.replace("http://www.w3.org", "")


def test_diagrams_are_bounded() -> None:
    internet = recorded()
    diagram = sequence_diagram(internet.trace * 1000, nodes=["server", "alice"])
    assert "more</text>" in diagram and len(diagram) < 4_000_000


# --- one seed -------------------------------------------------------------------------------------

PROGRAM = """
import hashlib
from tests.sim.test_sim_trace import recorded
trace = recorded(seed={seed}).trace
print(hashlib.sha256(repr([entry.line for entry in trace]).encode()).hexdigest())
"""


def test_another_process_makes_the_same_trace() -> None:
    def trace(seed: int, hash_seed: int) -> str:
        path = os.pathsep.join([str(ROOT / "core"), str(ROOT)])
        return subprocess.run(
            [sys.executable, "-c", PROGRAM.format(seed=seed)],
            env=os.environ | {"PYTHONPATH": path, "PYTHONHASHSEED": str(hash_seed)},
            check=True,
            capture_output=True,
            text=True,
        ).stdout

    once = trace(1, 0)
    assert trace(1, 5) == once
    assert trace(2, 0) != once
