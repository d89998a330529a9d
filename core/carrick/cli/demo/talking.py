"""Pings, and HTTP over a stream."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from carrick import Connection
from carrick.cli.demo.web import PHOTO, RECIPE, get
from carrick.cli.output import human_bytes, human_time, milliseconds
from carrick.protocols.ping import Ping

if TYPE_CHECKING:
    from carrick.cli.demo.meet import Meeting

__all__ = ["compare", "read"]


async def read(met: Meeting, connection: Connection) -> None:
    """A page over this connection."""
    stage, one = met.stage, met.one
    started = stage.internet.time()
    status, page = await get(one.node, connection, RECIPE)
    said = page.decode(errors="replace").strip()
    stage.say(one, f"GET {RECIPE} {_over(connection)}: {status}, “{said}”", since=started)
    stage.facts["http"] = {
        "status": status,
        "took_ms": milliseconds(stage.internet.time() - started),
    }


async def compare(met: Meeting, connection: Connection) -> dict[str, Any]:
    """A ping and a picture over this connection, and the times that they took."""
    stage, one = met.stage, met.one
    rtt = await one.node.service(Ping).ping_once(connection)
    started = stage.internet.time()
    _, picture = await get(one.node, connection, PHOTO)
    took = stage.internet.time() - started
    stage.say(
        one,
        f"{_over(connection)}: a ping takes {human_time(rtt)}, "
        f"a picture of {human_bytes(len(picture))} {human_time(took)}",
    )
    return {
        "rtt_ms": milliseconds(rtt),
        "bytes": len(picture),
        "took_ms": milliseconds(took),
    }


def _over(connection: Connection) -> str:
    return "over the relay" if connection.is_relayed else "directly"
