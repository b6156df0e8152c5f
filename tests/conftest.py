"""Fixtures for every test that needs an engine: one for the session, private ones for tests that kill it.

The run gets a mount namespace of its own, and engines get network namespaces, as soon as one of these fixtures is used.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator

import pytest
from harness import host, images
from harness.docker import Docker
from harness.engine import Engine, engine_under_test
from harness.http import Api
from harness.namespaces import isolate_mounts
from hypothesis import settings

# A busy machine is slow, and what is found in one run is found in each.
settings.register_profile("steady", deadline=None, derandomize=True)
settings.load_profile("steady")

TOOLS_CONFIG = {
    "User": "app",
    "WorkingDir": "/work",
    "Env": [images.PATH, "COLOUR=blue"],
    "Entrypoint": ["/bin/echo", "entry"],
    "Cmd": ["cmd"],
    "ExposedPorts": {"8080/tcp": {}},
    "Volumes": {"/data": {}},
    "Labels": {"origin": "image"},
    "StopSignal": "SIGINT",
}


@pytest.fixture(scope="session")
def isolated() -> None:
    """The run's own mount namespace; these tests need root."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    isolate_mounts()


@pytest.fixture(scope="session")
def busybox_layer() -> bytes:
    return images.busybox_layer()


@pytest.fixture(scope="session")
def base_images(busybox_layer: bytes) -> list[images.Image]:
    """`busybox`, and `rich`, which sets everything in its config and has content where its volume goes."""
    data = images.layer(
        images.entry("data", mode=0o750, uid=1000, gid=50),
        images.entry("data/seed", b"from the image\n", uid=1000, gid=50),
        images.entry("data/deep", mode=0o755),
        images.entry("data/deep/file", b"deep\n", mode=0o600),
    )
    return [
        images.Image(["busybox:latest"], [busybox_layer]),
        images.Image(["rich:1"], [busybox_layer, data], TOOLS_CONFIG),
    ]


@pytest.fixture(scope="session")
def base_archive(base_images: list[images.Image]) -> bytes:
    return images.docker_archive(base_images)


FIRST_BUILD = """\
FROM busybox AS made
RUN true
FROM scratch
COPY --from=made /bin/busybox /
"""


@pytest.fixture(scope="session")
def session_engine(isolated: None, base_archive: bytes) -> Iterator[Engine]:
    engine = engine_under_test()
    try:
        engine.start()
        engine.docker.ok("load", stdin=base_archive)
        for flags in (["-p", "80"], ["--network", "host"]):  # what an engine makes once, it makes now
            engine.docker.ok("run", "--rm", *flags, "busybox", "true")
        engine.docker.ok("network", "create", "--ipv6", "first")
        engine.docker.ok("run", "--rm", "--network", "first", "busybox", "true")
        engine.docker.ok("network", "rm", "first")
        built = engine.docker("build", "-q", "-", stdin=FIRST_BUILD)
        engine.docker.ok("image", "rm", built.line)
        dockerfile = images.layer(images.entry("Dockerfile", b"FROM busybox\nRUN true\n"))
        engine.api.post("/build?version=2", raw=dockerfile, headers={"Content-Type": "application/x-tar"})
        engine.docker.ok("image", "prune", "-f")
        yield engine
    finally:
        engine.destroy()


@pytest.fixture
def engine(session_engine: Engine, request: pytest.FixtureRequest) -> Iterator[Engine]:
    """The session's engine; afterwards the test's containers, volumes and images are removed, and nothing may be
    left on the host.
    """
    before = host.snapshot(session_engine)
    log_size = session_engine.log.stat().st_size
    yield session_engine
    clean(session_engine, before["records"])
    found = host.leaks(before, session_engine)
    with session_engine.log.open("rb") as log:
        log.seek(log_size)
        request.node.add_report_section("teardown", "daemon log", log.read()[-8000:].decode(errors="replace"))
    assert not found, f"left behind on the host: {found}"


def clean(engine: Engine, keep: set[str]) -> None:
    """Remove what the API shows beyond the records to keep."""
    api = engine.api
    for container in api.json("/containers/json?all=1"):
        if f"container {container['Id'][:12]} {container['Names']}" not in keep:
            removed = api.delete(f"/containers/{container['Id']}?force=1&v=1")
            assert removed.status in (204, 404, 409), removed
    for network in api.json("/networks"):
        if f"network {network['Name']}" not in keep:
            assert api.delete(f"/networks/{network['Id']}").status == 204
    for volume in api.json("/volumes")["Volumes"] or []:
        if f"volume {volume['Name']}" not in keep:
            assert api.delete(f"/volumes/{volume['Name']}").status == 204
    for image in api.json("/images/json?all=1"):
        for tag in image["RepoTags"] or ["<none>"]:
            if f"image {image['Id']} {tag}" not in keep:
                api.delete(f"/images/{image['Id'] if tag == '<none>' else tag}?force=1")
    assert api.post("/build/prune?all=1").status == 200


@pytest.fixture
def docker(engine: Engine) -> Docker:
    return engine.docker


@pytest.fixture
def api(engine: Engine) -> Api:
    return engine.api


@pytest.fixture
def private_engine(isolated: None, base_archive: bytes) -> Iterator[Callable[..., Engine]]:
    """Make an engine for one test, with flags of its own; it is destroyed afterwards."""
    with contextlib.ExitStack() as stack:

        def make(*flags: str) -> Engine:
            engine = engine_under_test(*flags)
            stack.callback(engine.destroy)
            engine.start()
            engine.docker.ok("load", stdin=base_archive)
            return engine

        yield make
