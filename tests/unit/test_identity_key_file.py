"""Key files: whole or not at all, readable by their owner alone, and clear words when wrong."""

from __future__ import annotations

import logging
import os
import stat
from pathlib import Path

import pytest

from carrick.errors import KeyFileError
from carrick.identity import KeyType, PrivateKey, load_key, save_key

KEY = PrivateKey.generate()


@pytest.mark.parametrize("type", KeyType, ids=lambda type: type.name)
def test_round_trip(tmp_path: Path, type: KeyType) -> None:
    key, path = PrivateKey.generate(type), tmp_path / "key"
    save_key(path, key)
    assert load_key(str(path)) == key
    assert path.read_bytes() == key.to_protobuf()


def test_mode_is_0600_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        save_key(tmp_path / "key", KEY)
        save_key(tmp_path / "key", KEY, overwrite=True)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600


def test_nothing_else_stays_in_the_folder(tmp_path: Path) -> None:
    save_key(tmp_path / "key", KEY)
    save_key(tmp_path / "key", KEY, overwrite=True)
    with pytest.raises(KeyFileError):
        save_key(tmp_path / "key", KEY)
    assert os.listdir(tmp_path) == ["key"]


def test_a_file_is_replaced_only_when_asked(tmp_path: Path) -> None:
    path, other = tmp_path / "key", PrivateKey.generate()
    save_key(path, KEY)
    with pytest.raises(KeyFileError, match="exists already.*overwrite=True"):
        save_key(path, other)
    assert load_key(path) == KEY
    save_key(path, other, overwrite=True)
    assert load_key(path) == other


@pytest.mark.parametrize("overwrite", [False, True])
def test_crash_while_writing_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overwrite: bool
) -> None:
    path = tmp_path / "key"
    save_key(path, KEY)

    def fail(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(KeyFileError, match="No space left on device"):
        save_key(path, PrivateKey.generate(), overwrite=overwrite)
    assert load_key(path) == KEY
    assert os.listdir(tmp_path) == ["key"]


def test_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match="cannot be written: No such file"):
        save_key(tmp_path / "missing" / "key", KEY)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match="cannot be read: No such file"):
        load_key(tmp_path / "key")


def test_folder_and_pipe_are_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(KeyFileError, match="not a regular file"):
            load_key(path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable_file(tmp_path: Path) -> None:
    save_key(tmp_path / "key", KEY)
    (tmp_path / "key").chmod(0)
    with pytest.raises(KeyFileError, match="Permission denied"):
        load_key(tmp_path / "key")


@pytest.mark.parametrize(
    "content, reason",
    [
        (b"", "is empty"),
        (bytes(8193), "larger than 8192 bytes"),
        (KEY.to_protobuf()[:-1], "holds no libp2p private key"),
        (KEY.public_key.to_protobuf(), "holds no libp2p private key"),
        (b"-----BEGIN PRIVATE KEY-----\n", "holds no libp2p private key"),
    ],
    ids=["empty", "large", "cut", "public", "pem"],
)
def test_wrong_content(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "key"
    path.write_bytes(content)
    with pytest.raises(KeyFileError, match=reason):
        load_key(path)


@pytest.mark.parametrize(
    "mode, warned", [(0o600, False), (0o400, False), (0o640, True), (0o604, True)]
)
def test_warning_for_a_file_open_to_others(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, mode: int, warned: bool
) -> None:
    path = tmp_path / "key"
    save_key(path, KEY)
    path.chmod(mode)
    with caplog.at_level(logging.WARNING):
        load_key(path)
    assert ("chmod 600" in caplog.text) is warned
