"""What the names mean to each container: the records that the daemon wrote, read whole whenever it replaces them.

    {"networks": {id: {"name": name, "endpoints": [{"names": […], "ipv4": address, "ipv6": address}]}},
     "containers": {id: {"networks": [id…], "links": {network id: {alias: name}}, "servers": [[address, is host's]…],
                         "ndots": bool}}}

A file that is not there yet says that there is nothing.
"""

from __future__ import annotations

import json

from .wire import pack_address

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_REVERSE = (".in-addr.arpa", ".ip6.arpa")


class Network:
    """One network's names, in lower case."""

    __slots__ = ("by_address", "by_name", "name")

    def __init__(self, record: dict[str, Any]) -> None:
        self.name: str = record["name"].lower()
        self.by_name: dict[str, tuple[list[bytes], list[bytes]]] = {}
        self.by_address: dict[bytes, str] = {}
        for endpoint in record["endpoints"]:
            packed = tuple(pack_address(text) if text else b"" for text in (endpoint["ipv4"], endpoint["ipv6"]))
            for name in endpoint["names"]:
                found = self.by_name.setdefault(name.lower(), ([], []))
                for addresses, address in zip(found, packed, strict=True):
                    if address:
                        addresses.append(address)
            for address in packed:
                if address and endpoint["names"]:
                    self.by_address[address] = f"{endpoint['names'][0]}.{record['name']}"


class Container:
    """One container's view."""

    __slots__ = ("links", "ndots", "networks", "servers")

    def __init__(self, record: dict[str, Any], networks: dict[str, Network]) -> None:
        self.networks = [networks[id] for id in record["networks"] if id in networks]
        self.links: dict[str, str] = {
            alias.lower(): name.lower() for links in record["links"].values() for alias, name in links.items()
        }
        self.servers: list[tuple[str, bool]] = [(address, is_host) for address, is_host in record["servers"]]
        self.ndots: bool = record["ndots"]

    def addresses(self, name: str) -> tuple[list[bytes], list[bytes]] | None:
        """Return the IPv4 and IPv6 addresses of a name, None where nobody has it.

        `a.b.c` is a container `a.b.c`, or `a.b` on a network `c`, or `a` on a network `b.c`.
        """
        name = self.links.get(name, name)
        wanted, network_name = name, ""
        while True:
            for network in self.networks:
                if not network_name or network_name == network.name:
                    found = network.by_name.get(wanted)
                    if found is not None:
                        return found
            wanted, dot, _ = wanted.rpartition(".")
            if not dot:
                return None
            network_name = name[len(wanted) + 1 :]

    def name_of(self, reverse_name: str) -> str | None:
        """Return the name of the address that a reverse name stands for."""
        address = _address(reverse_name)
        for network in self.networks if address else ():
            if found := network.by_address.get(address):
                return found
        return None


def read(path: str) -> dict[str, Container]:
    """Return the containers by their ids."""
    try:
        with open(path, "rb") as file:
            records = json.loads(file.read())
    except FileNotFoundError:
        return {}
    networks = {id: Network(record) for id, record in records["networks"].items()}
    return {id: Container(record, networks) for id, record in records["containers"].items()}


def _address(reverse_name: str) -> bytes:
    ipv4, ipv6 = (reverse_name.removesuffix(suffix) for suffix in _REVERSE)
    try:
        if ipv4 != reverse_name:
            return pack_address(".".join(reversed(ipv4.split("."))))
        if ipv6 != reverse_name:
            digits = "".join(reversed(ipv6.split(".")))
            return bytes.fromhex(digits) if len(digits) == 32 else b""
    except (OSError, ValueError):
        pass
    return b""
