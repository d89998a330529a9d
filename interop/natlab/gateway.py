"""A laboratory's router with miniupnpd: a real gateway for UPnP, NAT-PMP and PCP."""

from __future__ import annotations

import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from interop.natlab.lab import Lab, LabError
from interop.natlab.topology import Router

DAEMON = "miniupnpd"
PACKAGES = ("miniupnpd", "miniupnpd-nftables")  # Debian's names

_CONFIGURATION = """\
ext_ifname=wan0
listening_ip=br0
http_port=5000
enable_natpmp={pmp}
enable_upnp={upnp}
secure_mode=yes
system_uptime=yes
notify_interval=60
min_lifetime=60
max_lifetime=86400
upnp_table_name=filter
upnp_nat_table_name=filter
upnp_forward_chain=miniupnpd
upnp_nat_chain=prerouting_miniupnpd
upnp_nat_postrouting_chain=postrouting_miniupnpd
lease_file={leases}
uuid=42291278-1580-4a47-9e38-f4251b440721
friendly_name=lab router
allow 1024-65535 {lan}.0/24 1024-65535
deny 0-65535 0.0.0.0/0 0-65535
"""

# A port-restricted router. `ct status dnat accept` stands beside the daemon's chain, as the daemon
# (2.3.1) removes the other protocol's rule when one of a port is unmapped.
_RULES = """\
flush ruleset
table inet filter {
 chain miniupnpd { }
 chain prerouting_miniupnpd { }
 chain postrouting_miniupnpd { }
 chain input { type filter hook input priority filter; policy accept;
  iifname "wan0" ct state established,related accept
  iifname "wan0" drop
 }
 chain forward { type filter hook forward priority filter; policy drop;
  ct state established,related accept
  ct state invalid drop
  iifname "br0" oifname "wan0" accept
  ct status dnat accept
  jump miniupnpd
 }
 chain prerouting { type nat hook prerouting priority dstnat; policy accept;
  jump prerouting_miniupnpd
 }
 chain postrouting { type nat hook postrouting priority srcnat; policy accept;
  jump postrouting_miniupnpd
  oifname "wan0" masquerade
 }
}
"""

# nft prints the protocol field of the IP header as it was written: by its place.
_RULE = re.compile(r"(?:@nh,72,8|l4proto) (\w+) th dport (\d+) dnat")
_PROTOCOLS = {"0x6": "tcp", "0x06": "tcp", "tcp": "tcp", "0x11": "udp", "udp": "udp"}


def unavailable() -> str | None:
    """Why there can be no gateway here, in words; None if there can."""
    if shutil.which(DAEMON) is None:
        return f"not installed: {DAEMON} (Debian: {' '.join(PACKAGES)})"
    return None


@asynccontextmanager
async def gateway(
    lab: Lab, router: Router, folder: Path, *, pmp: bool = True, upnp: bool = True
) -> AsyncIterator[None]:
    """Within the block the router maps ports when it is asked; at first none is mapped.

    Args:
        folder: for its files.
        pmp: by NAT-PMP and PCP, which cannot be had apart.
        upnp: by UPnP.
    """
    leases = folder / f"{router.name}.leases"
    leases.write_text("")
    configuration = folder / f"{router.name}.conf"
    configuration.write_text(
        _CONFIGURATION.format(
            pmp="yes" if pmp else "no",
            upnp="yes" if upnp else "no",
            leases=leases,
            lan=router.lan,
        )
    )
    await lab.run(router.name, ["nft", "-f", "-"], stdin=_RULES)
    pid_file = str(folder / f"{router.name}.pid")
    argv = [DAEMON, "-d", "-f", str(configuration), "-P", pid_file]
    async with lab.process(router.name, argv):
        await _listening(lab, router)
        yield


async def _listening(lab: Lab, router: Router) -> None:
    """Wait until it has opened its sockets; it does not say so."""
    with trio.move_on_after(10):
        while True:
            found = await lab.run(router.name, ["cat", "/proc/net/udp"])
            ports = {line.split()[1].rpartition(b":")[2] for line in found.stdout.splitlines()[1:]}
            if ports & {b"14E7", b"076C"}:  # 5351, 1900
                return
            await trio.sleep(0.05)
    raise LabError(f"{DAEMON} does not start on {router.name}")


async def forwards(lab: Lab, router: Router) -> set[str]:
    """What it forwards now: `tcp 4001`, …."""
    chain = ["nft", "list", "chain", "inet", "filter", "prerouting_miniupnpd"]
    rules = (await lab.run(router.name, chain)).stdout.decode()
    return {f"{_PROTOCOLS[protocol]} {port}" for protocol, port in _RULE.findall(rules)}
