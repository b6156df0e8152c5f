"""What the firewall has to do for bridges and containers, whichever backend does it, and the choice of the backend.

Ports are published by address translation in the kernel alone: from outside, from the host (by 127.0.0.1 too) and
from containers. Backends are synchronous and run in the networks room's worker thread.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol

from ..errors import Error, Internal
from . import settings
from .records import PortBinding

logger = logging.getLogger(__name__)

IPTABLES_NAMES = {4: "/proc/thread-self/net/ip_tables_names", 6: "/proc/thread-self/net/ip6_tables_names"}


@dataclass(frozen=True, slots=True)
class BridgeRules:
    """What holds for a bridge with everything on it. A family without a subnet is not on it."""

    name: str
    subnet: str = ""
    subnet_ipv6: str = ""
    icc: bool = True
    masquerade: bool = True
    internal: bool = False
    modes: tuple[str, str] = (settings.NAT, settings.NAT)
    """The gateway mode of IPv4 and that of IPv6."""
    host_addresses: tuple[str, str] = ("", "")
    """What containers are seen as from outside; empty: the address of the interface that they leave by."""
    direct: bool = False
    """Whether published ports are open on the containers' own addresses, too."""
    trusted: tuple[str, ...] = ()
    """Links of the host from which they are open so, where they are not from everywhere."""
    accept_mark: str = ""
    """The firewall mark, as `0x1/0xff`, of packets that come in from anywhere; not for internal bridges."""
    through_input: bool = False
    """Whether published ports are translated for containers alone, not for what comes from other hosts."""

    def subnet_of(self, version: int) -> str:
        return self.subnet if version == 4 else self.subnet_ipv6

    def mode_of(self, version: int) -> str:
        return self.modes[version == 6]

    def translates(self, version: int) -> bool:
        """Whether containers go out as the host."""
        mode = self.mode_of(version)
        return self.masquerade and not self.internal and mode in (settings.NAT, settings.UNPROTECTED)

    def opens(self, version: int) -> bool:
        """Whether published ports are reached by the containers' own addresses."""
        return self.mode_of(version) == settings.ROUTED or (self.direct and not self.internal)

    def host_address_of(self, version: int) -> str:
        return self.host_addresses[version == 6]


@dataclass(frozen=True, slots=True)
class EndpointRules:
    """The published ports of one container in one family. `routed`: reached by its own address, not by the host's;
    `direct`: by both."""

    address: str
    bindings: tuple[PortBinding, ...]
    routed: bool = False
    direct: bool = False
    trusted: tuple[str, ...] = ()
    """Links of the host from which it is both."""

    @property
    def version(self) -> int:
        return 6 if ":" in self.address else 4


class Firewall(Protocol):
    """A backend. It remembers what it was told, and puts back what someone else has flushed."""

    name: str

    def start(self, bridges: Collection[BridgeRules], endpoints: Collection[EndpointRules]) -> None:
        """Make the rules exactly these, whatever an earlier daemon left; established connections go on."""

    def drop_forwarding(self, version: int) -> None:
        """Forward nothing but what the rules allow: the host did not forward before the daemon made it."""

    def add_bridge(self, bridge: BridgeRules) -> None:
        """Add a bridge, at once or not at all."""

    def remove_bridge(self, bridge: BridgeRules) -> None:
        """Remove a bridge that nobody is on."""

    def add(self, *endpoints: EndpointRules) -> None:
        """Add all ports of a container, at once or not at all."""

    def remove(self, *endpoints: EndpointRules) -> None:
        """Remove all ports of a container, at once."""

    def restore(self) -> None:
        """Put back what someone else has flushed."""

    def close(self) -> None:
        """Let go of the kernel's interface; the rules stay."""


def is_any(address: str) -> bool:
    """Whether a port is published on all addresses of the host, of one family."""
    return address in ("0.0.0.0", "::")


def has_tables(names: str) -> bool:
    """Whether the network namespace has tables of ip_tables; asking libiptc would make them."""
    try:
        with open(names) as tables:
            return "filter" in tables.read().split()
    except FileNotFoundError:
        return False


def clear_other(backend: str) -> set[int]:
    """Remove what the other backend left, of an earlier configuration; return the families that it forwarded for.

    Only for its own: the backend that comes now has to drop the same.
    """
    try:
        if backend == "nftables":
            if not any(map(has_tables, IPTABLES_NAMES.values())):
                return set()
            from .iptables import clear
        else:
            from .nftables import clear
        return clear()
    except (ImportError, OSError, Error) as error:
        logger.debug("the other firewall backend has nothing here: %s", error)
        return set()


def choose(backend: str, versions: Collection[int], *, through_input: bool) -> Firewall:
    """Return the backend that the configuration names; `auto` is nftables where kernel and library have it.

    It makes rules for these address families alone. With `through_input` it translates nothing that comes from other
    hosts to published ports: that goes to the sockets of the shims, by the host's own input rules.
    """
    if backend in ("auto", "", "nftables"):
        from .nftables import Nftables

        try:
            return Nftables(versions, through_input=through_input)
        except OSError as error:
            if backend == "nftables":
                raise Internal(f"the firewall backend nftables does not work here: {error}") from error
            logger.info("nftables does not work here (%s), using iptables", error)
    from .iptables import Iptables

    try:
        return Iptables(versions, through_input=through_input)
    except OSError as error:
        raise Internal(f"the firewall backend iptables does not work here: {error}") from error
