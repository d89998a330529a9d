"""The Kademlia DHT (`/ipfs/kad/1.0.0`): finds peers, values, and who provides what."""

from __future__ import annotations

from carrick.protocols.kademlia.dht import QUORUM, Dht, Neighbours
from carrick.protocols.kademlia.errors import InvalidRecord, NotFound, NothingStored
from carrick.protocols.kademlia.full_table import FullTable, FullTableDht, TableCrawled
from carrick.protocols.kademlia.interfaces import (
    Messenger,
    ProviderStore,
    Publication,
    PublicationStore,
    RecordStore,
    Validator,
)
from carrick.protocols.kademlia.ipns import IpnsRecord, IpnsValidator, ipns_key
from carrick.protocols.kademlia.messages import (
    Message,
    MessageType,
    PeerInfo,
    Reachable,
    Record,
)
from carrick.protocols.kademlia.providers import MemoryProviders
from carrick.protocols.kademlia.scope import Scope
from carrick.protocols.kademlia.service import Kademlia, KademliaOptions, Mode
from carrick.protocols.kademlia.settings import LAN, WAN, NetworkSettings
from carrick.protocols.kademlia.sizing import SizeEstimate
from carrick.protocols.kademlia.sqlite import DhtFile, DhtFileError
from carrick.protocols.kademlia.stores import MemoryRecords
from carrick.protocols.kademlia.tracing import Hop, HopKind, Watch
from carrick.protocols.kademlia.validation import PublicKeyValidator, Validators

__all__ = [
    "ipns_key",
    "SizeEstimate",
    "TableCrawled",
    "PublicationStore",
    "Publication",
    "IpnsValidator",
    "IpnsRecord",
    "DhtFileError",
    "DhtFile",
    "LAN",
    "QUORUM",
    "WAN",
    "Dht",
    "FullTable",
    "FullTableDht",
    "Hop",
    "HopKind",
    "InvalidRecord",
    "Kademlia",
    "KademliaOptions",
    "MemoryProviders",
    "MemoryRecords",
    "Message",
    "MessageType",
    "Messenger",
    "Mode",
    "Neighbours",
    "NetworkSettings",
    "NotFound",
    "NothingStored",
    "PeerInfo",
    "ProviderStore",
    "PublicKeyValidator",
    "Reachable",
    "Record",
    "RecordStore",
    "Scope",
    "Validator",
    "Validators",
    "Watch",
]
