"""Authorization plugins: what they are asked of each request and answer, and what clients get where they deny it."""

from __future__ import annotations

import base64
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import docker as docker_py
import pytest
from harness import managed_plugin
from harness.authz_plugin import AuthzPlugin
from harness.engine import Engine, engine_under_test
from harness.waiting import wait_for


def new_plugin(name: str) -> AuthzPlugin:
    return AuthzPlugin(f"lightship-{name}-{time.time_ns()}")


@pytest.fixture(scope="module")
def plugin() -> Iterator[AuthzPlugin]:
    made = new_plugin("authz")
    with made.serving():
        yield made


@pytest.fixture(scope="module")
def guarded(plugin: AuthzPlugin, isolated: None, base_archive: bytes) -> Iterator[Engine]:
    engine = engine_under_test("--authorization-plugin", plugin.name)
    try:
        engine.start()
        engine.docker.ok("load", stdin=base_archive)
        yield engine
    finally:
        plugin.request = plugin.response = lambda told: None
        engine.destroy()


@pytest.fixture(autouse=True)
def fresh(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "plugin" in request.fixturenames:
        plugin: AuthzPlugin = request.getfixturevalue("plugin")
        plugin.request = plugin.response = lambda told: None
        plugin.calls.clear()


def deny(message: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda told: {"Allow": False, "Msg": message}


def body_of(told: dict[str, Any], part: str) -> Any:
    return json.loads(base64.b64decode(told[part]))


def test_what_a_plugin_is_told(guarded: Engine, plugin: AuthzPlugin) -> None:
    secrets = {"Authorization": "a", "X-Registry-Auth": "b", "x-other": "c"}
    made = guarded.api.post("/v1.47/volumes/create?x=a%20b", {"Name": "one"}, headers=secrets)
    assert made.status == 201
    (asked,) = plugin.asked("AuthZReq", "?x=a%20b")
    assert asked["RequestMethod"] == "POST" and asked["RequestUri"] == "/v1.47/volumes/create?x=a%20b"
    assert body_of(asked, "RequestBody") == {"Name": "one"}
    headers = {"Accept-Encoding": "identity", "Content-Length": "15", "Content-Type": "application/json"}
    assert asked["RequestHeaders"] == {**headers, "X-Other": "c"}
    assert "User" not in asked and "ResponseStatusCode" not in asked
    (told,) = plugin.asked("AuthZRes", "?x=a%20b")
    assert told["ResponseStatusCode"] == 201 and told["RequestBody"] == asked["RequestBody"]
    assert base64.b64decode(told["ResponseBody"]) == made.body
    shown = {"Api-Version", "Content-Type", "Docker-Experimental", "Ostype", "Server"}
    assert set(told["ResponseHeaders"]) == shown
    assert guarded.api.json("/info")["Plugins"]["Authorization"] == [plugin.name]


def test_what_it_is_not_told(guarded: Engine, plugin: AuthzPlugin) -> None:
    """Passwords, other bodies than JSON, what dockerd's errors say, and paths that there are not."""
    guarded.api.post("/v1.47/auth", {"password": "secret"})
    assert "RequestBody" not in plugin.asked("AuthZReq", "/auth")[0]
    assert guarded.api.request("POST", "/images/load", raw=b"junk", headers={"Content-Type": "application/x-tar"})
    assert "RequestBody" not in plugin.asked("AuthZReq", "/images/load")[0]
    assert guarded.api.get("/containers/nope/json").status == 404
    (told,) = plugin.asked("AuthZRes", "/nope/json")
    assert not {"ResponseStatusCode", "ResponseBody"} & set(told)
    assert set(told["ResponseHeaders"]) == {"Api-Version", "Docker-Experimental", "Ostype", "Server"}
    plugin.calls.clear()
    assert guarded.api.get("/v1.47/nope").status == 404
    assert plugin.calls == []


def test_a_denied_request(guarded: Engine, plugin: AuthzPlugin) -> None:
    plugin.request = lambda told: {"Allow": False, "Msg": "no way"} if told["RequestMethod"] == "DELETE" else None
    assert guarded.api.post("/volumes/create", {"Name": "kept"}).status == 201
    answer = guarded.api.delete("/volumes/kept")
    assert answer.status == 403 and answer.message == f"authorization denied by plugin {plugin.name}: no way"
    assert set(answer.headers) == {"content-type", "content-length", "date"}
    refused = guarded.docker.fails("volume", "rm", "kept")
    assert refused == f"Error response from daemon: authorization denied by plugin {plugin.name}: no way"
    client = docker_py.DockerClient(guarded.host)
    with pytest.raises(docker_py.errors.APIError, match="authorization denied by plugin"):
        client.volumes.get("kept").remove()
    client.close()
    assert guarded.api.get("/volumes/kept").status == 200


def test_a_denied_answer(guarded: Engine, plugin: AuthzPlugin) -> None:
    """What was asked for is done by then."""
    plugin.response = deny("not out")
    answer = guarded.api.post("/volumes/create", {"Name": "made"})
    assert answer.status == 403 and answer.message == f"authorization denied by plugin {plugin.name}: not out"
    assert set(answer.headers) == {"content-type", "content-length", "date"}
    assert guarded.api.get("/containers/nope/json").message == "No such container: nope"
    streamed = guarded.api.get("/events?until=1")
    assert streamed.status == 200 and streamed.message == answer.message
    plugin.response = lambda told: None
    assert guarded.api.get("/volumes/made").status == 200


def test_verdicts(guarded: Engine, plugin: AuthzPlugin) -> None:
    """An `Err` counts where the plugin's own answer is a failure."""
    plugin.request = lambda told: {"Allow": False, "Err": "broken"}
    assert guarded.api.get("/version").message == f"authorization denied by plugin {plugin.name}: "
    plugin.request = lambda told: {"Allow": True, "Err": "broken"}
    assert guarded.api.get("/version").status == 200
    for part in ("request", "response"):
        plugin.request = plugin.response = lambda told: None
        setattr(plugin, part, lambda told: {"Err": "broken"})
        answer = guarded.api.get("/version")
        method = "AuthZPlugin.AuthZReq" if part == "request" else "AuthZPlugin.AuthZRes"
        assert (answer.status, answer.message) == (500, f"plugin {plugin.name} failed with error: {method}: broken")


def test_large_bodies(guarded: Engine, plugin: AuthzPlugin) -> None:
    """One that a plugin cannot see is refused, lest it be a way around it."""
    large = {"Name": "large", "Labels": {"a": "x" * 1_500_000}}
    answer = guarded.api.post("/volumes/create", large)
    assert answer.status == 201
    (told,) = plugin.asked("AuthZRes", "/volumes/create")
    assert body_of(told, "RequestBody") == large
    plugin.calls.clear()
    limit = 4 << 20
    answer = guarded.api.post("/volumes/create", {"Name": "larger", "Labels": {"a": "x" * (limit - 40)}})
    assert answer.status == 201
    content = b'{"Name": "largest"' + b" " * limit + b"}"
    refused = guarded.api.request("POST", "/volumes/create", raw=content, headers={"Content-Type": "application/json"})
    assert refused.status == 500
    assert refused.message == f"request body too large for authorization plugin: size exceeds {limit} bytes"
    assert guarded.api.get("/volumes/largest").status == 404


def test_streams_and_containers(guarded: Engine, plugin: AuthzPlugin) -> None:
    """Attach and exec are taken out of HTTP; logs and builds are streams."""
    docker = guarded.docker
    assert docker.ok("run", "--rm", "-i", "busybox", "cat", stdin="through\n") == "through"
    container = docker.ok("run", "-d", "busybox", "sh", "-c", "echo hello; sleep 100")
    assert docker.ok("exec", container, "echo", "inside") == "inside"
    wait_for(lambda: docker.ok("logs", container) == "hello")
    assert docker.ok("rm", "-f", container) == container
    assert docker.ok("build", "-q", "-", stdin="FROM busybox\nRUN true\n").startswith("sha256:")
    assert any("/build?" in told.get("RequestUri", "") for _, told in plugin.calls)
    created = plugin.asked("AuthZReq", "/containers/create")
    assert body_of(created[-1], "RequestBody")["Image"] == "busybox"
    plugin.request = lambda told: {"Allow": False, "Msg": "no exec"} if "/exec" in told["RequestUri"] else None
    container = docker.ok("run", "-d", "busybox", "sleep", "100")
    assert "no exec" in docker.fails("exec", container, "true")


def test_all_of_several_have_to_allow(private_engine: Callable[..., Engine]) -> None:
    first, second = new_plugin("first"), new_plugin("second")
    with first.serving(), second.serving():
        flags = [part for each in (first, second, first) for part in ("--authorization-plugin", each.name)]
        engine = private_engine(*flags)
        first.calls.clear()
        assert engine.api.get("/version").status == 200
        assert [len(each.asked("AuthZReq", "/version")) for each in (first, second)] == [1, 1]
        second.request = deny("second says no")
        assert engine.api.get("/version").message == f"authorization denied by plugin {second.name}: second says no"
        first.request = deny("first says no")
        assert engine.api.get("/version").message == f"authorization denied by plugin {first.name}: first says no"
        first.request = second.request = lambda told: None
        engine.stop()


def test_reload(private_engine: Callable[..., Engine], tmp_path: Path) -> None:
    plugin = new_plugin("reload")
    file = tmp_path / "daemon.json"
    file.write_text("{}")
    with plugin.serving():
        engine = private_engine("--config-file", str(file))
        plugin.request = deny("locked")
        assert engine.api.json("/info")["Plugins"]["Authorization"] is None
        file.write_text(json.dumps({"authorization-plugins": [plugin.name]}))
        os.kill(engine.pid, signal.SIGHUP)
        wait_for(lambda: engine.api.get("/version").status == 403)
        file.write_text("{}")
        os.kill(engine.pid, signal.SIGHUP)
        wait_for(lambda: engine.api.get("/version").status == 200)
        engine.stop()


def test_a_plugin_that_does_not_authorize(private_engine: Callable[..., Engine]) -> None:
    plugin = new_plugin("other")
    plugin.implements = ["VolumeDriver"]
    told = f'Plugin does not implement the requested driver: plugin="{plugin.name}", requested implementation="authz"'
    with plugin.serving(), pytest.raises(RuntimeError) as failure:
        private_engine("--authorization-plugin", plugin.name)
    assert "failed to validate authorization plugin: legacy plugin: " in str(failure.value)
    assert told in str(failure.value).replace("\\", "")


MANAGED = {"interface": {"types": ["docker.authz/1.0"], "socket": "plugin.sock"}}
MANAGED_ANSWER = """
def answer(verb, asked):
    if verb == "Activate":
        return {"Implements": ["authz"]}
    return {"Allow": asked["RequestMethod"] != "DELETE", "Msg": "nothing is deleted"}
"""


def test_a_managed_plugin(private_engine: Callable[..., Engine], tmp_path: Path) -> None:
    """One that is disabled is asked no more, even where it is enabled again, until the configuration is read again."""
    file = tmp_path / "daemon.json"
    file.write_text("{}")
    engine = private_engine("--config-file", str(file))
    engine.docker.ok(
        "plugin", "create", "test/authz", str(managed_plugin.write(tmp_path / "p", MANAGED, MANAGED_ANSWER))
    )
    engine.docker.ok("plugin", "enable", "test/authz")
    file.write_text(json.dumps({"authorization-plugins": ["test/authz"]}))
    os.kill(engine.pid, signal.SIGHUP)
    wait_for(lambda: engine.api.delete("/volumes/none").status == 403)
    denied = "authorization denied by plugin test/authz:latest: nothing is deleted"
    assert engine.api.delete("/volumes/none").message == denied
    engine.restart()
    assert engine.api.delete("/volumes/none").message == denied
    engine.docker.ok("plugin", "disable", "test/authz")
    assert engine.api.delete("/volumes/none").status == 404
    engine.docker.ok("plugin", "enable", "test/authz")
    assert engine.api.delete("/volumes/none").status == 404
    os.kill(engine.pid, signal.SIGHUP)
    wait_for(lambda: engine.api.delete("/volumes/none").status == 403)
    engine.docker.ok("plugin", "disable", "test/authz")
    engine.docker.ok("plugin", "rm", "test/authz")
