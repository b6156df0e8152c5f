"""Running containers' places in the networks: made at start, changed by connect and disconnect, released after exit.

Each record is in the store, so that the next daemon knows what running containers have. Used by the `Networks` service
alone, from the event loop's thread; the containers room sees to it that a container's changes come one after another.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

from msgspec.structs import replace

from .. import errors
from ..store import Store
from . import messages
from .driver import Driver, Kernel
from .names import Fork, Names, listen, needs_names
from .network import SETUP_FAILED, EndpointRequest, Network
from .plan import all_gateways, missing, names_of, needs_gateway, with_interfaces, without_endpoint
from .ports import PortWishes
from .publishing import Publishing
from .ready import MakeNamespace, Place, ReadyPool, make_named_place, make_place, make_special_place
from .records import EndpointRecord, SandboxRecord
from .remote.joining import Joining
from .remote.plugins import RemotePlugins
from .sandbox import Namespace, of_process
from .wiring import Wiring

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Sandbox:
    """A container's place in the network. The caller hands the fds to the shim and then closes its own copies."""

    record: SandboxRecord
    netns_fd: int | None = None
    """None: the host's own namespace."""
    sockets: dict[str, socket.socket] = field(default_factory=dict)
    """They keep the published ports, for as long as the shim has them open; by the names that it knows them by."""
    served: dict[str, tuple[str, int]] = field(default_factory=dict)
    """Those of them that the shim serves itself, and where they lead."""

    @property
    def endpoint(self) -> EndpointRecord:
        """The endpoint on the container's main network."""
        return self.record.endpoints[0]

    def close(self) -> None:
        if self.netns_fd is not None:
            os.close(self.netns_fd)
            self.netns_fd = None
        while self.sockets:
            self.sockets.popitem()[1].close()


