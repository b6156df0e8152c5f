"""The macvlan and ipvlan drivers: containers are on the wire of one of the host's links, each with an address there.

Nothing of it is on the host but the parent: no bridge, no rules, no published ports. The parent is the user's own, or
is made with the network and goes with it.
"""

from __future__ import annotations

import errno
import os
from typing import ClassVar

from .. import errors
from . import host, messages
from .driver import Kernel
from .records import EndpointRecord, NetworkRecord
from .sandbox import Namespace

# linux/if_link.h
_MACVLAN_MODES = {"private": 1, "vepa": 2, "bridge": 4, "passthru": 8}
_IPVLAN_MODES = {"l2": 0, "l3": 1, "l3s": 2}
_IPVLAN_FLAGS = {"bridge": 0, "private": 1, "vepa": 2}


_MAX_VLAN = 4094


class ParentLinkDriver:
    """One network on one of the host's links, on a VLAN of it, or on a link of its own that leads nowhere."""

    _MODES: ClassVar = {
        "macvlan": ("macvlan_mode", "bridge", "IFLA_MACVLAN_MODE", _MACVLAN_MODES),
        "ipvlan": ("ipvlan_mode", "l2", "IFLA_IPVLAN_MODE", _IPVLAN_MODES),
    }

    def __init__(self, kernel: Kernel, record: NetworkRecord) -> None:
        self._kernel, self._kind, self._record = kernel, record.driver, record
        given = record.options.get("parent", "")
        self.parent = given or f"dm-{record.id[:12]}"
        self.leads_out = bool(given) and not record.internal
        option, default, self._attribute, modes = self._MODES[record.driver]
        mode = record.options.get(option) or default
        if mode not in modes:
            kind = record.driver
            raise errors.Internal(
                f"requested {kind} mode '{mode}' is not valid, '{default}' mode is the {kind} driver default"
            )
        if given == "lo":
            raise errors.Internal(f"loopback interface is not a valid {record.driver} parent link")
        self._mode = modes[mode]
        self._flag = _ipvlan_flag(record) if record.driver == "ipvlan" else 0
        self._has_gateways = record.driver == "macvlan" or mode == "l2"
        """In the other modes the default route goes by the link alone."""

    def parent_exists(self) -> bool:
        return host.link_index(self.parent) is not None

    def set_up(self) -> None:
        if self.parent_exists():
            return
        if not self._record.options.get("parent"):
            new = messages.new_dummy(self.parent)
        else:
            new = self._new_vlan()
        try:
            self._kernel.netlink.request(new)
        except OSError as error:
            reason = os.strerror(error.errno or 0).lower()
            if not self._record.options.get("parent"):
                raise errors.Internal(reason) from error
            raise errors.Internal(f"failed to create {self.parent} vlan link: {reason}") from error

    def tear_down(self) -> None:
        """Remove the parent where it is ours."""
        index = host.link_index(self.parent)
        if index is not None and not self._record.link_is_users:
            self._kernel.netlink.request(messages.delete_link(index))

    def attach(self, endpoint: EndpointRecord, namespace: Namespace, *, gateways: tuple[str, ...]) -> None:
        try:
            self._attach(endpoint, namespace, gateways)
        except OSError as error:
            reason = os.strerror(error.errno or 0).lower()
            raise errors.Internal(f"failed to create the {self._kind} port: {reason}") from error

    def detach(self, endpoint: EndpointRecord) -> None:
        """The link is the namespace's, and ends with it."""

    def delete(self, endpoint: EndpointRecord, namespace: Namespace | None = None) -> None:
        if namespace is None:
            return
        try:
            index = namespace.index_of(endpoint.interface)
            namespace.netlink.request(messages.delete_link(index))
        except OSError as error:
            if error.errno != errno.ENODEV:
                raise

    def adopt(self, endpoint: EndpointRecord) -> bool:
        return True

    def _attach(self, endpoint: EndpointRecord, namespace: Namespace, gateways: tuple[str, ...]) -> None:
        parent_index = host.link_index(self.parent)
        if parent_index is None:
            raise errors.NotFound(f"the host has no link {self.parent}")
        new = messages.new_child_link(
            endpoint.interface,
            kind=self._kind,
            data=[(self._attribute, self._mode), *([("IFLA_IPVLAN_FLAGS", self._flag)] if self._flag else [])],
            parent=parent_index,
            mac_address=endpoint.mac_address,
            netns_fd=namespace.netns_fd,
        )
        self._kernel.netlink.request(new)
        namespace.set_ipv6(endpoint.interface, is_on=bool(endpoint.ipv6_address))
        namespace.next_index = 0  # the link was made on the host first, and may have kept its index
        index = namespace.index_of(endpoint.interface)
        addresses = [
            messages.new_address(index, address=address, prefix_len=prefix_len)
            for address, prefix_len in endpoint.addresses
        ]
        routes = [messages.set_default_route(gateway) for gateway in gateways]
        if not self._has_gateways and self.leads_out:
            routes = [
                messages.set_default_link(index, ipv6=":" in address)
                for address in (endpoint.ip_address, endpoint.ipv6_address)
                if address
            ]
        namespace.netlink.request(messages.set_link(index, up=True), *addresses, *routes)

    def _new_vlan(self) -> bytes:
        """Return the request for the VLAN that a parent's name such as `eth0.10` stands for."""
        if "." not in self.parent:
            raise errors.Internal(f"invalid subinterface vlan name {self.parent}, example formatting is eth0.10")
        parts = self.parent.split(".")
        if len(parts) != 2:
            raise errors.Internal(
                "required interface name format is: name.vlan_id, ex. eth0.10 for vlan 10, instead received "
                f"{self.parent}"
            )
        name, number = parts
        if not number.isdecimal():
            raise errors.Internal(f"unable to parse a valid vlan id from: {number} (ex. eth0.10 for vlan 10)")
        index = host.link_index(name)
        if index is None:
            raise errors.Internal(f"-o parent interface was not found on the host: {name}")
        if not 1 <= int(number) <= _MAX_VLAN:
            raise errors.Internal(f"vlan id must be between 1-{_MAX_VLAN}, received: {number}")
        return messages.new_vlan(self.parent, parent=index, id=int(number))


def _ipvlan_flag(record: NetworkRecord) -> int:
    flag = record.options.get("ipvlan_flag") or "bridge"
    if flag not in _IPVLAN_FLAGS:
        raise errors.Internal(f"requested ipvlan flag '{flag}' is not valid, 'bridge' is the ipvlan driver default")
    return _IPVLAN_FLAGS[flag]
