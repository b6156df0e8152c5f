"""Options of run that are answered as by dockerd: what a mount shows, links that go, limits below use."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from harness.docker import Docker
from harness.engine import ON_DOCKERD, Engine
from harness.http import Api

Sleeper = Callable[..., str]
WORDS = "rw,nosuid,nodev,noexec,relatime"


@pytest.mark.parametrize(
    ("tmpfs", "shown"),
    [
        ("/new", WORDS),
        ("/root", WORDS),
        ("/root:ro", WORDS.replace("rw", "ro")),
        ("/new:exec", WORDS.replace(",noexec", "")),
        ("/new:size=1m,mode=1770,uid=3", f"{WORDS},size=1024k,mode=1770,uid=3"),
    ],
)
def test_what_a_tmpfs_shows(docker: Docker, tmpfs: str, shown: str) -> None:
    place = tmpfs.partition(":")[0]
    told = docker.ok("run", "--rm", "--tmpfs", tmpfs, "busybox", "grep", f" {place} tmpfs", "/proc/mounts")
    assert told.split()[3] == shown


@pytest.mark.parametrize(("place", "mode"), [("/new", "1777"), ("/deep", "755"), ("/sticky", "1755")])
def test_the_mode_of_what_is_covered_stays(docker: Docker, place: str, mode: str) -> None:
    docker.ok(
        "run", "--name", "made", "busybox", "sh", "-c", "mkdir /deep /sticky; chmod 1755 /sticky; chmod 755 /deep"
    )
    docker.ok("commit", "made", "modes")
    assert docker.ok("run", "--rm", "--tmpfs", place, "modes", "stat", "-c", "%a", place) == mode


@pytest.mark.skipif(ON_DOCKERD, reason="another runtime's spec version")
def test_cdi_devices_of_a_directory(private_engine: Callable[..., Engine], tmp_path: Path) -> None:
    (tmp_path / "vendor.yaml").write_text(
        """cdiVersion: 0.6.0
kind: vendor.com/device
devices:
  - name: "0"   # a name, not a number
    containerEdits:
      env: [FOUND=yes]
      deviceNodes:
        - path: /dev/vendor0
          hostPath: /dev/zero
"""
    )
    docker = private_engine("--cdi-spec-dir", str(tmp_path)).docker
    assert docker.ok("info", "-f", "{{.CDISpecDirs}}") == f"[{tmp_path}]"
    script = "echo $FOUND; head -c 3 /dev/vendor0 | wc -c"
    assert docker.ok("run", "--rm", "--device", "vendor.com/device=0", "busybox", "sh", "-c", script) == "yes\n3"
    message = docker.fails("run", "--rm", "--device", "vendor.com/device=1", "busybox", "true", code=125)
    assert "CDI device injection failed: unresolvable CDI devices vendor.com/device=1" in message


def test_a_link_is_removed(docker: Docker, sleeper: Sleeper) -> None:
    sleeper("--name", "target")
    sleeper("--name", "parent", "--link", "target:alias")
    assert "alias" in docker.ok("exec", "parent", "cat", "/etc/hosts")
    assert docker.fails("rm", "--link", "parent") == (
        "Error response from daemon: Conflict, cannot remove the default link name of the container"
    )
    assert docker.fails("rm", "--link", "parent/other") == "Error response from daemon: No such container: parent/other"
    assert docker.ok("rm", "--link", "/parent/alias") == "/parent/alias"
    assert "alias" not in docker.ok("exec", "parent", "cat", "/etc/hosts")
    assert docker.fails("rm", "--link", "parent/alias") == "Error response from daemon: No such container: parent/alias"
    assert docker.ok("inspect", "-f", "{{.State.Status}}", "target") == "running"


def test_what_is_exposed_by_an_unknown_protocol(docker: Docker) -> None:
    docker.ok("create", "--name", "box", "--expose", "80/foo", "busybox", "true")
    assert json.loads(docker.ok("inspect", "-f", "{{json .Config.ExposedPorts}}", "box")) == {"80/foo": {}}
    docker.ok("start", "box")


def test_a_limit_below_what_is_used(docker: Docker, sleeper: Sleeper) -> None:
    script = "dd if=/dev/zero of=/dev/shm/x bs=1M count=20 2>&1; echo; sleep 1000"
    container = sleeper("-m", "40m", "--memory-swap", "40m", command=("sh", "-c", script))
    while not docker("logs", container).out:
        pass
    message = docker.fails("update", "-m", "7m", "--memory-swap", "7m", container)
    assert message.startswith(f"Error response from daemon: Cannot update container {container}: runc did not termin")
    assert "unable to set memory limit to 7340032 (current usage: " in message
    assert docker.ok("inspect", "-f", "{{.HostConfig.Memory}}", container) == str(40 << 20)


def test_the_cgroup_field_is_shown_as_it_came(api: Api) -> None:
    answer = api.post("/containers/create?name=box", {"Image": "busybox", "HostConfig": {"Cgroup": "container:x"}})
    assert answer.status == 201
    assert api.json("/containers/box/json")["HostConfig"]["Cgroup"] == "container:x"


@pytest.mark.skipif(ON_DOCKERD, reason="of version 1.56 of the API")
def test_a_bind_that_belongs_to_the_containers_user(docker: Docker, api: Api, tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    os.chown(tmp_path, 4321, 4321)
    bind = {
        "Type": "bind",
        "Source": str(tmp_path),
        "Target": "/b",
        "BindOptions": {"IDMapping": {"Source": "match-user"}},
    }
    body = {"Image": "rich:1", "Entrypoint": ["touch", "/b/new"], "Cmd": [], "HostConfig": {"Mounts": [bind]}}
    assert api.post("/containers/create?name=box", body).status == 201
    assert docker.ok("start", "-a", "box") == ""
    assert (tmp_path / "new").stat().st_uid == 4321
