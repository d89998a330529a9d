"""What every signature algorithm offers to `PublicKey` and `PrivateKey`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

__all__ = ["Algorithm", "Signer", "Verifier"]


class Verifier(Protocol):
    """A public key of one algorithm."""

    def encode(self) -> bytes:
        """The `Data` field of the public key's protobuf; one key has one encoding."""

    def verify(self, data: bytes, signature: bytes) -> None:
        """Raises: ValueError or `cryptography.exceptions.InvalidSignature` if it is wrong."""


class Signer(Protocol):
    """A private key of one algorithm."""

    def encode(self) -> bytes:
        """The `Data` field of the private key's protobuf."""

    def sign(self, data: bytes) -> bytes: ...

    def public(self) -> Verifier: ...


@dataclass(frozen=True, slots=True)
class Algorithm:
    """How the keys of one algorithm are made. The functions raise ValueError, nothing else."""

    decode_public: Callable[[bytes], Verifier]
    decode_private: Callable[[bytes], Signer]
    generate: Callable[[int], Signer]
    """Makes a key of so many bits; algorithms of one size do not look at it."""
