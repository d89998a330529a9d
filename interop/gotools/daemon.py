"""A kubo node that knows nobody but who it is told of.

async with kubo("127.0.0.1") as node:
    print(node.id, node.addresses)
    await node.run("routing", "findprovs", cid)

It looks for nobody: no bootstrap peers but those given, no mDNS, no HTTP routers, no AutoConf,
AutoTLS, port mapping, relays, telemetry or version checks; no gateway, and its API is a socket in
its own folder, which vanishes with it.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import trio

from interop.gotools.build import find
from interop.peers.build import Skipped

__all__ = ["Kubo", "Refused", "kubo"]

TIMEOUT = 30.0  # s that a command may take
READY = b"Daemon is ready"


class Refused(Exception):
    """It could not do it; the message is its own."""


@dataclass(frozen=True)
class Kubo:
    """A node that runs.

    Attributes:
        program: `ipfs`.
        home: its folder.
        id: its peer id.
        addresses: where it listens, with its id.
    """

    program: Path
    home: Path
    id: str = ""
    addresses: tuple[str, ...] = ()

    async def run(self, *words: str, stdin: bytes = b"") -> str:
        """What `ipfs WORDS` prints.

        Raises:
            Refused: it failed, or took too long.
        """
        with trio.move_on_after(TIMEOUT):
            done = await trio.run_process(
                [self.program, *words],
                env=_environment(self.home),
                stdin=stdin,
                capture_stdout=True,
                capture_stderr=True,
                check=False,
            )
            if done.returncode:
                raise Refused(done.stderr.decode(errors="replace").strip())
            return done.stdout.decode()
        raise Refused(f"ipfs {' '.join(words)}: no answer in {TIMEOUT:.0f} s")

    async def ask(self, *words: str, stdin: bytes = b"") -> Any:
        """The same, of a command that answers with one JSON object."""
        return json.loads(await self.run(*words, "--enc=json", stdin=stdin))


@asynccontextmanager
async def kubo(
    *ips: str,
    bootstrap: Sequence[str] = (),
    routing: str = "dhtserver",
    swarm_key: bytes | None = None,
) -> AsyncIterator[Kubo]:
    """A node that listens at these addresses, by TCP and QUIC, for the block.

    It is started by this thread, and so in its network namespace.

    Args:
        bootstrap: addresses of peers, with their ids.
        routing: `dhtserver` or `dhtclient`.
        swarm_key: the file of a private network, which has no QUIC.

    Raises:
        Skipped: it has not been built.
        Refused: it did not start.
    """
    program = find("kubo")
    if program is None:
        raise Skipped("not built: kubo (python -m interop.gotools.build kubo)")
    with tempfile.TemporaryDirectory(prefix="kubo-", ignore_cleanup_errors=True) as folder:
        node = Kubo(program, Path(folder))
        await node.run("init", "--empty-repo", "--profile=test")
        if swarm_key is not None:
            (node.home / "swarm.key").write_bytes(swarm_key)
        transports = ("tcp/0",) if swarm_key is not None else ("tcp/0", "udp/0/quic-v1")
        listen = [f"/ip4/{ip}/{each}" for ip in ips for each in transports]
        _configure(node.home, listen, bootstrap, routing)
        async with _daemon(node):
            said = await node.ask("id")
            yield replace(node, id=said["ID"], addresses=tuple(said["Addresses"]))


def _configure(home: Path, listen: Sequence[str], bootstrap: Sequence[str], routing: str) -> None:
    path = home / "config"
    config = json.loads(path.read_text())
    udp = any("/udp/" in each for each in listen)
    off = {"Enabled": False}
    changes: dict[str, Any] = {
        "Addresses": {"Swarm": list(listen), "API": f"/unix{home}/api.sock", "Gateway": []},
        "AutoConf": off,
        "AutoNAT": {"ServiceMode": "disabled"},
        "AutoTLS": {**off, "AutoWSS": False},
        "Bootstrap": list(bootstrap),
        "DNS": {"Resolvers": {}},
        "Discovery": {"MDNS": off},
        "HTTPRetrieval": off,
        "Ipns": {"DelegatedPublishers": []},
        "Plugins": {"Plugins": {"telemetry": {"Disabled": True}}},
        "Routing": {
            "Type": routing,
            "LoopbackAddressesOnLanDHT": True,
            "DelegatedRouters": [],
        },
        "Swarm": {
            "DisableNatPortMap": True,
            "EnableHolePunching": False,
            "RelayClient": off,
            "RelayService": off,
            "Transports": {"Network": {"QUIC": udp, "WebTransport": udp, "WebRTCDirect": udp}},
        },
        "Version": {"SwarmCheckEnabled": False},
    }
    for section, values in changes.items():
        if isinstance(values, dict):
            config[section] = {**(config.get(section) or {}), **values}
        else:
            config[section] = values
    path.write_text(json.dumps(config))


@asynccontextmanager
async def _daemon(node: Kubo) -> AsyncIterator[None]:
    with (node.home / "log").open("wb") as log:
        # Not by trio, which starts processes in threads that may be of another namespace.
        process = subprocess.Popen(
            [node.program, "daemon"],
            env=_environment(node.home),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
        )
    assert process.stdout is not None
    said = b""
    try:
        async with trio.lowlevel.FdStream(os.dup(process.stdout.fileno())) as output:
            with trio.move_on_after(TIMEOUT):
                while READY not in said and (piece := await output.receive_some()):
                    said += piece
            if READY not in said:
                raise Refused(f"not ready: {(node.home / 'log').read_text(errors='replace')}")
            yield
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def _environment(home: Path) -> dict[str, str]:
    """Nothing of ours: no proxy, no settings of another kubo."""
    return {
        "HOME": str(home),
        "IPFS_PATH": str(home),
        "IPFS_TELEMETRY": "off",
        "PATH": os.environ.get("PATH", ""),
    }
