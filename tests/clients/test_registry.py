"""Registries: pull, push, login, through the stock CLI and docker-py, against Debian's docker-registry."""

from __future__ import annotations

import base64
import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import docker as docker_py
import pytest
from harness import images
from harness.docker import Docker
from harness.engine import ON_DOCKERD, Engine
from harness.http import Api
from harness.images import Image, entry, layer
from harness.registry import PASSWORD, USER, Registry, TokenServer, certificate, htpasswd
from harness.upstream import DOCKER, OCI, Upstream, small

ANYBODY = {"X-Registry-Auth": base64.urlsafe_b64encode(b"{}").decode()}


def messages(api: Api, path: str, headers: dict[str, str] | None = None) -> list[dict[str, Any]]:
    response = api.post(path, headers=headers or ANYBODY)
    assert response.status == 200, response
    return [json.loads(line) for line in response.body.splitlines()]


def statuses(found: list[dict[str, Any]], id: str = "") -> list[str]:
    return [message["status"] for message in found if "status" in message and message.get("id", "") == id]


# Pull


@pytest.mark.parametrize("kind", ["docker", "oci"])
def test_a_pulled_image_runs(docker: Docker, upstream: Upstream, busybox_layer: bytes, kind: str) -> None:
    upstream.image(f"runs/{kind}", "1", small(kind, base=busybox_layer), kind=kind)
    assert docker.ok("run", "--rm", f"{upstream.host}/runs/{kind}:1", "cat", "/text") == kind


@pytest.mark.parametrize("packing", ["gzip", "zstd", ""])
def test_layers_come_in_each_compression(docker: Docker, upstream: Upstream, packing: str) -> None:
    descriptor = upstream.image("packed", packing or "plain", small(packing), kind="oci", packing=packing)
    name = f"{upstream.host}/packed:{packing or 'plain'}"
    out = docker.ok("pull", name)
    assert f"Digest: {descriptor['digest']}" in out
    assert docker.ok("image", "inspect", "-f", "{{index .RepoDigests 0}}", name).endswith(descriptor["digest"])


def test_what_is_told_of_a_pull(api: Api, upstream: Upstream) -> None:
    descriptor = upstream.image("told", "1", small("told"))
    found = messages(api, f"/images/create?fromImage={upstream.host}/told&tag=1")
    assert found[0] == {"status": "Pulling from told", "id": "1"}
    assert statuses(found)[-2:] == [
        f"Digest: {descriptor['digest']}",
        f"Status: Downloaded newer image for {upstream.host}/told:1",
    ]
    (layer_id,) = {message["id"] for message in found if message.get("status") == "Pulling fs layer"}
    steps = list(dict.fromkeys(statuses(found, layer_id)))
    # Which of the short steps are told between these is a matter of time.
    assert [step for step in steps if step in ("Pulling fs layer", "Download complete", "Pull complete")] == [
        "Pulling fs layer",
        "Download complete",
        "Pull complete",
    ]
    again = messages(api, f"/images/create?fromImage={upstream.host}/told&tag=1")
    assert [message["status"] for message in again] == [
        "Pulling from told",
        f"Digest: {descriptor['digest']}",
        f"Status: Image is up to date for {upstream.host}/told:1",
    ]


def test_layers_that_are_here_are_not_fetched_again(api: Api, upstream: Upstream) -> None:
    base = layer(entry("base", b"of both"))
    upstream.image("both/a", "1", small("a", base=base))
    upstream.image("both/b", "1", small("b", base=base))
    messages(api, f"/images/create?fromImage={upstream.host}/both/a&tag=1")
    found = messages(api, f"/images/create?fromImage={upstream.host}/both/b&tag=1")
    assert [message["status"] for message in found].count("Already exists") == 1
    assert [message["status"] for message in found].count("Pull complete") == 1


