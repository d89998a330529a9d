"""What a crawl tells about the health of a network: measured, drawn, written."""

from __future__ import annotations
