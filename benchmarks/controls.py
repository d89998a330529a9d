"""The limits of the machine, between two processes: raw trio TCP, and TCP with AEAD.

`tcp` is trio's own stream with writes of 64 KiB. `aead` does what Noise has to do with messages of
64 KiB and nothing else, on blocking sockets: no muxer, no flow control, no scheduler. It is the
ceiling of everything that runs over Noise in this language.

``python -m benchmarks.controls listen tcp|aead`` receives one connection after another, and
answers a byte at the end of each. `dial` reads `{"address", "size"}` a line and answers with
`seconds`, `cpu` and `bytes`. Both end with their standard input.
"""

from __future__ import annotations

import json
import os
import select
import socket
import sys
import time

import trio
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

__all__ = ["command"]

WRITE = 65536  # bytes
PLAIN = 65519  # bytes in a Noise message
SEALED = PLAIN + 16
BATCH = 8  # messages in a send
RECEIVE = 128 * 1024  # bytes; more runs cache-cold
KEY, NONCE = bytes(32), bytes(12)  # of no secret: what counts is the time


def command(role: str, kind: str) -> list[str]:
    """How to run a side: role `listen` or `dial`, kind `tcp` or `aead`."""
    return [sys.executable, "-m", "benchmarks.controls", role, kind]


def _say(**fields: object) -> None:
    print(json.dumps(fields), flush=True)


# --- trio TCP -------------------------------------------------------------------------------------


async def _listen_tcp() -> None:
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(trio.serve_tcp, _drain, 0)
        _say(addresses=[f"127.0.0.1:{listeners[0].socket.getsockname()[1]}"])
        async with trio.lowlevel.FdStream(os.dup(0)) as stdin:
            async for _ in stdin:
                pass
        nursery.cancel_scope.cancel()


async def _drain(stream: trio.SocketStream) -> None:
    while await stream.receive_some(WRITE):
        pass
    await stream.send_all(b".")


async def _dial_tcp() -> None:
    piece = memoryview(bytes(WRITE))
    async with trio.lowlevel.FdStream(os.dup(0)) as stdin:
        async for line in stdin:
            question = json.loads(line)
            count = max(1, question["size"] // WRITE)
            async with await trio.open_tcp_stream(*_endpoint(question)) as stream:
                started, cpu = time.perf_counter(), time.process_time()
                for _ in range(count):
                    await stream.send_all(piece)
                await stream.send_eof()
                await stream.receive_some(1)
                seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
            _say(seconds=seconds, cpu=cpu, bytes=count * WRITE)


# --- TCP with AEAD --------------------------------------------------------------------------------


def _listen_aead() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        _say(addresses=[f"127.0.0.1:{listening.getsockname()[1]}"])
        while sys.stdin not in select.select([listening, sys.stdin], [], [])[0]:
            accepted, _ = listening.accept()
            with accepted:
                _open_all(accepted)
                accepted.sendall(b".")


def _open_all(accepted: socket.socket) -> None:
    """Receive and decrypt, into memory that is used again and again."""
    cipher = ChaCha20Poly1305(KEY)
    buffer, plain = memoryview(bytearray(SEALED + RECEIVE)), memoryview(bytearray(PLAIN))
    filled = 0
    while count := accepted.recv_into(buffer[filled:], RECEIVE):
        filled += count
        start = 0
        while filled - start >= SEALED:
            cipher.decrypt_into(NONCE, buffer[start : start + SEALED], None, plain)
            start += SEALED
        if start:
            buffer[: filled - start] = buffer[start:filled]
            filled -= start


def _dial_aead() -> None:
    cipher = ChaCha20Poly1305(KEY)
    plain, batch = memoryview(bytes(PLAIN)), memoryview(bytearray(BATCH * SEALED))
    for line in sys.stdin:
        question = json.loads(line)
        count = max(1, question["size"] // (PLAIN * BATCH))
        with socket.create_connection(_endpoint(question)) as connected:
            started, cpu = time.perf_counter(), time.process_time()
            for _ in range(count):
                for start in range(0, BATCH * SEALED, SEALED):
                    cipher.encrypt_into(NONCE, plain, None, batch[start : start + SEALED])
                connected.sendall(batch)
            connected.shutdown(socket.SHUT_WR)
            connected.recv(1)
            seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
        _say(seconds=seconds, cpu=cpu, bytes=count * BATCH * PLAIN)


def _endpoint(question: dict[str, str]) -> tuple[str, int]:
    host, _, port = question["address"].rpartition(":")
    return host, int(port)


def main() -> None:
    match sys.argv[1:]:
        case ["listen", "tcp"]:
            trio.run(_listen_tcp)
        case ["dial", "tcp"]:
            trio.run(_dial_tcp)
        case ["listen", "aead"]:
            _listen_aead()
        case ["dial", "aead"]:
            _dial_aead()
        case _:
            sys.exit("usage: python -m benchmarks.controls listen|dial tcp|aead")


if __name__ == "__main__":
    main()
