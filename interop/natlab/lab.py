"""Build a topology from network namespaces, run programs in it, and leave nothing behind.

Everything lives in a mount and a process namespace of its own, whose first process ends when its
standard input does. So the kernel removes the laboratory, all of its processes included, as soon as
whoever opened it closes it or dies, however that happens. Its namespaces' names are visible only
inside, so that any number of laboratories can run beside each other. The machine's own network is
neither changed nor connected.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import trio

from interop.natlab.kinds import INTERNET as INTERNET_RULES
from interop.natlab.kinds import KINDS, ruleset
from interop.natlab.topology import INTERNET, Router, Topology, addresses, links

TOOLS = ("ip", "nft", "conntrack", "nsenter", "unshare", "setpriv", "mount")
DELAY_TOOLS = ("iptables", "ip6tables")
PACKAGES = (
    "iproute2",
    "nftables",
    "conntrack",
    "iptables",
    "util-linux",
    "mount",
)  # Debian's names

ROOT = Path(__file__).parents[2]  # the repository: where programs in the laboratory start

# Its standard output tells that /run is the laboratory's own; its end is the laboratory's.
_HOLD = "mount -t tmpfs natlab /run && mkdir /run/netns && echo ready && exec cat"

# A new namespace starts with bridge netfilter on: LAN frames would pass the router's rules.
_SETTINGS = {
    "ipv4/ip_forward": 0,
    "ipv6/conf/all/forwarding": 0,
    "ipv6/conf/all/accept_dad": 0,
    "ipv6/conf/default/accept_dad": 0,
    "ipv6/conf/default/accept_ra": 0,
    "bridge/bridge-nf-call-iptables": 0,
    "bridge/bridge-nf-call-ip6tables": 0,
}
_FORWARD = {"ipv4/ip_forward": 1, "ipv6/conf/all/forwarding": 1}


class LabError(Exception):
    """A command of the laboratory itself failed."""


def unavailable() -> str | None:
    """Why no laboratory can be built here, in words; None if it can."""
    if sys.platform != "linux":
        return "network namespaces need Linux"
    if os.geteuid() != 0:
        return "network namespaces with nftables need root"
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        return f"not installed: {', '.join(missing)} (python -m interop.natlab setup)"
    trial = ["unshare", "--mount", "--pid", "--fork", "--net", "nft", "list", "ruleset"]
    result = subprocess.run(trial, capture_output=True, text=True, check=False)
    if result.returncode:
        return f"no namespaces with nftables here: {result.stderr.strip()}"
    return None


class LabProcess:
    """A program that runs in the laboratory; its standard output is read by lines, and its standard
    input written, if it has one."""

    def __init__(self, process: trio.Process) -> None:
        self._process = process
        self._lines = self._read()

    async def _read(self) -> AsyncIterator[str]:
        assert self._process.stdout is not None
        rest = b""
        async for piece in self._process.stdout:
            *lines, rest = (rest + piece).split(b"\n")
            for line in lines:
                yield line.decode()

    async def line(self) -> str:
        """The next line. Raises ``LabError`` if the program ends before one."""
        async for line in self._lines:
            return line
        raise LabError(f"{self._process.args!r} ended, status {await self._process.wait()}")

    async def send_line(self, line: str) -> None:
        """One more line of its standard input. Raises ``LabError`` if it reads no more."""
        assert self._process.stdin is not None
        try:
            await self._process.stdin.send_all(f"{line}\n".encode())
        except trio.BrokenResourceError:
            raise LabError(f"{self._process.args!r} has ended") from None

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, if it still runs."""
        # The process here is nsenter; the program is its child, and it ends with it.
        pid = self._process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children")
        with suppress(OSError):
            os.kill(int((children.read_text().split() or [str(pid)])[0]), number)

    async def wait(self) -> int:
        """Until it has ended; its status."""
        return await self._process.wait()


