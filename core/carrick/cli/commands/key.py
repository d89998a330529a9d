"""`carrick key`: make and show keys."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from carrick.cli.options import Command, Settings
from carrick.cli.output import Output

if TYPE_CHECKING:
    from carrick.identity import PrivateKey

__all__ = ["command", "key_fields"]

_FILE = click.Path(path_type=Path)


@click.group("key")
def command() -> None:
    """Make and show keys."""


@command.command("gen", cls=Command)
@click.argument("file", type=_FILE, required=False)
@click.option(
    "--type",
    "type_",
    type=click.Choice(["ed25519", "secp256k1", "ecdsa", "rsa"]),
    default="ed25519",
    show_default=True,
    help="The algorithm.",
)
@click.option(
    "--bits",
    type=click.IntRange(2048, 8192),
    help="The size of an RSA key. Default: 2048.",
)
@click.option("--force", is_flag=True, help="Replace a key that is there.")
@click.pass_obj
def generate(
    settings: Settings, file: Path | None, type_: str, bits: int | None, force: bool
) -> None:
    """Make a key and write it to FILE (default: this machine's own key)."""
    from carrick.identity import KeyType, PrivateKey, save_key

    if bits is not None and type_ != "rsa":
        raise click.UsageError(f"--bits is for RSA; {type_} keys have one size")
    path = file or settings.home_key
    if path.exists() and not force:
        raise click.UsageError(f"{path} exists already; --force replaces it")
    if file is None:
        settings.home.mkdir(mode=0o700, parents=True, exist_ok=True)
    key = PrivateKey.generate(KeyType[type_.upper()], bits=bits or 2048)
    save_key(path, key, overwrite=force)
    output = Output(settings, "key.gen")
    output.result({**key_fields(key), "file": str(path)}, str(key.peer_id))
    output.note(f"wrote {path}")


@command.command("show", cls=Command)
@click.argument("file", type=_FILE, required=False)
@click.pass_obj
def show(settings: Settings, file: Path | None) -> None:
    """Show whose key is in FILE (default: this machine's own key)."""
    from carrick.identity import load_key

    path = file or settings.key or settings.home_key
    fields = key_fields(load_key(path))
    text = "\n".join(
        (
            f"peer id     {fields['id']}",
            f"as CID      {fields['cid']}",
            f"type        {fields['type']}",
            f"public key  {fields['public_key']}",
        )
    )
    Output(settings, "key.show").result({**fields, "file": str(path)}, text)


def key_fields(key: PrivateKey) -> dict[str, Any]:
    """What may be shown of a key. `public_key` is its protobuf in base64."""
    return {
        "id": str(key.peer_id),
        "cid": key.peer_id.to_cid(),
        "type": key.type.name.lower(),
        "public_key": base64.b64encode(key.public_key.to_protobuf()).decode(),
    }
