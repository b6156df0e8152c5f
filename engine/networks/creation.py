"""Making and removing networks: their pools, their drivers, and what plugins are asked for either.

Used by the `Networks` service, from the event loop's thread.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from contextlib import AsyncExitStack
from ipaddress import ip_network

from msgspec.structs import replace

from ...openapi.types import networks as api
from .. import errors
from ..store import Table
from . import defaultbridge, definition, files, host, ipam, settings, startup
from .driver import BridgeDriver, Driver, Kernel
from .network import BUILT_IN_IPAM, Network, gateway_versions
from .parentlink import ParentLinkDriver
from .records import NetworkRecord, Pool
from .remote import addresses, networks
from .remote.plugin import NetworkPlugin
from .remote.plugins import RemotePlugins

logger = logging.getLogger(__name__)

GATEWAY_NETWORK = "docker_gwbridge"
_GLOBAL_SOURCES: tuple[ipam.SubnetSource, ...] = ((ip_network("10.0.0.0/8"), 24),)
"""dockerd's pools for networks that reach beyond the host."""


class Creation:
    """`known` by their ids is the service's own, as it changes."""

    def __init__(
        self, kernel: Kernel, known: dict[str, Network], table: Table[NetworkRecord], plugins: RemotePlugins
    ) -> None:
        self._kernel, self._networks, self._table, self._plugins = kernel, known, table, plugins
        self._gateway_lock = asyncio.Lock()

    async def create(
        self, request: api.NetworkCreateRequest, *, default_options: Mapping[str, Mapping[str, str]]
    ) -> Network:
        """Make a network; on failure nothing of it remains."""
        record = definition.define(request, find=self.by_name, default_options=default_options)
        if record.config_only:
            return self._keep(Network(record, None))
        definition.check_driver(record.driver)
        plugin = None
        if record.driver not in definition.DRIVERS:
            plugin = await self._plugins.network(record.driver, retry=False)
            record = replace(record, driver=plugin.name, scope=plugin.scope)
        record = definition.settle(request, record, find=self.by_name)
        driver = startup.driver_of(self._kernel, record)
        self._refuse_same_link(record, driver)
        async with AsyncExitStack() as undo:
            record = await self._with_pools(undo, record, plugin)
            if self.by_name(record.name) is not None:  # another one, while a plugin was asked
                raise errors.AlreadyExists(f"network with name {record.name} already exists")
            if isinstance(driver, BridgeDriver):
                record = replace(record, link_is_users=driver.bridge.exists())
            elif isinstance(driver, ParentLinkDriver):
                record = replace(record, link_is_users=driver.parent_exists())
            network = await self._make(Network(record, startup.driver_of(self._kernel, record)), plugin)
            undo.pop_all()
        return network

    async def gateway_network(self) -> Network:
        """Return the network by which containers leave that their plugins give no way out, made where it is not."""
        async with self._gateway_lock:
            for network in self._networks.values():
                if network.record.name == GATEWAY_NETWORK:
                    return network
            options = {
                f"{settings.BRIDGE}.enable_icc": "false",
                f"{settings.BRIDGE}.enable_ip_masquerade": "true",
                f"{settings.BRIDGE}.name": GATEWAY_NETWORK,
            }
            request = api.NetworkCreateRequest(
                name=GATEWAY_NETWORK, driver="bridge", options=options, enable_ipv4=True, enable_ipv6=False
            )
            return await self.create(request, default_options={})

    async def remove(self, network: Network) -> None:
        """Remove a network that nobody is on."""
        record, plugin = network.record, None
        if record.driver not in definition.DRIVERS:
            try:
                plugin = await self._plugins.network(record.driver)
            except errors.Error as error:
                raise errors.Internal(f"error while removing network: failed deleting Network: {error}") from error
        del self._networks[record.id]
        if network.driver is not None:
            self._table.put(record.id, replace(record, unfinished=True))
            await self._release_pools(record)
            if plugin is not None:
                await networks.delete(plugin, record)
            await self._kernel.run(network.driver.tear_down)
        self._table.delete(record.id)

    async def finish_removal(self, record: NetworkRecord) -> None:
        """Have plugins take back what an earlier daemon was making or removing when it ended."""
        await self._release_pools(record)
        if record.driver not in definition.DRIVERS:
            try:
                await networks.delete(await self._plugins.network(record.driver), record)
            except errors.Error as error:
                logger.warning("network %s may be left at its plugin: %s", record.name, error)
        self._table.delete(record.id)

    def by_name(self, name: str) -> NetworkRecord | None:
        for network in self._networks.values():
            if network.record.name == name:
                return network.record
        return None

    def _keep(self, network: Network) -> Network:
        self._networks[network.record.id] = network
        self._table.put(network.record.id, network.record)
        return network

    async def _make(self, network: Network, plugin: NetworkPlugin | None) -> Network:
        record = network.record
        self._networks[record.id] = network  # its subnet and name are taken from here on
        try:
            if network.driver is not None:
                self._table.put(record.id, replace(record, unfinished=True))
                if plugin is not None:
                    await networks.create(plugin, record)
                await self._kernel.run(network.driver.set_up)
            return self._keep(network)
        except BaseException:
            del self._networks[record.id]
            self._table.delete(record.id)
            raise

    async def _with_pools(
        self, undo: AsyncExitStack, record: NetworkRecord, plugin: NetworkPlugin | None
    ) -> NetworkRecord:
        """Return the record with subnets, and with gateways where its driver wants them."""
        versions = gateway_versions(record)
        if plugin is not None and plugin.checks_gateways:
            versions = await networks.gateway_versions(plugin, record)
        is_global = record.scope == "global"
        if record.ipam_driver == "null":
            return replace(record, pools=_no_pools(record))
        if record.ipam_driver in BUILT_IN_IPAM:
            record = self._pools(is_global=is_global).complete(record, gateway_versions=versions)
            space = "GlobalDefault" if is_global else "LocalDefault"
            return replace(record, pools=tuple(replace(pool, address_space=space) for pool in record.pools))
        source = await self._plugins.addresses(record.ipam_driver, retry=False)
        record = await addresses.request_pools(
            source,
            replace(record, ipam_driver=source.name),
            is_global=is_global,
            gateway_versions=versions,
            routed=_routed(),
        )
        undo.push_async_callback(addresses.release_pools, source, record)
        return record

    async def _release_pools(self, record: NetworkRecord) -> None:
        if record.ipam_driver in BUILT_IN_IPAM:
            return
        try:
            await addresses.release_pools(await self._plugins.addresses(record.ipam_driver), record)
        except errors.Error as error:
            logger.warning("network %s: its pools could not be given back: %s", record.name, error)

    def _pools(self, *, is_global: bool) -> definition.Pools:
        """What subnets there are to choose from now."""
        used = [one.record for one in self._networks.values() if not one.record.config_only]
        taken = [ip_network(pool.subnet) for record in used if record.ipam_driver == "default" for pool in record.pools]
        sources = defaultbridge.sources(self._kernel.config)
        none = self.by_name("none")
        own = ipam.unique_local_source(none.id if none is not None else "")
        local = [source for source in sources if source[0].version == 4] or ipam.NETWORK_SOURCES
        return definition.Pools(
            sources=_GLOBAL_SOURCES if is_global else local,
            ipv6_source=next((source for source in sources if source[0].version == 6), own),
            taken=taken,
            routed=_routed,
        )

    def _refuse_same_link(self, record: NetworkRecord, driver: Driver | None) -> None:
        """Refuse a network whose bridge or parent is another network's."""
        for other in self._networks.values():
            if isinstance(driver, BridgeDriver) and isinstance(other.driver, BridgeDriver):
                name = driver.settings.name
                if other.driver.settings.name == name:
                    raise errors.Forbidden(
                        f"cannot create network {record.id} ({name}): conflicts with network {other.record.id} "
                        f"({name}): networks have same bridge name"
                    )
            if isinstance(driver, ParentLinkDriver) and isinstance(other.driver, ParentLinkDriver):
                parent = driver.parent
                if other.driver.parent == parent:
                    raise errors.Forbidden(f"network {other.record.id} is already using parent interface {parent}")


def _routed() -> list[ipam.Subnet]:
    """Return what the host reaches, and the nameservers that it asks."""
    return [*host.routes_now(), *host.single(files.host_nameservers())]


def _no_pools(record: NetworkRecord) -> tuple[Pool, ...]:
    """Return what stands for pools where a network's driver knows the addresses alone."""
    subnets = [subnet for version, subnet in ((4, "0.0.0.0/0"), (6, "::/0")) if record.has_version(version)]
    return tuple(Pool(subnet=subnet, chosen=True, address_space="null") for subnet in subnets)