class Lab:
    """A laboratory that is built. Use ``open_lab``."""

    def __init__(self, holder: trio.Process, topology: Topology) -> None:
        self._holder = holder
        self.topology = topology

    @property
    def pid(self) -> int:
        """Of the process that holds the laboratory; everything inside ends before it."""
        return self._holder.pid

    def _enter(self, name: str | None, argv: Sequence[str]) -> list[str]:
        """*argv* in the namespace of host or router *name*; None: outside all of them."""
        here = f"/proc/{self._holder.pid}"
        enter = ["nsenter", f"--mount={here}/ns/mnt", f"--pid={here}/ns/pid_for_children"]
        if name is not None:
            enter.append(f"--net={here}/root/run/netns/{name}")
        # nsenter only waits for the program: who ends nsenter means the program.
        return [*enter, f"--wd={ROOT}", "setpriv", "--pdeathsig", "KILL", "--", *argv]

    async def run(
        self,
        name: str | None,
        argv: Sequence[str],
        *,
        stdin: str = "",
        check: bool = True,
        env: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a program to its end in the namespace of host or router *name*, or of ``inet``.

        Raises ``LabError`` if it fails, unless *check* is False. A cancelled program is killed.
        """
        result = await trio.run_process(
            self._enter(name, argv),
            stdin=stdin.encode(),
            capture_stdout=True,
            capture_stderr=True,
            check=False,
            env=env,
            start_new_session=True,  # Ctrl-C is for whoever opened the laboratory
        )
        if check and result.returncode:
            said = (result.stderr.strip() or result.stdout.strip()).decode(errors="replace")
            raise LabError(f"{name}: {' '.join(argv)}: status {result.returncode}: {said}")
        return result

    @asynccontextmanager
    async def process(
        self,
        name: str,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        stdin: bool = False,
    ) -> AsyncIterator[LabProcess]:
        """A program beside the block, killed at the end of it. *stdin*: ``send_line`` is for it."""
        process = await trio.lowlevel.open_process(
            self._enter(name, argv),
            stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            env=env,
            start_new_session=True,
        )
        handle = LabProcess(process)
        try:
            yield handle
        finally:
            with trio.CancelScope(shield=True):
                handle.signal(signal.SIGKILL)
                await handle.wait()

    async def set_kind(self, router: str, kind: str) -> None:
        """Make a router one of another type (or the same, but fresh), without any mappings."""
        node = self._router(router)
        node.kind = KINDS[kind]
        await self.run(router, ["nft", "-f", "-"], stdin=ruleset(node.kind, node.address))
        await self.run(router, ["conntrack", "--flush"])

    async def set_udp_lifetime(self, router: str, seconds: int) -> None:
        """How long a UDP mapping of a router lives in silence. The kernel's default is 30 s."""
        conntrack = "/proc/sys/net/netfilter/nf_conntrack_udp_timeout"
        await self.run(
            router,
            ["sh", "-c", f"echo {seconds} > {conntrack} && echo {seconds} > {conntrack}_stream"],
        )

    async def reset(self) -> None:
        """All routers as if just switched on: no mappings, counters at zero."""
        async with trio.open_nursery() as nursery:
            for router in self.topology.routers:
                nursery.start_soon(self.set_kind, router.name, router.kind.name)

    async def counters(self, name: str) -> dict[str, int]:
        """Packets that each commented rule of a router, or of ``inet``, has counted."""
        result = await self.run(name, ["nft", "--json", "list", "ruleset"])
        counted: dict[str, int] = {}
        for item in json.loads(result.stdout)["nftables"]:
            rule = item.get("rule", {})
            for expression in rule.get("expr", ()):
                if "counter" in expression and "comment" in rule:
                    counted[rule["comment"]] = expression["counter"]["packets"]
        return counted

    @asynccontextmanager
    async def delay(self, milliseconds: Mapping[str, int]) -> AsyncIterator[None]:
        """Within the block each named link to ``inet`` delays every packet, in both directions.

        From one host to another it is the sum of their links' delays. Whole milliseconds.
        """
        for name in milliseconds:
            if self.topology.nodes[name].router is not None:
                raise LabError(f"{name} has no link to {INTERNET}")
        delays = sorted({str(ms) for ms in milliseconds.values() if ms})
        if not delays:
            yield
            return
        program = [sys.executable, str(Path(__file__).with_name("delay.py")), *delays]
        async with self.process(INTERNET, program) as process:
            await process.line()
            await self.run(INTERNET, ["sh", "-e"], stdin="\n".join(self._queues(milliseconds)))
            try:
                yield
            finally:
                with trio.CancelScope(shield=True):
                    flush = [f"{tool} -t mangle -F" for tool in DELAY_TOOLS]
                    await self.run(INTERNET, ["sh", "-e"], stdin="\n".join(flush))

    def _queues(self, milliseconds: Mapping[str, int]) -> Iterator[str]:
        for name, ms in milliseconds.items():
            for tool in DELAY_TOOLS if ms else ():
                for where in ("PREROUTING -i", "POSTROUTING -o"):
                    link = self.topology.nodes[name].link
                    yield f"{tool} -t mangle -A {where} {link} -j NFQUEUE --queue-num {ms}"

    def _router(self, name: str) -> Router:
        node = self.topology.nodes[name]
        if not isinstance(node, Router):
            raise LabError(f"{name} is not a router")
        return node


@asynccontextmanager
async def open_lab(topology: Topology) -> AsyncIterator[Lab]:
    """Build *topology*; it vanishes at the end of the block."""
    holder = await trio.lowlevel.open_process(
        [
            "unshare",
            "--mount",
            "--pid",
            "--fork",
            "--kill-child",
            "--mount-proc",
            "sh",
            "-c",
            _HOLD,
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert holder.stdin is not None and holder.stdout is not None
    try:
        if not await holder.stdout.receive_some():
            raise LabError("no private namespaces")
        lab = Lab(holder, topology)
        await lab.run(None, ["sh", "-e"], stdin="\n".join(_script(topology)))
        yield lab
    finally:
        with trio.CancelScope(shield=True):
            await holder.stdin.aclose()
            await holder.wait()


def _script(topology: Topology) -> Iterator[str]:
    """The shell script that builds everything, in the laboratory's mount namespace."""
    names = [INTERNET, *topology.nodes]
    yield from _fed("ip -batch -", (f"netns add {name}" for name in names))
    for name in names:
        yield from _fed(f"{_inside(name)} sh -e", _settings(topology, name))
    for part in (links, addresses):
        for name in names:
            yield from _fed(f"{_inside(name)} ip -batch -", part(topology, name))
    yield from _fed(f"{_inside(INTERNET)} nft -f -", INTERNET_RULES.splitlines())
    for router in topology.routers:
        rules = ruleset(router.kind, router.address)
        yield from _fed(f"{_inside(router.name)} nft -f -", rules.splitlines())


def _inside(name: str) -> str:
    return f"nsenter --net=/run/netns/{name}"


def _fed(command: str, lines: Iterable[str]) -> Iterator[str]:
    yield f"{command} <<'END'"
    yield from lines
    yield "END"


def _settings(topology: Topology, name: str) -> Iterator[str]:
    forwards = name == INTERNET or isinstance(topology.nodes[name], Router)
    for key, value in (_SETTINGS | (_FORWARD if forwards else {})).items():
        path = f"/proc/sys/net/{key}"
        yield f"if [ -e {path} ]; then echo {value} > {path}; fi"
