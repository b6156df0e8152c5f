"""The networks service: the predefined networks, those that users make, and each running container's sandbox.

The containers room calls `allocate` at start and `release` after exit, `connect` and `disconnect` in between; the API
makes, removes, lists and inspects. `restore` puts right what changed while no daemon was there.
"""

from __future__ import annotations

import asyncio
import builtins
import logging
import time
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence

from msgspec.structs import replace

from ...openapi.types import networks as api
from .. import errors, ids
from ..config import EngineConfig
from ..filters import Filters
from ..store import Store
from ..times import rfc3339
from . import definition, files, ports, startup, views
from .creation import Creation
from .driver import Kernel
from .names import ADDRESS, Fork
from .network import BUILT_IN_IPAM, PREDEFINED, SETUP_FAILED, EndpointRequest, Network, check_together
from .plan import names_of
from .ports import PortWishes
from .ready import MakeNamespace
from .records import EndpointRecord, NetworkRecord, SandboxRecord
from .remote import addresses
from .remote.plugin import AddressPlugin
from .remote.plugins import RemotePlugins
from .sandboxes import Sandbox, Sandboxes

logger = logging.getLogger(__name__)

LIST_FILTERS = ("dangling", "driver", "id", "label", "name", "scope", "type")
PRUNE_FILTERS = ("label", "label!", "until")

Publish = Callable[[str, str, str, Mapping[str, str]], None]


