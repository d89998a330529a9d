"""The other side of a Noise handshake, made of noiseprotocol: an oracle, or an attacker."""

from __future__ import annotations

from noise.connection import Keypair, NoiseConnection

from carrick.identity import PrivateKey
from carrick.interfaces import Role
from carrick.transports.security.noise import NoiseHandshake
from carrick.transports.security.noise.payload import signed_payload


class NoisePeer:
    """One side of a handshake, with a payload of the test's choice."""

    def __init__(self, role: Role, payload: bytes | None = None) -> None:
        self.key = PrivateKey.generate()
        self.noise = NoiseConnection.from_name(b"Noise_XX_25519_ChaChaPoly_SHA256")
        if role is Role.CLIENT:
            self.noise.set_as_initiator()
        else:
            self.noise.set_as_responder()
        self.noise.set_keypair_from_private_bytes(Keypair.STATIC, bytes(range(32)))
        self.static = self.noise.noise_protocol.keypairs["s"].public_bytes
        self.noise.start_handshake()
        self.payload = signed_payload(self.key, self.static) if payload is None else payload

    def write(self, payload: bytes = b"") -> bytes:
        message = bytes(self.noise.write_message(payload))
        return len(message).to_bytes(2, "big") + message

    def run(self, ours: NoiseHandshake, role: Role) -> bytes:
        """The peer's half of a handshake in which `ours` is the other half; returns our payload."""
        if role is Role.CLIENT:
            ours.receive(self.write())
            payload = self.noise.read_message(ours.take_output()[2:])
            ours.receive(self.write(self.payload))
        else:
            self.noise.read_message(ours.take_output()[2:])
            ours.receive(self.write(self.payload))
            payload = self.noise.read_message(ours.take_output()[2:])
        return bytes(payload)
