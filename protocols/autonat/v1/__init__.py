"""AutoNAT v1."""

from __future__ import annotations
