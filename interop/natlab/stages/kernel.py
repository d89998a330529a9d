"""Network namespaces; each node is a process in one."""

from __future__ import annotations

import itertools
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import trio

from interop.natlab.lab import ROOT, Lab, LabError, LabProcess, open_lab
from interop.natlab.node import Description, NodeError
from interop.natlab.stages import PlayedNode
from interop.natlab.topology import INTERNET, Topology

PROGRAM = (sys.executable, "-m", "interop.natlab.node")


class KernelStage:
    """See ``Stage``."""

    name = "kernel"

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.topology = lab.topology
        self.milliseconds = 0

    @asynccontextmanager
    async def node(self, place: str, description: Description) -> AsyncIterator[PlayedNode]:
        program = self.lab.process(place, PROGRAM, env=environment(), stdin=True)
        async with program as process, trio.open_nursery() as nursery:
            await process.send_line(description.to_json())
            node = _Process(process, json.loads(await process.line()))
            nursery.start_soon(node.listen)
            yield node
            nursery.cancel_scope.cancel()

    @asynccontextmanager
    async def delay(self, milliseconds: int) -> AsyncIterator[None]:
        outer = [node.name for node in self.topology.nodes.values() if node.router is None]
        async with self.lab.delay(dict.fromkeys(outer, milliseconds // 2)):
            before, self.milliseconds = self.milliseconds, milliseconds
            yield
            self.milliseconds = before

    async def forget(self) -> None:
        await self.lab.reset()

    async def set_udp_lifetime(self, router: str, seconds: int) -> None:
        await self.lab.set_udp_lifetime(router, seconds)

    async def leaked(self) -> int:
        return sum((await self.lab.counters(INTERNET)).values())


@asynccontextmanager
async def open_kernel_stage(topology: Topology) -> AsyncIterator[KernelStage]:
    async with open_lab(topology) as lab:
        yield KernelStage(lab)


def environment() -> dict[str, str]:
    """For Carrick in the laboratory: this source, and no identity of whoever runs it."""
    return {**os.environ, "PYTHONPATH": str(ROOT / "core"), "CARRICK_HOME": "/nonexistent"}


class _Process:
    """A node in another process."""

    def __init__(self, process: LabProcess, status: dict[str, Any]) -> None:
        self.id: str = status["id"]
        self.addresses: list[str] = status["addresses"]
        self._process = process
        self._sending = trio.Lock()
        self._numbers = itertools.count()
        self._waiting: dict[int, trio.Event] = {}
        self._answers: dict[int, dict[str, Any]] = {}

    async def listen(self) -> None:
        while True:
            answer = json.loads(await self._process.line())
            waiting = self._waiting.get(answer["id"])
            if waiting is not None:
                self._answers[answer["id"]] = answer
                waiting.set()

    async def do(self, command: str, **arguments: Any) -> Any:
        number = next(self._numbers)
        answered = self._waiting[number] = trio.Event()
        try:
            request = {"id": number, "do": command, "with": arguments}
            async with self._sending:
                await self._process.send_line(json.dumps(request))
            await answered.wait()
        finally:
            del self._waiting[number]
        answer = self._answers.pop(number)
        if "error" in answer:
            raise NodeError(*answer["error"])
        return answer["result"]


__all__ = ["KernelStage", "LabError", "environment", "open_kernel_stage"]
