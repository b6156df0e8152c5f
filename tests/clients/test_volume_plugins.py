"""Volumes of plugins (the old protocol on a socket): made, mounted and let go as dockerd does.

The plugin is the harness's own. What a plugin that is gone costs is dockerd's quarter of a minute, so few tests ask.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from harness.docker import Docker
from harness.engine import ON_DOCKERD, Engine
from harness.http import Api
from harness.volume_plugin import VolumePlugin
from harness.waiting import wait_for


@pytest.fixture
def plugin(tmp_path: Path, name: str) -> VolumePlugin:
    folder = tmp_path / "volumes"
    folder.mkdir()
    return VolumePlugin(f"lightship-{name}-{time.time_ns()}", folder)


@pytest.fixture
def served(plugin: VolumePlugin, docker: Docker) -> Iterator[VolumePlugin]:
    with plugin.serving():
        yield plugin
        plugin.failures.clear()
        for volume in docker.ok("volume", "ls", "-q", "--filter", f"driver={plugin.name}").split():
            for container in docker.ok("ps", "-aq", "--filter", f"volume={volume}").split():
                docker.ok("rm", "-f", container)
            docker.ok("volume", "rm", volume)


def is_free(plugin: VolumePlugin) -> bool:
    return not any(plugin.mounts.values())


def test_create_inspect_list_remove(docker: Docker, served: VolumePlugin) -> None:
    docker.ok("volume", "create", "-d", served.name, "-o", "a=b", "--label", "x=y", "one")
    assert served.asked("Create") == [{"Name": "one", "Opts": {"a": "b"}}]
    told = json.loads(docker.ok("volume", "inspect", "one"))[0]
    assert told == {
        "Name": "one",
        "Driver": served.name,
        "Mountpoint": "",
        "CreatedAt": "2024-05-06T07:08:09Z",
        "Status": {"colour": "blue"},
        "Labels": {"x": "y"},
        "Options": {"a": "b"},
        "Scope": "global",
    }
    assert docker.ok("volume", "ls", "--filter", f"driver={served.name}", "--format", "{{.Driver}} {{.Name}}") == (
        f"{served.name} one"
    )
    assert served.name in json.loads(docker.ok("info", "-f", "{{json .Plugins.Volume}}"))
    docker.ok("volume", "prune", "-af")
    assert docker.ok("volume", "rm", "one") == "one"
    assert (served.asked("Remove"), served.volumes) == ([{"Name": "one"}], {})


def test_a_container_has_it_mounted_while_it_runs(docker: Docker, served: VolumePlugin) -> None:
    docker.ok("volume", "create", "-d", served.name, "one")
    container = docker.ok("run", "-d", "-v", "one:/a", "-v", "one:/b", "busybox", "sh", "-c", "echo hi >/a/f; sleep 99")
    wait_for(lambda: (served.folder / "one/f").exists())
    assert docker.ok("exec", container, "cat", "/b/f") == "hi"
    ids = served.mounts["one"]
    assert len(set(ids)) == 2, "each mount point has an id of its own"
    (point,) = [
        mount for mount in json.loads(docker.ok("inspect", container))[0]["Mounts"] if mount["Destination"] == "/a"
    ]
    assert (point["Driver"], point["Name"], point["Source"], point["Mode"]) == (served.name, "one", "", "")
    refused = docker.fails("volume", "rm", "one")
    assert f"remove one: volume is in use - [{container}]" in refused
    docker.ok("kill", container)
    wait_for(lambda: is_free(served))
    assert sorted(asked["ID"] for asked in served.asked("Unmount"))[-2:] == sorted(ids) or not ids
    # Copying out of a stopped container has it mounted for that moment.
    assert "hi" in docker.ok("cp", f"{container}:/a/f", "-")
    wait_for(lambda: is_free(served))


def test_restarting_keeps_or_takes_it_again(docker: Docker, served: VolumePlugin) -> None:
    docker.ok("volume", "create", "-d", served.name, "one")
    script = "echo x >>/a/f; sleep 0.2; exit 3"
    container = docker.ok("run", "-d", "--restart", "on-failure:2", "-v", "one:/a", "busybox", "sh", "-c", script)
    docker.ok("wait", container)
    wait_for(lambda: docker.ok("inspect", "-f", "{{.State.Status}}", container) == "exited")
    assert (served.folder / "one/f").read_text() == "x\n" * 3
    wait_for(lambda: is_free(served))
    docker.ok("start", container)
    wait_for(lambda: not is_free(served) or (served.folder / "one/f").read_text() != "x\n" * 3)
    docker.ok("rm", "-f", container)
    wait_for(lambda: is_free(served))


def test_the_images_content_fills_it(docker: Docker, served: VolumePlugin) -> None:
    docker.ok("run", "--rm", "--volume-driver", served.name, "-v", "two:/etc", "busybox", "true")
    assert (served.folder / "two/passwd").exists()
    assert docker.ok("run", "--rm", "-v", "two:/other", "busybox", "ls", "/other/passwd") == "/other/passwd"
    wait_for(lambda: is_free(served))


def test_what_the_plugin_refuses_is_told(docker: Docker, served: VolumePlugin, api: Api) -> None:
    docker.ok("volume", "create", "-d", served.name, "one")
    served.failures = {"Mount": "cannot mount today"}
    told = docker.fails("run", "--rm", "-v", "one:/data", "busybox", "true", code=125)
    assert "error while mounting volume '': cannot mount today" in told
    served.failures = {"Create": "no space"}
    answer = api.post("/volumes/create", {"Name": "three", "Driver": served.name})
    assert (answer.status, answer.json()["message"]) == (500, "create three: no space")
    served.failures = {"Remove": "busy"}
    assert "remove one: busy" in docker.fails("volume", "rm", "one")
    served.failures = {"List": "broken list"}
    listing = api.json("/volumes")
    assert [volume["Name"] for volume in listing["Volumes"] if volume["Driver"] == served.name] == ["one"]
    assert f"list {served.name}: broken list" in listing["Warnings"]
    served.failures = {}
    taken = f"create one: driver '{served.name}' already has volume 'one': volume name must be unique"
    assert taken in docker.fails("volume", "create", "-d", "local", "one")


def test_what_the_plugin_has_made_itself_is_found(docker: Docker, served: VolumePlugin) -> None:
    docker.ok("volume", "create", "-d", served.name, "one")
    served.volumes["theirs"] = {}
    (served.folder / "theirs").mkdir()
    assert "theirs" in docker.ok("volume", "ls", "-q").split()
    docker.ok("run", "--rm", "-v", "theirs:/data", "busybox", "touch", "/data/file")
    assert (served.folder / "theirs/file").exists()
    del served.volumes["one"]
    assert "get one: no such volume" in docker.fails("volume", "inspect", "one")
    assert "one" not in docker.ok("volume", "ls", "-q").split()


def test_a_plugin_for_something_else_drives_no_volumes(docker: Docker, plugin: VolumePlugin) -> None:
    plugin.implements = ["authz"]
    with plugin.serving():
        told = docker.fails("volume", "create", "-d", plugin.name, "one")
    assert f"create one: error looking up volume plugin {plugin.name}: legacy plugin: Plugin does not implement" in told


def test_a_plugin_that_is_gone(docker: Docker, api: Api, plugin: VolumePlugin) -> None:
    """Its volumes stay known; what is asked of them fails after a while, and nothing else waits for that."""
    with plugin.serving():
        docker.ok("volume", "create", "-d", plugin.name, "one")
        docker.ok("create", "--name", "stays", "-v", "one:/data", "busybox", "true")
    unknown = {"VolumeDriver": "never-there", "Binds": ["three:/x"]}
    asked: dict[str, Callable[[], str]] = {
        "inspect": lambda: docker.fails("volume", "inspect", "one"),
        "start": lambda: docker.fails("start", "stays"),
        "unknown": lambda: docker.fails("volume", "create", "-d", "never-there", "two"),
        "container": lambda: api.post("/containers/create", {"Image": "busybox", "HostConfig": unknown}).json()[
            "message"
        ],
    }
    with ThreadPoolExecutor() as threads:
        answers = {name: threads.submit(ask) for name, ask in asked.items()}
        started = time.monotonic()
        assert docker.ok("run", "--rm", "-v", "local-one:/x", "busybox", "echo", "still here") == "still here"
        assert time.monotonic() - started < 10
        failures = {name: answer.result() for name, answer in answers.items()}
    with plugin.serving():
        docker.ok("rm", "-f", "stays")
        docker.ok("volume", "rm", "one")
    gone = f"dial unix {plugin.socket}: connect: no such file or directory"
    assert (
        f'get one: error while checking if volume "one" exists in driver "{plugin.name}": Post '
        in (failures["inspect"])
    )
    assert gone in failures["inspect"] and gone in failures["start"]
    never = 'error looking up volume plugin never-there: plugin "never-there" not found'
    assert f"create two: {never}" in failures["unknown"] and failures["container"] == f"create three: {never}"


@pytest.mark.skipif(ON_DOCKERD, reason="dockerd stops its containers when it is killed here")
def test_a_container_that_ended_without_a_daemon_lets_it_go(
    private_engine: Callable[..., Engine], plugin: VolumePlugin
) -> None:
    engine = private_engine()
    with plugin.serving():
        engine.docker.ok("volume", "create", "-d", plugin.name, "one")
        engine.docker.ok("run", "-d", "--name", "stays", "-v", "one:/a", "busybox", "sleep", "1000")
        engine.docker.ok(
            "run",
            "-d",
            "--name",
            "ends",
            "-v",
            "one:/a",
            "busybox",
            "sh",
            "-c",
            "until [ -e /a/end ]; do sleep 0.1; done",
        )
        assert len(plugin.mounts["one"]) == 2
        engine.kill()
        (plugin.folder / "one/end").touch()
        time.sleep(0.5)
        engine.start()
        wait_for(lambda: len(plugin.mounts["one"]) == 1)
        assert engine.docker.ok("inspect", "-f", "{{.State.Status}}", "ends") == "exited"
        engine.docker.ok("rm", "-f", "stays", "ends")
        wait_for(lambda: is_free(plugin))
        engine.docker.ok("volume", "rm", "one")