def test_pull_by_digest(docker: Docker, upstream: Upstream) -> None:
    digest = upstream.image("digest", "1", small("digest"))["digest"]
    out = docker.ok("pull", f"{upstream.host}/digest@{digest}")
    assert f"Status: Downloaded newer image for {upstream.host}/digest@{digest}" in out
    assert docker.ok("images", "-q", "--no-trunc", f"{upstream.host}/digest@{digest}")


def test_prune_of_a_pulled_image(api: Api, docker: Docker, upstream: Upstream) -> None:
    digest = upstream.image("pruned", "1", Image(["-"], [layer(entry("x"))], {"Labels": {"pruned": "1"}}))["digest"]
    name = f"{upstream.host}/pruned"
    docker.ok("pull", f"{name}:1")
    filters = '{"dangling":["false"],"label":["pruned"]}'
    items = api.post(f"/images/prune?filters={quote(filters)}").json()["ImagesDeleted"]
    assert {item["Untagged"] for item in items if "Untagged" in item} == {f"{name}:1", f"{name}@{digest}"}
    assert not docker.ok("images", "-q", name)


def test_pull_of_all_tags(docker: Docker, upstream: Upstream) -> None:
    for tag in ("1", "2"):
        upstream.image("many", tag, small(tag))
    out = docker.ok("pull", "-a", f"{upstream.host}/many")
    assert out.count("Pulling from many") == 2
    assert f"Status: Downloaded newer image for {upstream.host}/many" in out
    assert set(docker.ok("images", f"{upstream.host}/many", "--format", "{{.Tag}}").split()) == {"1", "2"}


@pytest.mark.parametrize("list_type", [f"{DOCKER}.list.v2+json", f"{OCI}.index.v1+json"])
def test_the_platform_is_chosen(docker: Docker, upstream: Upstream, list_type: str) -> None:
    kind = "oci" if "oci" in list_type else "docker"
    platforms = [("amd64", ""), ("arm64", "v8"), ("arm", "v5"), ("arm", "v7"), ("s390x", "")]
    entries = []
    for architecture, variant in platforms:
        text = architecture + variant
        changes = {"architecture": architecture} | ({"variant": variant} if variant else {})
        found = upstream.image(f"list-{kind}", text, small(text), kind=kind, **changes)
        platform = {"os": "linux", **changes}
        entries.append(found | {"platform": platform})
    document = {"schemaVersion": 2, "mediaType": list_type, "manifests": entries}
    digest = upstream.manifest(f"list-{kind}", "all", document)
    name = f"{upstream.host}/list-{kind}:all"
    wanted = {"linux/arm64": "arm64 v8", "linux/arm/v7": "arm v7", "linux/arm/v6": "arm v5", "": "amd64"}
    for platform, expected in wanted.items():
        out = docker.ok("pull", *(["--platform", platform] if platform else []), name)
        assert f"Digest: {digest}" in out
        assert docker.ok("image", "inspect", "-f", "{{.Architecture}} {{.Variant}}", name) == expected
    message = docker.fails("pull", "--platform", "linux/riscv64", name)
    assert "no matching manifest for linux/riscv64 in the manifest list entries" in message


def test_another_platform_is_warned_of(docker: Docker, upstream: Upstream) -> None:
    upstream.image("single", "1", small("single"))
    out = docker.ok("pull", "--platform", "linux/arm64", f"{upstream.host}/single:1")
    assert "WARNING: image with reference" in out and "(linux/amd64) does not match the specified platform" in out


def test_run_pulls_what_is_missing(docker: Docker, upstream: Upstream, busybox_layer: bytes) -> None:
    upstream.image("missing", "1", small("pulled", base=busybox_layer))
    done = docker("run", "--rm", f"{upstream.host}/missing:1", "cat", "/text")
    assert (done.code, done.out) == (0, "pulled")
    assert f"Unable to find image '{upstream.host}/missing:1' locally" in done.err


