"""Versions in paths, the headers that tell ours, and what is answered where there is nothing."""

from __future__ import annotations

import json

import pytest
from lightship.api import versions
from lightship.engine.config import EngineConfig
from lightship.engine.version import API_VERSION


@pytest.mark.parametrize("path", ["/_ping", "/v1.24/_ping", "/v1.44/_ping", f"/v{API_VERSION}/_ping"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_ping_tells_what_clients_negotiate_by(served, method, path):
    response, body = served.request(method, path)
    assert response.status == 200
    assert body == (b"OK" if method == "GET" else b"")
    assert response.headers["Api-Version"] == API_VERSION
    assert response.headers["Ostype"] == "linux"
    assert response.headers["Docker-Experimental"] == "false"
    assert response.headers["Builder-Version"] == "2"
    assert response.headers["Swarm"] == "inactive"
    assert response.headers["Server"].startswith("Docker/") and response.headers["Server"].endswith(" (linux)")
    assert response.headers["Content-Length"] == ("2" if method == "GET" else "0")
    assert response.headers["Content-Type"] == "text/plain; charset=utf-8"


@pytest.mark.parametrize(("method", "path"), [("GET", "/_ping"), ("GET", "/swarm"), ("OPTIONS", "/x")])
def test_experimental_is_told_as_it_is_set(served, method, path):
    served.engine.config = EngineConfig(experimental=True)
    assert served.request(method, path)[0].headers["Docker-Experimental"] == "true"


def test_too_new_is_refused_in_dockerds_words(served):
    response, body = served.request("GET", "/v9.99/version")
    assert response.status == 400
    message = f"client version 9.99 is too new. Maximum supported API version is {API_VERSION}"
    assert json.loads(body) == {"message": message}
    assert response.headers["Api-Version"] == API_VERSION


@pytest.mark.parametrize("version", ["1.23", "1", "1.9"])
def test_too_old_is_refused_in_plain_text(served, version):
    response, body = served.request("GET", f"/v{version}/version")
    assert response.status == 400
    assert body.decode() == (
        f"client version {version} is too old. Minimum supported API version is 1.24, "
        "please upgrade your client to a newer version\n"
    )
    assert response.headers["Content-Type"].startswith("text/plain")


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/nope"), ("PUT", "/_ping"), ("GET", "/v1.44/nope"), ("HEAD", "/info"), ("GET", "/v9.99/nope"),
     ("GET", "/containers/"), ("GET", "/v1.44"), ("GET", "/vx/_ping")],
)  # fmt: skip
def test_unknown_paths_and_methods_are_not_found(served, method, path):
    response, body = served.request(method, path)
    assert response.status == 404
    if method != "HEAD":
        assert json.loads(body) == {"message": "page not found"}
    assert "Api-Version" not in response.headers


def test_options_is_answered_everywhere(served):
    response, body = served.request("OPTIONS", "/anything")
    assert (response.status, body) == (200, b"")


def test_operations_may_need_a_version(served):
    response, body = served.request("POST", "/v1.24/containers/prune")
    assert response.status == 400
    assert json.loads(body) == {"message": "POST /containers/prune requires minimum API version 1.25"}


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("POST", "/swarm/init", 501), ("GET", "/swarm", 503), ("GET", "/v1.44/services", 503),
     ("POST", "/v1.44/swarm/join", 501)],
)  # fmt: skip
def test_gaps_say_so(served, method, path, status):
    response, body = served.request(method, path)
    assert response.status == status
    assert json.loads(body)["message"]
    assert response.headers["Api-Version"] == API_VERSION


@pytest.mark.parametrize(
    ("text", "version"), [("1.44", (1, 44)), ("1", (1,)), ("1..2", (1, 0, 2)), ("1.44.", (1, 44, 0))]
)
def test_versions_are_read_as_numbers(text, version):
    assert versions.parse(text) == version


@pytest.mark.parametrize(
    ("path", "location"),
    [
        ("//containers/json?all=1", "/containers/json?all=1"),
        ("/a/../_ping", "/_ping"),
        ("//v1.44//a", "/v1.44/a"),
    ],
)
def test_untidy_paths_are_redirected(served, path, location):
    response, _ = served.request("GET", path)
    assert (response.status, response.headers["Location"]) == (301, location)
