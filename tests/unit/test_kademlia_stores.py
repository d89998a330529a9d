"""The stores of the DHT: in memory, and in a file that outlives the process."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest

from carrick.addressing import parse_address
from carrick.identity import PeerId
from carrick.protocols.kademlia import (
    DhtFile,
    DhtFileError,
    MemoryProviders,
    MemoryRecords,
    PeerInfo,
    ProviderStore,
    Publication,
    RecordStore,
)
from carrick.protocols.kademlia.sqlite import MAX_BEHIND

DAY = 86400.0
NETWORK = "/test/kad/1.0.0"
ADDRESS = parse_address("/ip4/192.0.2.1/tcp/1")


def provider(number: int) -> PeerInfo:
    return PeerInfo.of(PeerId(b"\x12\x20" + number.to_bytes(32, "big")), [ADDRESS])


@pytest.fixture(params=["memory", "file"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def records(kind: str, tmp_path: Path) -> RecordStore:
    return MemoryRecords() if kind == "memory" else DhtFile(tmp_path / "dht").records(NETWORK)


@pytest.fixture
def providers(kind: str, tmp_path: Path) -> ProviderStore:
    return MemoryProviders() if kind == "memory" else DhtFile(tmp_path / "dht").providers(NETWORK)


def test_records(records: RecordStore) -> None:
    records.put(b"/a/1", b"one", 0.0)
    records.put(b"/a/2", b"two", 10.0)
    found = records.get(b"/a/1", 1.0)
    assert found is not None and found.value == b"one"
    assert found.received is not None and found.received.timestamp() == 0.0
    assert set(records.keys()) == {b"/a/1", b"/a/2"}
    assert records.get(b"/a/1", 2 * DAY) is None
    assert records.expire(2 * DAY) == 1
    assert set(records.keys()) == {b"/a/2"}
    assert records.remove(b"/a/2") and not records.remove(b"/a/2")


def test_records_are_bounded() -> None:
    records = MemoryRecords(max_records=3, max_bytes=100)
    for number in range(5):
        records.put(b"%d" % number, b"x", float(number))
    assert list(records.keys()) == [b"2", b"3", b"4"]
    records.put(b"5", bytes(98), 5.0)
    assert list(records.keys()) == [b"5"]
    records.put(b"6", bytes(200), 6.0)
    assert not len(records)


def test_providers(providers: ProviderStore) -> None:
    for number in range(3):
        providers.add(b"key", provider(number), float(number))
    assert [each.id for each in providers.get(b"key", 3.0)] == [
        provider(number).id for number in (2, 1, 0)
    ]
    providers.add(b"key", provider(0), 4.0)  # once more
    assert providers.get(b"key", 5.0)[0] == provider(0)
    # Addresses are told for a day, and who provides for two.
    assert providers.get(b"key", 4.0 + DAY)[0] == PeerInfo(provider(0).id)
    assert [each.id for each in providers.get(b"key", 3.0 + 2 * DAY)] == [provider(0).id]
    assert providers.expire(3.0 + 2 * DAY) == 2
    assert providers.remove(b"key", provider(0).id)
    assert not providers.remove(b"key", provider(0).id)
    assert providers.get(b"key", 5.0) == []


def test_providers_are_bounded() -> None:
    providers = MemoryProviders(max_per_key=3, max_keys_per_provider=4)
    for number in range(5):
        providers.add(b"key", provider(number), float(number))
    assert [each.id for each in providers.get(b"key", 5.0)] == [
        provider(number).id for number in (4, 3, 2)
    ]
    for number in range(9):
        providers.add(b"%d" % number, provider(99), 5.0)
    assert len(providers) == 3 + 4  # one of them has had its share
    providers.add(b"0", provider(99), 6.0)
    assert len(providers) == 7


def test_the_key_that_was_told_of_longest_ago_goes() -> None:
    providers = MemoryProviders(max_bytes=10_000)
    providers.add(b"again", provider(0), 0.0)
    providers.add(b"once", provider(0), 0.0)
    for number in range(100):
        providers.add(b"again", provider(0), number)
        providers.add(b"%d" % number, provider(1 + number % 4), number)
        assert providers.size <= 10_000
    assert providers.get(b"again", 100.0) and providers.get(b"99", 100.0)
    assert not providers.get(b"once", 100.0) and not providers.get(b"0", 100.0)


def few_providers(random: Random) -> Iterator[tuple[bytes, PeerInfo]]:
    providers = [provider(number) for number in range(7)]
    for number in range(6_000):
        yield random.randbytes(34), providers[number % 7]


def many_providers(random: Random) -> Iterator[tuple[bytes, PeerInfo]]:
    for number in range(3_000):
        yield b"%d" % (number // 128), provider(number)


def large_providers(random: Random) -> Iterator[tuple[bytes, PeerInfo]]:
    for number in range(1_000):
        addresses = tuple(random.randbytes(128) for _ in range(16))
        yield random.randbytes(80), PeerInfo(provider(number).id, addresses)


@pytest.mark.parametrize("told", [few_providers, many_providers, large_providers])
def test_providers_take_as_much_memory_as_they_say(
    told: Callable[[Random], Iterator[tuple[bytes, PeerInfo]]],
) -> None:
    """ATTACKS, row 40: whatever they are, and however many."""
    tracemalloc.start()
    try:
        providers = MemoryProviders(max_bytes=1 << 20)
        for key, who in told(Random(1)):
            providers.add(key, who, 0.0)
            assert providers.size <= 1 << 20
        memory, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert providers.size > 1_000_000
    assert memory < 1.1 * providers.size


def test_a_provider_is_described_as_it_was_told_last() -> None:
    """Its addresses are kept once, or each key that is told could cost as much as 16 of them."""
    providers = MemoryProviders()
    for number in range(10):
        told = PeerInfo(provider(1).id, (b"%d" % number,))
        providers.add(b"%d" % number, told, float(number))
    assert {each.encoded for n in range(10) for each in providers.get(b"%d" % n, 10.0)} == {(b"9",)}
    for number in range(10):
        providers.remove(b"%d" % number, provider(1).id)
    assert not providers.size and not len(providers)


def test_an_answer_names_twenty(providers: ProviderStore) -> None:
    for number in range(40):
        providers.add(b"key", provider(number), 0.0)
    assert len(providers.get(b"key", 1.0)) == 20


# --- the file -------------------------------------------------------------------------------------


def reopened(file: DhtFile, path: Path) -> DhtFile:
    file.close()
    return DhtFile(path)


def test_what_was_stored_is_there_again(tmp_path: Path) -> None:
    path = tmp_path / "dht"
    file = DhtFile(path)
    records, providers = file.records(NETWORK), file.providers(NETWORK)
    records.put(b"/a/1", b"one", 1.0)
    records.put(b"/a/2", b"two", 2.0)
    records.remove(b"/a/1")
    providers.add(b"key", provider(1), 1.0)
    providers.add(b"key", provider(2), 2.0)
    providers.remove(b"key", provider(1).id)
    file.publications(NETWORK).keep(Publication(b"key", None, 3.0))
    assert file.flush(2) > 0 and file.flush() == 0
    file = reopened(file, path)
    assert list(file.records(NETWORK).keys()) == [b"/a/2"]
    assert file.providers(NETWORK).get(b"key", 3.0) == [provider(2)]
    assert list(file.publications(NETWORK).load()) == [Publication(b"key", None, 3.0)]
    assert list(file.records("/another/kad").keys()) == []
    file.close()


def test_publications(tmp_path: Path) -> None:
    path = tmp_path / "dht"
    file = DhtFile(path)
    kept = file.publications(NETWORK)
    kept.keep(Publication(b"key", None, 1.0))
    kept.keep(Publication(b"key", b"value", 2.0))
    kept.keep(Publication(b"key", b"newer", 3.0))
    kept.keep(Publication(b"gone", None, 4.0))
    kept.drop(b"gone", provided=True)
    kept.drop(b"gone", provided=True)
    file = reopened(file, path)
    assert sorted(file.publications(NETWORK).load(), key=lambda each: each.at) == [
        Publication(b"key", None, 1.0),
        Publication(b"key", b"newer", 3.0),
    ]
    file.close()


def test_a_kill_leaves_what_was_flushed(tmp_path: Path) -> None:
    path = tmp_path / "dht"
    program = (
        "import sys, time\n"
        "from carrick.protocols.kademlia import DhtFile, Publication\n"
        f"file = DhtFile({str(path)!r})\n"
        f"records = file.records({NETWORK!r})\n"
        f"kept = file.publications({NETWORK!r})\n"
        "for number in range(300): records.put(b'%d' % number, b'x' * 100, 1.0)\n"
        "kept.keep(Publication(b'key', None, 1.0))\n"
        "file.flush()\n"
        "records.put(b'late', b'x', 1.0)\n"
        "print('ready', flush=True)\n"
        "time.sleep(60)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    assert process.stdout is not None and process.stdout.readline() == b"ready\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    file = DhtFile(path)
    assert set(file.records(NETWORK).keys()) == {b"%d" % number for number in range(300)}
    assert len(list(file.publications(NETWORK).load())) == 1
    file.close()


def test_changes_that_wait_are_bounded(tmp_path: Path) -> None:
    """A flood is written while it comes."""
    file = DhtFile(tmp_path / "dht")
    records = file.records(NETWORK)
    for number in range(MAX_BEHIND + 10):
        records.put(b"%d" % number, b"x", 1.0)
    assert file.flush(0) == 10
    file.close()


def test_the_file_is_for_one_process_and_one_user(tmp_path: Path) -> None:
    path = tmp_path / "dht"
    file = DhtFile(path)
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(DhtFileError, match="in use"):
        DhtFile(path)
    file.close()
    file.close()
    with pytest.raises(DhtFileError, match="closed"):
        file.flush()
    with pytest.raises(DhtFileError, match="closed"):
        file.records(NETWORK)


def other_database(path: Path) -> None:
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE theirs (x)")
    db.commit()
    db.close()


def other_version(path: Path) -> None:
    DhtFile(path).close()
    db = sqlite3.connect(path)
    db.execute("PRAGMA user_version = 99")
    db.commit()
    db.close()


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (other_database, "something else"),
        (other_version, "version 99"),
        (lambda path: path.write_bytes(b"no database at all" * 100), "no DHT store"),
        (lambda path: path.mkdir(), "no regular file"),
        (lambda path: os.mkfifo(path), "no regular file"),
    ],
)
def test_files_that_are_refused(tmp_path: Path, spoil: Callable[[Path], None], why: str) -> None:
    path = tmp_path / "dht"
    spoil(path)
    with pytest.raises(DhtFileError, match=why):
        DhtFile(path)


def test_a_damaged_row_is_named(tmp_path: Path) -> None:
    path = tmp_path / "dht"
    file = DhtFile(path)
    file.close()
    db = sqlite3.connect(path)
    db.execute("INSERT INTO providers VALUES (?, ?, ?, ?, ?)", (NETWORK, b"k", b"nobody", b"", 1.0))
    db.commit()
    db.close()
    file = DhtFile(path)
    with pytest.raises(DhtFileError, match="damaged"):
        file.providers(NETWORK)
    file.close()
