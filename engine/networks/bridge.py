"""One bridge: the link itself, its addresses, what it needs of the host's settings, and the links on it.

Everything here is synchronous and runs in the networks room's worker thread. What may pass the bridge is the
firewall's business.
"""

from __future__ import annotations

import errno
import re
import socket
from collections.abc import Callable
from ipaddress import IPv4Interface, IPv6Interface, ip_interface

from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg

from ..errors import InvalidArgument
from . import host, messages
from .ipam import random_mac_address
from .netlink import Netlink
from .records import EndpointRecord
from .sandbox import Namespace
from .settings import BridgeSettings

Interface = IPv4Interface | IPv6Interface

# linux/if.h
_IFNAMSIZ = 16

_NAME = re.compile(r"[^\s/:]+")


class Bridge:
    """docker0, or a user's own."""

    def __init__(self, settings: BridgeSettings, netlink: Netlink) -> None:
        self._settings, self._netlink = settings, netlink
        self.name = settings.name
        self._index = 0
        self._bridged_are_filtered = False
        """What a container sends to its own published port is then translated on the bridge already, and has to leave
        by the port that it came in by."""

    def exists(self) -> bool:
        return host.link_index(self.name) is not None

    def set_up(self) -> None:
        """Make the bridge, or take over the one that is there, and bring it up."""
        if not _NAME.fullmatch(self.name) or self.name in (".", ".."):
            raise InvalidArgument(f"invalid bridge name {self.name!r}")
        if len(self.name) >= _IFNAMSIZ:
            raise InvalidArgument("numerical result out of range")
        index = host.link_index(self.name)
        if index is None:
            # So that the bridge's address does not change with the first link on it.
            new = messages.new_bridge(self.name, mac_address=random_mac_address(), mtu=self._settings.mtu)
            self._netlink.request(new)
            index = socket.if_nametoindex(self.name)
        self._index = index
        self._bridged_are_filtered = host.read_setting("net/bridge/bridge-nf-call-iptables") == "1"
        self._netlink.request(messages.set_link(index, up=True))
        host.write_setting(f"net/ipv6/conf/{self.name}/accept_ra", "0")

    def set_addresses(self, *wanted: Interface, replace: bool) -> None:
        """Have these addresses, with whatever else is there already; `replace` one of the same family that it had."""
        present = self.addresses()
        for interface in wanted:
            earlier = [one for one in present if one.version == interface.version and replace]
            if earlier and interface not in present:
                self._netlink.request(messages.delete_address(self._index, interface=earlier[0]))
            if interface.version == 6:
                host.write_setting(f"net/ipv6/conf/{self.name}/accept_dad", "0")
                host.write_setting(f"net/ipv6/conf/{self.name}/disable_ipv6", "0")
            if interface not in present:
                self._netlink.request(
                    messages.new_address(self._index, address=str(interface.ip), prefix_len=interface.network.prefixlen)
                )

    def addresses(self) -> list[Interface]:
        """Return the addresses that the bridge has, but for those of its link alone."""
        found: list[Interface] = []
        for data in self._netlink.dump(messages.dump_addresses()):
            message = messages.decode(ifaddrmsg, data)
            if message["index"] == self._index:
                text = message.get_attr("IFA_LOCAL") or message.get_attr("IFA_ADDRESS")
                interface = ip_interface(f"{text}/{message['prefixlen']}")
                if not interface.ip.is_link_local:
                    found.append(interface)
        return found

    def attach(self, endpoint: EndpointRecord, namespace: Namespace, *, gateways: tuple[str, ...]) -> None:
        """Connect a namespace to the bridge, with its addresses, and its ways out where it has them by this network."""
        pair = messages.new_veth(
            endpoint.link,
            master=self._index,
            peer=endpoint.interface,
            peer_mac_address=endpoint.mac_address,
            peer_netns_fd=namespace.netns_fd,
            mtu=self._settings.mtu,
        )
        self._netlink.request(pair)
        if self._bridged_are_filtered:
            self._request_on(endpoint.link, lambda index: [messages.set_hairpin(index)])
        namespace.set_ipv6(endpoint.interface, is_on=bool(endpoint.ipv6_address))
        index = namespace.take_index(endpoint.interface)
        addresses = [
            messages.new_address(index, address=address, prefix_len=prefix_len)
            for address, prefix_len in endpoint.addresses
        ]
        routes = [messages.set_default_route(gateway) for gateway in gateways]
        namespace.netlink.request(messages.set_link(index, up=True), *addresses, *routes)
        host.settle(endpoint.link, self.name)

    def detach(self, link: str) -> None:
        """Take a container off the bridge at once. The pair itself ends with the container's namespace.

        Deleting it here would keep the kernel's lock on all links for some 20 ms, and the namespace mostly ends
        within a few anyway.
        """
        self._request_on(link, lambda index: [messages.set_link(index, up=False, master=0)])

    def adopt(self, link: str) -> bool:
        """Make sure that a running container's link is on the bridge; tell whether the link is there."""
        return self._request_on(link, lambda index: [messages.set_link(index, up=True, master=self._index)])

    def delete_link(self, link: str) -> None:
        self._request_on(link, lambda index: [messages.delete_link(index)])

    def _request_on(self, link: str, requests: Callable[[int], list[bytes]]) -> bool:
        """Send requests about a link that may be gone, or going; tell whether it was there."""
        index = host.link_index(link)
        if index is None:
            return False
        try:
            self._netlink.request(*requests(index))
        except OSError as error:
            if error.errno != errno.ENODEV:
                raise
            return False
        return True