def test_names_that_do_not_exist(api: Api, upstream: Upstream) -> None:
    upstream.image("there", "1", small("there"))
    other = "sha256:" + "a" * 64
    for query, message in (
        ("there&tag=2", f"manifest for {upstream.host}/there:2 not found: manifest unknown: manifest unknown"),
        ("nope&tag=1", f"manifest for {upstream.host}/nope:1 not found: manifest unknown: manifest unknown"),
        (
            f"there&tag={other}",
            f"manifest for {upstream.host}/there@{other} not found: manifest unknown: manifest unknown",
        ),
    ):
        response = api.post(f"/images/create?fromImage={upstream.host}/{query}")
        assert (response.status, response.message) == (404, message)


def test_a_registry_that_is_not_there(api: Api) -> None:
    response = api.post("/images/create?fromImage=127.0.0.1:9/x&tag=1")
    expected = 'Get "http://127.0.0.1:9/v2/": dial tcp 127.0.0.1:9: connect: connection refused'
    assert (response.status, response.message) == (500, expected)


@pytest.mark.parametrize(
    ("query", "status", "message"),
    [
        ("fromImage=127.0.0.1:9/X", 400, "invalid reference format: repository name (X) must be lowercase"),
        ("fromImage=scratch", 403, "'scratch' is a reserved name"),
        ("fromImage=x&platform=bogus", 400, '"bogus": unknown operating system or architecture: invalid argument'),
    ],
)
def test_bad_names(api: Api, query: str, status: int, message: str) -> None:
    response = api.post(f"/images/create?{query}")
    assert (response.status, response.message) == (status, message)


def test_pull_is_told_as_an_event(docker: Docker, upstream: Upstream) -> None:
    upstream.image("event", "1", small("event"), config={"Labels": {"a": "b"}})
    docker.ok("pull", f"{upstream.host}/event:1")
    shown = ["--filter", "event=pull", "--format", "{{json .Actor}}"]
    found = docker.ok("events", "--since", "5m", "--until", str(int(time.time()) + 1), *shown)
    actor = json.loads(found.splitlines()[-1])
    assert actor == {"ID": f"{upstream.host}/event:1", "Attributes": {"a": "b", "name": f"{upstream.host}/event"}}


# Push


def test_a_pushed_image_comes_back(docker: Docker, upstream: Upstream) -> None:
    name = f"{upstream.host}/pushed:1"
    docker.ok("tag", "rich:1", name)
    out = docker.ok("push", name)
    digest = out.rpartition("digest: ")[2].split()[0]
    image_id = docker.ok("image", "inspect", "-f", "{{.Id}}", name)
    docker.ok("rmi", name)
    assert docker.ok("pull", name).count(digest) == 1
    assert docker.ok("image", "inspect", "-f", "{{.Id}}", name) == image_id


def test_what_is_told_of_a_push(api: Api, docker: Docker, upstream: Upstream) -> None:
    docker.ok("tag", "busybox", f"{upstream.host}/push/told:1")
    found = messages(api, f"/images/{upstream.host}/push/told/push?tag=1")
    diff_id = api.json("/images/busybox/json")["RootFS"]["Layers"][0].removeprefix("sha256:")[:12]
    digest = found[-1]["aux"]["Digest"]
    size = found[-1]["aux"]["Size"]
    assert found[-1] == {"progressDetail": {}, "aux": {"Tag": "1", "Digest": digest, "Size": size}}
    assert statuses(found) == [
        f"The push refers to repository [{upstream.host}/push/told]",
        f"1: digest: {digest} size: {size}",
    ]
    steps = list(dict.fromkeys(statuses(found, diff_id)))
    assert steps[0] == "Preparing" and steps[-1] in ("Pushed", "Mounted from pushed")
    again = messages(api, f"/images/{upstream.host}/push/told/push?tag=1")
    assert statuses(again, diff_id) == ["Preparing", "Layer already exists"]
    docker.ok("tag", "busybox", f"{upstream.host}/push/mounted:1")
    mounted = messages(api, f"/images/{upstream.host}/push/mounted/push?tag=1")
    assert statuses(mounted, diff_id)[-1].startswith("Mounted from ")


