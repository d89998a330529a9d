"""The `.proto` files of this room, and what is generated from them."""

from __future__ import annotations
