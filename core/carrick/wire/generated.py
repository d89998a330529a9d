"""Generated protobuf modules, imported when their first message is made or read."""

from __future__ import annotations

from importlib import import_module
from typing import Any

__all__ = ["GeneratedModule"]


class GeneratedModule:
    """Stands for a `…_pb2` module, and imports it when it is first asked for a name.

    google.protobuf takes a tenth of the time that a host needs to start, and none of a host's
    messages is made before its first connection. For the type checker it is the module itself::

        if TYPE_CHECKING:
            from carrick.protocols.relay.pb import relay_pb2 as pb
        else:
            pb = GeneratedModule("carrick.protocols.relay.pb.relay_pb2")
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> Any:
        value = getattr(import_module(self._name), name)
        setattr(self, name, value)  # asked once
        return value