class Sandboxes:
    """The records of all that run."""

    def __init__(self, store: Store) -> None:
        self._table = store.table("sandboxes", SandboxRecord)
        self._records: dict[str, SandboxRecord] = {}
        self._places = ReadyPool(make_place)
        self._named_places = ReadyPool(lambda: make_named_place(self.kernel))
        self._kernel: Kernel | None = None
        self._publishing: Publishing | None = None
        self._networks: dict[str, Network] = {}
        self._names: Names | None = None
        self._joining: Joining | None = None
        self._wiring: Wiring | None = None
        self.make_gateway_network: Callable[[], Awaitable[Network]]
        """Gives the network by which containers leave that plugins give no way out. Set by the service."""
        self.pid_of: Callable[[str], int] = lambda container_id: 0
        """Gives the first process of a running container, 0 where there is none; set by the containers service."""

    def open(self, kernel: Kernel, networks: dict[str, Network], plugins: RemotePlugins, fork: Fork) -> None:
        """Read what an earlier daemon wrote; `networks` by their ids is the service's own, as it changes."""
        self._kernel, self._networks = kernel, networks
        exec_root = kernel.config.exec_root
        self._names = Names(exec_root / "resolver", fork, self._listen_again)
        self._joining = Joining(plugins, kernel, networks, exec_root / "netns")
        self._publishing = Publishing(kernel.config.bridge, self._driver)
        self._wiring = Wiring(kernel, self._publishing, self._driver)
        self._records = dict(self._table.all())
        for record in self._records.values():
            self.publishing.take(record.bindings)
            for endpoint in record.endpoints:
                if endpoint.network_id in networks:
                    networks[endpoint.network_id].take(endpoint)
        self.joining.sweep(self._records.values())
        self._places.refill()
        self.prepare()

    def prepare(self) -> None:
        """Have places with names ready where a network needs them."""
        if any(network.has_names and network.driver is not None for network in self._networks.values()):
            self._named_places.refill()

    async def close(self) -> None:
        """Let go of what is ready but unused. Running containers' networks stay."""
        await self._places.close()
        await self._named_places.close()
        if self._names is not None:
            await self._names.close(is_idle=not any(needs_names(record) for record in self))
        if self._wiring is not None:
            self._wiring.close()

    def __iter__(self) -> Iterator[SandboxRecord]:
        return iter(tuple(self._records.values()))

    def get(self, container_id: str) -> SandboxRecord | None:
        return self._records.get(container_id)

    @property
    def kernel(self) -> Kernel:
        assert self._kernel is not None  # opened by the service's start
        return self._kernel

    @property
    def publishing(self) -> Publishing:
        assert self._publishing is not None  # opened by the service's start
        return self._publishing

    @property
    def wiring(self) -> Wiring:
        assert self._wiring is not None  # opened by the service's start
        return self._wiring

    @property
    def joining(self) -> Joining:
        assert self._joining is not None  # opened by the service's start
        return self._joining

    @property
    def names(self) -> Names:
        assert self._names is not None  # opened by the service's start
        return self._names

    def put(self, record: SandboxRecord) -> None:
        """Note a record, in memory and on disk."""
        self._records[record.container_id] = record
        self._table.put(record.container_id, record)

    async def restore_names(self) -> None:
        """Have the resolver know exactly those who run."""
        self.write_names()
        await self.names.restore([record.container_id for record in self if needs_names(record)])

    def write_names(self) -> None:
        self.names.write(self._networks, self._records.values())

    async def adopt(self, record: SandboxRecord) -> None:
        """Make sure that a running container's links are where they belong."""
        half = [one for one in record.endpoints if one.remote is not None and not one.remote.is_joined]
        if half:
            await self.joining.leave(record, half, waits=False)
            kept = replace(record, endpoints=tuple(one for one in record.endpoints if one not in half))
            self._settle(record, kept)
            record = kept
        for endpoint in record.endpoints:
            driver = self._driver(endpoint)
            if driver is not None and not await self.kernel.run(driver.adopt, endpoint):
                logger.warning("%s: the container's link %s is gone", record.container_id, endpoint.link)

    async def allocate(
        self,
        record: SandboxRecord,
        requests: Sequence[tuple[Network, EndpointRequest]],
        wishes: PortWishes,
        *,
        make_namespace: MakeNamespace | None = None,
    ) -> Sandbox:
        """Make a container's sandbox, with everything outside it that it needs; on failure nothing remains.

        `make_namespace` gives a network namespace where it is to be a special one.
        """
        async with AsyncExitStack() as undo:
            try:
                record = await self._lease(undo, record, requests)
                if any(network.shares_namespace for network, _ in requests):
                    undo.pop_all()
                    self.put(record)
                    return Sandbox(record)
                place = await self._place(record, make_namespace)
                undo.callback(place.close)
                undo.callback(self._table.delete, record.container_id)
                record = await self._join(undo, record, record.endpoints, place.namespace.netns_fd)
                reservation = self.publishing.reserve(record, wishes)
                undo.callback(reservation.close)
                record = replace(record, bindings=tuple(reservation.bindings))
                undo.callback(self.publishing.free, record)
                undo.push_async_callback(self.wiring.unplug, record)
                await self.wiring.plug(record, place.namespace)
                record = await self.joining.program(record)
            except errors.Error as error:
                raise type(error)(f"{SETUP_FAILED}{error}") from error
            undo.pop_all()
        self.put(record)
        if place.listeners is not None:
            self.write_names()
            await self.names.add(record.container_id, place.listeners)
        served = self.publishing.served(record)
        return Sandbox(record, place.namespace.steal_fd(), reservation.sockets, served)

    async def release(self, container_id: str, *, waits: bool = True) -> SandboxRecord | None:
        """Take everything back that `allocate` gave, but the namespace, which the shim holds. May be repeated.

        `waits` for plugins that are not there.
        """
        record = self._records.pop(container_id, None)
        if record is None:
            return None
        try:
            await self.wiring.unplug(record)
        except errors.Error as error:
            logger.error("%s: rules of it may be left: %s", container_id, error)
        self.publishing.free(record)
        await self.joining.leave(record, record.endpoints, waits=waits)
        self.joining.close(record)
        for endpoint in record.endpoints:
            self._give_back(endpoint)
        self._table.delete(container_id)
        if needs_names(record):
            self.write_names()
            await self.names.remove(container_id)
        return record

    async def connect(
        self, record: SandboxRecord, network: Network, request: EndpointRequest, *, pid: int
    ) -> SandboxRecord:
        """Put a running container on one more network."""
        async with AsyncExitStack() as undo:
            undo.callback(self._table.put, record.container_id, record)
            leased = await self._lease(undo, record, [(network, request)])
            namespace = await of_process(pid)
            undo.callback(namespace.close)
            changed = await self._join(undo, leased, leased.endpoints[-1:], namespace.netns_fd)
            await self.wiring.rewire(undo, record, changed, namespace, pid=pid)
            await self.wiring.move_ports(record, changed)
            changed = await self.joining.program(changed)
            listeners = None
            if needs_names(changed) and not needs_names(record):
                listeners = await self.kernel.run(listen, self.kernel, namespace.netns_fd)
            undo.pop_all()
        namespace.close()
        self._settle(record, changed)
        if listeners is not None:
            await self.names.add(record.container_id, listeners)
        return changed

    async def disconnect(self, record: SandboxRecord, network: Network, *, pid: int) -> SandboxRecord:
        """Take a running container off a network; its default route and its ports go by another one then."""
        endpoint = network.endpoints[record.container_id]
        changed = without_endpoint(record, endpoint)
        await self.wiring.move_ports(record, changed)
        namespace = await of_process(pid)
        try:
            if network.driver is not None and endpoint.remote is None:
                await self.kernel.run(network.driver.delete, endpoint, namespace)
            await self.joining.leave(record, [endpoint])
            changed = await self._lead_out(changed, namespace, pid=pid)
            routes = [messages.set_default_route(gateway) for gateway in all_gateways(changed)]
            if routes:
                await self.kernel.run(namespace.netlink.request, *routes)
        except (OSError, errors.Error) as error:
            logger.warning("%s: no default route: %s", record.container_id, error)
        finally:
            namespace.close()
        self._settle(record, changed)
        if needs_names(record) and not needs_names(changed):
            await self.names.remove(record.container_id)
        return changed

    async def _lease(
        self, undo: AsyncExitStack, record: SandboxRecord, requests: Sequence[tuple[Network, EndpointRequest]]
    ) -> SandboxRecord:
        """Return the sandbox with an endpoint more for each request."""
        for network, request in requests:
            request, given = await self.joining.request_addresses(undo, network, request)
            endpoint = network.lease(
                request,
                container_id=record.container_id,
                container_name=record.container_name,
                dns_names=names_of(record, request.aliases),
                given=given,
            )
            undo.callback(network.give_back, endpoint)
            record = replace(record, endpoints=(*record.endpoints, endpoint))
        return record

    async def _join(
        self, undo: AsyncExitStack, record: SandboxRecord, fresh: Sequence[EndpointRecord], netns_fd: int
    ) -> SandboxRecord:
        """Have plugins make new endpoints, and name the interfaces of all."""
        record = await self.joining.join(undo, record, fresh, netns_fd, lambda it: self._table.put(it.container_id, it))
        present = next((endpoint for endpoint in record.endpoints if endpoint.is_gateway), None)
        is_needed = needs_gateway(record, self._networks)
        if present is None and is_needed:
            network = await self.make_gateway_network()
            endpoint = network.lease_gateway(record)
            undo.callback(network.give_back, endpoint)
            record = replace(record, endpoints=(*record.endpoints, endpoint))
        record = with_interfaces(record, self._networks)
        return without_endpoint(record, present) if present is not None and not is_needed else record

    async def _lead_out(self, record: SandboxRecord, namespace: Namespace, *, pid: int) -> SandboxRecord:
        """Give a container another way out where it has lost its own, or take it back."""
        async with AsyncExitStack() as undo:
            changed = await self._join(undo, record, (), namespace.netns_fd)
            await self.wiring.rewire(undo, record, changed, namespace, pid=pid)
            await self.wiring.move_ports(record, changed)
            undo.pop_all()
        return await self.joining.program(changed)

    def _settle(self, before: SandboxRecord, after: SandboxRecord) -> None:
        """Note how a running container is connected now."""
        for endpoint in missing(after, before):
            self._give_back(endpoint)
        self.put(after)
        self.write_names()

    def _give_back(self, endpoint: EndpointRecord) -> None:
        if endpoint.network_id in self._networks:
            self._networks[endpoint.network_id].give_back(endpoint)

    async def _listen_again(self, ids: Collection[str]) -> None:
        """Open the sockets of running containers for a new resolver: those of all that need one where none is named."""
        for record in self:
            pid = self.pid_of(record.container_id)
            if not pid or not needs_names(record) or (ids and record.container_id not in ids):
                continue
            try:
                namespace = await of_process(pid)
                try:
                    listeners = await self.kernel.run(listen, self.kernel, namespace.netns_fd)
                finally:
                    namespace.close()
                await self.names.add(record.container_id, listeners)
            except (errors.Error, OSError) as error:
                logger.error("%s: it has no resolver: %s", record.container_id, error)

    async def _place(self, record: SandboxRecord, make_namespace: MakeNamespace | None) -> Place:
        if make_namespace is not None:
            return await make_special_place(self.kernel, make_namespace, named=needs_names(record))
        return await (self._named_places if needs_names(record) else self._places).take()

    def _driver(self, endpoint: EndpointRecord) -> Driver | None:
        network = self._networks.get(endpoint.network_id)
        return network.driver if network is not None else None