def test_push_of_all_tags(docker: Docker, upstream: Upstream) -> None:
    for tag in ("1", "2"):
        docker.ok("tag", "busybox", f"{upstream.host}/push/many:{tag}")
    out = docker.ok("push", "--all-tags", f"{upstream.host}/push/many")
    assert "1: digest: " in out and "2: digest: " in out
    assert upstream.fetched("push/many", "1") == upstream.fetched("push/many", "2")


def test_pushes_that_fail(api: Api, docker: Docker, upstream: Upstream) -> None:
    docker.ok("tag", "busybox", f"{upstream.host}/push/fails:1")
    docker.ok("tag", "busybox", "127.0.0.1:9/push/fails:1")
    for path, message in (
        (f"{upstream.host}/push/fails/push?tag=2", f"tag does not exist: {upstream.host}/push/fails:2"),
        (f"{upstream.host}/none/push?tag=1", f"An image does not exist locally with the tag: {upstream.host}/none"),
        (
            "127.0.0.1:9/push/fails/push?tag=1",
            'Get "http://127.0.0.1:9/v2/": dial tcp 127.0.0.1:9: connect: connection refused',
        ),
    ):
        found = messages(api, f"/images/{path}")
        assert found[-1] == {"errorDetail": {"message": message}, "error": message}


def test_push_of_another_platform(api: Api, docker: Docker, upstream: Upstream) -> None:
    docker.ok("tag", "busybox", f"{upstream.host}/push/platform:1")
    platform = '%7B"os":"linux","architecture":"arm64"%7D'.replace('"', "%22")
    response = api.post(f"/images/{upstream.host}/push/platform/push?tag=1&platform={platform}", headers=ANYBODY)
    assert response.status == 404
    assert "does not match the specified platform (linux/arm64)" in response.message


@pytest.mark.skipif(ON_DOCKERD, reason="dockerd makes a manifest of its own")
@pytest.mark.parametrize("kind", ["docker", "oci"])
def test_manifests_go_out_as_they_came(docker: Docker, upstream: Upstream, kind: str) -> None:
    digest = upstream.image(f"same/{kind}", "1", small(kind), kind=kind)["digest"]
    docker.ok("pull", f"{upstream.host}/same/{kind}:1")
    docker.ok("tag", f"{upstream.host}/same/{kind}:1", f"{upstream.host}/copy/{kind}:2")
    assert digest in docker.ok("push", f"{upstream.host}/copy/{kind}:2")
    assert upstream.fetched(f"copy/{kind}", "2") == upstream.fetched(f"same/{kind}", "1")


# docker-py


def test_docker_py_pulls_and_pushes(client: docker_py.DockerClient, upstream: Upstream) -> None:
    upstream.image("py", "1", small("py"))
    image = client.images.pull(f"{upstream.host}/py", tag="1")
    assert image.tags == [f"{upstream.host}/py:1"]
    image.tag(f"{upstream.host}/py2", tag="1")
    lines = list(client.images.push(f"{upstream.host}/py2", tag="1", stream=True, decode=True))
    assert lines[-1]["aux"]["Tag"] == "1"
    data = client.images.get_registry_data(f"{upstream.host}/py2:1")
    assert data.id == lines[-1]["aux"]["Digest"]
    assert data.has_platform("linux/amd64")
    with pytest.raises(docker_py.errors.NotFound):
        client.images.pull(f"{upstream.host}/py", tag="none")


def test_docker_py_pulls_all_tags(client: docker_py.DockerClient, upstream: Upstream) -> None:
    for tag in ("1", "2"):
        upstream.image("py-all", tag, small(tag))
    found = client.images.pull(f"{upstream.host}/py-all", all_tags=True)
    assert len(found) == 2


# What a name stands for; searching


def test_distribution(api: Api, upstream: Upstream) -> None:
    descriptor = upstream.image("asked", "1", small("asked"))
    found = api.json(f"/distribution/{upstream.host}/asked:1/json")
    assert found["Descriptor"] == descriptor
    assert found["Platforms"] == [{"architecture": "amd64", "os": "linux"}]
    missing = api.get(f"/distribution/{upstream.host}/asked:2/json")
    assert (missing.status, missing.message) == (404, "manifest unknown: manifest unknown")


