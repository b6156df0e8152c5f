"""Options of create that clients seldom use: image mounts, parts of volumes, and what cannot be run or entered."""

from __future__ import annotations

import json

import pytest
from harness.docker import Docker
from harness.engine import ON_DOCKERD, Engine

MOUNT = "type=image,src=rich:1,dst=/other"


def test_the_images_files_are_there_and_stay(docker: Docker) -> None:
    script = "cat /other/data/seed; touch /other/new"
    result = docker("run", "--name", "reader", "--mount", MOUNT, "busybox", "sh", "-c", script)
    assert result.code == 1
    assert result.out == "from the image\n"
    assert "Read-only file system" in result.err
    assert "Image mount is an experimental feature" in result.err
    (point,) = json.loads(docker.ok("inspect", "-f", "{{json .Mounts}}", "reader"))
    assert (point["Type"], point["Name"], point["Destination"], point["RW"]) == ("image", "rich:1", "/other", False)
    assert "from the image" in docker("start", "-a", "reader").out


def test_a_part_of_it(docker: Docker) -> None:
    part = f"{MOUNT},image-subpath=data/deep"
    assert docker.ok("run", "--rm", "--mount", part, "busybox", "ls", "/other").splitlines()[-1] == "file"
    assert docker.ok("run", "--rm", "--mount", f"{part}/file", "busybox", "cat", "/other").splitlines()[-1] == "deep"
    outside = docker("run", "--rm", "--mount", f"{MOUNT},image-subpath=../etc", "busybox", "true")
    assert (outside.code, "subpath must be a relative path within the volume" in outside.err) == (125, True)
    assert docker("run", "--rm", "--mount", f"{MOUNT},image-subpath=nosuch", "busybox", "true").code == 127


@pytest.mark.skipif(ON_DOCKERD, reason="dockerd shares the mount's path, not the image")
def test_it_comes_along_with_volumes_from(docker: Docker) -> None:
    docker.ok("create", "--name", "holder", "--mount", MOUNT, "busybox", "true")
    docker.ok("create", "--name", "guest", "--volumes-from", "holder", "busybox", "cat", "/other/data/seed")
    docker.ok("rm", "holder")
    assert docker.ok("start", "-a", "guest") == "from the image"


def test_a_part_of_a_volume_with_a_file_system_of_its_own(docker: Docker) -> None:
    options = ["type=volume,src=own,dst=/x,volume-driver=local,volume-opt=type=tmpfs,volume-opt=device=tmpfs"]
    missing = docker("run", "--rm", "--mount", f"{options[0]},volume-subpath=nosuch", "busybox", "true")
    assert (missing.code, "no such file or directory" in missing.err) == (127, True)


def test_a_working_directory_that_is_a_file(docker: Docker) -> None:
    message = docker.fails("create", "-w", "/etc/passwd", "busybox", "true")
    assert message == "Error response from daemon: Cannot mkdir: /etc/passwd is not a directory"


def test_a_file_that_is_no_program_starts_and_says_why_it_ends(docker: Docker) -> None:
    script = "printf 'x\\n' > /v/broken; chmod +x /v/broken"
    docker.ok("run", "--rm", "-v", "programs:/v", "busybox", "sh", "-c", script)
    result = docker("run", "--rm", "-v", "programs:/v", "busybox", "/v/broken")
    assert (result.code, result.err.strip()) == (1, "exec /v/broken: exec format error")


def test_devices_are_asked_for_at_the_start(docker: Docker) -> None:
    docker.ok("create", "--name", "gpu", "--gpus", "all", "busybox", "true")
    assert 'could not select device driver "" with capabilities: [[gpu]]' in docker.fails("start", "gpu")
    docker.ok("create", "--name", "cdi", "--device", "vendor.com/class=name", "busybox", "true")
    assert "CDI device injection failed: unresolvable CDI devices vendor.com/class=name" in docker.fails("start", "cdi")


@pytest.mark.parametrize(("version", "below"), [("1.43", "rw"), ("1.51", "ro")])
def test_read_only_binds_by_api_version(docker: Docker, engine: Engine, version: str, below: str) -> None:
    body = {
        "Image": "busybox",
        "Cmd": ["awk", '$5 == "/x/fs/cgroup" { print substr($6, 1, 2) }', "/proc/self/mountinfo"],
        "HostConfig": {"Binds": ["/sys:/x:ro"]},
    }
    answer = engine.api.post(f"/v{version}/containers/create?name=reader", body)
    assert answer.status == 201
    assert docker.ok("start", "-a", "reader").splitlines()[0] == below
