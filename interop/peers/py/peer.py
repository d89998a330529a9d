"""A small libp2p peer on py-libp2p. The contract is in ../README.md."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Mapping
from typing import NoReturn

import trio
from bench import Bencher
from exchange import identify, ping, transfer
from libp2p.abc import IHost
from libp2p.peer.peerinfo import PeerInfo, info_from_p2p_addr
from multiaddr import Multiaddr
from node import Unsupported, addresses, listen_address, open_host
from resp import Redis

TRANSPORTS = ("wss", "ws", "webtransport", "webrtc-direct", "quic-v1", "tcp")
PINGS = 3


def show(value: object) -> None:
    print(json.dumps(value), flush=True)


def transport_of(address: str) -> str:
    names = [part.name for part in Multiaddr(address).protocols()]
    if "tls" in names and "ws" in names:
        return "wss"
    return next(name for name in TRANSPORTS if name in names)


async def until_told_to_stop() -> None:
    """Return when standard input ends or a signal comes."""
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with trio.open_nursery() as nursery:

            async def wait_for_signal() -> None:
                await signals.__anext__()
                nursery.cancel_scope.cancel()

            nursery.start_soon(wait_for_signal)
            await trio.to_thread.run_sync(sys.stdin.buffer.read, abandon_on_cancel=True)
            nursery.cancel_scope.cancel()


async def listen(args: argparse.Namespace) -> None:
    address = listen_address(args.transport, args.host)
    async with open_host(args.transport, args.security, args.muxer, address) as host:
        show({"id": str(host.get_id()), "addresses": addresses(host)})
        await until_told_to_stop()


def info_of(address: str) -> PeerInfo:
    """The library dials wss only by the older form of its address."""
    return info_from_p2p_addr(Multiaddr(address.replace("/tls/ws/", "/wss/")))


async def connect(host: IHost, address: str) -> None:
    await host.connect(info_of(address))


async def dial(args: argparse.Namespace) -> None:
    async with open_host(transport_of(args.address), args.security, args.muxer) as host:
        peer = info_of(args.address).peer_id
        with trio.fail_after(args.timeout):
            start = time.perf_counter()
            await connect(host, args.address)
            connected = time.perf_counter()
            agent, protocols = await identify(host, peer)
            times = [await ping(host, peer) for _ in range(PINGS)]
        show(
            {
                "id": str(peer),
                "connect_ms": (connected - start) * 1000,
                "ping_ms": times,
                "agent": agent,
                "protocols": protocols,
            }
        )


async def perf(args: argparse.Namespace) -> None:
    async with open_host(transport_of(args.address), args.security, args.muxer) as host:
        with trio.fail_after(args.timeout):
            await connect(host, args.address)
            peer = info_of(args.address).peer_id
            show(await transfer(host, peer, args.upload_bytes, args.download_bytes))


async def bench(args: argparse.Namespace) -> None:
    await Bencher(args.transport, args.security, args.muxer).run()


async def suite(env: Mapping[str, str]) -> None:
    """The transport suite: everything comes from the environment."""
    transport = env["TRANSPORT"]
    security = env.get("SECURE_CHANNEL") or "noise"
    muxer = env.get("MUXER") or "yamux"
    try:
        timeout = float(env["TEST_TIMEOUT_SECS"])
    except (KeyError, ValueError):
        timeout = 180
    key = f"{env['TEST_KEY']}_listener_multiaddr"
    redis = await Redis.connect(env["REDIS_ADDR"])
    if env["IS_DIALER"] != "true":
        address = listen_address(transport, env.get("LISTENER_IP") or "0.0.0.0")
        async with open_host(transport, security, muxer, address) as host:
            candidates = addresses(host)
            outside = [a for a in candidates if "/127.0.0.1/" not in a]
            await redis.call("DEL", key)
            await redis.call("RPUSH", key, (outside or candidates)[0])
            signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
            await trio.sleep(timeout)
        raise TimeoutError(f"no dialer within {timeout:.0f} s")
    async with open_host(transport, security, muxer) as host:
        reply = await redis.call("BLPOP", key, f"{timeout:.0f}")
        if not isinstance(reply, list):
            raise TimeoutError(f"no listener address within {timeout:.0f} s")
        with trio.fail_after(timeout):
            start = time.perf_counter()
            await connect(host, reply[1])
            rtt = await ping(host, info_of(reply[1]).peer_id)
            total = (time.perf_counter() - start) * 1000
        print("latency:")
        print(f"  handshake_plus_one_rtt: {total:.3f}")
        print(f"  ping_rtt: {rtt:.3f}")
        print("  unit: ms", flush=True)


class Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(1, f"{self.format_usage()}{message}\n")  # 2 means unsupported


def parse(argv: list[str]) -> argparse.Namespace:
    parser = Parser(prog="peer.py")
    commands = parser.add_subparsers(dest="command", required=True)
    common = Parser(add_help=False)
    common.add_argument("--security", default="noise")
    common.add_argument("--muxer", default="yamux")
    common.add_argument("--timeout", type=float, default=30, help="seconds for the whole dial")
    command = commands.add_parser("listen", parents=[common])
    command.add_argument("--transport", default="tcp")
    command.add_argument("--host", default="127.0.0.1")
    command.set_defaults(run=listen)
    command = commands.add_parser("bench", parents=[common])
    command.add_argument("--transport", default="tcp")
    command.set_defaults(run=bench)
    command = commands.add_parser("dial", parents=[common])
    command.add_argument("address")
    command.set_defaults(run=dial)
    command = commands.add_parser("perf", parents=[common])
    command.add_argument("address")
    command.add_argument("--upload-bytes", type=int, default=0)
    command.add_argument("--download-bytes", type=int, default=0)
    command.set_defaults(run=perf)
    return parser.parse_args(argv)


def main() -> int:
    try:
        if len(sys.argv) == 1:
            trio.run(suite, os.environ)
        else:
            args = parse(sys.argv[1:])
            trio.run(args.run, args)
    except Exception as error:
        # trio wraps what leaves a nursery into groups.
        reason: BaseException | None = error
        while isinstance(reason, BaseExceptionGroup) and len(reason.exceptions) == 1:
            reason = reason.exceptions[0]
        if isinstance(reason, Unsupported):
            show({"unsupported": str(reason)})
            return 2
        traceback.print_exception(error)
        while reason is not None:
            print(f"{type(reason).__name__}: {reason}", file=sys.stderr)
            reason = reason.__cause__
        return 1
    return 0


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # The library leaves threads behind that would keep the process.
    os._exit(code)
