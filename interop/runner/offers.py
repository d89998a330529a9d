"""What each library offers. Pairs are expected from this, not from what an app happens to enable.

A library that gains a transport is entered here; the runner then expects it of the peer's app.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["OFFERS", "Offer", "known_fault", "offer_of"]


@dataclass(frozen=True, slots=True)
class Offer:
    """What a library can do; `dial_only` are transports that it does not listen on."""

    transports: frozenset[str]
    securities: frozenset[str]
    muxers: frozenset[str]
    dial_only: frozenset[str] = frozenset()


def _offer(transports: str, securities: str, muxers: str, dial_only: str = "") -> Offer:
    return Offer(
        frozenset(transports.split()),
        frozenset(securities.split()),
        frozenset(muxers.split()),
        frozenset(dial_only.split()),
    )


OFFERS = {
    "carrick": _offer("tcp ws wss quic-v1 webtransport", "noise tls", "yamux mplex"),
    "go": _offer("tcp ws wss quic-v1 webtransport webrtc-direct", "noise tls", "yamux"),
    # Until mplex was left behind, as a module of its own.
    "go-v0.38": _offer(
        "tcp ws wss quic-v1 webtransport webrtc-direct",
        "noise tls",
        "yamux mplex",
        dial_only="quic-v1 webtransport",
    ),
    "js": _offer("tcp ws wss quic-v1 webrtc-direct", "noise tls", "yamux mplex", "wss"),
    "py": _offer("tcp ws wss quic-v1", "noise tls", "yamux mplex"),
    "rust": _offer("tcp ws quic-v1", "noise tls", "yamux mplex"),
}


def offer_of(name: str) -> Offer:
    """The offer of an implementation; `go-v0.38` offers what `go` does unless it has its own row.

    Raises:
        KeyError: there is no row for it.
    """
    return OFFERS.get(name) or OFFERS[name.split("-")[0]]


def known_fault(
    dialer: str, listener: str, security: str | None, fault: str | None = None
) -> str | None:
    """Why a pair fails, where that is known to be the fault of others.

    An entry needs its proof: the same failure between two implementations that are not Carrick.
    """
    languages = {dialer.split("-")[0], listener.split("-")[0]}
    if languages == {"js", "py"} and security == "tls":
        return (
            "js looks for the libp2p extension only in the certificate's first place, "
            "and py does not put it there"
        )
    if "py" in languages and security == "tls" and fault == "drip":
        return "py gives a TLS handshake up after 100 reads, with go, rust, js and itself too"
    return None
