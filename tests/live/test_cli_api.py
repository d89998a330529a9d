"""The local API: whom it serves, what it answers, and what it makes of nonsense."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import socket
import struct
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock, memory_stream_pair

from carrick.cli.api import server
from carrick.cli.api.client import ApiRefused, NoNode, ask
from carrick.cli.api.server import MAX_CLIENTS, MAX_REQUEST, PATIENCE, api_socket, serve_api
from carrick.errors import FileError, NoAddresses, PeerTimeout


async def echo(params: Mapping[str, Any]) -> Any:
    return params


async def refuse(params: Mapping[str, Any]) -> Any:
    raise NoAddresses("none is known")


async def defect(params: Mapping[str, Any]) -> Any:
    raise ZeroDivisionError


METHODS = {"echo": echo, "refuse": refuse, "defect": defect}


@asynccontextmanager
async def serving(path: Path) -> AsyncIterator[None]:
    with api_socket(path) as listening:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve_api, listening, METHODS)
            yield
            nursery.cancel_scope.cancel()


async def asked(path: Path, method: str, **params: Any) -> Any:
    question: Callable[[], Any] = partial(ask, path, method, timeout=5, **params)
    return await trio.to_thread.run_sync(question)


async def connected(path: Path) -> trio.SocketStream:
    client = trio.socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    await client.connect(os.fspath(path))
    return trio.SocketStream(client)


async def lines(client: trio.SocketStream, *requests: bytes) -> list[Any]:
    """The answers to raw lines, until the server hangs up."""
    await client.send_all(b"".join(requests))
    await client.send_eof()
    received = b""
    async for data in client:
        received += data
    return [json.loads(line) for line in received.splitlines()]


async def test_questions_and_answers(tmp_path: Path) -> None:
    path = tmp_path / "home" / "api.sock"
    async with serving(path):
        assert await asked(path, "echo", text="käse", number=1) == {"text": "käse", "number": 1}
        with pytest.raises(ApiRefused, match="none is known") as refused:
            await asked(path, "refuse")
        assert refused.value.code == "not_found"
        with pytest.raises(ApiRefused, match="there are echo, refuse, defect") as refused:
            await asked(path, "shutdown")
        assert refused.value.code == "unknown_method"


async def test_many_questions_on_one_connection(tmp_path: Path) -> None:
    path = tmp_path / "api.sock"
    async with serving(path), await connected(path) as client:
        answers = await lines(client, *[b'{"method": "echo"}\n'] * 100)
        assert answers == [{"result": {}}] * 100


async def test_it_is_for_our_user_alone(tmp_path: Path) -> None:
    path = tmp_path / "home" / "api.sock"
    before = os.umask(0)
    try:
        with api_socket(path):
            assert path.stat().st_mode & 0o777 == 0o600
            assert path.parent.stat().st_mode & 0o777 == 0o700
            assert os.umask(0) == 0  # as it was
        assert not path.exists()
    finally:
        os.umask(before)


@pytest.mark.parametrize(
    ("user", "trusted"), [(os.geteuid(), True), (0, True), (os.geteuid() + 1, False)]
)
async def test_the_kernel_says_who_asks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, user: int, trusted: bool
) -> None:
    class Told:
        def getsockopt(self, level: int, name: int, size: int) -> bytes:
            assert (level, name) == (socket.SOL_SOCKET, socket.SO_PEERCRED)
            return struct.pack("3i", 1, user, user)[:size]

    teller: Any = Told()
    assert server._is_trusted(teller) is trusted
    path = tmp_path / "api.sock"
    monkeypatch.setattr(server, "_is_trusted", lambda client: trusted)
    async with serving(path), await connected(path) as client:
        try:
            answers = await lines(client, b'{"method": "echo"}\n')
        except trio.BrokenResourceError:
            answers = []
        assert bool(answers) is trusted


async def test_a_second_node_is_told_so(tmp_path: Path) -> None:
    path = tmp_path / "api.sock"
    async with serving(path):
        told = rf"another node \(process {os.getpid()}\)"
        with pytest.raises(FileError, match=told), api_socket(path):
            pass
        assert await asked(path, "echo") == {}  # the first one is not disturbed


async def test_what_a_killed_node_left_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "api.sock"
    program = (
        "import sys, os, signal; from pathlib import Path\n"
        "from carrick.cli.api.server import api_socket\n"
        "with api_socket(Path(sys.argv[1])): os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(server.__file__).parents[3])}
    subprocess.run([sys.executable, "-c", program, str(path)], env=environment, check=False)
    assert path.is_socket()
    with pytest.raises(NoNode, match="no node runs here"):
        ask(path, "echo", timeout=1)
    async with serving(path):
        assert await asked(path, "echo") == {}


async def test_what_is_no_socket_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "api.sock"
    path.write_text("precious")
    with pytest.raises(FileError, match="is no socket"), api_socket(path):
        pass
    assert path.read_text() == "precious"
    with pytest.raises(NoNode, match="no socket of ours"):
        ask(path, "echo", timeout=1)


async def test_where_no_socket_can_be(tmp_path: Path) -> None:
    for path in (tmp_path / ("x" * 120), Path("/proc/nowhere/api.sock")):
        with pytest.raises(FileError, match="no API socket at"), api_socket(path):
            pass


async def test_a_lock_that_says_nothing(tmp_path: Path) -> None:
    path = tmp_path / "api.sock"
    with open(f"{path}.lock", "w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(FileError, match=r"process unknown"), api_socket(path):
            pass


async def test_a_defect_is_told_and_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "api.sock"
    async with serving(path):
        with caplog.at_level(logging.ERROR, "carrick.cli"), pytest.raises(ApiRefused) as refused:
            await asked(path, "defect")
        assert refused.value.code == "internal"
        assert "ZeroDivisionError" in caplog.text
        assert await asked(path, "echo") == {}


async def test_a_line_without_end(tmp_path: Path) -> None:
    path = tmp_path / "api.sock"
    async with serving(path), await connected(path) as client:
        received = b""
        with trio.fail_after(5):
            try:
                await client.send_all(b"x" * (2 * MAX_REQUEST))
                async for data in client:
                    received += data
            except trio.BrokenResourceError:
                pass  # it hung up on what it did not read
        assert b"result" not in received
        assert await asked(path, "echo") == {}


async def test_who_says_nothing_is_hung_up_on(tmp_path: Path, autojump_clock: MockClock) -> None:
    path = tmp_path / "api.sock"
    async with serving(path), await connected(path) as client:
        await client.send_all(b'{"method":')
        started = trio.current_time()
        assert await client.receive_some() == b""
        assert trio.current_time() - started == pytest.approx(PATIENCE)


async def test_only_so_many_at_once(tmp_path: Path) -> None:
    path = tmp_path / "api.sock"
    async with serving(path):
        clients = [await connected(path) for _ in range(MAX_CLIENTS)]
        for client in clients:
            await client.send_all(b'{"method": "echo"}\n')
            assert json.loads(await client.receive_some()) == {"result": {}}
        async with await connected(path) as late:
            assert await late.receive_some() == b""
        await clients.pop().aclose()
        await trio.testing.wait_all_tasks_blocked()
        assert await asked(path, "echo") == {}
        for client in clients:
            await client.aclose()


def test_a_node_that_does_not_answer(tmp_path: Path) -> None:
    path = tmp_path / "api.sock"
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(os.fspath(path))
        silent.listen()
        with pytest.raises(PeerTimeout, match="did not answer within"):
            ask(path, "echo", timeout=0.05)


@pytest.mark.parametrize("answer", [b"", b"\n", b"{}\n", b"[1]\n", b'{"error": 1}\n', b"\xff\n"])
async def test_something_else_answers(tmp_path: Path, answer: bytes) -> None:
    path = tmp_path / "api.sock"
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(os.fspath(path))
        other.listen()
        listener = trio.SocketListener(trio.socket.from_stdlib_socket(other))

        async def serve(client: trio.SocketStream) -> None:
            await client.receive_some()
            await client.send_all(answer)
            await client.aclose()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.serve_listeners, serve, [listener])
            with pytest.raises(NoNode, match="is no node"):
                await asked(path, "echo")
            nursery.cancel_scope.cancel()


JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner),
    max_leaves=5,
)
LINES = st.one_of(
    st.binary(max_size=60).map(lambda data: data.replace(b"\n", b"")),
    JSON.map(lambda value: json.dumps(value).encode()),
    st.builds(lambda name, params: json.dumps({"method": name, "params": params}).encode(),
              st.sampled_from(["echo", "refuse", "nothing", None, 7]), JSON),
    st.just(b"[" * 5000),
)  # fmt: skip


@given(st.lists(LINES, max_size=5))
@settings(max_examples=60, deadline=None)
def test_any_line_has_one_answer(requests: list[bytes]) -> None:
    async def main() -> None:
        near, far = memory_stream_pair()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server._Client(far, METHODS).serve)
            await near.send_all(b"".join(line + b"\n" for line in requests))
            await near.send_eof()
            received = b""
            for _ in requests:
                while received.count(b"\n") < len(requests):
                    received += await near.receive_some()
            answers = [json.loads(line) for line in received.splitlines()]
            assert [len(answer) for answer in answers] == [1] * len(requests)
            assert all({"result", "error"} & answer.keys() for answer in answers)

    trio.run(main)
