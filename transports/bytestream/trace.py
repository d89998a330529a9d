"""The frame trace: what goes over connections, as JSON lines, without any payload.

Tracing stands between a connection and its records, where the muxer's bytes are in plaintext. A
connection that is not traced has none of it.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import trio

from carrick.errors import ConnectionClosed, ProtocolError
from carrick.interfaces import Buffer, Records, Role, Session
from carrick.transports.bytestream.headers import HeaderParser, parser_for
from carrick.transports.multistream import MAX_MESSAGE
from carrick.wire import FrameReader

if TYPE_CHECKING:
    from multiaddr import Multiaddr

__all__ = ["ConnectionTrace", "FrameTrace"]

_LAZY_MESSAGES = 2  # of multistream-select, each way: its own id, and the muxer's


class FrameTrace:
    """Traces the connections of one `Upgrader`.

    Every line is an object with `time` (seconds since the first line, of a clock that does not
    jump), `connection` (a number), `event`, once it is known `peer`, and

    - `upgrading`: `role`, `local`, `remote`
    - `secured`: `protocol`
    - `multiplexed`: `protocol`, and `inlined`: it was agreed inside the security handshake
    - `negotiation`: `direction`, `message`: of a muxer that is agreed on the fly
    - `frame`: `direction` (`in`, `out`), `type`, `flags`, `stream`, `length` as in `Frame`
    - `failed`: `error`: the upgrade came to nothing
    - `closed`: `reason`, `code`, `remote`: who closed it

    Args:
        write: gets each line, without its end.
        clock: the present time in seconds.
    """

    def __init__(
        self, write: Callable[[str], object], clock: Callable[[], float] = trio.current_time
    ) -> None:
        self._write = write
        self._clock = clock
        self._start: float | None = None
        self._numbers = itertools.count(1)

    def connection(self, role: Role, local: Multiaddr, remote: Multiaddr) -> ConnectionTrace:
        """Begin to trace an upgrade, and the connection that comes of it."""
        trace = ConnectionTrace(self, next(self._numbers))
        trace.event("upgrading", role=role.value, local=str(local), remote=str(remote))
        return trace

    def line(self, fields: dict[str, object]) -> None:
        """Write one line."""
        now = self._clock()
        if self._start is None:
            self._start = now
        self._write(json.dumps({"time": round(now - self._start, 6), **fields}))


class ConnectionTrace:
    """Traces one connection, from the beginning of its upgrade."""

    def __init__(self, trace: FrameTrace, number: int) -> None:
        self._trace = trace
        self._who: dict[str, object] = {"connection": number}

    def event(self, event: str, **fields: object) -> None:
        self._trace.line({**self._who, "event": event, **fields})

    def secured(self, protocol: str, session: Session) -> None:
        self._who["peer"] = str(session.peer_id)
        self.event("secured", protocol=protocol)

    def failed(self, error: BaseException) -> None:
        self.event("failed", error=f"{type(error).__name__}: {error}".removesuffix(": "))

    def carry(self, session: Session, muxer: str, *, lazy: bool, plain: bytes) -> Session:
        """The session to give to the connection, so that what it carries is traced.

        Args:
            lazy: the muxer is still to be negotiated, along with its first bytes.
            plain: what the muxer has received already.
        """
        self.event("multiplexed", protocol=muxer, inlined=session.muxer is not None)
        messages = _LAZY_MESSAGES if lazy else 0
        received = _Direction(self, "in", parser_for(muxer), messages)
        sent = _Direction(self, "out", parser_for(muxer), messages)
        received.observe(plain)
        return replace(session, records=_TracedRecords(session.records, received, sent))

    def closed(self, by: ConnectionClosed) -> None:
        self.event("closed", reason=by.message, code=by.code, remote=by.remote)


class _Direction:
    """What goes one way over one connection."""

    def __init__(
        self, trace: ConnectionTrace, name: str, parser: HeaderParser, messages: int
    ) -> None:
        self._trace = trace
        self._name = name
        self._parser = parser
        self._messages = messages  # of multistream-select that come first
        self._reader = FrameReader(MAX_MESSAGE)

    def observe(self, data: Buffer) -> None:
        if self._messages:
            data = self._negotiation(data)
        for frame in self._parser.feed(data):
            self._trace.event(
                "frame",
                direction=self._name,
                type=frame.type,
                flags=frame.flags,
                stream=frame.stream,
                length=frame.length,
            )

    def _negotiation(self, data: Buffer) -> bytes:
        """Trace negotiation; returns what follows it."""
        try:
            self._reader.feed(data)
            while self._messages and (message := self._reader.next()) is not None:
                self._messages -= 1
                text = message.decode(errors="replace").rstrip("\n")
                self._trace.event("negotiation", direction=self._name, message=text)
        except ProtocolError:
            return b""  # the connection ends by it too
        return b"" if self._messages else self._reader.rest()


class _TracedRecords:
    """Records that show their plaintext; see `carrick.interfaces.Records`."""

    def __init__(self, records: Records, received: _Direction, sent: _Direction) -> None:
        self.max_plain = records.max_plain
        self.overhead = records.overhead
        self.closing = records.closing
        self._records = records
        self._received = received
        self._sent = sent

    def open_all(self, buffer: memoryview, lo: int, hi: int, sink: Callable[[bytes], None]) -> int:
        def observed(plain: bytes) -> None:
            self._received.observe(plain)
            sink(plain)

        return self._records.open_all(buffer, lo, hi, observed)

    def seal(self, out: bytearray, at: int, pieces: Sequence[Buffer]) -> int:
        for piece in pieces:
            self._sent.observe(piece)
        return self._records.seal(out, at, pieces)
