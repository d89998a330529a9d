"""A transfer, as fast as the slower line allows."""

from __future__ import annotations

from carrick.cli.demo.stage import Stage
from carrick.cli.output import human_bytes, human_rate, milliseconds
from carrick.protocols.perf import Perf

__all__ = ["TITLE", "play"]

TITLE = "They share a file"


async def play(stage: Stage) -> None:
    """Perf's upload on the connection."""
    if stage.link is None:
        stage.say(stage.ana, "cannot: there is no connection", failed=True)
        return
    started = stage.internet.time()
    result = await stage.ana.node.service(Perf).measure(stage.link, upload=stage.size)
    stage.facts["transfer"] = {
        "bytes": stage.size,
        "took_ms": milliseconds(result.upload_s),
        "bits_per_second": round(stage.size * 8 / result.upload_s),
    }
    rate = human_rate(stage.size / result.upload_s)
    bandwidth = stage.ana.router.wan.link.bandwidth
    stage.say(
        stage.ana,
        f"sent {human_bytes(stage.size)} at {rate}, of {human_rate(bandwidth)} that the line has",
        since=started,
    )
