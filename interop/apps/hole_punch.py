"""The hole-punch suite: a slot. Its app comes with the issue that builds relay client and DCUtR."""

from __future__ import annotations

import sys

from interop.apps.node import EXIT_UNSUPPORTED

if __name__ == "__main__":
    print(
        "the hole-punch app comes with the issue that builds relay client and DCUtR",
        file=sys.stderr,
    )
    sys.exit(EXIT_UNSUPPORTED)
