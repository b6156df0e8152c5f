"""The drivers: what an endpoint is in the kernel, for each kind of network.

Kernel work runs in one worker thread, so that the event loop never waits for the kernel's lock on links and changes do
not overtake each other. Drivers are synchronous and run there.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from ipaddress import ip_interface, ip_network
from typing import Protocol, TypeVar

from .. import errors
from ..config import DEFAULT_BRIDGE, EngineConfig
from . import host
from .bridge import Bridge
from .firewall import BridgeRules, Firewall, choose
from .netlink import Netlink
from .records import EndpointRecord, NetworkRecord
from .sandbox import Namespace
from .settings import ISOLATED, ROUTED, BridgeSettings

logger = logging.getLogger(__name__)

T = TypeVar("T")


class Kernel:
    """The worker thread, and what it works with."""

    def __init__(self, config: EngineConfig) -> None:
        self.config = config
        self.netlink = Netlink()
        versions = [version for version in (4, 6) if config.bridge.has_rules(version)]
        self.firewall: Firewall | None = (
            choose(config.firewall_backend, versions, through_input=config.bridge.published_ports_through_input)
            if versions
            else None
        )
        self.opened: set[int] = set()
        """The address families that the host did not forward before the daemon started."""
        self._worker = ThreadPoolExecutor(1, "networks")

    async def run(self, work: Callable[..., T], *arguments: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._worker, work, *arguments)

    def run_later(self, work: Callable[..., object], *arguments: object) -> None:
        """Do what nobody waits for, after what was asked for before and before what will be; `close` waits for it."""
        self._worker.submit(work, *arguments).add_done_callback(_log_failure)

    def redirect(self, address: str, *, udp: int, tcp: int) -> None:
        """In the calling thread's namespace, have port 53 of an address lead to these ports of it."""
        if not self.redirects_anywhere:
            from .iptables import redirect
        else:
            from .nftables import redirect
        redirect(address, udp=udp, tcp=tcp)

    @property
    def redirects_anywhere(self) -> bool:
        """Whether `redirect` may be called in any thread: libiptc's tables are the worker's alone."""
        return self.firewall is None or self.firewall.name != "iptables"

    def drop_forwarding(self, opened: Collection[int]) -> None:
        """Close for others what was opened for containers."""
        if self.firewall is not None and not self.config.bridge.ip_forward_no_drop:
            for version in filter(self.config.bridge.has_rules, opened):
                self.firewall.drop_forwarding(version)

    def close(self) -> None:
        self._worker.shutdown()
        self.netlink.close()
        if self.firewall is not None:
            self.firewall.close()


class Driver(Protocol):
    """One network in the kernel. Used in the worker thread."""

    def set_up(self) -> None:
        """Make what the network needs before anybody is on it, or take over what is there."""

    def tear_down(self) -> None:
        """Remove it; nobody is on it."""

    def attach(self, endpoint: EndpointRecord, namespace: Namespace, *, gateways: tuple[str, ...]) -> None:
        """Connect a namespace, with the default routes that go by this network."""

    def detach(self, endpoint: EndpointRecord) -> None:
        """Disconnect an endpoint whose namespace is about to end."""

    def delete(self, endpoint: EndpointRecord, namespace: Namespace | None = None) -> None:
        """Disconnect an endpoint whose namespace may live on, and is given where it is there; it may be gone."""

    def adopt(self, endpoint: EndpointRecord) -> bool:
        """Make sure that a running container is connected; tell whether its link is there."""


class BridgeDriver:
    """A bridge network: a bridge on the host, and rules for what passes it."""

    def __init__(self, kernel: Kernel, record: NetworkRecord, settings: BridgeSettings) -> None:
        self.settings = settings
        self._kernel, self._record = kernel, record
        self.bridge = Bridge(settings, kernel.netlink)

    @property
    def rules(self) -> BridgeRules:
        config = self._kernel.config.bridge
        subnets = {
            pool.is_ipv6: pool.subnet for pool in self._record.pools if config.has_rules(6 if pool.is_ipv6 else 4)
        }
        return BridgeRules(
            self.settings.name,
            subnets.get(False, ""),
            subnets.get(True, ""),
            icc=self.settings.icc,
            masquerade=self.settings.masquerade,
            internal=self.settings.internal,
            modes=self.settings.modes,
            host_addresses=self.settings.host_addresses,
            direct=config.allow_direct_routing,
            trusted=self.settings.trusted,
            accept_mark="" if self.settings.internal else config.accept_mark,
            through_input=config.published_ports_through_input,
        )

    def set_up(self) -> None:
        try:
            opened = self.set_up_link()
            if self._kernel.firewall is not None:
                self._kernel.firewall.add_bridge(self.rules)
                self._kernel.drop_forwarding(opened)
        except errors.Error:
            self.tear_down()
            raise

    def set_up_link(self) -> set[int]:
        """Make the bridge alone: when the daemon starts, the rules of all are made at once.

        Return the families that the host did not forward before.
        """
        try:
            self.bridge.set_up()
            gateways = [
                ip_interface(f"{pool.gateway}/{ip_network(pool.subnet).prefixlen}")
                for pool in self._record.pools
                if pool.gateway and not self._is_without_address(ipv6=pool.is_ipv6)
            ]
            is_ours = self.settings.is_default and self.settings.name == DEFAULT_BRIDGE
            self.bridge.set_addresses(*gateways, replace=is_ours)
            if self._kernel.config.bridge.has_rules(4):
                host.enable_local_routing(self.settings.name)
            return self._open_forwarding()
        except OSError as error:
            raise errors.Internal(f"setting up the bridge {self.settings.name} failed: {error}") from error

    def tear_down(self) -> None:
        if self._kernel.firewall is not None:
            self._kernel.firewall.remove_bridge(self.rules)
        if not self._record.link_is_users:
            self.bridge.delete_link(self.settings.name)

    def attach(self, endpoint: EndpointRecord, namespace: Namespace, *, gateways: tuple[str, ...]) -> None:
        try:
            self.bridge.attach(endpoint, namespace, gateways=gateways)
        except OSError as error:
            name = self.settings.name
            raise errors.Internal(f"connecting {endpoint.link} to the bridge {name} failed: {error}") from error

    def detach(self, endpoint: EndpointRecord) -> None:
        self.bridge.detach(endpoint.link)

    def delete(self, endpoint: EndpointRecord, namespace: Namespace | None = None) -> None:
        self.bridge.delete_link(endpoint.link)

    def adopt(self, endpoint: EndpointRecord) -> bool:
        return self.bridge.adopt(endpoint.link)

    def is_routed(self, version: int) -> bool:
        return self.settings.modes[version == 6] == ROUTED

    def _is_without_address(self, *, ipv6: bool) -> bool:
        return self.settings.modes[ipv6] == ISOLATED or (self.settings.inhibit_ipv4 and not ipv6)

    def _open_forwarding(self) -> set[int]:
        if not self._kernel.config.bridge.ip_forward or self.settings.internal:
            return set()
        versions = {6 if pool.is_ipv6 else 4 for pool in self._record.pools}
        return {version for version in versions if host.enable_forwarding(version)}


def attach_all(steps: Sequence[tuple[Driver, EndpointRecord, tuple[str, ...]]], namespace: Namespace) -> None:
    """Connect a new namespace to all its networks."""
    for driver, endpoint, gateways in steps:
        driver.attach(endpoint, namespace, gateways=gateways)


def _log_failure(done: Future[object]) -> None:
    error = done.exception()
    if error is not None:
        logger.error("cleaning up in the kernel failed", exc_info=error)
