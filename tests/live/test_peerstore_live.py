"""A peerstore's file, its process killed, and two processes on one file."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from carrick.errors import PeerstoreError
from carrick.peerstore import SqlitePeerstore
from tests.support.peerstores import address, peer

ROOT = Path(__file__).resolve().parents[2]
CHILD = """
import itertools, sys
from carrick.peerstore import SqlitePeerstore, Ttl
from tests.support.peerstores import address, peer

store = SqlitePeerstore(sys.argv[1])
for number in itertools.count():
    store.add_addresses(peer(number), [address(number)], Ttl.ADDRESS)
    store.set_protocols(peer(number), [f"/{number}"])
    if number % 7 == 0 and number > 70:
        store.remove(peer(number - 70))
    assert store.flush() == 0
    print(number, flush=True)
"""


@contextmanager
def child(path: Path) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", CHILD, str(path)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'core'}{os.pathsep}{ROOT}"},
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("writes", [1, 40, 300])
def test_what_was_reported_survives_kill_9(tmp_path: Path, writes: int) -> None:
    path = tmp_path / "peers.db"
    with child(path) as process:
        assert process.stdout is not None
        for _ in range(writes):
            process.stdout.readline()
        os.kill(process.pid, signal.SIGKILL)
        rest = process.stdout.read().rpartition("\n")[0].split()
    last = int(rest[-1]) if rest else writes - 1
    store = SqlitePeerstore(path)
    for number in range(last + 1):
        if number == last - 69:
            continue  # it may have been removed without a report
        removed = number % 7 == 0 and 0 < number <= last - 70
        assert store.addresses(peer(number)) == ([] if removed else [address(number)])
        assert store.protocols(peer(number)) == (None if removed else frozenset({f"/{number}"}))
    assert len(store) <= last + 2, "at most the one that was not reported any more"
    store.close()


def test_two_processes_do_not_share_a_file(tmp_path: Path) -> None:
    path = tmp_path / "peers.db"
    with child(path) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with pytest.raises(PeerstoreError, match="in use by another process"):
            SqlitePeerstore(path)
        assert process.stdout.readline(), "the first one goes on"
    SqlitePeerstore(path).close()
