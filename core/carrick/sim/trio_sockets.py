"""trio's sockets on simulated hosts, for libraries and programs that use `trio.socket`."""

from __future__ import annotations

import builtins
import errno
import itertools
import operator
import os
import socket as stdlib
from types import TracebackType
from typing import Any

import trio
from trio.abc import SocketFactory

from carrick.sim.host import Host, current_host
from carrick.sim.listener import TcpListener
from carrick.sim.packet import Endpoint, canonical
from carrick.sim.tcp import TcpConnection
from carrick.sim.udp import UdpSocket

__all__ = ["SimulatedSocket", "SimulatedSocketFactory"]

_descriptors = itertools.count(1 << 20)  # numbers that no kernel gives
_FAMILIES = (stdlib.AF_INET, stdlib.AF_INET6)
_KINDS = (stdlib.SOCK_STREAM, stdlib.SOCK_DGRAM)
_GROUPS = {
    (stdlib.IPPROTO_IP, stdlib.IP_ADD_MEMBERSHIP): True,
    (stdlib.IPPROTO_IP, stdlib.IP_DROP_MEMBERSHIP): False,
    (stdlib.IPPROTO_IPV6, stdlib.IPV6_JOIN_GROUP): True,
    (stdlib.IPPROTO_IPV6, stdlib.IPV6_LEAVE_GROUP): False,
}


class SimulatedSocketFactory(SocketFactory):
    """Makes sockets on the host of the context."""

    def socket(
        self,
        family: int = stdlib.AF_INET,
        type: int = stdlib.SOCK_STREAM,
        proto: int = 0,
    ) -> SimulatedSocket:
        """Raises:
        OSError: ENETDOWN, the context is on no host; EAFNOSUPPORT.
        """
        host = current_host()
        if host is None:
            raise OSError(errno.ENETDOWN, "no simulated host in this context (use host.enter())")
        if family not in _FAMILIES or type not in _KINDS:
            raise _error(errno.EAFNOSUPPORT)
        return SimulatedSocket(host, family, type, proto)


