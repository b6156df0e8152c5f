"""Engines whose containers' roots are made by other means than the kernel's overlay: all that touches files."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import host
from harness.docker import Docker
from harness.engine import ON_DOCKERD, Engine, engine_under_test, processes_in
from harness.images import Image, busybox_layer, docker_archive, entry, layer
from harness.waiting import wait_for

DRIVERS = ("vfs", "fuse-overlayfs")
ABOVE = layer(
    entry("etc/.wh.group", b""), entry("made", b"made"), entry("d", mode=0o755), entry("d/a", b"a"),
    entry("d/b", kind=tarfile.LNKTYPE, link="d/a"),
)  # fmt: skip
TOP = layer(entry("d", mode=0o755), entry("d/.wh..wh..opq", b""), entry("d/c", b"c"))


@pytest.fixture(scope="module", params=DRIVERS)
def machine(request: pytest.FixtureRequest, isolated: None) -> Iterator[Engine]:
    if request.param == "fuse-overlayfs" and not (shutil.which(request.param) and os.path.exists("/dev/fuse")):
        pytest.skip("no fuse-overlayfs here")
    engine = engine_under_test("--storage-driver", request.param)
    try:
        engine.start()
        images = [Image(["busybox:latest"], [busybox_layer(), ABOVE, TOP]), Image(["two:1"], [busybox_layer(), ABOVE])]
        engine.docker.ok("load", stdin=docker_archive(images))
        engine.docker.ok("run", "--rm", "-p", "80", "busybox", "true")
        yield engine
    finally:
        engine.destroy()


@pytest.fixture
def docker(machine: Engine) -> Iterator[Docker]:
    before = host.snapshot(machine)
    yield machine.docker
    machine.remove_containers()
    found = host.leaks(before, machine, but="files")
    assert not found, f"left behind on the host: {found}"


def archived(docker: Docker, *command: str) -> tarfile.TarFile:
    made = subprocess.run([docker.cli, *command], env=docker.env, check=True, capture_output=True)
    return tarfile.open(fileobj=io.BytesIO(made.stdout))


def test_what_is_told_of_it(machine: Engine, docker: Docker) -> None:
    driver = machine.flags[1]
    info = machine.api.json("/info")
    assert info["Driver"] == driver
    assert info["DriverStatus"] == (None if driver == "vfs" else [])
    box = docker.ok("create", "busybox").strip()
    shown = json.loads(docker.ok("inspect", box))[0]
    assert shown["Driver"] == shown["GraphDriver"]["Name"] == driver
    image = json.loads(docker.ok("image", "inspect", "busybox"))[0]["GraphDriver"]
    assert image["Name"] == driver
    if driver == "vfs":
        assert shown["GraphDriver"]["Data"] == {"ID": box} and image["Data"] is None
    else:
        assert {"ID", "LowerDir", "UpperDir", "WorkDir"} <= shown["GraphDriver"]["Data"].keys()
        assert {"LowerDir", "UpperDir"} <= image["Data"].keys()


def test_the_layers_of_an_image(docker: Docker) -> None:
    assert docker.ok("run", "--rm", "busybox", "sh", "-c", "ls /d; test -e /etc/group || echo gone") == "c\ngone"
    assert docker.ok("run", "--rm", "two:1", "sh", "-c", "test /d/a -ef /d/b && ls /d") == "a\nb"


def test_changes_commit_and_export(docker: Docker) -> None:
    script = "rm /made; echo x > /new; mkdir /dd; echo y > /dd/z; ln /dd/z /dd/zz; rm -r /d; chmod 700 /home"
    docker.ok("run", "--name", "changed", "busybox", "sh", "-ec", script)
    changes = {"D /d", "A /dd", "A /dd/z", "A /dd/zz", "C /home", "D /made", "A /new"}
    assert set(docker.ok("diff", "changed").splitlines()) == changes
    with archived(docker, "export", "changed") as archive:
        names = set(archive.getnames())
    assert {"new", "dd/zz", "etc/passwd"} <= names and not {"made", "d", "etc/group"} & names
    assert docker.ok("ps", "-as", "--format", "{{.Size}}").startswith("4B (virtual ")
    docker.ok("commit", "changed", "committed")
    script = "cat /new; test /dd/z -ef /dd/zz; test ! -e /made; test ! -e /d; stat -c %a /home"
    assert docker.ok("run", "--rm", "committed", "sh", "-ec", script) == "x\n700"
    docker.ok("rm", "changed")
    docker.ok("rmi", "committed")


def test_copying(docker: Docker, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("copied")
    docker.ok("create", "--name", "box", "-v", "/volume", "busybox", "cat", "/etc/file", "/volume/file")
    docker.ok("cp", str(tmp_path / "file"), "box:/etc/file")
    docker.ok("cp", str(tmp_path / "file"), "box:/volume/file")
    with archived(docker, "cp", "box:/home/app", "-") as archive:
        assert [(member.name, member.uid) for member in archive] == [("app", 1000)]
    assert docker.ok("start", "-a", "box") == "copiedcopied"
    docker.ok("rm", "-v", "box")


def test_volumes_and_images_in_containers(docker: Docker) -> None:
    assert docker.ok("run", "--rm", "-v", "/home", "busybox", "ls", "/home") == "app", "filled from the image"
    mount = ("--mount", "type=image,source=two:1,target=/img")
    script = "ls /img/d; test ! -e /img/etc/group; touch /img/x 2>&1"
    result = docker("run", "--rm", *mount, "busybox", "sh", "-c", script)
    assert result.code == 1 and result.out == "a\nb\ntouch: /img/x: Read-only file system\n"


def test_read_only(docker: Docker) -> None:
    assert "Read-only file system" in docker("run", "--rm", "--read-only", "busybox", "touch", "/x").err


def test_a_daemon_that_is_killed(machine: Engine) -> None:
    docker = machine.docker
    docker.ok("run", "-d", "--name", "stays", "--restart", "always", "busybox", "sh", "-c", "echo x > /f; sleep 1000")
    machine.restart()
    if ON_DOCKERD:
        return  # its containers end with it unless live-restore was asked for
    assert docker.ok("exec", "stays", "cat", "/f") == "x"
    assert docker.ok("diff", "stays") == "A /f"
    docker.ok("restart", "-t", "0", "stays")
    assert docker.ok("exec", "stays", "cat", "/f") == "x"
    docker.ok("rm", "-f", "stays")


DOCKERFILE = """\
FROM busybox AS one
RUN echo a > /a && rm /etc/passwd && mkdir /dir && ln /a /dir/a
COPY f /dir/f
RUN --mount=type=cache,target=/cache echo c > /cache/x
FROM busybox
RUN --mount=type=bind,from=one,target=/one test -e /one/dir/f && test ! -e /one/etc/passwd
RUN --mount=type=bind,from=one,target=/one,rw touch /one/x
RUN --mount=type=bind,target=/ctx,rw touch /ctx/x && test -e /ctx/f
COPY --from=one /dir /dir
RUN --mount=type=cache,target=/cache test -e /cache/x && test ! -e /one
RUN rm -r /dir/f && mkdir /dir/f && touch /dir/f/g
ADD --chown=app f /added/
"""


@pytest.mark.skipif(ON_DOCKERD, reason="its classic builder mounts nothing")
def test_builds(docker: Docker, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("f")
    (tmp_path / "Dockerfile").write_text(DOCKERFILE)
    for _ in range(2):
        docker.ok("build", "-q", "-t", "built", str(tmp_path))
    script = "find /dir /added | sort; ls -A /ctx /one 2>/dev/null; stat -c %U /added/f"
    found = docker.ok("run", "--rm", "built", "sh", "-c", script).split()
    assert found == ["/added", "/added/f", "/dir", "/dir/a", "/dir/f", "/dir/f/g", "app"]
    docker.ok("save", "-o", str(tmp_path / "saved"), "built")
    docker.ok("rmi", "built")
    docker.ok("builder", "prune", "-af")


@pytest.mark.skipif(ON_DOCKERD, reason="it is about files of lightship's own")
def test_nothing_is_left(machine: Engine) -> None:
    docker = machine.docker
    known = set(os.listdir(machine.data_root / "snapshots"))
    docker.ok("run", "--rm", "--mount", "type=image,source=two:1,target=/img", "busybox", "touch", "/x")
    docker.ok("create", "--name", "box", "busybox")
    docker.ok("commit", "box", "same")
    docker.ok("rmi", "same")
    docker.ok("rm", "box")
    machine.restart()
    assert set(os.listdir(machine.data_root / "snapshots")) == known


def test_unknown_drivers_are_refused() -> None:
    engine = engine_under_test("--storage-driver", "foo")
    try:
        with pytest.raises(RuntimeError, match="error initializing graphdriver: driver not supported: foo"):
            engine.start()
    finally:
        engine.destroy()


@pytest.mark.skipif(ON_DOCKERD, reason="it hides what another driver has made")
@pytest.mark.skipif(ON_DOCKERD, reason="its containers end with it unless live-restore was asked for")
def test_what_serves_a_container_ends_with_it(machine: Engine) -> None:
    """Also where the daemon is killed; not before the container."""
    docker = machine.docker

    def served() -> int:
        here = processes_in(machine.netns)
        return sum(b"fuse-overlayfs\0-o" in Path(f"/proc/{pid}/cmdline").read_bytes() for pid in here)

    docker.ok("run", "-d", "--name", "stays", "busybox", "sleep", "1000")
    number = served()
    assert number == (machine.flags[1] == "fuse-overlayfs")
    machine.kill()
    assert served() == number
    machine.start()
    assert docker.ok("exec", "stays", "cat", "/made") == "made"
    docker.ok("rm", "-f", "stays")
    wait_for(lambda: not served())


@pytest.mark.skipif(ON_DOCKERD, reason="it hides what another driver has made")
def test_another_driver_than_before(isolated: None) -> None:
    """Images are there as before, and containers go on with the driver that they were made with."""
    engine = engine_under_test()
    try:
        engine.start()
        engine.docker.ok("load", stdin=docker_archive([Image(["busybox:latest"], [busybox_layer(), ABOVE])]))
        engine.docker.ok("run", "--name", "old", "busybox", "sh", "-c", "echo x >> /f; cat /f")
        engine.stop()
        engine.flags += ["--storage-driver", "vfs"]
        engine.start()
        assert engine.docker.ok("start", "-a", "old") == "x\nx"
        assert engine.docker.ok("run", "--name", "new", "busybox", "cat", "/made") == "made"
        drivers = engine.docker.ok("inspect", "-f", "{{.Driver}}", "old", "new").split()
        assert drivers == ["overlay2", "vfs"]
        engine.stop()
        del engine.flags[-2:]
        engine.start()
        assert engine.docker.ok("info", "-f", "{{.Driver}}") == "overlay2"
        assert engine.docker.ok("start", "-a", "new") == "made"
    finally:
        engine.destroy()
