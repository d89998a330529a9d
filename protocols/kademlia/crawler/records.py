"""Rows of a crawl as JSON, with nebula's names and fields; ours are appended. No I/O.

Source: dennis-tra/nebula, db/json.go and db/models/pg/crawls.go (65580d4).
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

from carrick import __version__
from carrick.protocols.kademlia.crawler.rows import Tally, Visit
from carrick.protocols.kademlia.messages import PeerInfo

__all__ = [
    "go_duration",
    "neighbors_row",
    "parse_go_duration",
    "properties_row",
    "rfc3339",
    "seen_row",
    "undialable_row",
    "visit_row",
]

_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_PART = re.compile(r"(\d+(?:\.\d*)?)(h|ms|m|s|us|µs|ns)")
_PROPERTY_ROWS = 10_000  # different agents or protocols: peers make them up


def visit_row(visit: Visit) -> dict[str, Any]:
    """Of `_visits.ndjson`."""
    return {
        "PeerID": str(visit.peer),
        "Maddrs": [str(each) for each in visit.addresses],
        "FilteredMaddrs": [str(each) for each in visit.filtered],
        "ListenMaddrs": [str(each) for each in visit.listen_addresses],
        "ConnectMaddr": None if visit.connect_address is None else str(visit.connect_address),
        "Protocols": list(visit.protocols),
        "AgentVersion": visit.agent_version,
        "ConnectDuration": go_duration(visit.connect_duration),
        "CrawlDuration": go_duration(visit.crawl_duration),
        "VisitStartedAt": rfc3339(visit.started),
        "VisitEndedAt": rfc3339(visit.ended),
        "ConnectErrorStr": visit.connect_error or "",
        "CrawlErrorStr": visit.crawl_error or "",
        "Properties": dict(visit.properties),
        # ours
        "DialErrors": list(visit.dial_errors),
        "NeighborCount": len(visit.neighbors),
        "Requests": visit.requests,
        "RTTMillis": None if visit.rtt is None else round(visit.rtt * 1000, 3),
        "Version": __version__,
    }


def neighbors_row(visit: Visit) -> dict[str, Any]:
    """Of `_neighbors.ndjson`."""
    return {
        "PeerID": str(visit.peer),
        "NeighborIDs": [str(each.id) for each in visit.neighbors],
        "ErrorBits": f"{visit.error_bits:016b}",
    }


def undialable_row(visit: Visit) -> dict[str, Any]:
    """Of `_undialable.ndjson`: somebody's table has the peer, and it does not answer."""
    return {
        "PeerID": str(visit.peer),
        "Maddrs": [str(each) for each in (*visit.addresses, *visit.filtered)],
        "ConnectErrorStr": visit.connect_error or "",
        "VisitEndedAt": rfc3339(visit.ended),
    }


def seen_row(peer: PeerInfo) -> dict[str, Any]:
    """Of `_seen.ndjson`: a peer, when it was first heard of. For going on with a crawl."""
    return {"PeerID": str(peer.id), "Maddrs": [str(each) for each in peer.addresses]}


def properties_row(tally: Tally) -> dict[str, dict[str, int]]:
    """`_crawl_properties.json`."""
    return {
        "agent_version": dict(tally.agents.most_common(_PROPERTY_ROWS)),
        "protocol": dict(tally.protocols.most_common(_PROPERTY_ROWS)),
        "error": dict(tally.connect_errors.most_common()),
        "crawl_error": dict(tally.crawl_errors.most_common()),  # ours
    }


def rfc3339(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def go_duration(seconds: float) -> str:
    """As Go's `time.Duration` prints it: `1m2.5s`, `12.3ms`, `0s`."""
    nanoseconds = round(seconds * 1e9)
    if not nanoseconds:
        return "0s"
    for unit, size in (("ns", 1), ("µs", 10**3), ("ms", 10**6)):
        if nanoseconds < 1000 * size:
            return _decimal(nanoseconds, size) + unit
    minutes, rest = divmod(nanoseconds, 60 * 10**9)
    hours, minutes = divmod(minutes, 60)
    text = f"{hours}h" if hours else ""
    text += f"{minutes}m" if hours or minutes else ""
    return f"{text}{_decimal(rest, 10**9)}s"


def _decimal(number: int, unit: int) -> str:
    whole, rest = divmod(number, unit)
    digits = str(unit + rest)[1:].rstrip("0")
    return f"{whole}.{digits}" if digits else str(whole)


def parse_go_duration(text: str) -> float:
    """Seconds.

    Raises:
        ValueError: it is no such text.
    """
    if text == "0":
        return 0.0
    parts = _PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError(f"{text!r} is no duration as Go prints them")
    return sum(float(number) * _SECONDS[unit] for number, unit in parts)
