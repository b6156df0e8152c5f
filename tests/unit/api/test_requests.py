"""Requests through the whole stack: decoding, errors, parameters, names with slashes, what the service gets."""

from __future__ import annotations

import json

import pytest

ATOI = "strconv.Atoi: parsing"
MISMATCH = "invalid JSON: json: cannot unmarshal"


def message(body):
    return json.loads(body)["message"]


def test_names_may_have_slashes(served):
    served.request("GET", "/v1.50/images/registry.io:5000/team/app:1/json")
    served.request("GET", "/images/a%2Fb/json")
    response, body = served.request("GET", "/images/team/app/get")
    assert served.engine.images.names == ["registry.io:5000/team/app:1", "a/b", "team/app"]
    assert (response.status, body, response.headers["Content-Type"]) == (200, b"tarball", "application/x-tar")


def test_errors_keep_their_status_and_text(served):
    for method, target, status, text in [
        ("GET", "/containers/x/json", 404, "No such container: x"),
        ("POST", "/containers/one/rename?name=b", 409, "name in use"),
        ("POST", "/containers/x/wait", 404, "No such container: x"),
        ("GET", "/images/get?names=nope", 404, "No such image: nope"),
    ]:
        response, body = served.request(method, target)
        assert (response.status, message(body)) == (status, text)
        assert response.headers["Content-Type"] == "application/json"


def test_a_bug_is_told_shortly_and_the_connection_stays(served, caplog):
    client = served.connect()
    for _ in range(2):
        client.sendall(b"POST /containers/x/kill HTTP/1.1\r\nHost: d\r\nContent-Length: 0\r\n\r\n")
        head = client.recv(65536)
        assert head.startswith(b"HTTP/1.1 500 Internal Server Error\r\n")
        assert b'{"message":"internal error: RuntimeError: a bug"}\n' in head
    client.close()
    assert "ContainerKill failed" in caplog.text


def test_not_modified_has_no_body(served):
    response, body = served.request("POST", "/containers/stopped/stop")
    assert (response.status, body) == (304, b"")


def test_parameters_reach_the_service(served):
    served.request("GET", "/containers/json?all=True&limit=3&size=0&filters=%7B%7D")
    served.request("POST", "/containers/one/stop?t=0&signal=INT")
    served.request("POST", "/v1.41/containers/one/stop?t=-1&signal=INT")
    served.request(
        "POST",
        "/v1.40/containers/create?name=n&platform=linux/amd64",
        b'{"Image":"i"}',
        content_type="application/json",
    )
    listed, stopped, stopped_before, created = served.engine.containers.calls
    assert listed == ("list", {"all": True, "limit": 3, "size": False})
    assert stopped == ("stop", "one", {"signal": "INT", "timeout_s": 0})
    assert stopped_before == ("stop", "one", {"signal": "", "timeout_s": -1})
    assert created[2] == {"name": "n", "platform": "", "recursive_read_only": False}


@pytest.mark.parametrize(
    ("target", "text"),
    [
        ("/containers/json?limit=x", 'strconv.Atoi: parsing "x": invalid syntax'),
        ("/containers/json?limit=9300000000000000000", f'{ATOI} "9300000000000000000": value out of range'),
        ("/containers/json?limit=%zz", 'invalid URL escape "%zz"'),
        ("/containers/json?filters=x", "invalid filter"),
        ("/events?since=5&until=3", "`since` time (5) cannot be after `until` time (3)"),
        ("/events?since=x", 'strconv.ParseInt: parsing "x": invalid syntax'),
        ("/events?since=1.5.5", 'strconv.ParseInt: parsing "5.5": invalid syntax'),
        ("/volumes?filters=x", "error reading volume filters: invalid filter"),
        ("/containers/one/logs", "Bad parameters: you must choose at least one stream"),
        ("/images/json?identity=1", "conflicting options: identity requires manifests=1"),
        ("/images/x/json?platform=x", "failed to parse platform: JSON is malformed: invalid character (byte 0)"),
        ("/images/x/json?platform=%7B%7D", "both OS and Architecture must be provided"),
    ],
)  # fmt: skip
def test_bad_parameters_are_refused(served, target, text):
    response, body = served.request("GET", target)
    assert (response.status, message(body)) == (400, text)


