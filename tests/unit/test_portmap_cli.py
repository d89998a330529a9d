"""The flags of `carrick nat map` and `--upnp`. Nothing is asked here."""

from __future__ import annotations

import pytest

from carrick.cli import main


@pytest.mark.parametrize(
    "arguments",
    [
        ("add",),
        ("add", "http"),
        ("add", "0"),
        ("add", "70000/tcp"),
        ("add", "4001/sctp"),
        ("add", "4001", "--lease", "2d"),
        ("add", "4001", "--lease", "25h"),
        ("add", "4001", "--external", "0"),
        ("rm", "4001", "--nonce", "xyz"),
        ("rm", "4001", "--proto", "pcp"),
        ("probe", "--proto", "igd"),
        ("probe", "--gateway", "router"),
    ],
)
def test_usage(arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["nat", "map", *arguments])
    assert ended.value.code == 2
    assert capsys.readouterr().out == ""


def test_listen_maps_only_when_it_is_told() -> None:
    """The default is off, as mapping changes the router of whoever runs it."""
    from carrick.cli.commands.listen import command

    upnp = next(each for each in command.params if each.name == "upnp")
    assert upnp.default is False
    assert (upnp.opts, upnp.secondary_opts) == (["--upnp"], ["--no-upnp"])
    assert upnp.envvar == "CARRICK_UPNP"
