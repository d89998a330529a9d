"""What a lookup did: counted, and told step by step."""

from __future__ import annotations

from typing import Any

import trio

from carrick.cli.output import Output, human_time, milliseconds
from carrick.identity import PeerId
from carrick.protocols.kademlia import Hop, HopKind

__all__ = ["LookupTrace"]


class LookupTrace:
    """Takes the steps of a lookup, as its `watch`.

    Args:
        show: print each as it happens: lines on stderr, or JSON lines on stdout.

    Attributes:
        hops: the longest chain of answers.
        rpcs: how many peers were asked.
    """

    def __init__(self, output: Output, *, show: bool) -> None:
        self._output = output
        self._show = show
        self._started = trio.current_time()
        self._depths: dict[PeerId, int] = {}
        self.hops = 0
        self.rpcs = 0

    def __call__(self, hop: Hop) -> None:
        if hop.kind is HopKind.ASKED:
            self.rpcs += 1
            self._depths.setdefault(hop.peer, 1)  # whoever names it now does not lead to it
        elif hop.kind is not HopKind.FAILED:
            depth = self._depths.setdefault(hop.peer, 1)
            self.hops = max(self.hops, depth)
            for each in hop.closer:
                self._depths.setdefault(each, depth + 1)
        if self._show:
            self._tell(hop)

    @property
    def fields(self) -> dict[str, Any]:
        """`hops`, `rpcs` and `lookup_ms`."""
        elapsed = trio.current_time() - self._started
        return {"hops": self.hops, "rpcs": self.rpcs, "lookup_ms": milliseconds(elapsed)}

    def __str__(self) -> str:
        elapsed = trio.current_time() - self._started
        return f"{self.rpcs} peers asked, {self.hops} hops, {human_time(elapsed)}"

    def _tell(self, hop: Hop) -> None:
        at = hop.at - self._started
        if not self._output.for_people:
            step = {
                "event": hop.kind.value,
                "peer": hop.peer,
                "t_ms": milliseconds(at),
                "rtt_ms": milliseconds(hop.rtt),
                "hop": self._depths.get(hop.peer, 1),
                "closer": [str(each) for each in hop.closer],
                "found": hop.found,
                "error": hop.error,
            }
            self._output.result(step, None)
            return
        text = f"{at * 1000:7.0f} ms  {hop.kind.value:8} {hop.peer}"
        if hop.rtt is not None:
            text += f"  {human_time(hop.rtt)}"
        if hop.closer:
            text += f", names {len(hop.closer)}"
        if hop.found:
            text += f", has {hop.found}"
        self._output.note(text + (f": {hop.error}" if hop.error else ""))
