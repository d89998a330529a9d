"""Profiles, summed up by rooms of the house."""

from __future__ import annotations

import cProfile
import pstats
import re
import tracemalloc
from collections import Counter
from typing import Any

__all__ = ["memory_shares", "room", "time_shares"]

# The first that fits. What is C counts for the room that called it, cryptography aside.
_ROOMS = (
    ("carrick/sim/", "simulator"),
    ("security/noise/", "Noise"),
    ("site-packages/noise", "Noise"),
    ("carrick/transports/muxers/", "Yamux"),
    ("carrick/transports/multistream/", "multistream"),
    ("carrick/transports/", "transports"),
    ("transports/", "transports"),
    ("protocols/identify/", "identify"),
    ("protocols/", "other protocols"),
    ("carrick/network/", "network"),
    ("carrick/host/", "host"),
    ("carrick/peerstore/", "peerstore"),
    ("carrick/identity/", "identity"),
    ("carrick/wire/", "wire"),
    ("carrick/addressing/", "addressing"),
    ("multiaddr/", "addressing"),
    ("google/protobuf", "protobuf"),
    ("cryptography/", "cryptography"),
    ("site-packages/trio/", "trio"),
    ("site-packages/outcome/", "trio"),
    ("carrick/", "Carrick, other"),
    ("benchmarks/", "this measure"),
)
_CRYPTO = re.compile(r"exchange|sign|verify|encrypt|decrypt|generate|X25519|Ed25519|openssl|hazmat")
OTHER = "standard library"


def room(file: str) -> str:
    """The room that a file of source belongs to."""
    file = file.replace("\\", "/")
    return next((name for part, name in _ROOMS if part in file), OTHER)


def time_shares(profiler: cProfile.Profile) -> dict[str, float]:
    """Room → its share of the time that was spent in its own code."""
    stats: dict[Any, Any] = pstats.Stats(profiler).stats  # type: ignore[attr-defined]
    spent: Counter[str] = Counter()
    for (file, _, name), (_, _, own, _, callers) in stats.items():
        if file != "~":
            spent[room(file)] += own
        elif _CRYPTO.search(name):
            spent["cryptography"] += own
        else:
            for (caller, _, _), (_, _, in_call, _) in callers.items():
                spent[room(caller)] += in_call
    total = sum(spent.values())
    return {name: value / total for name, value in spent.most_common() if value / total >= 0.005}


def memory_shares(snapshot: tracemalloc.Snapshot) -> dict[str, float]:
    """Room → its share of the memory that Python allocated from its code and still holds."""
    held: Counter[str] = Counter()
    for statistic in snapshot.statistics("filename"):
        held[room(statistic.traceback[0].filename)] += statistic.size
    total = sum(held.values())
    return {name: value / total for name, value in held.most_common() if value / total >= 0.005}
