"""The crawler: visits every server of a DHT, and reads its table."""

from __future__ import annotations

from carrick.protocols.kademlia.crawler.driving import (
    Crawl,
    CrawlOptions,
    bootstrap_peer,
    crawl,
    crawl_limits,
)
from carrick.protocols.kademlia.crawler.errors import NAMES
from carrick.protocols.kademlia.crawler.files import (
    CANCELLED,
    SUCCEEDED,
    CrawlFiles,
    CrawlReader,
    InvalidCrawl,
)
from carrick.protocols.kademlia.crawler.frontier import Frontier
from carrick.protocols.kademlia.crawler.graph import Graph, percentiles
from carrick.protocols.kademlia.crawler.parquet import (
    MissingLibrary,
    check_parquet,
    write_parquet,
)
from carrick.protocols.kademlia.crawler.records import parse_go_duration
from carrick.protocols.kademlia.crawler.rows import Tally, Visit
from carrick.protocols.kademlia.crawler.visiting import AddressKind, VisitSettings

__all__ = [
    "CANCELLED",
    "NAMES",
    "SUCCEEDED",
    "AddressKind",
    "Crawl",
    "CrawlFiles",
    "CrawlOptions",
    "CrawlReader",
    "Frontier",
    "Graph",
    "InvalidCrawl",
    "MissingLibrary",
    "Tally",
    "Visit",
    "VisitSettings",
    "bootstrap_peer",
    "check_parquet",
    "crawl",
    "crawl_limits",
    "parse_go_duration",
    "percentiles",
    "write_parquet",
]
