"""The daemon is killed in the midst of pulls, loads, commits, removals and prunes: what lists afterwards runs."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from harness.engine import Engine
from harness.images import Image, busybox_layer, docker_archive, entry, layer
from harness.registry import Registry

pytestmark = pytest.mark.root
ROUNDS = 4


def test_killed_at_any_moment(private_engine: Callable[..., Engine]) -> None:
    engine = private_engine()
    registry = Registry(engine.netns)
    dice = random.Random(4)
    base = busybox_layer()
    try:
        remote = []
        for number in range(3):
            parts = [layer(entry(f"{number}/{n}", dice.randbytes(300_000))) for n in range(3)]
            remote.append(f"{registry.host}/kept:{number}")
            engine.docker.ok("load", stdin=docker_archive([Image([remote[-1]], [base, *parts])]))
            engine.docker.ok("push", remote[-1])
        for number in range(ROUNDS):
            own = layer(entry("f", dice.randbytes(2_000_000)))
            archive = docker_archive([Image([f"loaded:{number}"], [base, own])])
            container = engine.docker.ok("create", "busybox", "sh", "-c", "true")
            with ThreadPoolExecutor(6) as clients:
                for name in remote:
                    engine.docker("rmi", "-f", name)
                clients.submit(engine.docker, "load", stdin=archive)
                clients.submit(engine.docker, "commit", container, f"committed:{number}")
                clients.submit(engine.docker, "rmi", "-f", f"loaded:{number - 1}", f"committed:{number - 1}")
                clients.submit(engine.docker, "image", "prune", "-f")
                for name in remote:
                    clients.submit(engine.docker, "pull", name)
                time.sleep(dice.random() * 0.8)
                engine.kill()
            engine.start()
            for tag in engine.docker.ok("images", "--format", "{{.Repository}}:{{.Tag}}").split():
                assert (
                    engine.docker.ok("run", "--rm", "--network", "none", "--entrypoint", "", tag, "echo", "runs")
                    == "runs"
                )
            engine.docker.ok("rm", container)
        nothing_leaks(engine)
    finally:
        registry.close()


def nothing_leaks(engine: Engine) -> None:
    """With all images gone, nothing of them is left on disk."""
    for name in engine.docker.ok("images", "-qa").split():
        engine.docker("rmi", "-f", name)
    assert engine.docker.ok("images", "-qa") == ""
    content = engine.data_root / "content"
    assert [path for path in content.rglob("*") if not path.is_dir()] == []
    # What comes with containers, not with images, may stay: an empty layer.
    assert all(not any((path / "fs").iterdir()) for path in (engine.data_root / "snapshots").iterdir())
