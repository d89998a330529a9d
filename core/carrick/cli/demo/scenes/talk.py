"""They go on talking; for some seconds there are two ways to compare."""

from __future__ import annotations

from carrick.cli.demo.stage import Stage
from carrick.cli.demo.talking import compare
from carrick.cli.output import human_bytes, human_rate, milliseconds
from carrick.protocols.perf import Perf

__all__ = ["TITLE", "play"]

TITLE = "They compare what they have, and share a file"


async def play(stage: Stage) -> None:
    """A file goes only where no relay has to carry it."""
    stage.focus("Ana", "relay", "Ben")
    met = stage.meeting
    connection = None if met is None else met.connection
    if met is None or connection is None:
        stage.say(stage.ana, "cannot: there is no connection", failed=True)
        return
    if met.first.is_relayed and not met.first.closed:
        stage.facts["relayed"] = await compare(met, met.first)
    if connection.is_relayed:
        stage.say(met.one, "has only the relay, which is no place for a file")
        return
    stage.facts["direct"] = await compare(met, connection)
    started = stage.internet.time()
    result = await met.one.node.service(Perf).measure(connection, upload=stage.size)
    stage.facts["transfer"] = {
        "bytes": stage.size,
        "took_ms": milliseconds(result.upload_s),
        "bits_per_second": round(stage.size * 8 / result.upload_s),
    }
    rate = human_rate(stage.size / result.upload_s)
    stage.say(met.one, f"sent a file of {human_bytes(stage.size)}, {rate}", since=started)
    if met.first.is_relayed:
        await met.first.ended.wait()
        stage.say(met.one, "nobody needs the relayed connection any more: it is closed")
