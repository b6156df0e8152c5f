"""A plugin's network in the kernel: the links that it makes on the host are moved into containers, and back.

What the plugin is asked before and after is `joining.py`'s business. Used in the worker thread.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from ipaddress import ip_address

from ... import errors
from ...runtime.constants import CLONE_NEWNET
from ...runtime.linux import setns
from .. import host, messages
from ..driver import Kernel
from ..records import EndpointRecord
from ..sandbox import Namespace

_ETH_P_ARP = 0x0806
_BROADCAST = b"\xff" * 6


class RemoteDriver:
    """One network of a plugin. There is nothing of it in the kernel that the plugin has not made itself."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel

    def set_up(self) -> None:
        """The plugin has done it."""

    def tear_down(self) -> None:
        """The plugin does it."""

    def attach(self, endpoint: EndpointRecord, namespace: Namespace, *, gateways: tuple[str, ...]) -> None:
        if endpoint.link:
            try:
                self._move_in(endpoint, namespace)
            except (errors.Error, OSError) as error:
                raise errors.Internal(
                    f"failed to add interface {endpoint.link} to sandbox: {_reason(error)}"
                ) from error
            namespace.next_index = 0  # a link that was made on the host first may have kept its index
        add_routes(endpoint, namespace)
        for gateway in filter(None, gateways):
            try:
                namespace.netlink.request(messages.set_default_route(gateway))
            except OSError as error:
                family = "IPv6 gateway" if ":" in gateway else "gateway"
                raise errors.Internal(
                    f"updating gateway endpoint: failed to set {family}: route for the gateway {gateway} could not be "
                    f"found: {_reason(error)}"
                ) from error

    def detach(self, endpoint: EndpointRecord) -> None:
        """The link goes back before the plugin is told."""

    def delete(self, endpoint: EndpointRecord, namespace: Namespace | None = None) -> None:
        """Give a link back to the host under the name that the plugin knows it by; it may be gone."""
        if namespace is None or not endpoint.link:
            return
        host_fd = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            index = namespace.index_of(endpoint.interface)
            namespace.netlink.request(messages.set_link(index, up=False))
            namespace.netlink.request(messages.move_link(index, name=endpoint.link, netns_fd=host_fd))
        except OSError as error:
            if error.errno != errno.ENODEV:
                raise
        finally:
            os.close(host_fd)

    def adopt(self, endpoint: EndpointRecord) -> bool:
        return True

    def _move_in(self, endpoint: EndpointRecord, namespace: Namespace) -> None:
        index = host.link_index(endpoint.link)
        if index is None:
            raise errors.Internal(f'failed to get link by name "{endpoint.link}": Link not found')
        try:
            move = messages.move_link(index, name=endpoint.interface, netns_fd=namespace.netns_fd)
            self._kernel.netlink.request(move)
        except OSError as error:
            raise errors.Internal(f'failed to set namespace on link "{endpoint.link}": {_reason(error)}') from error
        index = namespace.index_of(endpoint.interface)
        changes = [messages.set_link(index, up=False)]
        if endpoint.mac_address:
            changes.append(messages.set_link(index, mac_address=endpoint.mac_address))
        namespace.netlink.request(*changes)
        namespace.set_ipv6(endpoint.interface, is_on=bool(endpoint.ipv6_address))
        addresses = [
            messages.new_address(index, address=address, prefix_len=prefix_len)
            for address, prefix_len in endpoint.addresses
        ]
        namespace.netlink.request(*addresses, messages.set_link(index, up=True))
        _announce(endpoint, namespace)


def add_routes(endpoint: EndpointRecord, namespace: Namespace) -> None:
    """Have the container go where the plugin wants it to, but for its default route by a gateway."""
    for route in endpoint.remote.routes if endpoint.remote is not None else ():
        index = 0 if route.next_hop else namespace.index_of(endpoint.interface)
        try:
            namespace.netlink.request(messages.new_route(route.destination, gateway=route.next_hop, index=index))
        except OSError as error:
            raise errors.Internal(f"failed to add static route {route.destination}: {_reason(error)}") from error


def _announce(endpoint: EndpointRecord, namespace: Namespace) -> None:
    """Tell who is on the wire that an address is at another link than before: plugins' links have any MAC address.

    By ARP; of an IPv6 address the others ask anew soon, by themselves.
    """
    home_fd = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        setns(namespace.netns_fd, CLONE_NEWNET)
        try:
            host.settle(endpoint.interface)
            if endpoint.ip_address:
                with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ARP)) as wire:
                    wire.bind((endpoint.interface, _ETH_P_ARP))
                    mac_address = wire.getsockname()[4]
                    if len(mac_address) == len(_BROADCAST):
                        wire.send(_arp(mac_address, ip_address(endpoint.ip_address).packed))
        except OSError:
            pass  # a link that leads nowhere yet; nobody could have heard
        finally:
            setns(home_fd, CLONE_NEWNET)
    finally:
        os.close(home_fd)


def _arp(mac_address: bytes, address: bytes) -> bytes:
    """Return a frame that says where an address is (RFC 5227, an ARP announcement)."""
    head = _BROADCAST + mac_address + struct.pack("!H", _ETH_P_ARP)
    return head + struct.pack("!HHBBH6s4s6s4s", 1, 0x0800, 6, 4, 1, mac_address, address, bytes(6), address)


def _reason(error: BaseException) -> str:
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno).lower()
    return str(error)
