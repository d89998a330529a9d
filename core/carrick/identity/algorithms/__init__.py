"""The four signature algorithms of libp2p keys, behind one shape (`base.Algorithm`)."""

from __future__ import annotations

from carrick.identity.algorithms.base import Algorithm, Signer, Verifier
from carrick.identity.algorithms.ecdsa import ECDSA
from carrick.identity.algorithms.ed25519 import ED25519
from carrick.identity.algorithms.rsa import RSA
from carrick.identity.algorithms.secp256k1 import SECP256K1

__all__ = ["ECDSA", "ED25519", "RSA", "SECP256K1", "Algorithm", "Signer", "Verifier"]
