"""The pytest plugin: `docker_engine`, an engine for the tests alone, and `docker_client`, docker-py connected to it.

pytest loads it in every run of an environment that has lightship, so nothing but pytest is imported before a test asks
for an engine. With pytest-xdist each worker has one of its own, for its session is its own.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from .held import HeldEngine

_SCOPES = ("session", "package", "module", "class", "function")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addini("docker_engine_scope", f"how long an engine is kept: {', '.join(_SCOPES)}", default="session")
    parser.addini("docker_engine_load", "archives of images that each engine has from the start", type="paths")
    parser.addini("docker_engine_flags", "flags of lightshipd", type="args")
    parser.addini("docker_engine_network", "private (the tests join its network) or host", default="private")


def _scope(fixture_name: str, config: pytest.Config) -> Any:
    scope = config.getini("docker_engine_scope")
    if scope not in _SCOPES:
        raise pytest.UsageError(f"docker_engine_scope: {scope} is not one of {', '.join(_SCOPES)}")
    return scope


@pytest.fixture(scope=_scope)
def docker_engine(request: pytest.FixtureRequest) -> Iterator[HeldEngine]:
    """An engine that is gone afterwards; DOCKER_HOST points to it, and localhost is where it publishes ports."""
    if os.geteuid() != 0:
        pytest.skip("an engine needs root")
    from .held import HeldEngine

    config = request.config
    private = config.getini("docker_engine_network") != "host"
    archives = [str(path) for path in config.getini("docker_engine_load")]
    engine = HeldEngine(archives=archives, flags=config.getini("docker_engine_flags"), private=private)
    try:
        with pytest.MonkeyPatch.context() as environment, engine.entered():
            environment.setenv("DOCKER_HOST", engine.host)
            for name in ("DOCKER_CONTEXT", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH"):
                environment.delenv(name, raising=False)
            yield engine
    finally:
        engine.close()


@pytest.fixture(scope=_scope)
def docker_client(docker_engine: HeldEngine) -> Iterator[Any]:
    """docker-py's client of `docker_engine`."""
    docker = pytest.importorskip("docker", reason="docker_client needs docker-py: pip install docker")
    client = docker.DockerClient(base_url=docker_engine.host, version="auto")
    try:
        yield client
    finally:
        client.close()
