"""`carrick dht`: asking a Kademlia DHT."""

from __future__ import annotations

from carrick.cli.groups import LazyGroup

__all__ = ["command"]

# Name → one line for `--help`; the module is `dht_<name>` beside this one.
_COMMANDS = {
    "findpeer": "Where a peer is.",
    "findprovs": "Who provides some content.",
    "provide": "Say that we provide some content, and stay.",
    "get": "The value under a key.",
    "put": "Store a value under a key.",
    "closest": "The peers nearest to a key.",
    "ping": "Measure how fast a peer answers in the DHT.",
    "stat": "What the DHT looks like from here.",
}

command = LazyGroup(
    "dht", _COMMANDS, "carrick.cli.commands.dht_", help="Find peers, content and values in a DHT."
)
