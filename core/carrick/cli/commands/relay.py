"""`carrick relay`: relaying for others, and being relayed."""

from __future__ import annotations

from carrick.cli.groups import LazyGroup

__all__ = ["command"]

# Name → one line for `--help`; the module is `relay_<name>` beside this one.
_COMMANDS = {
    "serve": "Relay for others.",
    "reserve": "Reserve a slot on a relay, and keep it.",
    "ls": "Show the running node's slots on relays, and those that it gave.",
}

command = LazyGroup(
    "relay", _COMMANDS, "carrick.cli.commands.relay_", help="Relay for others, or be relayed."
)
