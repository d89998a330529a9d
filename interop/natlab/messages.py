"""The sockets and messages of the probe: trio's, whatever socket factory stands behind them."""

from __future__ import annotations

import ipaddress
import json
import socket
from collections.abc import Sequence
from typing import Any

import trio

from interop.natlab.report import Answer, Endpoint

Message = dict[str, Any]
Socket = trio.socket.SocketType

MAX_MESSAGE = 1024  # bytes


def family(ip: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ipaddress.ip_address(ip).version == 6 else socket.AF_INET


async def udp_socket(local: Endpoint) -> Socket:
    sock = trio.socket.socket(family(local[0]), socket.SOCK_DGRAM)
    await sock.bind(local)
    return sock


async def tcp_socket(local: Endpoint) -> Socket:
    """One port for a listener and for any number of connections that it dials."""
    sock = trio.socket.socket(family(local[0]), socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    await sock.bind(local)
    return sock


def endpoint(name: Sequence[Any]) -> Endpoint:
    """Of a socket's name or a message's; without the flow and the scope of IPv6."""
    ip, port = name[:2]
    return str(ipaddress.ip_address(ip)), int(port)


def decode(data: bytes) -> Message | None:
    try:
        message = json.loads(data)
    except ValueError:
        return None
    return message if isinstance(message, dict) else None


def encode(message: Message) -> bytes:
    return json.dumps(message).encode() + b"\n"


async def send_line(sock: Socket, message: Message) -> None:
    data = encode(message)
    while data:
        data = data[await sock.send(data) :]


async def receive_line(sock: Socket) -> bytes | None:
    """One line, or None at the end. The other side never sends two without an answer between."""
    data = b""
    while not data.endswith(b"\n"):
        piece = await sock.recv(MAX_MESSAGE - len(data))
        if not piece:
            return None
        data += piece
    return data


async def dial(sock: Socket, remote: Endpoint, patience: float) -> Answer:
    with trio.move_on_after(patience):
        try:
            await sock.connect(remote)
        except OSError:
            return Answer.REFUSED
        return Answer.OPEN
    return Answer.SILENT
