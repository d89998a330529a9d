"""How much the peer lets us send (RFC 9000 section 4.1). What we let it send is in `grants`."""

from __future__ import annotations

from qh3.quic.packet import QuicTransportParameters

__all__ = ["Credit"]


class Credit:
    """The windows of a connection and of its streams, in bytes from their beginning.

    Args:
        parameters: the peer's.
    """

    def __init__(self, parameters: QuicTransportParameters, *, is_client: bool) -> None:
        self.limit = parameters.initial_max_data or 0
        """Of all streams together."""
        self.limits: dict[int, int] = {}
        """Of streams whose first limit was raised."""
        self._parameters = parameters
        self._is_client = is_client
        self._written: dict[int, int] = {}
        self._written_in_all = 0

    def room(self, stream: int) -> int:
        """How much may be written to `stream` now."""
        limit = self.limits.get(stream)
        if limit is None:
            limit = self._first_limit(stream)
        room = limit - self.written(stream)
        return max(0, min(room, self.limit - self._written_in_all))

    def _first_limit(self, stream: int) -> int:
        parameters = self._parameters
        if stream & 2:
            return parameters.initial_max_stream_data_uni or 0
        if stream & 1 == (not self._is_client):
            return parameters.initial_max_stream_data_bidi_remote or 0
        return parameters.initial_max_stream_data_bidi_local or 0

    def written(self, stream: int) -> int:
        """Bytes, in all."""
        return self._written.get(stream, 0)

    def wrote(self, stream: int, size: int) -> None:
        self._written[stream] = self.written(stream) + size
        self._written_in_all += size

    def took_back(self, size: int) -> None:
        """So much of what was written is not sent: its stream was reset."""
        self._written_in_all -= size

    def forget(self, stream: int) -> None:
        """It is finished."""
        self._written.pop(stream, None)
        self.limits.pop(stream, None)
