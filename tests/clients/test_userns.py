"""userns-remap: the containers' root is nobody on the host, and finds its own files nevertheless."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import host
from harness.docker import Docker
from harness.engine import ON_DOCKERD, Engine, engine_under_test
from harness.waiting import wait_for

FIRST, SIZE = 200_000, 65_536
FILES = ("/etc/subuid", "/etc/subgid")


@pytest.fixture(scope="module")
def machine(isolated: None, base_archive: bytes, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    ranges = tmp_path_factory.mktemp("ranges") / "subid"
    ranges.write_text(f"daemon:{FIRST}:{SIZE}\n")
    for path in FILES:
        Path(path).touch()
        subprocess.run(["mount", "--bind", str(ranges), path], check=True)
    engine = engine_under_test("--userns-remap", "daemon")
    engine.root.chmod(0o711)
    try:
        engine.start()
        engine.docker.ok("load", stdin=base_archive)
        engine.docker.ok("run", "--rm", "-p", "80", "busybox", "true")
        engine.docker.ok("run", "--rm", "--userns", "host", "--network", "host", "busybox", "true")
        yield engine
    finally:
        engine.destroy()
        for path in FILES:
            subprocess.run(["umount", path], check=True)


@pytest.fixture
def docker(machine: Engine) -> Iterator[Docker]:
    before = host.snapshot(machine)
    yield machine.docker
    machine.remove_containers()
    found = host.leaks(before, machine, but="files")
    assert not found, f"left behind on the host: {found}"


def test_info_and_data_root(machine: Engine, docker: Docker) -> None:
    info = json.loads(docker.ok("info", "--format", "{{json .}}"))
    assert "name=userns" in info["SecurityOptions"]
    assert info["DockerRootDir"] == str(machine.data_root / f"{FIRST}.{FIRST}")


def test_ids(docker: Docker) -> None:
    assert docker.ok("run", "--rm", "busybox", "cat", "/proc/self/uid_map").split() == ["0", str(FIRST), str(SIZE)]
    docker.ok("run", "-d", "--name", "box", "-u", "app", "--init", "--entrypoint", "sleep", "rich:1", "1000")
    pid = docker.ok("inspect", "-f", "{{.State.Pid}}", "box")
    assert f"\nUid:\t{FIRST + 1000}\t" in Path(f"/proc/{pid}/status").read_text()
    assert docker.ok("exec", "-u", "0", "box", "id", "-u") == "0"
    assert docker.ok("exec", "-t", "-u", "0", "box", "tty").strip() == "/dev/pts/0"
    assert docker.ok("inspect", "-f", "{{.HostConfig.UsernsMode}}", "box") == ""


def test_the_images_files_are_the_containers(docker: Docker) -> None:
    script = "stat -c '%u:%g %n' / /etc/hosts /etc/hostname /data/seed; echo more >> /etc/hosts && echo writable"
    told = docker.ok("run", "--rm", "--entrypoint", "sh", "-u", "0", "rich:1", "-c", script).splitlines()
    assert told == ["0:0 /", "0:0 /etc/hosts", "0:0 /etc/hostname", "1000:50 /data/seed", "writable"]


def test_streams_can_be_opened_anew(docker: Docker) -> None:
    result = docker("run", "--rm", "busybox", "sh", "-c", "echo out > /dev/stdout; echo err > /dev/stderr")
    assert (result.out, result.err) == ("out\n", "err\n")
    docker.ok("run", "-d", "--name", "box", "busybox", "sleep", "1000")
    assert docker.ok("exec", "box", "sh", "-c", "echo out > /dev/stdout") == "out"


def test_root_rules_its_network_and_nothing_of_the_host(docker: Docker) -> None:
    rules = ["--cap-add", "NET_ADMIN"]
    docker.ok("run", "--rm", *rules, "busybox", "ip", "link", "set", "lo", "down")
    assert docker("run", "--rm", "--cap-add", "ALL", "busybox", "mount", "-o", "remount,rw", "/sys").code != 0
    denied = docker("run", "--rm", "-v", "/:/host", "busybox", "sh", "-c", "cat /host/etc/shadow")
    assert "Permission denied" in denied.err


def test_volumes(docker: Docker) -> None:
    docker.ok("run", "--rm", "-v", "vol:/v", "busybox", "sh", "-c", "echo x > /v/f; chown 5:6 /v/f; mkdir /v/d")
    assert docker.ok("run", "--rm", "-v", "vol:/v", "busybox", "stat", "-c", "%u:%g", "/v", "/v/f") == "0:0\n5:6"
    docker.ok("run", "--rm", "-v", "seeded:/data", "-u", "0", "--entrypoint", "true", "rich:1")
    assert docker.ok("run", "--rm", "-v", "seeded:/v", "busybox", "stat", "-c", "%u:%g", "/v/seed") == "1000:50"
    part = "type=volume,src=vol,dst=/p,volume-subpath=d"
    assert docker.ok("run", "--rm", "--mount", part, "busybox", "stat", "-c", "%u", "/p") == "0"
    docker.ok("volume", "rm", "vol", "seeded")


def test_binds_show_the_hosts_ids(docker: Docker, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for directory in (tmp_path, *tmp_path.parents[:2]):
        directory.chmod(0o755)
    command = ["busybox", "stat", "-c", "%u", "/b/file"]
    assert docker.ok("run", "--rm", "-v", f"{tmp_path}:/b", *command) == "65534"


def test_the_hosts_namespace_on_demand(docker: Docker) -> None:
    flags = ["--userns", "host", "--privileged", "--network", "host", "--pid", "host"]
    assert docker.ok("run", "--rm", *flags, "busybox", "cat", "/proc/self/uid_map").split() == ["0", "0", "4294967295"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--privileged"], "privileged mode is incompatible with user namespaces.  You must run the container in the "
         "host namespace when running privileged mode"),
        (["--network", "host"], "cannot share the host's network namespace when user namespaces are enabled"),
        (["--pid", "host"], "cannot share the host PID namespace when user namespaces are enabled"),
    ],
)  # fmt: skip
def test_what_does_not_go_together(docker: Docker, flags: list[str], message: str) -> None:
    assert docker.fails("create", *flags, "busybox").splitlines()[0] == f"Error response from daemon: {message}"


def test_sharing_a_network_shares_the_ids(docker: Docker) -> None:
    docker.ok("run", "-d", "--name", "box", "--ipc", "shareable", "busybox", "sleep", "1000")
    both = ["--network", "container:box", "--pid", "container:box", "--ipc", "container:box"]
    assert "sleep 1000" in docker.ok("run", "--rm", *both, "busybox", "ps")
    assert docker.ok("run", "--rm", "--network", "none", "busybox", "id", "-u") == "0"


@pytest.mark.skipif(ON_DOCKERD, reason="dockerd gives out the host's ids")
def test_files_in_and_out(docker: Docker, tmp_path: Path) -> None:
    docker.ok("run", "-d", "--name", "box", "busybox", "sh", "-c", "mkdir /x; touch /x/f; chown 7:8 /x/f; sleep 1000")
    wait_for(lambda: "/x/f" in docker("diff", "box").out)
    (tmp_path / "new").write_text("new")
    (tmp_path / "new").chmod(0o600)
    for _ in ("running", "stopped"):
        subprocess.run(
            "docker cp -a box:/x/f - | tar tv --numeric-owner | grep ' 7/8 '", shell=True, check=True,
            env=docker.env, capture_output=True,
        )  # fmt: skip
        docker.ok("cp", str(tmp_path / "new"), "box:/x/new")
        docker.ok("stop", "-t", "0", "box")
    docker.ok("start", "box")
    assert docker.ok("exec", "box", "stat", "-c", "%u:%g", "/x/new", "/x/f") == "0:0\n7:8"
    docker.ok("commit", "box", "committed")
    assert docker.ok("run", "--rm", "--entrypoint", "", "committed", "stat", "-c", "%u:%g", "/x/f") == "7:8"
    docker.ok("rm", "-f", "box")
    docker.ok("rmi", "committed")


@pytest.mark.skipif(ON_DOCKERD, reason="a container of dockerd ends with it")
def test_it_outlives_the_daemon(machine: Engine) -> None:
    docker = machine.docker
    docker.ok("run", "-d", "--name", "box", "--restart", "always", "busybox", "sleep", "1000")
    machine.restart()
    assert docker.ok("exec", "box", "cat", "/proc/self/uid_map").split()[1] == str(FIRST)
    docker.ok("restart", "-t", "0", "box")
    assert docker.ok("exec", "box", "id", "-u") == "0"
    docker.ok("rm", "-f", "box")


@pytest.mark.skipif(ON_DOCKERD, reason="of version 1.56 of the API")
@pytest.mark.parametrize(
    ("mapping", "user", "shown"),
    [
        ({"Source": "match-user"}, "app", "1000"),
        ({"Source": "match-user", "User": "4:4"}, "", "4"),
        ({"Source": "userns"}, "", "77"),
    ],
)
def test_binds_with_ids_of_the_containers(
    machine: Engine, docker: Docker, tmp_path: Path, mapping: dict[str, str], user: str, shown: str
) -> None:
    for directory in (tmp_path, *tmp_path.parents[:2]):
        directory.chmod(0o755)
    os.chown(tmp_path, 77, 77)
    bind = {"Type": "bind", "Source": str(tmp_path), "Target": "/b", "BindOptions": {"IDMapping": mapping}}
    command = ["sh", "-c", "stat -c %u /b; touch /b/new || true"]
    body = {"Image": "rich:1", "User": user, "Entrypoint": command, "Cmd": [], "HostConfig": {"Mounts": [bind]}}
    assert machine.api.post("/containers/create?name=box", body).status == 201
    assert docker.ok("start", "-a", "box").splitlines()[0] == shown
    if user:
        assert (tmp_path / "new").stat().st_uid == 77


@pytest.mark.skipif(ON_DOCKERD, reason="of version 1.56 of the API")
def test_mappings_that_are_none(machine: Engine, docker: Docker, tmp_path: Path) -> None:
    def refused(**mapping: str) -> str:
        bind = {"Type": "bind", "Source": str(tmp_path), "Target": "/b", "BindOptions": {"IDMapping": mapping}}
        answer = machine.api.post("/containers/create", {"Image": "busybox", "HostConfig": {"Mounts": [bind]}})
        assert answer.status == 400
        return str(answer.json()["message"])

    assert "invalid id mapping source: foo: must be one of match-user, userns" in refused(Source="foo")
    assert "IDMapping.User must only be specified with the source match-user" in refused(Source="userns", User="1")


def remapped(driver: str) -> Engine:
    engine = engine_under_test("--userns-remap", "daemon", "--storage-driver", driver)
    engine.root.chmod(0o711)
    return engine


def test_roots_that_are_copies(machine: Engine, base_archive: bytes) -> None:
    engine = remapped("vfs")
    try:
        engine.start()
        engine.docker.ok("load", stdin=base_archive)
        script = "echo x > /new; chown 7 /new; stat -c %u:%g /new /etc/passwd /home/app"
        assert engine.docker.ok("run", "--name", "box", "busybox", "sh", "-ec", script).split() == [
            "7:0",
            "0:0",
            "1000:1000",
        ]
        assert engine.docker.ok("diff", "box") == "A /new"
        engine.docker.ok("commit", "box", "made")
        shown = engine.docker.ok(
            "run",
            "--rm",
            "--mount",
            "type=image,source=made,target=/img",
            "made",
            "stat",
            "-c",
            "%u",
            "/new",
            "/img/new",
        )
        assert shown.split() == ["7", "7"]
    finally:
        engine.destroy()


@pytest.mark.skipif(ON_DOCKERD, reason="it changes the ids on disk")
def test_a_driver_that_maps_no_ids(machine: Engine) -> None:
    engine = remapped("fuse-overlayfs")
    try:
        with pytest.raises(
            RuntimeError, match="driver not supported: fuse-overlayfs: it cannot be used with userns-remap"
        ):
            engine.start()
    finally:
        engine.destroy()
