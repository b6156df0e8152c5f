"""Running containers' places in the networks: made at start, changed by connect and disconnect, released after exit.

Each record is in the store, so that the next daemon knows what running containers have. Used by the `Networks` service
alone, from the event loop's thread; the containers room sees to it that a container's changes come one after another.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

from msgspec.structs import replace

from .. import errors
from ..store import Store
from . import conntrack, messages, settings
from .driver import Driver, Kernel, attach_all
from .firewall import EndpointRules
from .names import Fork, Names, listen, needs_names
from .network import SETUP_FAILED, EndpointRequest, Network
from .plan import all_gateways, gateways, names_of, with_interface
from .ports import PortWishes
from .publishing import Publishing, no_connectivity
from .ready import MakeNamespace, Place, ReadyPool, make_named_place, make_place, make_special_place
from .records import EndpointRecord, SandboxRecord
from .sandbox import Namespace, in_own_thread, join_namespace, of_process

logger = logging.getLogger(__name__)

LINGER_S = 5.0
"""How long a released container's link may stay for its namespace to end, before it is deleted."""

Plan = tuple[Network, EndpointRecord]


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
        self._lingering: set[asyncio.TimerHandle] = set()
        self._kernel: Kernel | None = None
        self._publishing: Publishing | None = None
        self._networks: dict[str, Network] = {}
        self._names: Names | None = None
        self.pid_of: Callable[[str], int] = lambda container_id: 0
        """Gives the first process of a running container, 0 where there is none; set by the containers service."""

    def open(self, kernel: Kernel, networks: dict[str, Network], *, directory: Path, fork: Fork) -> None:
        """Read what an earlier daemon wrote; `networks` by their ids is the service's own, as it changes."""
        self._kernel, self._networks = kernel, networks
        self._names = Names(directory, fork, self._listen_again)
        self._publishing = Publishing(kernel.config.bridge, self._driver)
        self._records = dict(self._table.all())
        for record in self._records.values():
            self.publishing.take(record.bindings)
            for endpoint in record.endpoints:
                if endpoint.network_id in networks:
                    networks[endpoint.network_id].take(endpoint)
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
        for timer in self._lingering:
            timer.cancel()
        self._lingering.clear()

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
                plans = self._lease(undo, record, requests)
                record = replace(record, endpoints=tuple(endpoint for _, endpoint in plans))
                if any(network.shares_namespace for network, _ in plans):
                    undo.pop_all()
                    self.put(record)
                    return Sandbox(record)
                reservation = self.publishing.reserve(record, wishes)
                undo.callback(reservation.close)
                record = replace(record, bindings=tuple(reservation.bindings))
                undo.callback(self.publishing.free, record)
                place = await self._place(record, make_namespace)
                undo.callback(place.close)
                undo.push_async_callback(self._unplug, record)
                await self._plug(record, place)
            except errors.Error as error:
                raise type(error)(f"{SETUP_FAILED}{error}") from error
            undo.pop_all()
        self.put(record)
        if place.listeners is not None:
            self.write_names()
            await self.names.add(record.container_id, place.listeners)
        served = self.publishing.served(record)
        return Sandbox(record, place.namespace.steal_fd(), reservation.sockets, served)

    async def release(self, container_id: str) -> SandboxRecord | None:
        """Take everything back that `allocate` gave, but the namespace, which the shim holds. May be repeated."""
        record = self._records.pop(container_id, None)
        if record is None:
            return None
        try:
            await self._unplug(record)
        except errors.Error as error:
            logger.error("%s: rules of it may be left: %s", container_id, error)
        self.publishing.free(record)
        for endpoint in record.endpoints:
            if endpoint.network_id in self._networks:
                self._networks[endpoint.network_id].give_back(endpoint)
        self._table.delete(container_id)
        if needs_names(record):
            self.write_names()
            await self.names.remove(container_id)
        return record

    async def connect(
        self, record: SandboxRecord, network: Network, request: EndpointRequest, *, pid: int, dns_names: tuple[str, ...]
    ) -> SandboxRecord:
        """Put a running container on one more network."""
        async with AsyncExitStack() as undo:
            endpoint = network.lease(
                request, container_id=record.container_id, container_name=record.container_name, dns_names=dns_names
            )
            undo.callback(network.give_back, endpoint)
            endpoint = with_interface(endpoint, network, record.endpoints)
            network.endpoints[record.container_id] = endpoint
            changed = replace(record, endpoints=(*record.endpoints, endpoint))
            namespace = await of_process(pid)
            undo.callback(namespace.close)
            if network.driver is not None:
                undo.push_async_callback(self.kernel.run, network.driver.delete, endpoint, namespace)
                await self.kernel.run(_attach_one, network.driver, endpoint, namespace, gateways(changed, endpoint))
            await self._apply_sysctls(endpoint, f"/proc/{pid}/ns/net")
            await self._move_ports(record, changed)
            listeners = None
            if needs_names(changed) and not needs_names(record):
                listeners = await self.kernel.run(listen, self.kernel, namespace.netns_fd)
            undo.pop_all()
        namespace.close()
        self.put(changed)
        self.write_names()
        if listeners is not None:
            await self.names.add(record.container_id, listeners)
        return changed

    async def disconnect(self, record: SandboxRecord, network: Network, *, pid: int) -> SandboxRecord:
        """Take a running container off a network; its default route and its ports go by another one then."""
        endpoint = network.endpoints[record.container_id]
        others = tuple(one for one in record.endpoints if one.network_id != endpoint.network_id)
        changed = replace(record, endpoints=others)
        await self._move_ports(record, changed)
        namespace = await of_process(pid)
        try:
            if network.driver is not None:
                await self.kernel.run(network.driver.delete, endpoint, namespace)
            routes = [messages.set_default_route(gateway) for gateway in all_gateways(changed)]
            if routes:
                await self.kernel.run(namespace.netlink.request, *routes)
        except OSError as error:
            logger.warning("%s: no default route: %s", record.container_id, error)
        finally:
            namespace.close()
        network.give_back(endpoint)
        self.put(changed)
        self.write_names()
        if needs_names(record) and not needs_names(changed):
            await self.names.remove(record.container_id)
        return changed

    def _lease(
        self, undo: AsyncExitStack, record: SandboxRecord, requests: Sequence[tuple[Network, EndpointRequest]]
    ) -> list[Plan]:
        plans: list[Plan] = []
        for network, request in requests:
            endpoint = network.lease(
                request,
                container_id=record.container_id,
                container_name=record.container_name,
                dns_names=names_of(record, request.aliases),
            )
            undo.callback(network.give_back, endpoint)
            endpoint = with_interface(endpoint, network, [one for _, one in plans])
            network.endpoints[record.container_id] = endpoint
            plans.append((network, endpoint))
        return plans

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

    async def _plug(self, record: SandboxRecord, place: Place) -> None:
        namespace = place.namespace
        steps: list[tuple[Driver, EndpointRecord, tuple[str, ...]]] = []
        for endpoint in record.endpoints:
            driver = self._driver(endpoint)
            if driver is not None:
                steps.append((driver, endpoint, gateways(record, endpoint)))
        rules = self.publishing.rules(record)
        if steps:
            await self.kernel.run(self._attach_and_publish, steps, namespace, rules, record)
        for endpoint in record.endpoints:
            await self._apply_sysctls(endpoint, f"/proc/self/fd/{namespace.netns_fd}")
        for one in rules:
            self.kernel.run_later(conntrack.forget, one.address, one.bindings)

    def _attach_and_publish(
        self,
        steps: Sequence[tuple[Driver, EndpointRecord, tuple[str, ...]]],
        namespace: Namespace,
        rules: Sequence[EndpointRules],
        record: SandboxRecord,
    ) -> None:
        attach_all(steps, namespace)
        if rules and self.kernel.firewall is not None:
            try:
                self.kernel.firewall.add(*rules)
            except errors.Error as error:
                raise no_connectivity(record.gateway_endpoint() or record.endpoints[0], error) from error

    async def _unplug(self, record: SandboxRecord) -> None:
        """Disconnect a sandbox, as far as it is connected. Its namespace need not have ended.

        Only its rules are waited for. Its links follow in the worker, before anything that comes later: the kernel's
        lock may be held for long by namespaces that end, and nobody needs to wait for that.
        """
        rules = self.publishing.rules(record)
        try:
            if self.kernel.firewall is not None and rules:
                await self.kernel.run(self.kernel.firewall.remove, *rules)
        finally:
            for endpoint in record.endpoints:
                driver = self._driver(endpoint)
                if driver is not None:
                    self.kernel.run_later(driver.detach, endpoint)
                    self._linger(driver, endpoint)
            for one in rules:
                self.kernel.run_later(conntrack.forget, one.address, one.bindings)

    def _linger(self, driver: Driver, endpoint: EndpointRecord) -> None:
        """Delete a link later that its namespace keeps alive: another container has joined it."""

        def delete() -> None:
            self._lingering.discard(timer)
            self.kernel.run_later(driver.delete, endpoint)

        timer = asyncio.get_running_loop().call_later(LINGER_S, delete)
        self._lingering.add(timer)

    async def _move_ports(self, before: SandboxRecord, after: SandboxRecord) -> None:
        """Have the published ports lead to where the container is reached now."""
        old, new = self.publishing.rules(before), self.publishing.rules(after)
        if old == new or self.kernel.firewall is None:
            return
        await self.kernel.run(self.kernel.firewall.remove, *old)
        if new:
            await self.kernel.run(self.kernel.firewall.add, *new)
        for one in (*old, *new):
            self.kernel.run_later(conntrack.forget, one.address, one.bindings)

    async def _apply_sysctls(self, endpoint: EndpointRecord, netns: str) -> None:
        wanted = settings.sysctls(endpoint.driver_opts)
        if not wanted:
            return

        def write() -> None:
            join_namespace(netns).close()
            for name, value in wanted:
                with open(f"/proc/sys/net/{name.replace('IFNAME', endpoint.interface)}", "w") as setting:
                    setting.write(value)

        try:
            await in_own_thread(write)
        except OSError as error:
            raise errors.Internal(f"setting sysctls of {endpoint.interface} failed: {error}") from error

    def _driver(self, endpoint: EndpointRecord) -> Driver | None:
        network = self._networks.get(endpoint.network_id)
        return network.driver if network is not None else None


def _attach_one(driver: Driver, endpoint: EndpointRecord, namespace: Namespace, gateways: tuple[str, ...]) -> None:
    driver.attach(endpoint, namespace, gateways=gateways)
