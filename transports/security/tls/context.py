"""OpenSSL's settings for `/tls/1.0.0`: one context for a host and role, shared by connections."""

from __future__ import annotations

import platform
from collections.abc import Callable
from pathlib import Path

from OpenSSL import SSL, crypto

from carrick.interfaces import Role
from carrick.transports.security.tls.certificate import HostCertificate
from carrick.transports.security.tls.handshake import PeerCheck

__all__ = ["make_context"]

_AES = ("TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384")
_CHACHA = ("TLS_CHACHA20_POLY1305_SHA256",)


def make_context(
    role: Role, certificate: HostCertificate, keylog: Callable[[str], None] | None = None
) -> SSL.Context:
    """TLS 1.3 and nothing below, mutual certificates, no resumption in any form.

    The callbacks find what a connection demands in its `PeerCheck`.
    """
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_min_proto_version(SSL.TLS1_3_VERSION)
    context.set_tls13_ciphersuites(":".join(_ciphers()).encode())
    context.use_certificate(certificate.certificate)
    context.use_privatekey(certificate.private_key)
    context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, _verify)
    # A resumed handshake has no certificates. OpenSSL still makes two tickets, with this option
    # short ones; they do not leave this process.
    context.set_options(SSL.OP_NO_TICKET | SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)
    if role is Role.SERVER:
        context.set_alpn_select_callback(_choose_protocol)

    def learn(tls: SSL.Connection, line: bytes) -> None:
        _check(tls).learn_secret(line)
        if keylog is not None:
            keylog(line.decode())

    context.set_keylog_callback(learn)
    return context


def _verify(
    tls: SSL.Connection, certificate: crypto.X509, _error: int, depth: int, _ok: int
) -> bool:
    # OpenSSL's own verdict, "self-signed", says nothing here.
    return _check(tls).accepts(certificate, depth)


def _choose_protocol(tls: SSL.Connection, offered: list[bytes]) -> bytes:
    # Raising is what makes pyOpenSSL refuse; its NO_OVERLAPPING_PROTOCOLS goes on without ALPN.
    return _check(tls).choose_protocol(offered)


def _check(tls: SSL.Connection) -> PeerCheck:
    check = tls.get_app_data()
    assert isinstance(check, PeerCheck)
    return check


def _ciphers() -> tuple[str, ...]:
    """Best first. In software ChaCha20 is several times as fast as AES-GCM (SPEED 7)."""
    return _AES + _CHACHA if _has_aes() else _CHACHA + _AES


def _has_aes() -> bool:
    """Whether the processor has instructions for AES. In doubt, as for most machines: yes."""
    if platform.system() != "Linux":
        return True
    try:
        text = Path("/proc/cpuinfo").read_text(errors="replace")
    except OSError:
        return True
    features = [line for line in text.splitlines() if line.startswith(("flags", "Features"))]
    return not features or any("aes" in line.split() for line in features)
