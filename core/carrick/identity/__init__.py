"""Who a peer is: keys, peer ids, signed envelopes, peer records and key files."""

from __future__ import annotations

from carrick.identity.envelope import MAX_ENVELOPE_SIZE, Envelope
from carrick.identity.key_file import load_key, save_key
from carrick.identity.keys import MAX_KEY_SIZE, KeyType, PrivateKey, PublicKey
from carrick.identity.peer_id import PeerId
from carrick.identity.peer_record import MAX_ADDRESSES, MAX_RECORD_SIZE, PeerRecord

__all__ = [
    "MAX_ADDRESSES",
    "MAX_ENVELOPE_SIZE",
    "MAX_KEY_SIZE",
    "MAX_RECORD_SIZE",
    "Envelope",
    "KeyType",
    "PeerId",
    "PeerRecord",
    "PrivateKey",
    "PublicKey",
    "load_key",
    "save_key",
]
