"""The side of the local API that answers."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import socket
import stat
import struct
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, TypeAlias

import trio

from carrick.cli.errors import classify
from carrick.cli.output import to_json
from carrick.errors import CarrickError, FileError

__all__ = ["Method", "api_socket", "serve_api"]

Method: TypeAlias = "Callable[[Mapping[str, Any]], Awaitable[Any]]"
"""Answers a request, given its params, with what JSON can hold."""

MAX_REQUEST = 64 * 1024  # bytes of a line
MAX_CLIENTS = 16  # at once; others are hung up on
PATIENCE = 10.0  # s for a request to come, and for its answer to be taken

_CREDENTIALS = struct.Struct("3i")  # struct ucred of unix(7): process, user, group

_log = logging.getLogger("carrick.cli")


@contextmanager
def api_socket(path: Path) -> Iterator[socket.socket]:
    """A listening socket at `path`, for our user alone; gone after the block.

    A lock beside it tells whether the node that made a socket still lives, so that what a killed
    one has left is replaced, and that of a living one never.

    Raises:
        FileError: another node answers there, something else is there, or it cannot be made.
    """
    with ExitStack() as exits:
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            exits.enter_context(_lock(path))
            listening = exits.enter_context(_bound(path))
        except OSError as error:
            raise FileError(f"no API socket at {path}: {error.strerror or error}") from error
        yield listening


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    name = f"{path}.lock"
    with open(os.open(name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), "r+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            process = file.read(20).strip() or "unknown"
            raise FileError(
                f"another node (process {process}) has its API socket at {path}: "
                "give this one a --home or an --api of its own"
            ) from None
        file.truncate()
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield


@contextmanager
def _bound(path: Path) -> Iterator[socket.socket]:
    with suppress(FileNotFoundError):
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise FileError(f"{path} is there already, and is no socket")
        path.unlink()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening:
        before = os.umask(0o177)  # there is no moment at which others could connect
        try:
            listening.bind(os.fspath(path))
        finally:
            os.umask(before)
        listening.listen(MAX_CLIENTS)
        try:
            yield listening
        finally:
            path.unlink(missing_ok=True)


async def serve_api(listening: socket.socket, methods: Mapping[str, Method]) -> None:
    """Answer on `listening` until cancelled."""
    room = trio.CapacityLimiter(MAX_CLIENTS)

    async def serve(client: trio.SocketStream) -> None:
        async with client:
            if not _is_trusted(client.socket):
                _log.warning("somebody else's process asked our API: refused")
                return
            try:
                room.acquire_nowait()
            except trio.WouldBlock:
                return
            try:
                await _Client(client, methods).serve()
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                pass  # it went away
            finally:
                room.release()

    listener = trio.SocketListener(trio.socket.from_stdlib_socket(listening))
    await trio.serve_listeners(serve, [listener])


def _is_trusted(client: trio.socket.SocketType) -> bool:
    """Whether our own user, or root, is at the other end."""
    if not hasattr(socket, "SO_PEERCRED"):
        return True  # where the kernel does not tell, the mode of the socket decides
    told = client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    _, user, _ = _CREDENTIALS.unpack(told)
    return user in (os.geteuid(), 0)


class _Client:
    """One connection to the API."""

    def __init__(self, stream: trio.abc.Stream, methods: Mapping[str, Method]) -> None:
        self._stream = stream
        self._methods = methods
        self._received = bytearray()

    async def serve(self) -> None:
        while (line := await self._next_line()) is not None:
            if not await self._send(await self._answer(line)):
                return

    async def _next_line(self) -> bytes | None:
        """None: there is no more, or not in time."""
        with trio.move_on_after(PATIENCE):
            while (end := self._received.find(b"\n")) < 0:
                if len(self._received) > MAX_REQUEST:
                    await self._send(_error("too_long", f"more than {MAX_REQUEST} bytes"))
                    return None
                data = await self._stream.receive_some(MAX_REQUEST)
                if not data:
                    return None
                self._received += data
            line = bytes(self._received[:end])
            del self._received[: end + 1]
            return line
        return None

    async def _answer(self, line: bytes) -> Mapping[str, Any]:
        try:
            request = json.loads(line)
            name, params = request["method"], request.get("params", {})
            method = self._methods.get(name)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return _error("malformed", 'a request is a line such as {"method": "status"}')
        if method is None or not isinstance(params, dict):
            known = ", ".join(self._methods)
            return _error("unknown_method", f"there is no method {name!r}; there are {known}")
        try:
            return {"result": await method(params)}
        except CarrickError as error:
            return _error((classify(error) or ("failed", 1))[0], str(error))
        except Exception:
            _log.exception("a defect: the API's method %s failed", name)
            return _error("internal", f"{name} failed; the node's log says how")

    async def _send(self, answer: Mapping[str, Any]) -> bool:
        """Whether it was taken in time."""
        with trio.move_on_after(PATIENCE) as sending:
            await self._stream.send_all(f"{to_json(answer)}\n".encode())
        return not sending.cancelled_caught


def _error(code: str, message: str) -> Mapping[str, Any]:
    return {"error": {"code": code, "message": message}}