class SimulatedSocket(trio.socket.SocketType):
    """A TCP or UDP socket with the calls of `trio.socket.SocketType`.

    Left out: `dup`, `detach`, `sendmsg`, `recvmsg`, and flags. Of the options only multicast, and
    those that are read back (SO_ERROR, SO_ACCEPTCONN, SO_TYPE), have an effect.
    """

    def __init__(
        self,
        host: Host,
        family: int,
        type: int,
        proto: int = 0,
        *,
        connection: TcpConnection | None = None,
    ) -> None:
        self._host = host
        self._family = stdlib.AddressFamily(family)
        self._type = stdlib.SocketKind(type)
        self._proto = proto
        self._descriptor = next(_descriptors)
        self._bound: Endpoint | None = None
        self._tcp = connection
        self._listener: TcpListener | None = None
        self._udp: UdpSocket | None = None
        self._options: dict[tuple[int, int], int | bytes] = {}
        self._shut_down = False

    # --- what it is -------------------------------------------------------------------------------

    @property
    def family(self) -> stdlib.AddressFamily:
        return self._family

    @property
    def type(self) -> stdlib.SocketKind:
        return self._type

    @property
    def proto(self) -> int:
        return self._proto

    @property
    def did_shutdown_SHUT_WR(self) -> bool:
        return self._shut_down

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._type.name} on {self._host.name}>"

    def fileno(self) -> int:
        return self._descriptor

    def getsockname(self) -> Any:
        self._require_open()
        local = self._bound
        for part in (self._tcp, self._listener, self._udp):
            if part is not None:
                local = part.local
        return self._name(local or (self._any, 0))

    def getpeername(self) -> Any:
        self._require_open()
        if self._tcp is not None:
            return self._name(self._tcp.remote)
        if self._udp is not None and self._udp.remote is not None:
            return self._name(self._udp.remote)
        raise _error(errno.ENOTCONN)

    def getsockopt(self, level: int, optname: int, buflen: int | None = None) -> Any:
        self._require_open()
        if level == stdlib.SOL_SOCKET:
            if optname == stdlib.SO_ACCEPTCONN:
                return int(self._listener is not None)
            if optname == stdlib.SO_TYPE:
                return int(self._type)
            if optname == stdlib.SO_ERROR:
                return 0
        value = self._options.get((level, optname), 0)
        if buflen is None or isinstance(value, bytes):
            return value
        return value.to_bytes(buflen, "little")

    def setsockopt(self, level: int, optname: int, value: Any, optlen: int | None = None) -> None:
        self._require_open()
        if (level, optname) in _GROUPS:
            self._change_group(bytes(value), joining=_GROUPS[level, optname])
            return
        if (level, optname) in (
            (stdlib.IPPROTO_IP, stdlib.IP_MULTICAST_IF),
            (stdlib.IPPROTO_IPV6, stdlib.IPV6_MULTICAST_IF),
        ):
            self._bound_udp().multicast_interface = self._interface(value)
        elif (level, optname) in (
            (stdlib.IPPROTO_IP, stdlib.IP_MULTICAST_LOOP),
            (stdlib.IPPROTO_IPV6, stdlib.IPV6_MULTICAST_LOOP),
        ):
            self._bound_udp().multicast_loop = bool(_number(value))
        self._options[level, optname] = value

    def get_inheritable(self) -> bool:
        return False

    def set_inheritable(self, inheritable: bool) -> None:
        pass

    def is_readable(self) -> bool:
        if self._listener is not None:
            return self._listener.has_waiting
        part = self._tcp or self._udp
        return part is not None and part.has_input

    # --- life -------------------------------------------------------------------------------------

    def __enter__(self) -> SimulatedSocket:
        return self

    def __exit__(
        self,
        exc_type: builtins.type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        self._descriptor = -1
        for part in (self._tcp, self._listener, self._udp):
            if part is not None:
                part.close()

    def shutdown(self, flag: int) -> None:
        if self._tcp is None:
            raise _error(errno.ENOTCONN)
        if flag in (stdlib.SHUT_WR, stdlib.SHUT_RDWR):
            self._tcp.shut_down()
            self._shut_down = True

    async def bind(self, address: Any) -> None:
        await trio.lowlevel.checkpoint()
        self._require_open()
        if self._bound is not None or self._tcp is not None:
            raise _error(errno.EINVAL)
        local = self._endpoint(address, default=self._any)
        if self._type == stdlib.SOCK_DGRAM:
            if self._udp is not None:
                raise _error(errno.EINVAL)
            self._udp = self._host.stack.open_udp(local, share_port=self._shares_port)
            self._bound = self._udp.local
        else:
            self._bound = self._host.stack.reserve(local)

    def listen(self, backlog: int = 128) -> None:
        self._require_open()
        if self._type != stdlib.SOCK_STREAM:
            raise _error(errno.EOPNOTSUPP)
        if self._listener is None:
            local = self._bound or (self._any, 0)
            self._listener = self._host.stack.listen(local, backlog)

    async def accept(self) -> tuple[SimulatedSocket, Any]:
        await trio.lowlevel.checkpoint_if_cancelled()
        self._require_open()
        if self._listener is None:
            raise _error(errno.EINVAL)
        accepted = await self._listener.accept()
        sock = SimulatedSocket(
            self._host, self._family, self._type, self._proto, connection=accepted
        )
        return sock, sock.getpeername()

    async def connect(self, address: Any) -> None:
        await trio.lowlevel.checkpoint()
        self._require_open()
        remote = self._endpoint(address, default=self._any)
        if self._type == stdlib.SOCK_DGRAM:
            self._connect_udp(remote)
            return
        if self._tcp is not None:
            raise _error(errno.EISCONN)
        self._tcp = self._host.stack.connect(remote, self._bound)
        try:
            await self._tcp.connected()
        except OSError:
            self._tcp.close()
            self._tcp = None
            raise
        except BaseException:  # as trio does: nobody knows what state a socket is in after this
            self.close()
            raise

    # --- bytes ------------------------------------------------------------------------------------

    async def recv(self, bufsize: int, flags: int = 0) -> bytes:
        if self._type == stdlib.SOCK_DGRAM:
            return (await self.recvfrom(bufsize))[0]
        size = operator.index(bufsize)
        await trio.lowlevel.checkpoint()
        connection = self._connection()
        while not connection.has_input:
            await connection.wait_readable()
        buffer = bytearray(min(size, connection.pending + 1))
        received = connection.recv_into(memoryview(buffer))
        return bytes(buffer[:received])

    async def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        view = memoryview(buffer).cast("B")
        if nbytes:
            view = view[:nbytes]
        if self._type == stdlib.SOCK_DGRAM:
            return (await self.recvfrom_into(view))[0]
        await trio.lowlevel.checkpoint()
        connection = self._connection()
        while (received := connection.recv_into(view)) is None:
            await connection.wait_readable()
        return received

    async def recvfrom(self, bufsize: int, flags: int = 0) -> tuple[bytes, Any]:
        if self._type == stdlib.SOCK_STREAM:
            return await self.recv(bufsize), None
        await trio.lowlevel.checkpoint()
        self._require_open()
        socket = self._bound_udp()
        while True:
            self._raise_unreachable(socket)
            received = socket.receive_one()
            if received is not None:
                data, sender = received
                return data[:bufsize], self._name(sender)
            await socket.wait_readable()

    async def recvfrom_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> tuple[int, Any]:
        view = memoryview(buffer).cast("B")
        data, sender = await self.recvfrom(nbytes or len(view))
        view[: len(data)] = data
        return len(data), sender

    async def send(self, data: Any, flags: int = 0) -> int:
        await trio.lowlevel.checkpoint()
        self._require_open()
        view = memoryview(data).cast("B")
        if self._type == stdlib.SOCK_DGRAM:
            if self._udp is None or self._udp.remote is None:
                raise _error(errno.EDESTADDRREQ)
            self._raise_unreachable(self._udp)
            self._udp.send(view, len(view), self._udp.remote)
            return len(view)
        connection = self._connection()
        while (sent := connection.send(view)) is None:
            await connection.wait_writable()
        return sent

    async def sendto(self, data: Any, *args: Any) -> int:
        await trio.lowlevel.checkpoint()
        self._require_open()
        if self._type != stdlib.SOCK_DGRAM:
            raise _error(errno.EISCONN)
        remote = self._endpoint(args[-1], default=self._any)
        socket = self._bound_udp()
        self._raise_unreachable(socket)
        view = memoryview(data).cast("B")
        socket.send(view, len(view), remote)
        return len(view)

    async def wait_writable(self) -> None:
        self._require_open()
        if self._tcp is not None:
            await self._tcp.wait_writable()
        else:
            await trio.lowlevel.checkpoint()

    # --- inside -----------------------------------------------------------------------------------

    @property
    def _any(self) -> str:
        return "::" if self._family == stdlib.AF_INET6 else "0.0.0.0"

    @property
    def _shares_port(self) -> bool:
        return any(
            self._options.get((stdlib.SOL_SOCKET, option))
            for option in (stdlib.SO_REUSEADDR, getattr(stdlib, "SO_REUSEPORT", -1))
        )

    def _connection(self) -> TcpConnection:
        self._require_open()
        if self._tcp is None:
            raise _error(errno.ENOTCONN)
        return self._tcp

    def _bound_udp(self) -> UdpSocket:
        if self._type != stdlib.SOCK_DGRAM:
            raise _error(errno.ENOTCONN)
        if self._udp is None:
            self._udp = self._host.stack.open_udp((self._any, 0))
        return self._udp

    def _connect_udp(self, remote: Endpoint) -> None:
        """Fix the peer and, as kernels do, our address."""
        source = self._host.stack.source_for(
            remote[0], None if self._udp is None else self._udp.local[0]
        )
        if self._udp is None:
            self._udp = self._host.stack.open_udp((source, 0))
        self._udp.remote = remote

    def _raise_unreachable(self, socket: UdpSocket) -> None:
        if socket.unreachable:
            socket.unreachable = False
            raise _error(errno.ECONNREFUSED)

    def _require_open(self) -> None:
        if self._descriptor < 0:
            raise _error(errno.EBADF)

    def _name(self, endpoint: Endpoint) -> Any:
        return (*endpoint, 0, 0) if self._family == stdlib.AF_INET6 else endpoint

    def _endpoint(self, address: Any, *, default: str) -> Endpoint:
        if not isinstance(address, tuple) or not 2 <= len(address) <= 4:
            raise ValueError("address should be a (host, port) tuple")
        try:
            ip = canonical(address[0] or default)
        except ValueError:
            if address[0] != "localhost":
                raise OSError(
                    errno.EINVAL, "name resolution is getaddrinfo's work on simulated sockets"
                ) from None
            ip = "::1" if self._family == stdlib.AF_INET6 else "127.0.0.1"
        if (":" in ip) != (self._family == stdlib.AF_INET6):
            raise _error(errno.EAFNOSUPPORT)
        return ip, int(address[1])

    def _change_group(self, membership: bytes, *, joining: bool) -> None:
        socket = self._bound_udp()
        size = 16 if self._family == stdlib.AF_INET6 else 4
        group = stdlib.inet_ntop(self._family, membership[:size])
        if joining:
            socket.join(group, self._interface(membership[size:]))
        else:
            socket.leave(group)

    def _interface(self, value: Any) -> str:
        """The address of the interface that an option names by its address or its index."""
        if self._family == stdlib.AF_INET:
            packed = bytes(value)[:4]
            if any(packed):
                return stdlib.inet_ntop(stdlib.AF_INET, packed)
        else:
            index = _number(value)
            if index:
                interface = self._host.interfaces[index - 1]
                return next(a for a in interface.addresses if ":" in a)
        wanted = self._family == stdlib.AF_INET6
        for address in self._host.addresses:
            if (":" in address) == wanted:
                return address
        raise _error(errno.ENODEV)


def _number(value: Any) -> int:
    return value if isinstance(value, int) else int.from_bytes(bytes(value)[:4], "little")


def _error(code: int) -> OSError:
    return OSError(code, os.strerror(code))
