"""Testing protocols on the simulated internet: Carrick nodes on simulated machines.

`open_node` and `Node` are for programs under `carrick.sim.run`; `carrick.testing.plugin` is a
pytest plugin, loaded by itself where Carrick is installed, with the fixtures `internet`, `nat`,
`node` and `nodes`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__all__ = ["LISTEN", "PORT", "Node", "keep_node", "on_machine", "open_node", "seeded_key"]

if TYPE_CHECKING:
    from carrick.testing.nodes import (
        LISTEN,
        PORT,
        Node,
        keep_node,
        on_machine,
        open_node,
        seeded_key,
    )


def __getattr__(name: str) -> Any:
    # Late: pytest imports this package in every run, also of projects that do not use it.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("carrick.testing.nodes"), name)
