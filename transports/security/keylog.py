"""The key log: session keys in a file, so that captured traffic can be read. For debugging only."""

from __future__ import annotations

import os

from carrick.transports.files import LineFile

__all__ = ["KeyLog"]


class KeyLog(LineFile):
    """Appends the keys of every connection to a file (mode 0600): whoever has it reads the traffic.

    Give it to `Noise(key, keylog=…)`, `Tls(key, keylog=…)` or `HostBuilder.key_log`. TLS lines have
    the format of NSS, which Wireshark reads; for Noise see `Noise`. No environment variable is
    looked at.

    Raises:
        CarrickError: the file cannot be opened.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__(path, append=True)
