"""Bridges, the way out, and broken cables.

Hosts of one /24 share a bridge; this machine is its .1 and forwards what leaves the network, so a host can reach
Debian's mirrors as a real one does. A cut between two hosts drops their frames on the bridge, silently, as a network
does; each host still reaches everybody else.
"""

from pathlib import Path
from typing import Final

from tests.molecule.hosts.commands import HostsError, run, succeeds
from tests.molecule.hosts.state import BRIDGES, DIRECTORY, NETWORK, Host, every, locked

_NAT: Final = "sharekeeper_molecule"
_CUTS: Final = "sharekeeper_cuts"
_WAY_OUT: Final = f"""\
add table ip {_NAT}
add chain ip {_NAT} way_out {{ type nat hook postrouting priority srcnat; }}
add rule ip {_NAT} way_out ip saddr {NETWORK} ip daddr != {NETWORK} masquerade
"""
_UNCUT: Final = f"""\
add table bridge {_CUTS}
add chain bridge {_CUTS} forward {{ type filter hook forward priority 0; }}
"""
_LINKS: Final = Path("/sys/class/net")
_FORWARDING: Final = Path("/proc/sys/net/ipv4/ip_forward")
_FORWARDING_BEFORE: Final = DIRECTORY / "ip_forward"


def ensure_network(host: Host) -> None:
    """The host's bridge is there, and its way out."""
    with locked():
        if not succeeds(["ip", "link", "show", host.bridge]):
            run(["ip", "link", "add", host.bridge, "type", "bridge"])
            run(["ip", "addr", "add", f"{host.gateway}/24", "dev", host.bridge])
            run(["ip", "link", "set", host.bridge, "up"])
        if not succeeds(["nft", "list", "table", "ip", _NAT]):
            run(["nft", "-f", "-"], text=_WAY_OUT)
        if not succeeds(["nft", "list", "table", "bridge", _CUTS]):
            run(["nft", "-f", "-"], text=_UNCUT)
        if _FORWARDING.read_text().strip() != "1":
            _FORWARDING_BEFORE.write_text(_FORWARDING.read_text())
            _FORWARDING.write_text("1\n")


def remove_network(host: Host) -> None:
    """What no other host needs of the network is gone."""
    with locked():
        if not any(other.bridge == host.bridge for other in every() if other.name != host.name):
            succeeds(["ip", "link", "del", host.bridge])
        if not any(link.name.startswith(BRIDGES) for link in _LINKS.iterdir()):  # another checkout may have hosts too
            succeeds(["nft", "delete", "table", "ip", _NAT])
            succeeds(["nft", "delete", "table", "bridge", _CUTS])
            if _FORWARDING_BEFORE.exists():
                _FORWARDING.write_text(_FORWARDING_BEFORE.read_text())
                _FORWARDING_BEFORE.unlink()


def cut(host: Host, other: Host | None) -> None:
    """The host reaches nobody; or, with `other`, the two do not reach each other. Cutting twice is cutting once."""
    if other is None:
        run(["ip", "link", "set", host.interface, "down"])
        return
    if host.bridge != other.bridge:
        raise HostsError(f"{host.name} and {other.name} are not on one network; cut one of them off alone")
    heal(host, other)
    for one, another in ((host, other), (other, host)):
        pair = f"iifname {one.interface} oifname {another.interface} drop"
        run(["nft", "-f", "-"], text=f"add rule bridge {_CUTS} forward {pair}\n")


def heal(host: Host, other: Host | None) -> None:
    """The host's cable is in and nothing is cut between it and `other`; without one, between it and anybody."""
    if other is None:
        run(["ip", "link", "set", host.interface, "up"])
    listed = run(["nft", "--handle", "list", "chain", "bridge", _CUTS, "forward"])
    for line in listed.splitlines():
        wanted = [host.interface] if other is None else [host.interface, other.interface]
        if "drop" in line and all(f'"{interface}"' in line for interface in wanted):
            handle = line.rpartition("handle ")[2]
            run(["nft", "delete", "rule", "bridge", _CUTS, "forward", "handle", handle.strip()])
