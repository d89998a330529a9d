"""Who is asked about what arrives from an IP address."""

from __future__ import annotations

from carrick.interfaces import Endpoint
from carrick.transports.interception import Interceptions

HOST = "192.0.2.1"


def asked(interceptions: Interceptions[str], source: Endpoint, *takers: str) -> list[str]:
    """Who was asked, until one of `takers` took."""
    names: list[str] = []

    def take(name: str) -> bool:
        names.append(name)
        return name in takers

    assert interceptions.offer(source, take) == bool(set(names) & set(takers))
    return names


def test_any_port_of_the_address() -> None:
    interceptions: Interceptions[str] = Interceptions()
    assert not interceptions and asked(interceptions, (HOST, 1)) == []
    end = interceptions.add((HOST, 1), "a")
    assert interceptions
    assert asked(interceptions, (HOST, 1)) == asked(interceptions, (HOST, 2)) == ["a"]
    assert asked(interceptions, ("192.0.2.2", 1)) == []
    assert interceptions.first((HOST, 9)) == "a"
    assert interceptions.first(("192.0.2.2", 9)) is None
    end()
    end()
    assert not interceptions and asked(interceptions, (HOST, 1)) == []
    assert interceptions.first((HOST, 1)) is None


def test_the_port_it_waits_for_comes_first() -> None:
    interceptions: Interceptions[str] = Interceptions()
    for port, name in ((1, "a"), (2, "b"), (3, "c")):
        interceptions.add((HOST, port), name)
    assert asked(interceptions, (HOST, 3)) == ["c", "a", "b"]
    assert interceptions.first((HOST, 2)) == "b"
    assert interceptions.first((HOST, 9)) == "a"


def test_who_took_is_asked_last_the_next_time() -> None:
    interceptions: Interceptions[str] = Interceptions()
    for port, name in ((1, "a"), (2, "b")):
        interceptions.add((HOST, port), name)
    assert asked(interceptions, (HOST, 9), "a", "b") == ["a"]
    assert asked(interceptions, (HOST, 9), "a", "b") == ["b"]
    assert asked(interceptions, (HOST, 9), "a", "b") == ["a"]
    assert interceptions.offer((HOST, 9), lambda name: name == "b", in_turn=False)
    assert asked(interceptions, (HOST, 9), "a", "b") == ["b"]


def test_one_address_is_written_in_several_ways() -> None:
    interceptions: Interceptions[str] = Interceptions()
    interceptions.add(("2001:DB8:0::1", 1), "a")
    interceptions.add(("fe80::1%eth0", 1), "b")
    assert asked(interceptions, ("2001:db8::1", 5)) == ["a"]
    assert asked(interceptions, ("fe80::1", 5)) == ["b"]


def test_a_taker_that_ends_while_it_is_asked() -> None:
    interceptions: Interceptions[str] = Interceptions()
    ends = [interceptions.add((HOST, 1), "a"), interceptions.add((HOST, 1), "b")]

    def take(name: str) -> bool:
        for end in ends:
            end()
        return True

    assert interceptions.offer((HOST, 1), take)
    assert not interceptions
