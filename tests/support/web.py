"""Certificates of web servers."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path

from carrick.transports.websocket import self_signed

_folder = tempfile.TemporaryDirectory(prefix="carrick-web-")


def certificate_files(*names: str, days: float = 30) -> tuple[Path, Path]:
    """Files with a self-signed certificate for `names` and with its key; gone with the process.

    The same files for the same arguments.
    """
    return _make(names, days)


@cache
def _make(names: tuple[str, ...], days: float) -> tuple[Path, Path]:
    folder = Path(tempfile.mkdtemp(dir=_folder.name))
    paths = folder / "certificate.pem", folder / "key.pem"
    for path, pem in zip(paths, self_signed(*names, days=days), strict=True):
        path.write_bytes(pem)
    return paths
