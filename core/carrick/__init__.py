"""Carrick: a libp2p stack on trio that joins any two peers.

    import trio
    from carrick import HostBuilder

The names here are loaded when they are first used, so that `import carrick` stays light.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_EXPORTS = {
    "CarrickError": "carrick.errors",
    "Connection": "carrick.network",
    "Host": "carrick.host",
    "HostBuilder": "carrick.builder",
    "Limits": "carrick.network",
    "PeerId": "carrick.identity",
    "PrivateKey": "carrick.identity",
    "Service": "carrick.host",
    "Stream": "carrick.network",
}

__all__ = [
    "CarrickError",
    "Connection",
    "Host",
    "HostBuilder",
    "Limits",
    "PeerId",
    "PrivateKey",
    "Service",
    "Stream",
    "__version__",
]

if TYPE_CHECKING:
    from carrick.builder import HostBuilder
    from carrick.errors import CarrickError
    from carrick.host import Host, Service
    from carrick.identity import PeerId, PrivateKey
    from carrick.network import Connection, Limits, Stream


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_EXPORTS[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
