"""Fixtures of the client tests: names, a container that sleeps, a registry, docker-py.

These tests say what dockerd does. `LIGHTSHIP_TEST_ENGINE=dockerd` runs them against it; what passes there
must pass here.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import docker as docker_py
import pytest
from harness.docker import Docker
from harness.engine import ON_DOCKERD, Engine
from harness.registry import Registry
from harness.upstream import Upstream

_numbers = itertools.count(1)


@pytest.fixture
def name() -> str:
    """A container name that no other test uses."""
    return f"test-{next(_numbers)}"


@pytest.fixture
def sleeper(docker: Docker) -> Callable[..., str]:
    """Start a container that stays; `sleeper("-e", "A=b")` gives its id. It ends at once on SIGTERM."""

    def start(*flags: str, image: str = "busybox", command: tuple[str, ...] = ("sleep", "1000")) -> str:
        return docker.ok("run", "-d", "--init", *flags, image, *command)

    return start


@pytest.fixture(scope="module")
def registry(session_engine: Engine) -> Iterator[Registry]:
    made = Registry(session_engine.netns)
    yield made
    made.close()


@pytest.fixture
def upstream(registry: Registry) -> Upstream:
    return Upstream(registry)


@pytest.fixture
def client(engine: Engine) -> Iterator[docker_py.DockerClient]:
    """docker-py, with the version that the engine names."""
    with_auto_version = docker_py.DockerClient(base_url=engine.host, version="auto")
    try:
        yield with_auto_version
    finally:
        with_auto_version.close()


@pytest.fixture
def store_engine(request: pytest.FixtureRequest, private_engine: Callable[..., Engine]) -> Engine:
    """The engine, where that is dockerd with containerd's image store: its builder does more with that."""
    if ON_DOCKERD:
        return private_engine("--feature", "containerd-snapshotter=true")
    engine: Engine = request.getfixturevalue("engine")
    return engine
