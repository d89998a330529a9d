"""Certificates with one defect each, as far as a certificate builder can make them (ATTACKS 52)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from cryptography import x509

from carrick.identity import PrivateKey
from carrick.transports.security.tls import HostCertificate
from carrick.transports.security.tls.signed_key import (
    MAX_SIGNED_KEY,
    decode_signed_key,
    encode_signed_key,
)
from tests.support.tls_peers import craft, extension_for, new_certificate_key, spki

HOST = PrivateKey.generate()
KEY = new_certificate_key()
GOOD = extension_for(HOST, KEY)
GOOD_SIGNATURE = decode_signed_key(GOOD)[1]
PROTOBUF = HOST.public_key.to_protobuf()


def _huge_rsa_protobuf() -> bytes:
    """A well-formed RSA host key of 16384 bits."""
    modulus = b"\0" + b"\xc5" * 2048
    integer = b"\x02\x82" + len(modulus).to_bytes(2, "big") + modulus
    inner = integer + b"\x02\x03\x01\x00\x01"
    numbers = b"\x30\x82" + len(inner).to_bytes(2, "big") + inner
    bits = b"\x03\x82" + (len(numbers) + 1).to_bytes(2, "big") + b"\0" + numbers
    algorithm = bytes.fromhex("300d06092a864886f70d0101010500")
    body = algorithm + bits
    data = b"\x30\x82" + len(body).to_bytes(2, "big") + body
    length = len(data)
    return b"\x08\x00\x12" + bytes((length & 0x7F | 0x80, length >> 7)) + data


DEFECTS: dict[str, Callable[[], HostCertificate]] = {
    "no extension": lambda: craft(certificate_key=KEY, extension=None),
    "extension empty": lambda: craft(certificate_key=KEY, extension=b""),
    "extension unparseable": lambda: craft(certificate_key=KEY, extension=b"foobar"),
    "extension with trailing bytes": lambda: craft(certificate_key=KEY, extension=GOOD + b"\0"),
    "extension of 60 KiB": lambda: craft(certificate_key=KEY, extension=GOOD + bytes(60 << 10)),
    "extension over the limit": lambda: craft(
        certificate_key=KEY, extension=encode_signed_key(PROTOBUF, bytes(MAX_SIGNED_KEY))
    ),
    "host key unparseable": lambda: craft(
        certificate_key=KEY, extension=encode_signed_key(b"foobar", GOOD_SIGNATURE)
    ),
    "host key RSA of 16384 bits": lambda: craft(
        certificate_key=KEY, extension=encode_signed_key(_huge_rsa_protobuf(), bytes(2048))
    ),
    "host signature too short": lambda: craft(
        certificate_key=KEY, extension=encode_signed_key(PROTOBUF, b"foobar")
    ),
    "host signature empty": lambda: craft(
        certificate_key=KEY, extension=encode_signed_key(PROTOBUF, b"")
    ),
    "host signature of other words": lambda: craft(
        certificate_key=KEY, extension=encode_signed_key(PROTOBUF, HOST.sign(b"foobar"))
    ),
    "host signature without prefix": lambda: craft(
        certificate_key=KEY, extension=encode_signed_key(PROTOBUF, HOST.sign(spki(KEY)))
    ),
    "extension of another certificate key": lambda: craft(
        certificate_key=KEY, extension=extension_for(HOST, new_certificate_key())
    ),
    "host key of another peer": lambda: craft(
        certificate_key=KEY,
        extension=encode_signed_key(PrivateKey.generate().public_key.to_protobuf(), GOOD_SIGNATURE),
    ),
    "self-signature of another key": lambda: craft(
        certificate_key=KEY, signer=new_certificate_key(), extension=GOOD
    ),
    "expired": lambda: craft(
        certificate_key=KEY,
        extension=GOOD,
        before=timedelta(hours=-2),
        after=timedelta(minutes=-1),
    ),
    "valid from tomorrow": lambda: craft(
        certificate_key=KEY, extension=GOOD, before=timedelta(days=1), after=timedelta(days=2)
    ),
    "unknown critical extension": lambda: craft(
        certificate_key=KEY,
        extension=GOOD,
        more=[(x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\5\0"), True)],
    ),
    "key not for signing": lambda: craft(
        certificate_key=KEY,
        extension=GOOD,
        more=[
            (
                x509.KeyUsage(False, False, False, False, True, False, False, False, False),
                True,
            )
        ],
    ),
}
