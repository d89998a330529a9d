"""The side of the local API that asks."""

from __future__ import annotations

import json
import os
import socket
import stat
from pathlib import Path
from typing import Any

from carrick.errors import CarrickError, PeerTimeout

__all__ = ["ApiRefused", "NoNode", "ask"]

MAX_ANSWER = 64 * 1024 * 1024  # bytes


class NoNode(CarrickError):
    """No node of ours answers."""


class ApiRefused(CarrickError):
    """The node did not do what it was asked for.

    Attributes:
        code: its name for the reason.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def ask(path: Path, method: str, *, timeout: float, **params: Any) -> Any:
    """What the node at `path` answers.

    Raises:
        NoNode: none answers there.
        ApiRefused: it does not do that.
        PeerTimeout: no answer within `timeout` seconds.
    """
    request = json.dumps({"method": method, "params": params})
    try:
        _check_owner(path)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
            asking.settimeout(timeout)
            asking.connect(os.fspath(path))
            asking.sendall(f"{request}\n".encode())
            with asking.makefile("rb") as answers:
                line = answers.readline(MAX_ANSWER)
    except TimeoutError:
        raise PeerTimeout(f"the node at {path} did not answer within {timeout:g} s") from None
    except OSError as error:
        raise NoNode(
            f"no node runs here: nobody answers at {path} ({error.strerror or error}); "
            "`carrick listen` starts one, --home or --api name another"
        ) from error
    return _result(line, path)


def _check_owner(path: Path) -> None:
    """Nobody else can pose as our node."""
    found = path.stat()
    if not stat.S_ISSOCK(found.st_mode) or found.st_uid not in (os.geteuid(), 0):
        raise NoNode(f"{path} is no socket of ours")


def _result(line: bytes, path: Path) -> Any:
    try:
        answer = json.loads(line)
        if "error" in answer:
            raise ApiRefused(str(answer["error"]["code"]), str(answer["error"]["message"]))
        return answer["result"]
    except (ValueError, TypeError, KeyError) as error:
        raise NoNode(f"what answers at {path} is no node") from error
