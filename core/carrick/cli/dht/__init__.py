"""What the `carrick dht` commands share."""

from __future__ import annotations
