"""The kad-dht suite: a slot. Its app comes with the issue that builds Kademlia."""

from __future__ import annotations

import sys

from interop.apps.node import EXIT_UNSUPPORTED

if __name__ == "__main__":
    print("the kad-dht app comes with the issue that builds Kademlia", file=sys.stderr)
    sys.exit(EXIT_UNSUPPORTED)
