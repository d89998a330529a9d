"""Files that are written line by line while a host runs, for a person to read afterwards."""

from __future__ import annotations

import logging
import os
from typing import Self

from carrick.errors import FileError

__all__ = ["KeyLog", "LineFile"]

logger = logging.getLogger(__name__)


class LineFile:
    """A private file (mode 0600) that gets one line a call, each written at once.

    What is written is for debugging: if the disk is full, a warning is logged, the rest is left
    out, and nothing else suffers.

    Args:
        path: the file; made if it is not there.
        append: keep what is in it already; otherwise it is replaced.

    Raises:
        FileError: it cannot be opened.
    """

    def __init__(self, path: str | os.PathLike[str], *, append: bool) -> None:
        self.path = os.fspath(path)
        flags = os.O_WRONLY | os.O_CREAT | (os.O_APPEND if append else os.O_TRUNC)
        try:
            self._file = open(  # noqa: SIM115 - closed by `close`
                os.open(self.path, flags, 0o600), "w", buffering=1, encoding="utf-8"
            )
        except OSError as error:
            raise FileError(
                f"{self.path} cannot be opened for writing: {error.strerror or error}"
            ) from error
        if os.name == "posix" and os.fstat(self._file.fileno()).st_mode & 0o077:
            logger.warning("%s is open to others than its owner: chmod 600 it", self.path)

    def __call__(self, line: str) -> None:
        """Write `line`. After `close`, or once writing has failed, it does nothing."""
        if self._file.closed:
            return
        try:
            self._file.write(line + "\n")
        except OSError as error:
            logger.warning("%s is written no further: %s", self.path, error)
            self.close()

    def close(self) -> None:
        """Idempotent."""
        try:
            self._file.close()
        except OSError as error:
            logger.warning("%s: the end is missing: %s", self.path, error)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class KeyLog(LineFile):
    """Appends the keys of every connection to a file (mode 0600): whoever has it reads the traffic.

    Give it to `Noise(key, keylog=…)`, `Tls(key, keylog=…)` or `HostBuilder.key_log`. TLS lines have
    the format of NSS, which Wireshark reads; for Noise see `Noise`. No environment variable is
    looked at.

    Raises:
        FileError: the file cannot be opened.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__(path, append=True)
