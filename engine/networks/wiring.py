"""A sandbox in the kernel: its links, its routes, the rules of its published ports, its own settings.

Made by `Sandboxes`, and used by it alone from the event loop's thread; the work is done in the worker.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack

from .. import errors
from . import conntrack, settings
from .driver import Driver, Kernel, attach_all
from .firewall import EndpointRules
from .plan import gateways, missing
from .publishing import Publishing, no_connectivity
from .records import EndpointRecord, SandboxRecord
from .sandbox import Namespace, in_own_thread, join_namespace

LINGER_S = 5.0
"""How long a released container's link may stay for its namespace to end, before it is deleted."""


class Wiring:
    """`driver_of` gives what makes an endpoint's network."""

    def __init__(
        self, kernel: Kernel, publishing: Publishing, driver_of: Callable[[EndpointRecord], Driver | None]
    ) -> None:
        self._kernel, self._publishing, self._driver_of = kernel, publishing, driver_of
        self._lingering: set[asyncio.TimerHandle] = set()

    def close(self) -> None:
        for timer in self._lingering:
            timer.cancel()
        self._lingering.clear()

    async def plug(self, record: SandboxRecord, namespace: Namespace) -> None:
        """Connect a new sandbox, and publish its ports."""
        steps: list[tuple[Driver, EndpointRecord, tuple[str, ...]]] = []
        for endpoint in record.endpoints:
            driver = self._driver_of(endpoint)
            if driver is not None:
                steps.append((driver, endpoint, gateways(record, endpoint)))
        rules = self._publishing.rules(record)
        if steps:
            await self._kernel.run(self._attach_and_publish, steps, namespace, rules, record)
        for endpoint in record.endpoints:
            await self._apply_sysctls(endpoint, f"/proc/self/fd/{namespace.netns_fd}")
        for one in rules:
            self._kernel.run_later(conntrack.forget, one.address, one.bindings)

    def _attach_and_publish(
        self,
        steps: Sequence[tuple[Driver, EndpointRecord, tuple[str, ...]]],
        namespace: Namespace,
        rules: Sequence[EndpointRules],
        record: SandboxRecord,
    ) -> None:
        attach_all(steps, namespace)
        if rules and self._kernel.firewall is not None:
            try:
                self._kernel.firewall.add(*rules)
            except errors.Error as error:
                raise no_connectivity(record.gateway_endpoint() or record.endpoints[0], error) from error

    async def unplug(self, record: SandboxRecord) -> None:
        """Disconnect a sandbox, as far as it is connected. Its namespace need not have ended.

        Only its rules are waited for. Its links follow in the worker, before anything that comes later: the kernel's
        lock may be held for long by namespaces that end, and nobody needs to wait for that.
        """
        rules = self._publishing.rules(record)
        try:
            if self._kernel.firewall is not None and rules:
                await self._kernel.run(self._kernel.firewall.remove, *rules)
        finally:
            for endpoint in record.endpoints:
                driver = self._driver_of(endpoint)
                if driver is not None and endpoint.remote is None:
                    self._kernel.run_later(driver.detach, endpoint)
                    self._linger(driver, endpoint)
            for one in rules:
                self._kernel.run_later(conntrack.forget, one.address, one.bindings)

    def _linger(self, driver: Driver, endpoint: EndpointRecord) -> None:
        """Delete a link later that its namespace keeps alive: another container has joined it."""

        def delete() -> None:
            self._lingering.discard(timer)
            self._kernel.run_later(driver.delete, endpoint)

        timer = asyncio.get_running_loop().call_later(LINGER_S, delete)
        self._lingering.add(timer)

    async def move_ports(self, before: SandboxRecord, after: SandboxRecord) -> None:
        """Have the published ports lead to where the container is reached now."""
        old, new = self._publishing.rules(before), self._publishing.rules(after)
        if old == new or self._kernel.firewall is None:
            return
        await self._kernel.run(self._kernel.firewall.remove, *old)
        if new:
            await self._kernel.run(self._kernel.firewall.add, *new)
        for one in (*old, *new):
            self._kernel.run_later(conntrack.forget, one.address, one.bindings)

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

    async def rewire(
        self, undo: AsyncExitStack, before: SandboxRecord, after: SandboxRecord, namespace: Namespace, *, pid: int
    ) -> None:
        """Connect a running container to where it is not connected yet; take it off where it is not to be."""
        for endpoint in missing(before, after):
            if (driver := self._driver_of(endpoint)) is not None:
                undo.push_async_callback(self._kernel.run, driver.delete, endpoint, namespace)
                await self._kernel.run(_attach_one, driver, endpoint, namespace, gateways(after, endpoint))
            await self._apply_sysctls(endpoint, f"/proc/{pid}/ns/net")
        for endpoint in missing(after, before):
            if (driver := self._driver_of(endpoint)) is not None:
                await self._kernel.run(driver.delete, endpoint, namespace)


def _attach_one(driver: Driver, endpoint: EndpointRecord, namespace: Namespace, gateways: tuple[str, ...]) -> None:
    driver.attach(endpoint, namespace, gateways=gateways)
