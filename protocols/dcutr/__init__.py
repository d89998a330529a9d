"""DCUtR (`/libp2p/dcutr`): from a relayed connection to a direct one."""

from __future__ import annotations

from carrick.protocols.dcutr.events import DirectConnectionMade, UpgradeFailed
from carrick.protocols.dcutr.ids import DCUTR
from carrick.protocols.dcutr.options import DcutrOptions
from carrick.protocols.dcutr.service import Dcutr
from carrick.protocols.dcutr.strategies import Punch, Reverse
from carrick.protocols.dcutr.upgrade import Attempt, AttemptOutcome, Outcome, Upgrade

__all__ = [
    "DCUTR",
    "Attempt",
    "AttemptOutcome",
    "Dcutr",
    "DcutrOptions",
    "DirectConnectionMade",
    "Outcome",
    "Punch",
    "Reverse",
    "Upgrade",
    "UpgradeFailed",
]
