"""Two sides of a security handshake, run against each other in memory."""

from __future__ import annotations

from carrick.interfaces import Handshake, Session


def run_handshake(client: Handshake, server: Handshake) -> tuple[Session, Session]:
    """Carry bytes to and fro until both sessions are there; an error of either side is raised."""
    while client.session is None or server.session is None:
        moved = deliver(client, server) + deliver(server, client)
        assert moved, "both sides wait"
    return client.session, server.session


def deliver(sender: Handshake, receiver: Handshake) -> int:
    """Hand the sender's waiting output to the receiver; returns how many bytes that were."""
    data = sender.take_output()
    if data:
        receiver.receive(data)
    return len(data)
