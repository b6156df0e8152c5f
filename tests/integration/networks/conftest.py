"""A machine of its own for each test of the networks room: a host, another host on its wire, and the service."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from pathlib import Path

import pytest
from harness.namespaces import NetNS, ip, join
from harness.sandboxes import settle
from lightship.engine.config import BridgeConfig, EngineConfig
from lightship.engine.networks.network import EndpointRequest
from lightship.engine.networks.networks import Networks
from lightship.engine.networks.ports import PortWishes
from lightship.engine.networks.sandboxes import Sandbox
from lightship.engine.shim import protocol
from lightship.engine.store import Store
from lightship.engine.supervisor.forkserver import ForkServer
from lightship.openapi.types.networks import PortBinding

HOST, OUTSIDE = "198.51.100.1", "198.51.100.2"


class Machine:
    """`host` runs the service; `outside` is another machine that reaches it."""

    def __init__(self, folder: Path, backend: str) -> None:
        self.host, self.outside = NetNS(), NetNS()
        join(self.host, self.outside, here_address=f"{HOST}/24", there_address=f"{OUTSIDE}/24")
        for netns, link in ((self.host, "uplink"), (self.outside, "wire")):
            with netns.entered():
                settle(link)
        self.folder, self.backend = folder, backend
        self.events: list[tuple[str, str, str]] = []
        self.sandboxes: list[Sandbox] = []

    def run(self, scenario: Callable[[], Awaitable[None]]) -> None:
        with self.host.entered():
            asyncio.run(asyncio.wait_for(scenario(), 110))  # type: ignore[arg-type]

    @contextlib.asynccontextmanager
    async def networks(self, *, firewall_backend: str = "", **bridge: object) -> AsyncIterator[Networks]:
        """The service, started on this machine's store; it may be used again after another one ended."""
        store = Store(self.folder / "db")
        config = EngineConfig(
            exec_root=self.folder / "run",
            firewall_backend=firewall_backend or self.backend,
            bridge=dataclasses.replace(BridgeConfig(), **bridge),  # type: ignore[arg-type]
        )
        networks, zygote = Networks(store, self._hear), ForkServer()
        try:
            await networks.start(config, zygote.fork_resolver)
            yield networks
        finally:
            await networks.stop()
            await zygote.stop()
            store.close()

    async def container(
        self,
        networks: Networks,
        number: int,
        *,
        mode: str = "default",
        others: tuple[str, ...] = (),
        exposed: tuple[str, ...] = (),
        **ports: str,
    ) -> Sandbox:
        """Allocate for the container with this number; `tcp80="127.0.0.1:8080"` publishes a port."""
        requests = [EndpointRequest("bridge" if mode == "default" else mode), *map(EndpointRequest, others)]
        wishes = PortWishes(bindings(ports), exposed)
        sandbox = await networks.allocate(container_id(number), requests, name=f"c{number}", wishes=wishes)
        self.sandboxes.append(sandbox)
        return sandbox

    def state(self) -> dict[str, set[str]]:
        """What is on the host: links, addresses and rules."""
        with self.host.entered():
            links = {line.split(":")[1].split("@")[0].strip() for line in ip("-o", "link").splitlines()}
            return {"links": links, "rules": set(self.rules().splitlines())}

    def rules(self) -> str:
        with self.host.entered():
            if self.backend == "nftables":
                return run("nft", "-s", "list", "ruleset")
            return "".join(run("iptables-legacy", "-t", table, "-S") for table in ("filter", "nat", "raw"))

    def flush(self) -> None:
        """What an administrator's own script does to every rule of the host."""
        with self.host.entered():
            if self.backend == "nftables":
                run("nft", "flush", "ruleset")
            else:
                for table in ("filter", "nat", "raw"):
                    run("iptables-legacy", "-t", table, "-F")
                    run("iptables-legacy", "-t", table, "-X")

    def close(self) -> None:
        directory = str(self.folder / "run/resolver")
        with contextlib.suppress(OSError), protocol.connect(directory, "resolver.sock") as resolver:
            protocol.send(resolver, {"seq": 0, "op": "stop"})
        for sandbox in self.sandboxes:
            sandbox.close()
        self.host.close()
        self.outside.close()

    def _hear(self, kind: str, action: str, actor_id: str, attributes: Mapping[str, str]) -> None:
        self.events.append((f"{kind} {action}", attributes["name"], attributes.get("container", "")[:2]))


def run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def container_id(number: int) -> str:
    return f"{number:02x}" * 32


def bindings(ports: Mapping[str, str]) -> dict[str, list[PortBinding] | None]:
    found: dict[str, list[PortBinding] | None] = {}
    for port, text in ports.items():
        host_ip, _, host_port = text.rpartition(":")
        found[f"{port[3:]}/{port[:3]}"] = [PortBinding(host_ip=host_ip, host_port=host_port)]
    return found


@pytest.fixture(params=["nftables", "iptables"])
def machine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Machine]:
    if os.geteuid() != 0:
        pytest.skip("needs root")
    machine = Machine(tmp_path, request.param)
    yield machine
    machine.close()
