"""AutoNAT v2."""

from __future__ import annotations
