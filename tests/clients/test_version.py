"""`version`, `info`, `_ping` and the negotiation of the API version."""

from __future__ import annotations

import json
import os
import platform

import pytest
from harness.docker import Docker
from harness.http import Api


def test_version_shows_client_and_server(docker: Docker) -> None:
    document = json.loads(docker.ok("version", "--format", "{{json .}}"))
    assert document["Server"]["Os"] == "linux"
    assert document["Server"]["KernelVersion"] == platform.release()
    assert document["Server"]["Components"][0]["Name"] == "Engine"
    assert "Server:" in docker.ok("version")


def test_p111_version_document(docker: Docker, api: Api) -> None:
    version = api.json("/version")
    assert version["MinAPIVersion"] == "1.24"
    assert tuple(map(int, version["ApiVersion"].split("."))) >= (1, 51)
    assert version["Components"][0]["Details"]["ApiVersion"] == version["ApiVersion"]
    assert version["Arch"] == "amd64" if platform.machine() == "x86_64" else version["Arch"]
    assert docker.ok("version", "--format", "{{.Server.MinAPIVersion}}") == "1.24"


@pytest.mark.parametrize("path", ["/_ping", "/v1.44/_ping", "/v1.24/_ping"])
def test_p1_ping_with_and_without_version(api: Api, path: str) -> None:
    answer = api.get(path)
    assert (answer.status, answer.body) == (200, b"OK")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.headers["api-version"] == api.json("/version")["ApiVersion"]
    assert answer.headers["ostype"] == "linux"
    assert answer.headers["builder-version"] == "2"
    assert answer.headers["swarm"] == "inactive"
    assert answer.headers["docker-experimental"] == "false"
    assert answer.headers["server"].startswith("Docker/") and answer.headers["server"].endswith(" (linux)")
    assert answer.headers["cache-control"] == "no-cache, no-store, must-revalidate"
    assert answer.headers["pragma"] == "no-cache"


def test_p1_p2_head_ping_has_no_body(api: Api) -> None:
    answer = api.request("HEAD", "/_ping")
    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers["content-length"] == "0"
    assert answer.headers["api-version"]


def test_p3_too_new_is_refused_in_dockers_words(api: Api) -> None:
    newest = api.json("/version")["ApiVersion"]
    answer = api.get("/v9.99/version")
    assert answer.status == 400
    assert answer.message == f"client version 9.99 is too new. Maximum supported API version is {newest}"


def test_p3_too_old_is_refused_in_dockers_words(api: Api) -> None:
    answer = api.get("/v1.23/version")
    assert answer.status == 400
    assert answer.body.decode().strip() == (  # clients of that age read plain text
        "client version 1.23 is too old. Minimum supported API version is 1.24, please upgrade your client to "
        "a newer version"
    )


@pytest.mark.parametrize("version", ["1.24", "1.41", "1.44", "1.51"])
def test_every_supported_version_is_served(docker: Docker, version: str) -> None:
    result = docker("version", "--format", "{{.Client.APIVersion}}", env={"DOCKER_API_VERSION": version})
    assert (result.code, result.line) == (0, version)


def test_the_stock_cli_negotiates(docker: Docker, api: Api) -> None:
    used = docker.ok("version", "--format", "{{.Client.APIVersion}}")
    newest = api.json("/version")["ApiVersion"]
    assert [int(part) for part in used.split(".")] <= [int(part) for part in newest.split(".")]


def test_unknown_paths_are_json_404(api: Api) -> None:
    for path in ("/nothing-here", "/v1.44/nothing-here"):
        answer = api.get(path)
        assert (answer.status, answer.message) == (404, "page not found")


def test_p110_info(docker: Docker, api: Api) -> None:
    info = api.json("/info")
    assert info["Architecture"] == platform.machine()
    assert info["OSType"] == "linux"
    assert info["CgroupVersion"] in ("1", "2")
    assert info["Swarm"]["LocalNodeState"] == "inactive"
    assert info["NCPU"] == os.cpu_count()
    assert info["LoggingDriver"] == "json-file"
    assert any(option.startswith("name=seccomp") for option in info["SecurityOptions"])
    assert info["Containers"] == info["ContainersRunning"] + info["ContainersPaused"] + info["ContainersStopped"]
    assert info["Plugins"]["Volume"] == ["local"]
    assert {"bridge", "host", "null"} <= set(info["Plugins"]["Network"])
    assert "Storage Driver: overlay2" in docker.ok("info")


def test_info_counts_states(docker: Docker, api: Api, name: str) -> None:
    docker.ok("create", "--name", name, "busybox")
    docker.ok("run", "-d", "--init", "--name", f"{name}-p", "busybox", "sleep", "100")
    docker.ok("pause", f"{name}-p")
    info = api.json("/info")
    assert (info["Containers"], info["ContainersPaused"], info["ContainersStopped"]) == (2, 1, 1)
    assert info["Images"] == len({image["Id"] for image in api.json("/images/json")})
    docker.ok("unpause", f"{name}-p")
    assert api.json("/info")["ContainersRunning"] == 1
