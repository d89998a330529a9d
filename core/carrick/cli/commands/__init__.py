"""One module per command; each has a click command named `command`."""

from __future__ import annotations
