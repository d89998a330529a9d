"""Names as the operating system would resolve them: its hosts file, then its name servers.

dnspython asks, on trio, so that a query can be cancelled and needs no thread. Of the system's
resolver it lacks the modules of `nsswitch.conf`: `.local` names over mDNS are not found here.
"""

from __future__ import annotations

import ipaddress
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from carrick.errors import ResolutionError

_MAX_HOSTS_FILE = 1 << 20  # bytes; block lists are the longest and matter little here


def hosts_file() -> Path:
    """Where this system keeps its hosts file."""
    if sys.platform == "win32":
        return Path(os.environ.get("SYSTEMROOT", r"C:\Windows"), r"System32\drivers\etc\hosts")
    return Path("/etc/hosts")


class SystemDns:
    """The default query of `Resolver`.

    The configuration is read anew for each query, so that a laptop may change networks.

    Args:
        hosts: the hosts file; by default the system's, or none where `nameservers` are given.
        nameservers: IP addresses of name servers, in place of the system's.
        port: the UDP and TCP port of `nameservers`.
    """

    def __init__(
        self,
        *,
        hosts: Path | None = None,
        nameservers: Sequence[str] | None = None,
        port: int = 53,
    ) -> None:
        self._hosts = hosts_file() if hosts is None and nameservers is None else hosts
        self._nameservers = nameservers
        self._port = port

    async def __call__(self, name: str, type: str) -> list[str]:
        """The records of `name`: IP addresses for A and AAAA, joined strings for TXT.

        Raises:
            ResolutionError: no such name, or no name server answers.
        """
        if type != "TXT" and self._hosts is not None:
            listed = _listed(_read(self._hosts), name)
            if listed:
                return [ip for ip in listed if (":" in ip) == (type == "AAAA")]
        return await self._ask(name, type)

    async def _ask(self, name: str, type: str) -> list[str]:
        import dns.asyncresolver  # 60 ms, and most programs never resolve a name
        import dns.exception
        import dns.name
        import dns.rdtypes.ANY.TXT
        import dns.resolver

        try:
            resolver = dns.asyncresolver.Resolver(configure=self._nameservers is None)
            if self._nameservers is not None:
                resolver.nameservers = list(self._nameservers)
                resolver.port = self._port
            answer = await resolver.resolve(
                dns.name.from_text(name, origin=None, idna_codec=dns.name.IDNA_2008_UTS_46),
                type,
                search=type != "TXT",
            )
        except dns.resolver.NoAnswer:
            return []
        except dns.resolver.NXDOMAIN:
            raise ResolutionError("no such name") from None
        except dns.exception.DNSException as error:
            raise ResolutionError(f"no name server answered: {error}") from error
        if type != "TXT":
            return [record.to_text() for record in answer]
        return [
            b"".join(record.strings).decode("utf-8", "replace")
            for record in answer
            if isinstance(record, dns.rdtypes.ANY.TXT.TXT)
        ]


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(_MAX_HOSTS_FILE).decode("utf-8", "replace")
    except OSError:
        return ""  # a system without a hosts file has no names in it


def _listed(hosts: str, name: str) -> list[str]:
    """The IP addresses that a hosts file (`<ip> <name> …  # comment`) gives `name`."""
    wanted = name.lower().removesuffix(".")
    found = []
    for line in hosts.splitlines():
        ip, *names = line.partition("#")[0].split() or [""]
        if wanted in (listed.lower() for listed in names):
            try:
                found.append(str(ipaddress.ip_address(ip)))
            except ValueError:
                continue
    return found
