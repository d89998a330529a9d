"""The command: `carrick listen` in processes of their own, and those who reach it."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from carrick.identity import PrivateKey
from carrick.transports.security.pnet import encode_swarm_key
from tests.support.commands import (
    COMMAND,
    PATIENCE,
    Node,
    Run,
    environment,
    failure,
    listening,
    runner,
)


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    with listening(tmp_path_factory.mktemp("node"), "--perf", "--muxer", "yamux,mplex") as node:
        yield node
        assert node.stop()[0] == 0


@pytest.fixture
def run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Run]:
    with runner(tmp_path, capsys, monkeypatch) as run:
        yield run


# --- what works -----------------------------------------------------------------------------------


def test_listen_tells_one_line(node: Node) -> None:
    assert node.id.startswith("12D3KooW")
    assert node.ready["addresses"] == [f"/ip4/127.0.0.1/tcp/{node.port}/p2p/{node.id}"]
    assert (node.ready["schema"], node.ready["version"]) == ("carrick.listen.v1", "0.1.0")
    assert node.line.count("\n") == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_listen_ends_cleanly(tmp_path: Path, number: signal.Signals) -> None:
    with listening(tmp_path) as node:
        assert node.stop(number) == (0, "", "")


def test_listen_keeps_its_identity(tmp_path: Path, run: Run) -> None:
    peer = run("key", "gen")[1].strip()  # the machine's own key
    with listening(tmp_path) as node:
        assert node.id == peer
    other = run("key", "gen", tmp_path / "other")[1].strip()
    with listening(tmp_path, CARRICK_KEY=str(tmp_path / "other")) as node:
        assert node.id == other


def test_ping(node: Node, run: Run) -> None:
    code, out, err = run("ping", node.address, "-n", 2, "-i", "10ms")
    assert code == 0
    lines = out.splitlines()
    assert [line.startswith(f"pong from {node.id}") for line in lines] == [True, True, False]
    assert lines[2].startswith("2 sent, 2 answered")
    assert "connected: direct" in err


def test_ping_in_json(node: Node, run: Run) -> None:
    code, out, err = run("ping", node.address, "-n", 2, "-i", "10ms", "--json")
    assert (code, err) == (0, "")
    first, second, summary = map(json.loads, out.splitlines())
    assert (first["seq"], second["seq"]) == (1, 2)
    assert first["rtt_ms"] > 0
    assert (first["path"], first["id"]) == ("direct", node.id)
    assert (summary["sent"], summary["received"]) == (2, 2)


def test_identify(node: Node, run: Run) -> None:
    code, out, err = run("identify", "--json", node.address)
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert found["id"] == node.id
    assert found["agent_version"].startswith("carrick/")
    assert "/ipfs/ping/1.0.0" in found["protocols"]
    assert found["listen_addrs"] == [f"/ip4/127.0.0.1/tcp/{node.port}"]
    assert found["observed_addr"] == found["local_addr"]
    assert found["signed_record"] is True
    assert node.id in run("identify", node.address)[1]


@pytest.mark.parametrize("security", ["noise", "tls"])
@pytest.mark.parametrize("muxer", ["yamux", "mplex"])
def test_connect_with_each(node: Node, run: Run, security: str, muxer: str) -> None:
    args = ("--security", security, "--muxer", muxer)
    code, out, _ = run("connect", node.address, "--json", *args)
    assert code == 0
    found = json.loads(out)
    assert security in found["security"]
    assert muxer in found["muxer"]
    assert found["connect_ms"] > 0
    assert found["rtt_ms"] > 0


def test_targets_on_this_machine_need_no_peer_id(node: Node, run: Run) -> None:
    for target in (node.port, f"127.0.0.1:{node.port}", f"localhost:{node.port}"):
        assert run("connect", target, "--format", r"<id>\n") == (0, f"{node.id}\n", "")


def test_perf(node: Node, run: Run) -> None:
    args = ("--upload-bytes", "1MiB", "--download-bytes", "2MiB", "--json")
    code, out, err = run("perf", node.address, *args)
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert (found["upload_bytes"], found["download_bytes"]) == (1 << 20, 2 << 20)
    assert found["upload_bits_per_second"] > 0
    assert found["download_ms"] > 0


def test_demo(run: Run, tmp_path: Path) -> None:
    page = tmp_path / "demo.html"
    code, out, err = run("demo", "--size", "1MiB", "--html", page)
    assert (code, err) == (0, "")
    assert "\x1b" not in out  # no colour off a terminal
    assert "1.0 MiB" in out
    assert "sequence diagram is in" in out
    assert "<svg" in page.read_text()


def test_demo_on_real_sockets_only_when_asked(run: Run, tmp_path: Path) -> None:
    code, out, err = run("demo", "--size", "0", "--html", "", "--json")
    assert (code, err) == (0, "")
    assert "real" not in json.loads(out)
    code, _, err = run("demo", "--nat-a", "wall")
    assert code == 2
    assert "symmetric" in err  # it names those that there are


def test_limits_take_effect(tmp_path: Path, run: Run) -> None:
    with listening(tmp_path, "--count-loopback", "--limit", "connections_per_address=0") as node:
        assert run("connect", node.address, "--json")[0] == 1


def test_metrics(tmp_path: Path) -> None:
    with listening(tmp_path, "--metrics", "0") as node:
        with urllib.request.urlopen(node.ready["metrics"], timeout=PATIENCE) as page:
            assert b"\ncarrick_peers 0.0\n" in page.read()
        assert node.stop()[0] == 0


def test_private_network(tmp_path: Path, run: Run) -> None:
    key = tmp_path / "swarm.key"
    key.write_bytes(encode_swarm_key(bytes(range(32))))
    with listening(tmp_path, "--psk", str(key)) as node:
        assert run("connect", node.address, "--psk", key, LIBP2P_FORCE_PNET="1")[0] == 0
        assert run("connect", node.address, "--timeout", "2s")[0] != 0


def test_forced_private_network(run: Run) -> None:
    code, out, err = run("listen", LIBP2P_FORCE_PNET="1")
    assert (code, out) == (5, "")
    assert "pre-shared key" in err


def test_key_log(node: Node, run: Run, tmp_path: Path) -> None:
    file = tmp_path / "keys.log"
    for security in ("noise", "tls"):
        code, _, err = run("connect", node.address, "--security", security, SSLKEYLOGFILE=str(file))
        assert code == 0
        assert "SSLKEYLOGFILE" in err
    assert file.stat().st_mode & 0o777 == 0o600
    labels = {line.split()[0] for line in file.read_text().splitlines()}
    assert {"NOISE", "CLIENT_TRAFFIC_SECRET_0"} <= labels


def test_frame_trace(node: Node, run: Run, tmp_path: Path) -> None:
    file = tmp_path / "trace.ndjson"
    assert run("connect", node.address, "--trace-frames", file)[0] == 0
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert {"secured", "frame", "closed"} <= {line["event"] for line in lines}


def test_file_that_cannot_be_written(node: Node, run: Run, tmp_path: Path) -> None:
    file = tmp_path / "no such folder" / "file"
    assert failure(run, "connect", node.address, "--trace-frames", file) == (1, "io")
    assert failure(run, "connect", node.address, "--peerstore", file) == (1, "peerstore")


def test_peerstore_file(node: Node, run: Run, tmp_path: Path) -> None:
    file = tmp_path / "peers.db"
    assert run("connect", node.address, "--peerstore", file)[0] == 0
    # Now the id is enough.
    assert run("connect", node.id, "--peerstore", file)[0] == 0


# --- what does not --------------------------------------------------------------------------------


def test_wrong_peer_id(node: Node, run: Run) -> None:
    other = PrivateKey.generate().peer_id
    address = f"/ip4/127.0.0.1/tcp/{node.port}/p2p/{other}"
    assert failure(run, "connect", address) == (1, "peer_id_mismatch")
    assert run("connect", node.address)[0] == 0  # nothing else is disturbed


def test_unknown_multiaddr(run: Run) -> None:
    assert failure(run, "connect", "/ip4/127.0.0.1/nonsense/1") == (2, "invalid_address")
    assert failure(run, "listen", "--listen", "/nonsense") == (2, "invalid_address")


def test_no_transport_for_it(run: Run) -> None:
    address = "/ip4/127.0.0.1/udp/4001/webrtc-direct"
    assert failure(run, "connect", address) == (1, "unsupported_address")
    assert failure(run, "listen", "--listen", address) == (1, "unsupported_address")


def test_port_in_use(node: Node, run: Run) -> None:
    address = f"/ip4/127.0.0.1/tcp/{node.port}"
    assert failure(run, "listen", "--listen", address) == (1, "listen")
    assert run("connect", node.address)[0] == 0


def test_unreadable_key_file(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_bytes(b"\x08\x01\x12\x40short")
    file.chmod(0o600)
    assert failure(run, "listen", "--key", file) == (1, "key_file")
    assert failure(run, "listen", "--psk", file) == (1, "key_file")


def test_nobody_there(run: Run) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # bound, not listening: connections are refused
        port = held.getsockname()[1]
        assert failure(run, "connect", port) == (5, "connection_refused")


def test_silent_peer(run: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        assert failure(run, "connect", port, "--timeout", "200ms") == (4, "timeout")


def test_no_address_known(run: Run) -> None:
    assert failure(run, "connect", PrivateKey.generate().peer_id) == (4, "not_found")


def test_no_perf_there(tmp_path: Path, run: Run) -> None:
    with listening(tmp_path) as node:
        assert failure(run, "perf", node.address) == (1, "protocol_not_supported")


def test_no_common_muxer(tmp_path: Path, run: Run) -> None:
    with listening(tmp_path, "--muxer", "yamux") as node:
        for security in ("noise", "tls"):
            args = ("--muxer", "mplex", "--security", security)
            assert failure(run, "connect", node.address, *args)[0] == 1


def test_interrupted(tmp_path: Path, node: Node) -> None:
    process = subprocess.Popen(
        [*COMMAND, "ping", node.address, "-n", "0", "-i", "10ms"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(tmp_path),
        # Whoever runs the tests in the background of a shell has it ignored, which is inherited.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert process.stdout is not None
    assert process.stdout.readline().startswith("pong")
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert "Traceback" not in err
