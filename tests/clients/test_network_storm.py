"""Many networks and containers at once, and a daemon that is killed meanwhile: nothing of them is left on the host."""

from __future__ import annotations

import contextlib
import http.client
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from harness import host
from harness.engine import ON_DOCKERD, Engine

AT_ONCE = 50
KILLS = 6


def container(engine: Engine, name: str, network: str, *ports: int) -> str:
    """Make a container on a network, with ports of the host's choice."""
    body: dict[str, Any] = {
        "Image": "busybox",
        "Cmd": ["sleep", "1000"],
        "HostConfig": {"NetworkMode": network, "PortBindings": {f"{port}/tcp": [{"HostPort": ""}] for port in ports}},
    }
    answer = engine.api.post(f"/containers/create?name={name}", body)
    assert answer.status == 201, answer
    made: str = answer.json()["Id"]
    return made


def live(engine: Engine, number: int) -> str:
    """One network's life, with a container on it and on another network."""
    name = f"storm-{number}"
    assert engine.api.post("/networks/create", {"Name": name, "EnableIPv6": number % 2 == 0}).status == 201
    made = container(engine, name, name, 80, 81)
    assert engine.api.post(f"/containers/{made}/start").status == 204
    if number % 3 == 0:
        assert engine.api.post("/networks/bridge/connect", {"Container": made}).status == 200
    subnet: str = engine.api.json(f"/networks/{name}")["IPAM"]["Config"][0]["Subnet"]
    assert engine.api.delete(f"/containers/{made}?force=1").status == 204
    assert engine.api.delete(f"/networks/{name}").status == 204
    return subnet


def test_fifty_at_once(private_engine: Callable[..., Engine]) -> None:
    engine = private_engine()
    live(engine, 0)
    before = host.snapshot(engine)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        subnets = list(pool.map(lambda number: live(engine, number), range(AT_ONCE)))
    assert len(subnets) == AT_ONCE
    assert not host.leaks(before, engine)


@pytest.mark.skipif(ON_DOCKERD, reason="dockerd is not asked to survive this")
def test_the_daemon_is_killed_at_any_instant(private_engine: Callable[..., Engine]) -> None:
    engine = private_engine()
    live(engine, 0)
    before = host.snapshot(engine)
    done = threading.Event()
    seed = random.randrange(1 << 30)
    print("seed", seed)
    chance = random.Random(seed)

    def disturb(number: int) -> None:
        """Go on whatever the answers are: the daemon may be gone at any one of them."""
        name, turn = f"storm-{number}", 0
        while not done.is_set():
            turn += 1
            with contextlib.suppress(OSError, http.client.HTTPException, AssertionError):
                api = engine.api
                api.post("/networks/create", {"Name": name})
                api.post("/networks/create", {"Name": f"{name}-more"})
                made = container(engine, f"{name}-{turn}", name, 80)
                api.post(f"/containers/{made}/start")
                api.post(f"/networks/{name}-more/connect", {"Container": made})
                api.post(f"/networks/{name}/disconnect", {"Container": made})
                api.delete(f"/containers/{made}?force=1")
                api.delete(f"/networks/{name}")
                api.delete(f"/networks/{name}-more")

    with ThreadPoolExecutor(3) as pool:
        try:
            storms = [pool.submit(disturb, number) for number in range(3)]
            for _ in range(KILLS):
                time.sleep(chance.uniform(0.1, 0.7))  # the instant is what is tried out
                engine.restart()
        finally:
            done.set()
        for storm in storms:
            storm.result()
    for one in engine.api.json("/containers/json?all=1"):
        answer = engine.api.delete(f"/containers/{one['Id']}?force=1")
        assert answer.status in (204, 404), answer
    for one in engine.api.json("/networks"):
        if one["Name"].startswith("storm-"):
            answer = engine.api.delete(f"/networks/{one['Id']}")
            assert answer.status == 204, answer
    found = host.leaks(before, engine, but="processes")
    assert not found, found
    assert live(engine, 1)
