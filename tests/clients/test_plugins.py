"""Managed plugins: made from a directory, set, enabled, used, pushed, installed, upgraded, removed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import docker as docker_py
import pytest
from harness import managed_plugin
from harness.docker import Docker
from harness.engine import ON_DOCKERD, Engine
from harness.http import Api
from harness.registry import Registry
from harness.waiting import wait_for

CONFIG = {
    "description": "volumes for tests",
    "interface": {"types": ["docker.volumedriver/1.0"], "socket": "plugin.sock"},
    "propagatedmount": "/state",
    "env": [{"name": "DEBUG", "value": "0", "settable": ["value"]}, {"name": "FIXED", "value": "1"}],
    "linux": {"capabilities": ["CAP_SYS_ADMIN"]},
}
ANSWER = """
import time

def answer(verb, asked):
    name = asked.get("Name")
    if verb == "Create" and name == "slow":
        time.sleep(30)
    path = f"/state/{name}"
    if verb == "Activate":
        return {"Implements": ["VolumeDriver"]}
    if verb == "Capabilities":
        return {"Capabilities": {"Scope": "local"}}
    if verb == "Create":
        os.makedirs(path, exist_ok=True)
    elif verb == "Remove":
        os.rename(path, f"/state/.removed-{name}")
    elif verb in ("Mount", "Path"):
        return {"Mountpoint": path}
    elif verb == "List":
        return {"Volumes": [{"Name": n, "Mountpoint": f"/state/{n}"} for n in os.listdir("/state") if n[0] != "."]}
    elif verb == "Get":
        found = os.path.isdir(path)
        return {"Volume": {"Name": name, "Mountpoint": path}} if found else {"Err": "no such volume"}
    return {"Err": ""}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What `docker plugin create` is given."""
    return managed_plugin.write(tmp_path / "plugin", CONFIG, ANSWER)


@pytest.fixture
def plugin(docker: Docker, api: Api, folder: Path) -> Iterator[str]:
    docker.ok("plugin", "create", "test/volumes", str(folder))
    yield "test/volumes:latest"
    for found in api.json("/plugins"):
        for volume in api.json("/volumes")["Volumes"] or ():
            if volume["Driver"] == found["Name"]:
                api.delete(f"/volumes/{volume['Name']}?force=1")
        assert api.delete(f"/plugins/{found['Name']}?force=1").status == 200


def test_create_and_inspect(docker: Docker, api: Api, plugin: str) -> None:
    shown = json.loads(docker.ok("plugin", "inspect", "test/volumes"))[0]
    assert (shown["Name"], shown["Enabled"], shown["PluginReference"]) == (plugin, False, plugin)
    assert shown["Settings"]["Env"] == ["DEBUG=0", "FIXED=1"]
    assert shown["Config"]["Interface"] == {"Types": ["docker.volumedriver/1.0"], "Socket": "plugin.sock"}
    assert shown["Config"]["PropagatedMount"] == "/state" and shown["Config"]["rootfs"]["type"] == "layers"
    assert api.json(f"/plugins/{shown['Id'][:8]}/json")["Name"] == plugin
    assert [found["Name"] for found in api.json('/plugins?filters={"enabled":["false"]}')] == [plugin]
    assert api.json('/plugins?filters={"enabled":["true"]}') == []
    assert [found["Name"] for found in api.json('/plugins?filters={"capability":["volumedriver"]}')] == [plugin]
    assert api.json('/plugins?filters={"capability":["authz"]}') == []


def test_settings(docker: Docker, plugin: str) -> None:
    docker.ok("plugin", "set", plugin, "DEBUG=1")
    assert "DEBUG=1" in docker.ok("plugin", "inspect", "-f", "{{.Settings.Env}}", plugin)
    assert '"FIXED" is not settable' in docker.fails("plugin", "set", plugin, "FIXED=2")
    assert 'setting "X" not found in the plugin configuration' in docker.fails("plugin", "set", plugin, "X=2")
    docker.ok("plugin", "enable", plugin)
    assert "cannot set on an active plugin" in docker.fails("plugin", "set", plugin, "DEBUG=0")


def test_volumes(docker: Docker, plugin: str) -> None:
    docker.ok("plugin", "enable", plugin)
    docker.ok("volume", "create", "-d", "test/volumes", "kept")
    assert docker.ok("volume", "inspect", "-f", "{{.Driver}}", "kept") == plugin
    docker.ok("run", "--rm", "-v", "kept:/data", "busybox", "sh", "-c", "echo here > /data/file")
    assert docker.ok("run", "--rm", "-v", "kept:/data", "busybox", "cat", "/data/file") == "here"
    assert f"plugin {plugin} is in use" in docker.fails("plugin", "disable", plugin)
    assert f"plugin {plugin} is in use" in docker.fails("plugin", "rm", plugin)
    docker.ok("volume", "rm", "kept")
    assert f"plugin {plugin} is enabled" in docker.fails("plugin", "rm", plugin)
    docker.ok("plugin", "disable", plugin)
    assert "disabled" in docker.fails("volume", "create", "-d", "test/volumes", "another")


def test_a_call_takes_no_longer_than_was_allowed(docker: Docker, plugin: str) -> None:
    docker.ok("plugin", "enable", "--timeout", "1", plugin)
    assert "deadline exceeded" in docker.fails("volume", "create", "-d", "test/volumes", "slow")


def test_refusals(docker: Docker, api: Api, folder: Path, plugin: str) -> None:
    assert f"plugin {plugin} already exists" in docker.fails("plugin", "create", "test/volumes", str(folder))
    assert "is already disabled" in docker.fails("plugin", "disable", plugin)
    docker.ok("plugin", "enable", plugin)
    assert f"plugin {plugin} is enabled" in docker.fails("plugin", "enable", plugin)
    assert api.post(f"/plugins/{plugin}/enable?timeout=0").status == 409
    for method, path in (("GET", "json"), ("POST", "enable?timeout=0"), ("POST", "disable"), ("POST", "push")):
        answer = api.request(method, f"/plugins/none/{path}")
        assert (answer.status, answer.json()["message"]) == (404, 'plugin "none" not found')


def test_one_that_does_not_listen(docker: Docker, folder: Path, plugin: str) -> None:
    docker.ok("plugin", "rm", plugin)
    (folder / "rootfs" / "serve.py").write_text("import time; time.sleep(1000)")
    docker.ok("plugin", "create", "test/volumes", str(folder))
    assert "plugin.sock: connect: no such file or directory" in docker.fails("plugin", "enable", plugin)
    assert docker.ok("plugin", "inspect", "-f", "{{.Enabled}}", plugin) == "false"


def test_registry(docker: Docker, engine: Engine, folder: Path, plugin: str) -> None:
    registry = Registry(engine.netns)
    try:
        name = f"{registry.host}/test/volumes:1"
        docker.ok("plugin", "create", name, str(folder))
        docker.ok("plugin", "push", name)
        docker.ok("plugin", "rm", name)
        docker.ok("plugin", "install", "--grant-all-permissions", "--alias", "other", name, "DEBUG=2")
        shown = json.loads(docker.ok("plugin", "inspect", "other"))[0]
        assert (shown["Name"], shown["Enabled"], shown["PluginReference"]) == ("other:latest", True, name)
        assert "DEBUG=2" in shown["Settings"]["Env"]
        docker.ok("plugin", "disable", "other")
        docker.ok("plugin", "upgrade", "--grant-all-permissions", "--skip-remote-check", "other", name)
        docker.ok("plugin", "enable", "other")
        refused = engine.api.post(f"/plugins/pull?remote={name}&name=third", [])
        assert b"incorrect privileges" in refused.body
    finally:
        registry.close()


def test_docker_py(client: docker_py.DockerClient, plugin: str) -> None:
    found = client.plugins.get(plugin)
    found.configure({"DEBUG": "3"})
    found.enable()
    now = client.plugins.get(plugin)
    assert now.enabled and "DEBUG=3" in now.settings["Env"]
    assert [each.name for each in client.plugins.list()] == [plugin]
    found.disable()
    found.remove()
    assert client.plugins.list() == []


@pytest.mark.skipif(ON_DOCKERD, reason="its plugins end with it")
def test_plugins_outlive_the_daemon(private_engine: Callable[..., Engine], folder: Path) -> None:
    engine = private_engine()
    docker = engine.docker
    docker.ok("plugin", "create", "test/volumes", str(folder))
    docker.ok("plugin", "enable", "test/volumes")
    docker.ok("volume", "create", "-d", "test/volumes", "kept")
    engine.restart()
    assert docker.ok("plugin", "inspect", "-f", "{{.Enabled}}", "test/volumes") == "true"
    assert docker.ok("run", "--rm", "-v", "kept:/data", "busybox", "ls", "/data") == ""
    docker.ok("volume", "rm", "kept")
    docker.ok("plugin", "rm", "-f", "test/volumes")
    wait_for(lambda: not (engine.exec_root / "plugins").exists())
