"""What is played in the laboratory: one module for each scenario."""

from __future__ import annotations
