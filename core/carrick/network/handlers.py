"""Which function serves which protocol."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from carrick.transports.multistream import check_protocol

if TYPE_CHECKING:
    from carrick.network.stream import Stream

__all__ = ["Handler", "Handlers", "StreamHandler"]

StreamHandler: TypeAlias = "Callable[[Stream], Awaitable[object]]"
"""Serves one stream. When it returns the stream is closed, when it raises it is reset."""


@dataclass(frozen=True, slots=True)
class Handler:
    """A handler with what holds for its streams."""

    protocol: str
    serve: StreamHandler
    allow_limited: bool
    """Whether it serves streams that come over a relay."""
    match: Callable[[str], bool] | None
    """Takes further protocol ids; None takes exactly `protocol`."""
    service: str | None
    """The resource scope that its streams are charged to besides that of the protocol."""
    streams_per_peer: int | None
    """Inbound streams of one peer; None takes the limit of that name."""


class Handlers:
    """The protocols that are served, exact ones first, then match functions in order."""

    def __init__(self) -> None:
        self._exact: dict[str, Handler] = {}
        self._matching: dict[str, Handler] = {}

    def add(self, handler: Handler) -> None:
        """
        Raises:
            ValueError: the protocol id cannot be negotiated, or has a handler already.
        """
        check_protocol(handler.protocol)
        if handler.protocol in self._exact:
            raise ValueError(f"protocol {handler.protocol} has a handler already")
        self._exact[handler.protocol] = handler
        if handler.match is not None:
            self._matching[handler.protocol] = handler

    def remove(self, protocol: str) -> bool:
        """Returns whether there was one."""
        self._matching.pop(protocol, None)
        return self._exact.pop(protocol, None) is not None

    def find(self, protocol: str, *, limited: bool) -> Handler | None:
        """The handler for `protocol` on a connection that is `limited` or not."""
        handler = self._exact.get(protocol)
        if handler is None and self._matching:
            handler = next(
                (each for each in self._matching.values() if each.match and each.match(protocol)),
                None,
            )
        if handler is None or (limited and not handler.allow_limited):
            return None
        return handler

    @property
    def protocols(self) -> tuple[str, ...]:
        """The exact protocol ids, in the order in which they were added."""
        return tuple(self._exact)
