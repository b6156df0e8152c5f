"""Containers on the networks of plugins: what the plugins are asked when one joins, changes and leaves.

The order is libnetwork's: addresses, CreateEndpoint, Join, the link moved in, ProgramExternalConnectivity, and back
again. Used by `Sandboxes` from the event loop's thread.
"""

from __future__ import annotations

import base64
import dataclasses
import logging
from collections.abc import Callable, Collection, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from ... import errors
from ...plugins.client import Refused
from .. import ipam, plan
from ..driver import Kernel
from ..network import EndpointRequest, Lease, Network
from ..publishing import no_connectivity
from ..records import EndpointRecord, RemoteEndpoint, SandboxRecord
from ..sandbox import in_own_thread, join_namespace
from . import addresses, answers, keys
from .plugin import NetworkPlugin
from .plugins import RemotePlugins

logger = logging.getLogger(__name__)

NO_PORTS: dict[str, Any] = {"com.docker.network.endpoint.exposedports": [], "com.docker.network.portmap": []}
_DNS_SERVERS = "com.docker.network.endpoint.dnsservers"
_NO_PROXY = "com.docker.network.driver.private.no_proxy_6to4"


class Joining:
    """`networks` by their ids is the service's own; `directory` is where namespaces get files."""

    def __init__(self, plugins: RemotePlugins, kernel: Kernel, networks: dict[str, Network], directory: Path) -> None:
        self._plugins, self._kernel, self._networks, self._directory = plugins, kernel, networks, directory

    def sweep(self, records: Collection[SandboxRecord]) -> None:
        """Remove what a killed daemon left of containers that never ran."""
        keys.sweep(self._directory, {record.key for record in records})

    async def request_addresses(
        self, undo: AsyncExitStack, network: Network, request: EndpointRequest
    ) -> tuple[EndpointRequest, dict[int, Lease] | None]:
        """Return what a plugin gives an endpoint, and the request with what the plugin had to know."""
        if not network.is_addressed_by_plugin:
            return request, None
        record = network.record
        plugin = await self._plugins.addresses(record.ipam_driver)
        if plugin.needs_mac_address and not request.mac_address:
            request = dataclasses.replace(request, mac_address=ipam.random_mac_address())
        wanted = {4: request.ipv4_address, 6: request.ipv6_address}
        found = await addresses.request_addresses(plugin, record, wanted, mac_address=request.mac_address)
        taken = [str(interface.ip) for interface in found.values()]
        undo.push_async_callback(addresses.release_addresses, plugin, record, taken)
        return request, {version: (found[version].ip, found[version].network.prefixlen) for version in found}

    async def join(
        self,
        undo: AsyncExitStack,
        record: SandboxRecord,
        fresh: Sequence[EndpointRecord],
        netns_fd: int,
        save: Callable[[SandboxRecord], None],
    ) -> SandboxRecord:
        """Have plugins make new endpoints of a sandbox; return it with what they said.

        `save` is told before the first is asked, so that the next daemon gives back what this one may not live to.
        """
        if not any(endpoint.remote is not None for endpoint in fresh):
            return record
        if not record.key:
            record = replace(record, key=keys.pin(self._directory, record.sandbox_id, netns_fd))
            undo.callback(keys.unpin, record.key)
        save(record)
        for endpoint in fresh:
            if endpoint.remote is None:
                continue
            try:
                plugin = await self._plugins.network(endpoint.network_driver)
            except errors.Error as error:
                raise type(error)(f"failed to add endpoint: {error}") from error
            made = await self._create(undo, plugin, record, endpoint)
            made = await self._join(undo, plugin, record, made)
            record = self._note(record, made)
        return record

    async def program(self, record: SandboxRecord) -> SandboxRecord:
        """Tell the plugins which endpoints are the container's way out now; return the sandbox as they know it."""
        remote = [endpoint for endpoint in record.endpoints if endpoint.remote is not None]
        ipv4, ipv6 = record.gateway_endpoint(), record.gateway_endpoint(ipv6=True)
        for endpoint in sorted(remote, key=lambda one: one is ipv4 or one is ipv6):
            assert endpoint.remote is not None  # chosen above
            is_inside = self._networks[endpoint.network_id].record.internal
            wanted = (endpoint is ipv4 and not is_inside, endpoint is ipv6 and not is_inside)
            if endpoint.remote.programmed == wanted:
                continue
            plugin = await self._plugins.network(endpoint.network_driver)
            if any(wanted):
                options = {**_ports(record), _NO_PROXY: ipv6 is not None and endpoint is not ipv6}
                await _program(plugin, endpoint, options)
            else:
                await plugin.tell("RevokeExternalConnectivity", _ids(endpoint))
            record = self._note(record, replace(endpoint, remote=replace(endpoint.remote, programmed=wanted)))
        for endpoint in remote:
            plugin = await self._plugins.network(endpoint.network_driver)
            await plugin.tell("EndpointOperInfo", _ids(endpoint))
        return record

    async def leave(self, record: SandboxRecord, endpoints: Collection[EndpointRecord], *, waits: bool = True) -> None:
        """Take endpoints back: from the container, from their plugins. What fails is logged, and the rest goes on.

        `waits` some seconds for plugins that do not answer.
        """
        for endpoint in endpoints:
            if endpoint.remote is not None:
                await self._leave(record, endpoint, endpoint.remote, waits=waits)
            network = self._networks.get(endpoint.network_id)
            if network is None or not network.is_addressed_by_plugin:
                continue
            try:
                plugin = await self._plugins.addresses(network.record.ipam_driver, retry=False)
            except errors.Error as error:
                logger.warning("%s: its addresses could not be given back: %s", record.container_id, error)
            else:
                await addresses.release_addresses(plugin, network.record, addresses.of(endpoint), waits=waits)

    def close(self, record: SandboxRecord) -> None:
        """Let go of a container's namespace."""
        if record.key:
            keys.unpin(record.key)

    def _note(self, record: SandboxRecord, changed: EndpointRecord) -> SandboxRecord:
        self._networks[changed.network_id].endpoints[changed.container_id] = changed
        return plan.with_endpoint(record, changed)

    async def _create(
        self, undo: AsyncExitStack, plugin: NetworkPlugin, record: SandboxRecord, endpoint: EndpointRecord
    ) -> EndpointRecord:
        request = {
            **_ids(endpoint),
            "Interface": {
                "Address": f"{endpoint.ip_address}/{endpoint.prefix_len}" if endpoint.ip_address else "",
                "AddressIPv6": f"{endpoint.ipv6_address}/{endpoint.ipv6_prefix_len}" if endpoint.ipv6_address else "",
                "MacAddress": endpoint.mac_address,
            },
            "Options": self._options(record, endpoint),
        }
        try:
            answer = await plugin.ask("CreateEndpoint", request)
            try:
                made = answers.created(endpoint, answer)
            except errors.Internal as error:
                raise await _rolled_back(plugin, "DeleteEndpoint", endpoint, error) from error
        except errors.Internal as error:
            text = f"failed to create endpoint {endpoint.container_name} on network {endpoint.network_name}"
            raise errors.Internal(f"{text}: {error}") from error
        undo.push_async_callback(plugin.tell, "DeleteEndpoint", _ids(endpoint))
        undo.push_async_callback(self._move_back, record, endpoint)
        return made

    async def _join(
        self, undo: AsyncExitStack, plugin: NetworkPlugin, record: SandboxRecord, endpoint: EndpointRecord
    ) -> EndpointRecord:
        request = {**_ids(endpoint), "SandboxKey": record.key, "Options": _ports(record)}
        answer = await plugin.ask("Join", request)
        try:
            made = answers.joined(endpoint, answer)
        except errors.Internal as error:
            raise await _rolled_back(plugin, "Leave", endpoint, error) from error
        undo.push_async_callback(plugin.tell, "Leave", _ids(endpoint))
        return made

    async def _leave(
        self, record: SandboxRecord, endpoint: EndpointRecord, remote: RemoteEndpoint, *, waits: bool
    ) -> None:
        plugin: NetworkPlugin | None = None
        try:
            plugin = await self._plugins.network(endpoint.network_driver, retry=False)
        except errors.Error as error:
            logger.warning("%s: %s is not told that it leaves: %s", record.container_id, endpoint.network_driver, error)
        is_there = plugin is not None
        if plugin is not None and any(remote.programmed):
            is_there = await plugin.tell("RevokeExternalConnectivity", _ids(endpoint), waits=waits)
        if plugin is not None and is_there:
            is_there = await plugin.tell("Leave", _ids(endpoint), waits=waits)
        await self._move_out(record, endpoint)
        if plugin is not None and is_there:
            await plugin.tell("DeleteEndpoint", _ids(endpoint), waits=waits)

    async def _move_back(self, record: SandboxRecord, endpoint: EndpointRecord) -> None:
        """Do so with an endpoint that has got its interface's name since."""
        await self._move_out(record, self._networks[endpoint.network_id].endpoints.get(record.container_id, endpoint))

    async def _move_out(self, record: SandboxRecord, endpoint: EndpointRecord) -> None:
        driver = self._networks[endpoint.network_id].driver if endpoint.network_id in self._networks else None
        if driver is None or not record.key or not endpoint.link:
            return
        try:
            namespace = await in_own_thread(lambda: join_namespace(record.key))
        except OSError:
            return  # the host was started anew since
        try:
            await self._kernel.run(driver.delete, endpoint, namespace)
        except OSError as error:
            logger.warning("%s: link %s is not given back: %s", record.container_id, endpoint.link, error)
        finally:
            namespace.close()

    def _options(self, record: SandboxRecord, endpoint: EndpointRecord) -> dict[str, Any]:
        """Return what a plugin hears of an endpoint's container; of internal networks less."""
        options: dict[str, Any] = dict(endpoint.driver_opts)
        if not self._networks[endpoint.network_id].record.internal:
            options |= _ports(record)
            if servers := [address for address, is_host in record.servers if not is_host]:
                options[_DNS_SERVERS] = servers
        if endpoint.mac_address:
            octets = bytes.fromhex(endpoint.mac_address.replace(":", ""))
            options[addresses.MAC_ADDRESS] = base64.b64encode(octets).decode()
        return options


def _ids(endpoint: EndpointRecord) -> dict[str, Any]:
    return {"NetworkID": endpoint.network_id, "EndpointID": endpoint.endpoint_id}


def _ports(record: SandboxRecord) -> dict[str, Any]:
    return record.port_options or NO_PORTS


async def _program(plugin: NetworkPlugin, endpoint: EndpointRecord, options: dict[str, Any]) -> None:
    try:
        await plugin.ask("ProgramExternalConnectivity", {**_ids(endpoint), "Options": options})
    except Refused as error:
        if error.status != 404:  # a plugin need not know the method
            raise no_connectivity(endpoint, error) from error
    except errors.Internal as error:
        raise no_connectivity(endpoint, error) from error


async def _rolled_back(
    plugin: NetworkPlugin, verb: str, endpoint: EndpointRecord, error: errors.Error
) -> errors.Internal:
    """Have the plugin undo what it answered rubbish about; return the error to raise."""
    try:
        await plugin.ask(verb, _ids(endpoint))
    except errors.Error as failure:
        return errors.Internal(f"{failure}; failed to roll back: {error}")
    return errors.Internal(f"{error}; rolled back")
