"""Which values may stand under which keys: validators by namespace. No I/O.

A key is `/<namespace>/…`. Values of namespaces without a validator are refused, as
go-libp2p-kad-dht does: whoever stores anything for anybody is soon full of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from carrick.errors import IdentityError
from carrick.identity import PeerId, PublicKey
from carrick.protocols.kademlia.errors import InvalidRecord
from carrick.protocols.kademlia.interfaces import Validator

__all__ = ["PublicKeyValidator", "Validators"]

MAX_VALUE = 64 * 1024  # bytes; rust's store takes 65 KiB


class Validators:
    """The validators of a DHT, by namespace."""

    def __init__(self, validators: Mapping[str, Validator]) -> None:
        self._by_namespace = {name.encode(): each for name, each in validators.items()}

    def check_key(self, key: bytes) -> None:
        """
        Raises:
            InvalidRecord: no validator is in charge of such keys.
        """
        self._for(key)

    def validate(self, key: bytes, value: bytes, now: float) -> None:
        """
        Raises:
            InvalidRecord: the value must not stand under `key`, or nobody can tell.
        """
        if len(value) > MAX_VALUE:
            raise InvalidRecord(f"a value of {len(value)} bytes; the limit is {MAX_VALUE}")
        self._for(key).validate(key, value, now)

    def best(self, key: bytes, values: Sequence[bytes]) -> int:
        """Which of several valid values is the best."""
        return self._for(key).select(key, values)

    def is_better(self, key: bytes, value: bytes, old: bytes) -> bool:
        """Whether a valid value should take the place of another."""
        return value != old and self.best(key, (old, value)) == 1

    def _for(self, key: bytes) -> Validator:
        start, _, rest = key.partition(b"/")
        namespace, slash, _ = rest.partition(b"/")
        validator = self._by_namespace.get(namespace)
        if start or not slash or validator is None:
            raise InvalidRecord(f"no validator is in charge of such a key: {key[:40]!r}")
        return validator


class PublicKeyValidator:
    """`/pk/<peer id bytes>`: the public key of a peer. Source: kad-dht of go-libp2p,
    `record/pubkey.go`."""

    def validate(self, key: bytes, value: bytes, now: float) -> None:
        try:
            peer = PeerId(key.removeprefix(b"/pk/"))
            found = PeerId.from_public_key(PublicKey.from_protobuf(value))
        except IdentityError as error:
            raise InvalidRecord(f"no public key of a peer: {error}") from error
        if found != peer:
            raise InvalidRecord(f"a public key of another peer than {peer}", peer=peer)

    def select(self, key: bytes, values: Sequence[bytes]) -> int:
        return 0  # they are all the same
