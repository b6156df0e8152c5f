"""Compose projects, each scenario with every compose that is in use."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from harness.compose import GENERATIONS, Compose
from harness.docker import Docker
from harness.engine import Engine
from harness.registry import Registry

_numbers = itertools.count(1)


@contextmanager
def project(docker: Docker, parent: Path, generation: str) -> Iterator[Compose]:
    directory = parent / f"project{next(_numbers)}"
    directory.mkdir()
    made = Compose(docker, directory, generation)
    yield made
    made.ok("down", "-v", "-t", "0", "--remove-orphans")


@pytest.fixture(params=GENERATIONS)
def compose(request: pytest.FixtureRequest, docker: Docker, tmp_path: Path) -> Iterator[Compose]:
    with project(docker, tmp_path, request.param) as made:
        yield made


@pytest.fixture(params=GENERATIONS[:2])
def compose_v2(request: pytest.FixtureRequest, docker: Docker, tmp_path: Path) -> Iterator[Compose]:
    """For what came with version 2."""
    with project(docker, tmp_path, request.param) as made:
        yield made


@pytest.fixture
def registry_host(engine: Engine) -> Iterator[str]:
    registry = Registry(engine.netns)
    yield registry.host
    registry.close()
