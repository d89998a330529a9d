"""Carrick's side as a process: ``python -m benchmarks.carrick_peer listen|dial``.

Both end with their standard input. `listen` prints what `carrick listen --json` prints, and serves
an echo besides. `dial` reads one command of `benchmarks.work` a line, as
`{"command": name, argument: value, …}`, and answers each with a line: what the command gives, with
`seconds` and `cpu` (CPU-seconds of this process); or `{"error": text}`.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import resource
import time
from collections.abc import AsyncIterator

import trio

from benchmarks.work import ECHO, WHERE, Dialer, echo
from carrick import HostBuilder
from carrick.protocols.perf import Perf

_READ = 65536


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.carrick_peer")
    parser.add_argument("role", choices=("listen", "dial"))
    parser.add_argument("--transport", choices=WHERE, default="tcp")
    parser.add_argument("--security", default="noise")
    parser.add_argument("--muxer", default="yamux")
    parser.add_argument("--limits", type=json.loads, default={}, help="a JSON object")
    return parser.parse_args()


async def _lines() -> AsyncIterator[bytes]:
    """The lines of standard input."""
    async with trio.lowlevel.FdStream(os.dup(0)) as stdin:
        rest = b""
        async for data in stdin:
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                yield line


async def _listen(builder: HostBuilder, where: str) -> None:
    builder = builder.handle(ECHO, echo).listen("/ip4/127.0.0.1" + where)
    async with builder.open() as host:
        addresses = [str(address) for address in host.addresses]
        print(json.dumps({"id": str(host.id), "addresses": addresses}), flush=True)
        _settle()
        async for _ in _lines():
            pass


def _settle() -> None:
    """As `carrick listen` does."""
    gc.freeze()
    gc.set_threshold(5000)


async def _dial(builder: HostBuilder) -> None:
    async with Dialer(builder) as dialer:
        _settle()
        async for line in _lines():
            arguments = json.loads(line)
            command = dialer.commands[arguments.pop("command")]
            try:
                cpu, started = time.process_time(), time.perf_counter()
                answer = await command(**arguments)
                answer.setdefault("seconds", time.perf_counter() - started)
                answer.setdefault("cpu", time.process_time() - cpu)
            except Exception as error:  # whatever it is, it is the answer
                answer = {"error": _text(error)}
            print(json.dumps(answer), flush=True)


def _text(error: BaseException) -> str:
    """An error in words; of many at once the first."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}"


def main() -> None:
    options = _parse()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    builder = HostBuilder().security(options.security).muxers(options.muxer).services(Perf())
    builder = builder.limits(**options.limits)
    if options.role == "listen":
        trio.run(_listen, builder, WHERE[options.transport])
    else:
        trio.run(_dial, builder)


if __name__ == "__main__":
    main()