def test_search_needs_an_index(api: Api, registry: Registry) -> None:
    response = api.get(f"/images/search?term={registry.host}/x")
    assert (response.status, response.message.lower()) == (500, "unexpected status code 404")
    assert api.get("/images/search?term=x&filters=%7B%22a%22:[%22b%22]%7D").message == "invalid filter 'a'"


# Authentication


@pytest.fixture(scope="module")
def with_password(session_engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    made = Registry(session_engine.netns, auth=htpasswd(tmp_path_factory.mktemp("auth")))
    yield made
    made.close()


@pytest.fixture(scope="module")
def tokens(session_engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TokenServer]:
    made = TokenServer(session_engine.netns, tmp_path_factory.mktemp("tokens"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def with_tokens(session_engine: Engine, tokens: TokenServer) -> Iterator[Registry]:
    made = Registry(session_engine.netns, auth=tokens.auth())
    yield made
    made.close()


@pytest.fixture
def logged_out(docker: Docker, with_password: Registry, with_tokens: Registry) -> Iterator[None]:
    yield
    for registry in (with_password, with_tokens):
        docker("logout", registry.host)


def login(docker: Docker, registry: Registry, password: str = PASSWORD) -> tuple[int, str]:
    done = docker("login", "-u", USER, "--password-stdin", registry.host, stdin=password)
    return done.code, done.out + done.err


@pytest.mark.usefixtures("logged_out")
def test_login_with_a_password(docker: Docker, with_password: Registry) -> None:
    name = f"{with_password.host}/own:1"
    docker.ok("tag", "busybox", name)
    assert "no basic auth credentials" in docker.fails("push", name)
    code, text = login(docker, with_password, "wrong")
    assert code == 1 and "401 Unauthorized" in text
    assert login(docker, with_password)[0] == 0
    assert "1: digest: " in docker.ok("push", name)
    docker.ok("rmi", name)
    assert "Downloaded newer image" in docker.ok("pull", name)
    docker.ok("logout", with_password.host)
    assert "no basic auth credentials" in docker.fails("pull", name)


@pytest.mark.usefixtures("logged_out")
def test_login_with_tokens(docker: Docker, with_tokens: Registry) -> None:
    public, private = f"{with_tokens.host}/public/x:1", f"{with_tokens.host}/private/x:1"
    for name in (public, private):
        docker.ok("tag", "busybox", name)
        assert "denied: requested access to the resource is denied" in docker.fails("push", name)
    code, text = login(docker, with_tokens, "wrong")
    assert code == 1 and "unauthorized: incorrect username or password" in text
    assert login(docker, with_tokens)[0] == 0
    for name in (public, private):
        assert "1: digest: " in docker.ok("push", name)
        docker.ok("rmi", name)
        assert "Downloaded newer image" in docker.ok("pull", name)
    docker.ok("logout", with_tokens.host)
    docker.ok("pull", public)
    repository = private.removesuffix(":1")
    assert docker.fails("pull", private).endswith(
        f"pull access denied for {repository}, repository does not exist or may require 'docker login': "
        "denied: requested access to the resource is denied"
    )


def test_login_answers(api: Api, with_password: Registry, with_tokens: Registry) -> None:
    right = {"username": USER, "password": PASSWORD}
    found = api.post("/auth", right | {"serveraddress": with_password.host})
    assert (found.status, found.json()) == (200, {"Status": "Login Succeeded", "IdentityToken": ""})
    found = api.post("/auth", right | {"serveraddress": with_tokens.host})
    assert found.json()["IdentityToken"] == TokenServer.REFRESH
    wrong = {"username": USER, "password": "x"}
    assert api.post("/auth", wrong | {"serveraddress": with_password.host}).status == 500
    assert api.post("/auth", wrong | {"serveraddress": with_tokens.host}).status == 401
    assert api.post("/auth", right | {"serveraddress": "127.0.0.1:9"}).status == 500


def test_wrong_credentials(api: Api, with_password: Registry) -> None:
    for text in ('{"username": "alice", "password": "x"}', "{}", "not JSON"):
        headers = {"X-Registry-Auth": base64.urlsafe_b64encode(text.encode()).decode()}
        response = api.post(f"/images/create?fromImage={with_password.host}/x&tag=1", headers=headers)
        assert response.status == (401 if "alice" in text else 500)
        expected = "unauthorized: authentication required" if "alice" in text else "no basic auth credentials"
        assert response.message.endswith(expected)


@pytest.mark.skipif(ON_DOCKERD, reason="asks what lightship logs")
def test_credentials_are_not_logged(engine: Engine) -> None:
    log = engine.log.read_text(errors="replace")
    assert "/v2/" in log
    for secret in (PASSWORD, TokenServer.REFRESH, base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()):
        assert secret not in log


# TLS


def test_a_registry_with_a_certificate_of_its_own(session_engine: Engine, docker: Docker, tmp_path: Path) -> None:
    """On a loopback address any certificate does, since the address counts as insecure."""
    made = Registry(session_engine.netns, tls=certificate(tmp_path, "registry"))
    try:
        name = f"{made.host}/tls:1"
        docker.ok("tag", "busybox", name)
        assert "1: digest: " in docker.ok("push", name)
        assert "up to date" in docker.ok("pull", name)
    finally:
        made.close()


# Disk usage


def test_disk_usage(api: Api, docker: Docker) -> None:
    docker.ok("tag", "busybox", "df:1")
    old = api.json("/v1.41/system/df")
    assert {"LayersSize", "Images", "Containers", "Volumes", "BuildCache"} <= old.keys()
    assert old["LayersSize"] >= max(image["Size"] for image in old["Images"])
    assert "VirtualSize" in old["Images"][0]
    some = api.json("/v1.45/system/df?type=image")
    assert some["Images"] and not some["Containers"] and not some["Volumes"]
    assert api.get("/v1.45/system/df?type=x").message == "unknown object type: x"
    out = docker.ok("system", "df")
    assert out.splitlines()[1].split()[:2] == ["Images", str(len(old["Images"]))]
    assert "df" in docker.ok("system", "df", "-v")


def test_an_image_is_the_same_image_by_any_way(docker: Docker, upstream: Upstream, busybox_layer: bytes) -> None:
    """The id is the config's digest, however the image came."""
    image = small("way", base=busybox_layer)
    upstream.image("way", "1", image)
    docker.ok("load", stdin=images.docker_archive([Image(["way:1"], image.layers)]))
    docker.ok("pull", f"{upstream.host}/way:1")
    names = ("way:1", f"{upstream.host}/way:1")
    assert len({docker.ok("image", "inspect", "-f", "{{.Id}}", name) for name in names}) == 1


def test_skopeo_reads_what_was_pushed_and_the_other_way(
    docker: Docker, registry: Registry, busybox_layer: bytes, tmp_path: Path
) -> None:
    def skopeo(*args: str) -> None:
        with registry.netns.entered():
            done = subprocess.run(["skopeo", *args], capture_output=True, text=True)
        assert done.returncode == 0, done

    docker.ok("tag", "rich:1", f"{registry.host}/skopeo:out")
    docker.ok("push", f"{registry.host}/skopeo:out")
    skopeo("copy", "--src-tls-verify=false", f"docker://{registry.host}/skopeo:out", f"oci:{tmp_path}/layout:x")
    docker.ok("save", "-o", f"{tmp_path}/saved.tar", "rich:1")
    skopeo("inspect", f"docker-archive:{tmp_path}/saved.tar")
    archive = tmp_path / "made.tar"
    archive.write_bytes(images.docker_archive([Image(["a:1"], [busybox_layer])]))
    skopeo("copy", "--dest-tls-verify=false", f"docker-archive:{archive}", f"docker://{registry.host}/skopeo:in")
    assert docker.ok("run", "--rm", f"{registry.host}/skopeo:in", "echo", "here") == "here"
