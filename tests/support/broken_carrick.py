"""The transport suite's app on a Carrick that signs with wrong prefixes. Its pairs must fail.

Only what it signs is wrong, so whoever does not verify would be found out.
"""

from __future__ import annotations

import sys

from carrick.identity import PrivateKey
from interop.apps import transport
from interop.apps.node import main

_PREFIXES = {
    b"noise-libp2p-static-key:": b"noise-libp2p-static-kex:",
    b"libp2p-tls-handshake:": b"libp2p-tls-handshakf:",
}
_sign = PrivateKey.sign


def _sign_wrongly(self: PrivateKey, data: bytes) -> bytes:
    for right, wrong in _PREFIXES.items():
        if data.startswith(right):
            data = wrong + data.removeprefix(right)
    return _sign(self, data)


if __name__ == "__main__":
    PrivateKey.sign = _sign_wrongly  # type: ignore[method-assign]
    sys.exit(main(transport.run))
