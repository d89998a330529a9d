"""The command `carrick`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import click

import carrick
from carrick.cli.groups import LazyGroup
from carrick.cli.options import Settings, global_options

__all__ = ["main"]

# Name → one line for `--help`, and the module under carrick.cli.commands, which is imported when
# the command is used.
_COMMANDS = {
    "listen": "Run a node in the foreground.",
    "ping": "Measure the round-trip time to a peer.",
    "identify": "Ask a peer who it is, what it speaks and where it sees us.",
    "connect": "Connect to a peer and show what was negotiated.",
    "perf": "Measure the throughput to a peer.",
    "id": "Show the peer id of a key.",
    "key": "Make and show keys.",
    "status": "Show how the running node is reached, and by how many peers.",
    "peers": "Show the running node's connections.",
    "addrs": "Show the running node's addresses.",
    "nat": "The NAT in front of this machine.",
    "relay": "Relay for others, or be relayed.",
    "dht": "Find peers, content and values in a DHT.",
    "crawl": "Visit every server of a DHT, and write down what they tell.",
    "health": "What a crawl tells about the health of a network.",
    "demo": "Two people behind NATs meet, on a simulated internet.",
    "version": "Show the version.",
}

_EPILOG = """\b
TARGET is a multiaddr, host:port, or a port on this machine:
  /ip4/192.0.2.7/tcp/4001/p2p/12D3KooW...    192.0.2.7:4001    4001

Results go to stdout, everything else to stderr.

\b
Exit codes:
  0  ok                   3  only a relayed connection
  1  failed               4  timeout, or not found
  2  usage                5  refused, or against a policy
                        130  interrupted

A flag also has an environment variable: CARRICK_TIMEOUT for --timeout and the others below,
CARRICK_PING_COUNT for the --count of ping.
"""


_group = LazyGroup(
    "carrick",
    _COMMANDS,
    "carrick.cli.commands.",
    help="Carrick joins any two libp2p peers.",
    epilog=_EPILOG,
    params=[
        *global_options(environment=True),
        click.Option(
            ["--version"],
            is_flag=True,
            is_eager=True,
            expose_value=False,
            callback=lambda ctx, _, given: _show_version(ctx) if given else None,
            help="Show the version and exit.",
        ),
    ],
    context_settings={
        "auto_envvar_prefix": "CARRICK",
        "help_option_names": ["-h", "--help"],
        "max_content_width": 100,
    },
    no_args_is_help=True,
)


def main(args: Sequence[str] | None = None) -> NoReturn:
    """Run the command with `args` (default: those of the process), and exit with its code."""
    arguments = list(sys.argv[1:] if args is None else args)
    settings = Settings()
    try:
        code: Any = _group.main(arguments, prog_name="carrick", standalone_mode=False, obj=settings)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        code = 2
    except Exception as error:
        from carrick.cli.errors import report

        settings.json = settings.json or "--json" in arguments
        code = report(error, settings)
    except BaseExceptionGroup as group:  # trio wraps an interrupt in a group
        if group.subgroup(KeyboardInterrupt) is None:
            raise
        code = 130
    sys.exit(code or 0)


def _show_version(ctx: click.Context) -> None:
    click.echo(f"carrick {carrick.__version__}")
    ctx.exit()
