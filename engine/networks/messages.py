"""The rtnetlink requests that the networks room makes, encoded by pyroute2's message classes (rtnetlink(7)).

Each function returns one request, ready for `netlink.Netlink.request`; nothing is sent here. Encoding takes a tenth of
a millisecond: requests that come again, as those about an address do, are remembered.
"""

from __future__ import annotations

import functools
import importlib.util
import ipaddress
import socket
import sys
from collections.abc import Sequence
from typing import Any


def _skip_package_init(name: str) -> None:
    """Make `name.sub` importable without running `name/__init__.py`.

    pyroute2's own imports everything it has: 85 ms and 11 MiB more than the three message classes used here.
    """
    spec = importlib.util.find_spec(name)
    if name not in sys.modules and spec is not None:
        sys.modules[name] = importlib.util.module_from_spec(spec)


_skip_package_init("pyroute2")

from pyroute2.netlink import nlmsg  # noqa: E402
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg  # noqa: E402
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg  # noqa: E402
from pyroute2.netlink.rtnl.rtmsg import rtmsg  # noqa: E402

# linux/netlink.h, linux/rtnetlink.h
NLM_F_REQUEST = 0x1
NLM_F_ACK = 0x4
NLM_F_DUMP = 0x300
NLM_F_REPLACE = 0x100
NLM_F_EXCL = 0x200
NLM_F_CREATE = 0x400
RTM_NEWLINK = 16
RTM_DELLINK = 17
RTM_GETLINK = 18
RTM_SETLINK = 19
RTM_NEWADDR = 20
RTM_DELADDR = 21
RTM_GETADDR = 22
RTM_NEWROUTE = 24
RTM_GETROUTE = 26
RTN_UNICAST = 1
RTPROT_BOOT = 3
RT_SCOPE_UNIVERSE = 0
RT_SCOPE_LINK = 253
RT_TABLE_MAIN = 254
IFF_UP = 1
IFA_F_NODAD = 2

Attributes = Sequence[tuple[Any, ...]]


def new_bridge(name: str, *, mac_address: str, mtu: int) -> bytes:
    """Make a bridge; an MTU of 0 is the kernel's own choice, here and for the others."""
    attributes = [
        ("IFLA_IFNAME", name),
        ("IFLA_ADDRESS", mac_address),
        *_mtu(mtu),
        ("IFLA_LINKINFO", {"attrs": [("IFLA_INFO_KIND", "bridge")]}),
    ]
    return _link(RTM_NEWLINK, attributes, flags=NLM_F_CREATE | NLM_F_EXCL)


def new_veth(name: str, *, master: int, peer: str, peer_mac_address: str, peer_netns_fd: int, mtu: int) -> bytes:
    """Make a pair: one end up and on a bridge here, the other in another network namespace and still down."""
    peer_attributes = [
        ("IFLA_IFNAME", peer),
        ("IFLA_ADDRESS", peer_mac_address),
        *_mtu(mtu),
        ("IFLA_NET_NS_FD", peer_netns_fd),
    ]
    data = {"attrs": [("VETH_INFO_PEER", {"attrs": peer_attributes})]}
    attributes = [
        ("IFLA_IFNAME", name),
        *_mtu(mtu),
        ("IFLA_MASTER", master),
        ("IFLA_LINKINFO", {"attrs": [("IFLA_INFO_KIND", "veth"), ("IFLA_INFO_DATA", data)]}),
    ]
    return _link(RTM_NEWLINK, attributes, flags=NLM_F_CREATE | NLM_F_EXCL, up=True)


def new_dummy(name: str) -> bytes:
    """Make a link that leads nowhere, and bring it up."""
    attributes = [("IFLA_IFNAME", name), ("IFLA_LINKINFO", {"attrs": [("IFLA_INFO_KIND", "dummy")]})]
    return _link(RTM_NEWLINK, attributes, flags=NLM_F_CREATE | NLM_F_EXCL, up=True)


def new_vlan(name: str, *, parent: int, id: int) -> bytes:
    """Make a VLAN of a link, and bring it up."""
    data = {"attrs": [("IFLA_VLAN_ID", id)]}
    attributes = [
        ("IFLA_IFNAME", name),
        ("IFLA_LINK", parent),
        ("IFLA_LINKINFO", {"attrs": [("IFLA_INFO_KIND", "vlan"), ("IFLA_INFO_DATA", data)]}),
    ]
    return _link(RTM_NEWLINK, attributes, flags=NLM_F_CREATE | NLM_F_EXCL, up=True)


def new_child_link(name: str, *, kind: str, data: Attributes, parent: int, mac_address: str, netns_fd: int) -> bytes:
    """Make a macvlan or ipvlan link on one of the host's, in another network namespace and still down."""
    attributes = [
        ("IFLA_IFNAME", name),
        *([("IFLA_ADDRESS", mac_address)] if mac_address else []),
        ("IFLA_LINK", parent),
        ("IFLA_NET_NS_FD", netns_fd),
        ("IFLA_LINKINFO", {"attrs": [("IFLA_INFO_KIND", kind), ("IFLA_INFO_DATA", {"attrs": list(data)})]}),
    ]
    return _link(RTM_NEWLINK, attributes, flags=NLM_F_CREATE | NLM_F_EXCL)


@functools.lru_cache
def set_link(index: int, *, up: bool | None = None, master: int | None = None, mac_address: str | None = None) -> bytes:
    """Change a link; a master of 0 takes it off its bridge."""
    attributes: list[tuple[str, Any]] = []
    if master is not None:
        attributes.append(("IFLA_MASTER", master))
    if mac_address is not None:
        attributes.append(("IFLA_ADDRESS", mac_address))
    return _link(RTM_SETLINK, attributes, index=index, up=up)


