"""Ansible's docker modules, each played twice: what is there as asked for is left alone."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from harness.docker import Docker

Play = Callable[..., dict[str, dict[str, Any]]]

NETWORK = {"name": "front", "ipam_config": [{"subnet": "10.77.0.0/24", "gateway": "10.77.0.1"}]}
VOLUME = {"name": "data", "labels": {"use": "test"}}
CONTAINER = {
    "name": "web",
    "image": "busybox",
    "command": 'sh -c "echo hello >/data/index.html; exec httpd -f -h /data"',
    "env": {"A": "1"},
    "labels": {"tier": "web"},
    "memory": "64M",
    "restart_policy": "unless-stopped",
    "networks": [{"name": "front", "aliases": ["www"], "ipv4_address": "10.77.0.9"}],
    "networks_cli_compatible": True,
    "volumes": ["data:/data"],
    "published_ports": ["8087:80"],
    "healthcheck": {"test": ["CMD", "true"], "interval": "1s"},
    "comparisons": {"*": "strict"},
}


@pytest.fixture
def play(on_host: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path) -> Play:
    """Play tasks, {module: arguments}; return what each module answered."""
    settings = {
        "ANSIBLE_STDOUT_CALLBACK": "json",
        "ANSIBLE_LOCALHOST_WARNING": "false",
        "ANSIBLE_PYTHON_INTERPRETER": "/usr/bin/python3",
        "ANSIBLE_REMOTE_TEMP": str(tmp_path / "modules"),
        "LC_ALL": "C.UTF-8",
    }

    def run(**tasks: dict[str, Any]) -> dict[str, dict[str, Any]]:
        listed = [{"name": name, f"community.docker.docker_{name}": given} for name, given in tasks.items()]
        book = tmp_path / "play.yml"
        book.write_text(json.dumps([{"hosts": "localhost", "gather_facts": False, "tasks": listed}]))
        done = on_host("ansible-playbook", "-i", "localhost,", "-c", "local", str(book), env=settings)
        assert done.returncode == 0, done.stdout + done.stderr
        (played,) = json.loads(done.stdout)["plays"]
        return {task["task"]["name"]: task["hosts"]["localhost"] for task in played["tasks"]}

    return run


def changed(answers: dict[str, dict[str, Any]]) -> set[str]:
    return {name for name, answer in answers.items() if answer["changed"]}


def test_what_is_asked_for_is_made_once(play: Play, docker: Docker) -> None:
    wanted = {"network": NETWORK, "volume": VOLUME, "container": CONTAINER}
    assert changed(play(**wanted)) == {"network", "volume", "container"}
    box = docker.ok("ps", "-q", "--no-trunc")
    again = play(
        **wanted,
        container_exec={"container": "web", "command": "cat", "stdin": "typed"},
        container_info={"name": "web"},
        network_info={"name": "front"},
        volume_info={"name": "data"},
        image_info={"name": "busybox"},
        # It looks for LayersSize, which went with version 1.52
        host_info={"containers": True, "disk_usage": True, "api_version": "1.51"},
    )
    assert changed(again) == {"container_exec"}
    assert again["container_exec"]["stdout"] == "typed" and again["container_exec"]["rc"] == 0
    assert again["container_info"]["container"]["Id"] == box
    assert list(again["network_info"]["network"]["Containers"]) == [box]
    assert again["volume_info"]["volume"]["Labels"] == {"use": "test"}
    assert again["image_info"]["images"][0]["RepoTags"] == ["busybox:latest"]
    assert again["host_info"]["host_info"]["ContainersRunning"] == 1
    other = play(container=CONTAINER | {"env": {"A": "2"}})
    assert changed(other) == {"container"} and docker.ok("exec", "web", "sh", "-c", "echo $A") == "2"
    assert docker.ok("ps", "-q", "--no-trunc") != box


def test_what_is_to_go_goes(play: Play, docker: Docker) -> None:
    tag = {"name": "busybox", "repository": "mine:1", "source": "local"}
    play(network=NETWORK, volume=VOLUME, container=CONTAINER, image=tag)
    absent = {"state": "absent"}
    gone = {
        "container": {"name": "web", **absent},
        "network": {"name": "front", **absent},
        "volume": {"name": "data", **absent},
        "image": {"name": "mine:1", **absent},
    }
    assert changed(play(**gone)) == set(gone)
    assert changed(play(**gone)) == set()
    assert docker.ok("ps", "-aq") == "" and "front" not in docker.ok("network", "ls", "--format", "{{.Name}}").split()
    docker.ok("create", "--name", "left", "busybox")
    pruned = play(prune={"containers": True, "networks": True, "volumes": True})["prune"]
    assert len(pruned["containers"]) == 1 and docker.ok("ps", "-aq") == ""