@pytest.mark.parametrize(
    ("target", "text"),
    [
        ("/containers/x/resize?h=x&w=1", 'invalid resize height "x": invalid syntax'),
        ("/containers/x/resize?h=1", 'invalid resize width "": invalid syntax'),
        ("/exec/x/resize?h=-1&w=1", 'invalid resize height "-1": value out of range'),
        ("/containers/one/wait?condition=zz", 'invalid condition: "zz"'),
        (
            "/images/create?fromImage=UP",
            "invalid reference format: repository name (library/UP) must be lowercase",
        ),
    ],
)
def test_bad_parameters_of_posts_are_refused(served, target, text):
    response, body = served.request("POST", target)
    assert (response.status, message(body)) == (400, text)


@pytest.mark.parametrize(
    ("body", "content_type", "text"),
    [
        (b"", "", "invalid JSON: got EOF while reading request body"),
        (b"", "application/json", "invalid JSON: got EOF while reading request body"),
        (b"{}", "text/plain", "unsupported Content-Type header (text/plain): must be 'application/json'"),
        (b"{}", "", "malformed Content-Type header (): mime: no media type"),
        (b"{}", "application/json", "config cannot be empty in order to create a container"),
        (b'{"Tty":"x"}', "application/json", f"{MISMATCH} string into Go struct field .Tty of type bool"),
        (b'{"Image":"x"} y', "application/json", "unexpected content after JSON"),
    ],
)  # fmt: skip
def test_bad_bodies_are_refused(served, body, content_type, text):
    headers = {"content_type": content_type} if content_type else {}
    response, answer = served.request("POST", "/containers/create", body, **headers)
    assert (response.status, message(answer)) == (400, text)


def test_a_body_with_a_charset_is_json(served):
    response, body = served.request(
        "POST", "/containers/create", b'{"Image":"x"}', content_type="application/json; charset=utf-8"
    )
    assert (response.status, json.loads(body)) == (201, {"Id": "c" * 64, "Warnings": []})


def test_a_missing_image_is_named(served):
    response, body = served.json("POST", "/containers/create", b'{"Image":"missing"}')
    assert (response.status, message(body)) == (404, "No such image: missing:latest")


def test_a_body_may_be_left_out(served):
    response, body = served.request("POST", "/volumes/create")
    assert (response.status, json.loads(body)["Name"]) == (201, "anonymous")


def test_starting_takes_no_body(served):
    assert served.json("POST", "/containers/one/start", b"{}")[0].status == 204
    response, body = served.json("POST", "/containers/one/start", b'{"Binds":null}')
    assert response.status == 400
    assert message(body).startswith("starting container with non-empty request body was deprecated")


def test_an_exec_needs_a_command(served):
    response, body = served.json("POST", "/containers/one/exec", b'{"Cmd":[]}')
    assert (response.status, message(body)) == (400, "No exec command specified")


def test_older_clients_see_older_answers(served):
    _, old = served.request("GET", "/v1.51/containers/one/json")
    _, new = served.request("GET", "/containers/one/json")
    assert json.loads(old)["NetworkSettings"]["IPAddress"] == "172.17.0.2"
    assert "IPAddress" not in json.loads(new)["NetworkSettings"]
    _, old = served.request("GET", "/v1.42/images/json")
    assert json.loads(old)[0]["RepoTags"] == ["<none>:<none>"]
    assert json.loads(old)[0]["Containers"] == -1


def test_pruning_volumes_took_named_ones_before_1_42(served):
    served.request("POST", "/v1.41/volumes/prune")
    served.request("POST", "/v1.42/volumes/prune")
    before, after = served.engine.volumes.filters
    assert before.get("all") == ["true"] and "all" not in after


def test_maps_are_written_in_the_order_of_their_keys(served):
    _, body = served.request("GET", "/containers/json")
    assert b'"Labels":{"a":"1","b":"2"}' in body
    assert body.endswith(b"\n")