@functools.lru_cache
def set_hairpin(index: int) -> bytes:
    """Let a bridge send a frame back out of the port that it came in by."""
    attributes = [("IFLA_PROTINFO", {"attrs": [("IFLA_BRPORT_MODE", 1)]}, 0x8000)]
    return _link(RTM_SETLINK, attributes, index=index, family=socket.AF_BRIDGE)


def move_link(index: int, *, name: str, netns_fd: int) -> bytes:
    """Move a link to another network namespace, where it has another name."""
    return _link(RTM_SETLINK, [("IFLA_IFNAME", name), ("IFLA_NET_NS_FD", netns_fd)], index=index)


def delete_link(index: int) -> bytes:
    return _link(RTM_DELLINK, (), index=index)


@functools.lru_cache
def new_address(index: int, *, address: str, prefix_len: int) -> bytes:
    """Give a link an address. An IPv6 one is used at once: nobody else has it, so nobody is asked."""
    message = ifaddrmsg()
    message["index"], message["prefixlen"] = index, prefix_len
    attributes: list[tuple[str, Any]] = [("IFA_LOCAL", address), ("IFA_ADDRESS", address)]
    if ":" in address:
        message["family"] = socket.AF_INET6
        attributes.append(("IFA_FLAGS", IFA_F_NODAD))
    else:
        message["family"] = socket.AF_INET
        broadcast = ipaddress.IPv4Interface(f"{address}/{prefix_len}").network.broadcast_address
        attributes.append(("IFA_BROADCAST", str(broadcast)))
    return _encode(message, RTM_NEWADDR, attributes, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL)


def delete_address(index: int, *, interface: ipaddress.IPv4Interface | ipaddress.IPv6Interface) -> bytes:
    message = ifaddrmsg()
    message["index"], message["prefixlen"] = index, interface.network.prefixlen
    message["family"] = socket.AF_INET if interface.version == 4 else socket.AF_INET6
    attributes = [("IFA_LOCAL", str(interface.ip)), ("IFA_ADDRESS", str(interface.ip))]
    return _encode(message, RTM_DELADDR, attributes, NLM_F_ACK)


@functools.lru_cache
def set_default_route(gateway: str) -> bytes:
    """Make this the default route of its family, whatever it was."""
    message = rtmsg()
    message["family"] = socket.AF_INET6 if ":" in gateway else socket.AF_INET
    message["table"], message["proto"] = RT_TABLE_MAIN, RTPROT_BOOT
    message["scope"], message["type"] = RT_SCOPE_UNIVERSE, RTN_UNICAST
    return _encode(message, RTM_NEWROUTE, [("RTA_GATEWAY", gateway)], NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE)


def new_route(destination: str, *, gateway: str, index: int) -> bytes:
    """Have packets to a subnet go by a gateway, or by a link without one."""
    subnet = ipaddress.ip_network(destination)
    message = rtmsg()
    message["family"] = socket.AF_INET6 if subnet.version == 6 else socket.AF_INET
    message["table"], message["proto"], message["dst_len"] = RT_TABLE_MAIN, RTPROT_BOOT, subnet.prefixlen
    message["scope"] = RT_SCOPE_UNIVERSE if gateway or subnet.version == 6 else RT_SCOPE_LINK
    message["type"] = RTN_UNICAST
    attributes = [("RTA_DST", str(subnet.network_address))] if subnet.prefixlen else []
    way = ("RTA_GATEWAY", gateway) if gateway else ("RTA_OIF", index)
    return _encode(message, RTM_NEWROUTE, [*attributes, way], NLM_F_ACK | NLM_F_CREATE)


@functools.lru_cache
def set_default_link(index: int, *, ipv6: bool) -> bytes:
    """Send what has no other way out by a link, without a gateway."""
    message = rtmsg()
    message["family"] = socket.AF_INET6 if ipv6 else socket.AF_INET
    message["table"], message["proto"] = RT_TABLE_MAIN, RTPROT_BOOT
    message["scope"], message["type"] = RT_SCOPE_UNIVERSE if ipv6 else RT_SCOPE_LINK, RTN_UNICAST
    return _encode(message, RTM_NEWROUTE, [("RTA_OIF", index)], NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE)


def get_link(name: str) -> bytes:
    return _encode(ifinfmsg(), RTM_GETLINK, [("IFLA_IFNAME", name)], 0)


def dump_addresses(family: int = socket.AF_UNSPEC) -> bytes:
    message = ifaddrmsg()
    message["family"] = family
    return _encode(message, RTM_GETADDR, (), NLM_F_DUMP)


def dump_routes(family: int = socket.AF_UNSPEC) -> bytes:
    message = rtmsg()
    message["family"] = family
    return _encode(message, RTM_GETROUTE, (), NLM_F_DUMP)


def decode(kind: type[nlmsg], data: bytes) -> nlmsg:
    """Decode one message of a dump."""
    message = kind(data)
    message.decode()
    return message


def _mtu(mtu: int) -> Attributes:
    return [("IFLA_MTU", mtu)] if mtu else []


def _link(
    kind: int,
    attributes: Attributes,
    *,
    index: int = 0,
    flags: int = 0,
    up: bool | None = None,
    family: int = socket.AF_UNSPEC,
) -> bytes:
    message = ifinfmsg()
    message["family"], message["index"] = family, index
    if up is not None:
        message["flags"], message["change"] = IFF_UP if up else 0, IFF_UP
    return _encode(message, kind, attributes, NLM_F_ACK | flags)


def _encode(message: nlmsg, kind: int, attributes: Attributes, flags: int) -> bytes:
    message["header"]["type"], message["header"]["flags"] = kind, NLM_F_REQUEST | flags
    message["attrs"] = list(attributes)
    message.encode()
    return bytes(message.data)