class Networks:
    """The service. Used from the event loop's thread alone."""

    def __init__(self, store: Store, publish: Publish) -> None:
        self._store, self._publish = store, publish
        self._network_table = store.table("networks", NetworkRecord)
        self._networks: dict[str, Network] = {}
        self._sandboxes = Sandboxes(store)
        self._config = EngineConfig()
        self._kernel: Kernel | None = None
        self._creation: Creation | None = None
        self.plugins = RemotePlugins()
        self._background: set[asyncio.Task[None]] = set()

    async def start(self, config: EngineConfig, fork_resolver: Fork) -> None:
        """Bring up all networks, with the rules of the endpoints that the store knows."""
        self._config = config
        stored = sorted((record for _, record in self._network_table.all()), key=lambda record: record.created_ns)
        records = {record.name: record for record in stored if not record.unfinished}
        with self._store.transaction():
            for name, driver in PREDEFINED.items():
                if name not in records:
                    now_ns = time.time_ns()
                    created = rfc3339(now_ns)
                    records[name] = NetworkRecord(
                        id=ids.new_id(), name=name, driver=driver, created=created, created_ns=now_ns
                    )
                    self._network_table.put(records[name].id, records[name])
        if config.bridge_disabled:
            del records["bridge"]
        self._kernel = Kernel(config)
        creation = self._creation = Creation(self._kernel, self._networks, self._network_table, self.plugins)
        for record in [record for record in stored if record.unfinished]:
            await self._kernel.run(startup.remove, self._kernel, record)
            self._do_later(creation.finish_removal(record))
        for network in await self._kernel.run(startup.bring_up, self._kernel, list(records.values())):
            self._networks[network.record.id] = network
        self._sandboxes.open(self._kernel, self._networks, self.plugins, fork_resolver)
        self._sandboxes.make_gateway_network = creation.gateway_network
        self.plugins.replay = self._replay
        publishing = self._sandboxes.publishing
        rules = [rules for record in self._sandboxes for rules in publishing.rules(record)]
        await self._kernel.run(startup.make_rules, self._kernel, list(self._networks.values()), rules)

    async def stop(self) -> None:
        """Let go of what is ready but unused. Running containers' networks stay."""
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        await self._sandboxes.close()
        if self._kernel is not None:
            self._kernel.close()

    def reload(self) -> None:
        """Put the rules back that someone else has flushed."""
        if self._kernel is not None and self._kernel.firewall is not None:
            self._kernel.run_later(self._kernel.firewall.restore)

    async def restore(self, running: Collection[str]) -> None:
        """Keep the sandboxes of the containers that still run; release those of all others.

        Plugins that are not there are not waited for. Those that need to hear of their networks do so by and by.
        """
        for name in {network.record.ipam_driver for network in self._networks.values()} - {*BUILT_IN_IPAM}:
            self._do_later(self._wake(name))
        for record in self._sandboxes:
            if record.container_id not in running:
                await self.release(record.container_id, waits=False)
            else:
                await self._sandboxes.adopt(record)
        await self._sandboxes.restore_names()

    # -- what containers need -----------------------------------------------------------------------------------------

    async def allocate(
        self,
        container_id: str,
        requests: Sequence[EndpointRequest],
        *,
        name: str,
        hostname: str = "",
        wishes: PortWishes | None = None,
        upstream: files.Upstream | None = None,
        make_namespace: MakeNamespace | None = None,
        is_told: bool = True,
    ) -> Sandbox:
        """Make a container's sandbox, with everything outside it that it needs; on failure nothing remains.

        The first request is for the container's main network, which its first interface is on. `is_told` publishes
        events, which there are none of about the builder's containers.
        """
        await self.release(container_id, is_told=is_told)
        wishes = wishes or PortWishes()
        found = [(self._find_to_join(request.network), request) for request in requests]
        record = SandboxRecord(
            container_id=container_id,
            container_name=name,
            hostname=hostname,
            sandbox_id=ids.new_id(),
            exposed=ports.canonical({*wishes.exposed, *wishes.bindings}),
            servers=upstream.servers if upstream else (),
            ndots=upstream.ndots if upstream else False,
            port_options=ports.plugin_options(wishes),
        )
        if not all(network.record.driver == "bridge" for network, _ in found):
            check_together([network for network, _ in found])
            if found[0][0].record.driver in ("host", "null"):
                record = replace(record, exposed=())
        sandbox = await self._sandboxes.allocate(record, found, wishes, make_namespace=make_namespace)
        for endpoint in sandbox.record.endpoints if is_told else ():
            self._tell("connect", endpoint)
        return sandbox

    async def release(self, container_id: str, *, is_told: bool = True, waits: bool = True) -> None:
        """Take everything back that `allocate` gave, but the namespace, which the shim holds. May be repeated.

        `waits` for plugins that are not there.
        """
        record = await self._sandboxes.release(container_id, waits=waits)
        for endpoint in record.endpoints if record is not None and is_told else ():
            self._tell("disconnect", endpoint)

    async def connect(self, container_id: str, request: EndpointRequest, *, pid: int) -> SandboxRecord:
        """Put a running container on one more network, at once."""
        record = self._running(container_id)
        network = self._find(request.network)
        if existing := record.on(network.record.id):
            name = network.record.name
            raise errors.Forbidden(f"endpoint with name {existing.container_name} already exists in network {name}")
        self.check_joinable(network.record, [endpoint.network_id for endpoint in record.endpoints])
        changed = await self._sandboxes.connect(record, network, request, pid=pid)
        if (endpoint := changed.on(network.record.id)) is not None:
            self._tell("connect", endpoint)
        return changed

    async def disconnect(self, container_id: str, ref: str, *, pid: int) -> SandboxRecord:
        """Take a running container off a network, at once."""
        record = self._running(container_id)
        network = self._find(ref)
        endpoint = record.on(network.record.id)
        if endpoint is None:
            raise errors.Internal(f"container {container_id} is not connected to network {network.record.name}")
        changed = await self._sandboxes.disconnect(record, network, pid=pid)
        self._tell("disconnect", endpoint)
        return changed

    def check_joinable(self, record: NetworkRecord, others: Collection[str]) -> None:
        """Refuse networks that cannot be had together, where a container has `others` (names or ids)."""
        if record.driver == "host":
            raise errors.InvalidArgument(
                "cannot connect container to host network - container must be created in host network mode"
            )
        found = [network for network in self._networks.values() if {network.record.id, network.record.name} & {*others}]
        check_together([*found, self._networks[record.id]])

    def sandbox(self, container_id: str) -> SandboxRecord | None:
        """Return what a running container has."""
        return self._sandboxes.get(container_id)

    def published(self, record: SandboxRecord) -> dict[str, builtins.list[api.PortBinding] | None]:
        """Return a container's ports as `NetworkSettings.Ports` shows them; plugins' own are known to them alone."""
        is_plugins = bool(record.endpoints) and all(endpoint.remote is not None for endpoint in record.endpoints)
        return ports.port_map(self._sandboxes.publishing.published(record), () if is_plugins else record.exposed)

    def served(self, record: SandboxRecord) -> dict[str, tuple[str, int]]:
        """Return the ports that a container's shim is to serve, by the names of their sockets, and where they lead."""
        return self._sandboxes.publishing.served(record)

    def rename(self, container_id: str, name: str) -> None:
        """Show the container by its new name, and let the others find it by that."""
        record = self._sandboxes.get(container_id)
        if record is None:
            return
        record = replace(record, container_name=name)
        endpoints = []
        for endpoint in record.endpoints:
            if endpoint.is_gateway:
                endpoints.append(endpoint)
                continue
            names = names_of(record, endpoint.aliases) if endpoint.dns_names else ()
            endpoint = replace(endpoint, container_name=name, dns_names=names)
            self._networks[endpoint.network_id].endpoints[container_id] = endpoint
            endpoints.append(endpoint)
        self._sandboxes.put(replace(record, endpoints=tuple(endpoints)))
        self._sandboxes.write_names()

    def set_pids(self, pid_of: Callable[[str], int]) -> None:
        """Learn how to find the first process of a running container; asked for where the resolver has died."""
        self._sandboxes.pid_of = pid_of

    def find(self, ref: str) -> NetworkRecord:
        """Return the network that an id, a name or the beginning of an id stands for."""
        return self._find(ref).record

    def find_or_none(self, ref: str) -> NetworkRecord | None:
        try:
            return self._find(ref).record
        except errors.NotFound:
            return None

    def upstream(self, *, dns: Sequence[str], options: Sequence[str]) -> files.Upstream:
        """Return whom a container's resolver asks; what the container does not say, the configuration does."""
        return files.upstream(dns=dns or self._config.dns, options=options or self._config.dns_opts)

    def resolv_conf(
        self, mode: str, *, dns: Sequence[str], search: Sequence[str], options: Sequence[str], has_resolver: bool
    ) -> str:
        """Return a container's resolv.conf; what the container does not say, the daemon's configuration does."""
        dns, search = dns or self._config.dns, search or self._config.dns_search
        options = options or self._config.dns_opts
        if has_resolver:
            return files.resolver_conf(resolver=ADDRESS, dns=dns, search=search, options=options)
        return files.resolv_conf(dns=dns, search=search, options=options, host_network=mode == "host")

    def hosts_file(
        self, mode: str, *, hostname: str, domainname: str, ips: Sequence[str], extra_hosts: Sequence[str]
    ) -> str:
        """Return a container's hosts file; `ips` are its own addresses, where it has any."""
        return files.hosts_file(
            hostname=hostname,
            domainname=domainname,
            ip_addresses=ips,
            extra_hosts=extra_hosts,
            host_gateway_ips=self.host_gateway_ips,
            host_network=mode == "host",
        )

    @property
    def host_gateway_ips(self) -> tuple[str, ...]:
        """What `host-gateway` stands for in extra hosts."""
        bridge = next((network for network in self._networks.values() if network.record.name == "bridge"), None)
        if self._config.host_gateway_ips or bridge is None:
            return self._config.host_gateway_ips
        return tuple(pool.gateway for pool in bridge.record.pools if pool.gateway)

    # -- what the API asks --------------------------------------------------------------------------------------------

    @property
    def firewall_backend(self) -> str:
        """The backend in use, empty where there is none."""
        return self._kernel.firewall.name if self._kernel is not None and self._kernel.firewall is not None else ""

    def list(self, filters: Filters) -> builtins.list[api.NetworkInspect]:
        """Return the networks that match, without their containers."""
        filters.validate(LIST_FILTERS)
        return [views.inspect(one, whole=False) for one in views.select(self._networks.values(), filters)]

    def inspect(self, ref: str, *, scope: str = "") -> api.NetworkInspect:
        network = self._find(ref)
        if scope not in ("", network.record.scope):
            raise errors.NotFound(f"network {ref} not found")
        return views.inspect(network)

    async def create(self, request: api.NetworkCreateRequest) -> api.NetworkCreateResponse:
        definition.check_name(request.name, predefined=PREDEFINED)
        network = await self._made_by.create(request, default_options=self._config.default_network_opts)
        record = network.record
        self._sandboxes.prepare()
        self._publish("network", "create", record.id, {"name": record.name, "type": record.driver})
        return api.NetworkCreateResponse(id=record.id)

    async def remove(self, ref: str) -> None:
        network = self._find(ref)
        record = network.record
        if network.is_predefined:
            raise errors.Forbidden(f"{record.name} is a pre-defined network and cannot be removed")
        if record.config_only and any(other.record.config_from == record.name for other in self._networks.values()):
            raise errors.Forbidden(f'error while removing network: configuration network "{record.name}" is in use')
        if network.endpoints:
            found = network.endpoints.values()
            users = ", ".join(f'name:"{one.container_name}" id:"{ids.short_id(one.endpoint_id)}"' for one in found)
            raise errors.Forbidden(
                f"error while removing network: network {record.name} has active endpoints ({users})"
            )
        await self._delete(network)

    async def prune(self, filters: Filters) -> builtins.list[str]:
        """Remove the networks that users made and no container uses; return their names."""
        filters.validate(PRUNE_FILTERS)
        removed = []
        for network in views.prunable(self._networks.values(), filters):
            if any(other.record.config_from == network.record.name for other in self._networks.values()):
                continue
            try:
                await self._delete(network)
            except errors.Error as error:
                logger.warning("network %s is not pruned: %s", network.record.name, error)
                continue
            removed.append(network.record.name)
        self._publish("network", "prune", "", {"reclaimed": "0"})
        return removed

    def drivers(self) -> builtins.list[str]:
        """Return all drivers that there are, as `docker info` lists them."""
        used = {network.record.driver for network in self._networks.values()}
        return sorted({*definition.DRIVERS, *used, *self.plugins.managed_names()})

    def uses_plugin(self, name: str) -> bool:
        """Tell whether a network is made or gets addresses by a plugin."""
        return any(name in (one.record.driver, one.record.ipam_driver) for one in self._networks.values())

    async def _delete(self, network: Network) -> None:
        record = network.record
        await self._made_by.remove(network)
        if not record.config_only:
            self._publish("network", "destroy", record.id, {"name": record.name, "type": record.driver})

    async def _replay(self, plugin: AddressPlugin) -> None:
        for network in builtins.list(self._networks.values()):
            if network.record.ipam_driver == plugin.name:
                await addresses.replay(plugin, network.record, builtins.list(network.endpoints.values()))

    async def _wake(self, name: str) -> None:
        try:
            await self.plugins.addresses(name)
        except errors.Error as error:
            logger.warning("plugin %s: %s", name, error)

    def _do_later(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    @property
    def _made_by(self) -> Creation:
        assert self._creation is not None  # made by start
        return self._creation

    def _find(self, ref: str) -> Network:
        return views.find(self._networks.values(), ref)

    def _find_to_join(self, ref: str) -> Network:
        try:
            return self._find(ref)
        except errors.Error as error:
            raise type(error)(f"{SETUP_FAILED}{error}") from error

    def _running(self, container_id: str) -> SandboxRecord:
        record = self._sandboxes.get(container_id)
        if record is None:
            raise errors.Internal(f"container {container_id} has no sandbox")
        return record

    def _tell(self, action: str, record: EndpointRecord) -> None:
        if record.is_gateway:
            return  # it is not its user's
        attributes = {"container": record.container_id, "name": record.network_name, "type": record.network_driver}
        self._publish("network", action, record.network_id, attributes)
