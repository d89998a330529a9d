"""`carrick nat`: the NAT in front of this machine."""

from __future__ import annotations

from carrick.cli.groups import LazyGroup

__all__ = ["command"]

# Name → one line for `--help`; the module is `nat_<name>` beside this one.
_COMMANDS = {
    "check": "Name the type of NAT that this machine is behind.",
    "map": "Have the router forward ports.",
}

command = LazyGroup(
    "nat", _COMMANDS, "carrick.cli.commands.nat_", help="The NAT in front of this machine."
)
