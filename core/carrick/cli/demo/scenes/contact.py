"""Where is Ben? A notice board on the bootstrap node, until the DHT takes its place."""

from __future__ import annotations

import json
from collections.abc import Mapping

from carrick import HostBuilder, Stream
from carrick.addressing import Reach, reach
from carrick.cli.demo.stage import Person, Stage
from carrick.cli.demo.words import show_address

__all__ = ["TITLE", "notice_board", "play"]

TITLE = (
    "Ana asks where Ben is (a notice board of this demonstration, until the DHT takes its place)"
)

PROTOCOL = "/carrick/demo/notice-board/1.0.0"
LIMIT = 4096  # bytes of a notice
MAX_NOTICES = 100


def notice_board(builder: HostBuilder) -> HostBuilder:
    """Let the node keep notices: `{"name": …, "id": …, "addrs": […]}`, or only a name to ask."""
    notices: dict[str, bytes] = {}

    async def serve(stream: Stream) -> None:
        frame = await stream.read_frame(limit=LIMIT)
        said = json.loads(frame)
        if "id" in said and len(notices) < MAX_NOTICES:
            notices[said["name"]] = bytes(frame)
        await stream.write_frame(notices.get(said["name"], b"{}"))

    return builder.handle(PROTOCOL, serve)


async def play(stage: Stage) -> None:
    """Ben says who he is and where; Ana reads it."""
    stage.focus("Ana", "bootstrap", "Ben")
    ben = stage.ben
    started = stage.internet.time()
    useful = [each for each in ben.node.addresses if reach(each) in (Reach.PUBLIC, Reach.RELAYED)]
    notice = {"name": "Ben", "id": str(ben.node.id), "addrs": list(map(str, useful))}
    await _exchange(stage, ben, notice)
    stage.say(ben, "left his peer id and addresses at the bootstrap node", since=started)
    started = stage.internet.time()
    found = await _exchange(stage, stage.ana, {"name": "Ben"})
    stage.facts["addresses_of_ben"] = found["addrs"]
    shown = ", ".join(dict.fromkeys(map(show_address, stage.addresses_of_ben)))
    stage.say(stage.ana, f"read there: Ben is {ben.node.id.short()}, at {shown}", since=started)


async def _exchange(
    stage: Stage, person: Person, message: Mapping[str, object]
) -> dict[str, list[str]]:
    board = stage.public["bootstrap"].id
    async with await person.node.open_stream(board, PROTOCOL) as stream:
        await stream.write_frame(json.dumps(message).encode())
        answer: dict[str, list[str]] = json.loads(await stream.read_frame(limit=LIMIT))
        return answer
