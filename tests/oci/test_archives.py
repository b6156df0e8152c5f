"""podman reads what we save and push, and we read what it does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from harness.docker import Docker
from harness.engine import Engine
from harness.registry import Registry

from .conftest import BUSYBOX, Command

MADE = "localhost/made:1"


@pytest.fixture
def registry(session_engine: Engine) -> Iterator[Registry]:
    made = Registry(session_engine.netns)
    yield made
    made.close()


@pytest.fixture
def made(podman: Command) -> str:
    """An image that podman has made of a container: one more layer, some configuration."""
    ok(
        podman,
        "run",
        "--name",
        "source",
        BUSYBOX,
        "sh",
        "-c",
        "mkdir /d; echo theirs > /d/f; chown 7:8 /d/f; rm /bin/wc",
    )
    changes = ("-c", "CMD cat /d/f", "-c", "ENV A=b", "-c", "USER 7:8", "-c", "LABEL l=m", "-c", "EXPOSE 80")
    ok(podman, "commit", "-q", *changes, "source", MADE)
    return MADE


def ok(podman: Command, *words: str) -> str:
    done = podman(*words)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def check_made(docker: Docker, name: str) -> None:
    assert docker.ok("run", "--rm", name) == "theirs"
    script = "id -u; echo $A; stat -c %u:%g /d/f; [ -e /bin/wc ] || echo gone"
    assert docker.ok("run", "--rm", name, "sh", "-c", script).split() == ["7", "b", "7:8", "gone"]


@pytest.mark.parametrize("names", [["rich:1"], ["busybox", "rich:1"]])
def test_podman_loads_what_was_saved(docker: Docker, podman: Command, tmp_path: Path, names: list[str]) -> None:
    docker.ok("save", "-o", f"{tmp_path}/saved.tar", *names)
    ok(podman, "load", "-i", f"{tmp_path}/saved.tar")
    for name in names:
        ours = docker.ok("image", "inspect", "-f", "{{.Id}}", name)
        assert ok(podman, "image", "inspect", "-f", "{{.Id}}", name) == ours.removeprefix("sha256:")
    script = "cat /data/seed; stat -c %u:%g:%a /data /data/deep/file; echo $COLOUR"
    seen = ok(podman, "run", "--rm", "--entrypoint", "sh", "rich:1", "-c", script)
    assert seen.splitlines() == ["from the image", "1000:50:750", "0:0:600", "blue"]


@pytest.mark.parametrize("format", ["docker-archive", "oci-archive"])
def test_what_podman_saves_is_loaded(docker: Docker, podman: Command, made: str, tmp_path: Path, format: str) -> None:
    ok(podman, "save", "--format", format, "-o", f"{tmp_path}/saved.tar", made)
    assert docker.ok("load", "-i", f"{tmp_path}/saved.tar").endswith(f"Loaded image: {made}")
    check_made(docker, made)


def test_an_archive_of_several_images_is_loaded(docker: Docker, podman: Command, made: str, tmp_path: Path) -> None:
    ok(podman, "save", "-m", "-o", f"{tmp_path}/saved.tar", made, BUSYBOX)
    loaded = docker.ok("load", "-i", f"{tmp_path}/saved.tar").splitlines()
    assert sorted(loaded) == ["Loaded image: busybox:latest", f"Loaded image: {made}"]
    check_made(docker, made)


def test_podman_pulls_what_was_pushed(docker: Docker, podman: Command, registry: Registry) -> None:
    name = f"{registry.host}/ours:1"
    docker.ok("tag", "rich:1", name)
    docker.ok("push", name)
    digest = docker.ok("image", "inspect", "-f", "{{index .RepoDigests 0}}", name).rpartition("@")[2]
    with registry.netns.entered():
        ok(podman, "pull", "--tls-verify=false", name)
    assert ok(podman, "image", "inspect", "-f", "{{.Digest}}", name) == digest
    assert ok(podman, "run", "--rm", name, "more") == "entry more"


@pytest.mark.parametrize(
    "flags",
    [["--format", "v2s2"], ["--format", "oci"], ["--format", "oci", "--compression-format", "zstd"]],
    ids=["docker", "oci", "zstd"],
)
def test_what_podman_pushes_is_pulled(
    docker: Docker, podman: Command, registry: Registry, made: str, tmp_path: Path, flags: list[str]
) -> None:
    name = f"{registry.host}/theirs:1"
    with registry.netns.entered():
        ok(podman, "push", "--tls-verify=false", "--digestfile", f"{tmp_path}/digest", *flags, made, name)
    assert f"Digest: {(tmp_path / 'digest').read_text()}" in docker.ok("pull", name)
    check_made(docker, name)
