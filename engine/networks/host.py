"""What the networks room needs of the host's own network: its routes and nameservers, its settings, its links."""

from __future__ import annotations

import array
import fcntl
import logging
import socket
import struct
from ipaddress import ip_address, ip_network

from pyroute2.netlink.rtnl.rtmsg import rtmsg

from . import messages
from .ipam import Subnet
from .netlink import Netlink

logger = logging.getLogger(__name__)

# linux/if.h, linux/sockios.h, linux/ethtool.h
_IFNAMSIZ = 16
_SIOCETHTOOL = 0x8946
_ETHTOOL_GLINK = 0xA

_IPV6_MULTICAST = ip_network("ff00::/8")
_IPV6_LINK_LOCAL = ip_network("fe80::/10")


def routes(netlink: Netlink) -> list[Subnet]:
    """Return the networks that the host reaches by something more specific than its default route."""
    found: list[Subnet] = []
    for data in netlink.dump(messages.dump_routes()):
        message = messages.decode(rtmsg, data)
        if message["table"] == messages.RT_TABLE_MAIN and message["dst_len"]:
            subnet = ip_network((message.get_attr("RTA_DST"), message["dst_len"]), strict=False)
            if subnet not in (_IPV6_MULTICAST, _IPV6_LINK_LOCAL) and not subnet.network_address.is_link_local:
                found.append(subnet)
    return found


def routes_now() -> list[Subnet]:
    """Return the same, asked for by a socket of the caller's own."""
    with Netlink() as netlink:
        return routes(netlink)


def single(addresses: list[str]) -> list[Subnet]:
    """Return addresses, such as those of nameservers, as networks of one."""
    return [ip_network(address) for address in addresses if not ip_address(address).is_loopback]


def enable_forwarding(version: int = 4) -> bool:
    """Let the host forward packets; tell whether it did not before."""
    setting = "net/ipv4/ip_forward" if version == 4 else "net/ipv6/conf/all/forwarding"
    if read_setting(setting) in ("1", ""):
        return False
    if version == 6:
        write_setting("net/ipv6/conf/default/forwarding", "1")
    write_setting(setting, "1")
    return True


def enable_local_routing(bridge: str) -> None:
    """Let packets between 127.0.0.1 and the bridge be routed; the firewall sees to it that containers send none."""
    write_setting(f"net/ipv4/conf/{bridge}/route_localnet", "1")


def link_index(name: str) -> int | None:
    try:
        return socket.if_nametoindex(name)
    except OSError:
        return None


def read_setting(name: str) -> str:
    try:
        with open(f"/proc/sys/{name}") as setting:
            return setting.read().strip()
    except FileNotFoundError:
        return ""


def write_setting(name: str, value: str) -> None:
    try:
        with open(f"/proc/sys/{name}", "w") as setting:
            setting.write(value)
    except FileNotFoundError:
        logger.debug("the kernel has no setting %s", name)


def settle(*links: str) -> None:
    """Make the kernel act at once on links' having come up, in this order: the bridge's first port brings it up.

    It would do so in a worker that waits for its lock on links. Until then nothing passes, and what is lost is tried
    again after a second only: the container's first packet, or a client's. Asking for a link's state by ethtool's
    ETHTOOL_GLINK does not return before it is settled.
    """
    answer = array.array("I", [_ETHTOOL_GLINK, 0])
    address, _ = answer.buffer_info()
    with socket.socket(type=socket.SOCK_DGRAM) as control:
        for link in links:
            fcntl.ioctl(control, _SIOCETHTOOL, struct.pack(f"{_IFNAMSIZ}sP16x", link.encode(), address))
