"""Images of several platforms: one name for all of them, with their attestations, as dockerd's containerd store has it.

Without a platform a name stands for the image that was pulled last, as with dockerd's other store.
"""

from __future__ import annotations

import io
import json
import subprocess
import tarfile
import urllib.parse
from pathlib import Path
from typing import Any

import pytest
from harness.docker import Docker
from harness.engine import ON_DOCKERD
from harness.http import Api
from harness.registry import Registry
from harness.upstream import OCI, Upstream, small

pytestmark = pytest.mark.skipif(ON_DOCKERD, reason="its image store keeps one platform")

PREDICATE = "https://slsa.dev/provenance/v0.2"
STATEMENT = {"_type": "https://in-toto.io/Statement/v0.1", "predicateType": PREDICATE, "predicate": {"made": "by us"}}
UNKNOWN = {"os": "unknown", "architecture": "unknown"}


@pytest.fixture
def several(upstream: Upstream, busybox_layer: bytes, name: str) -> tuple[str, str, dict[str, Any]]:
    """An index of two platforms, the first with an attestation; its name, digest and document."""
    entries = []
    for architecture in ("amd64", "arm64"):
        image = small(f"{name} {architecture}", base=busybox_layer)
        found = upstream.image(name, architecture, image, kind="oci", architecture=architecture)
        entries.append(found | {"platform": {"os": "linux", "architecture": architecture}})
    entries.append(_attestation(upstream, name, entries[0]["digest"]))
    document = {"schemaVersion": 2, "mediaType": f"{OCI}.index.v1+json", "manifests": entries}
    return f"{upstream.host}/{name}:all", upstream.manifest(name, "all", document), document


def _attestation(upstream: Upstream, repository: str, subject: str) -> dict[str, Any]:
    statement = json.dumps(STATEMENT).encode()
    config = b'{"architecture":"unknown","os":"unknown","rootfs":{"type":"layers","diff_ids":[]}}'
    statement_layer = {
        "mediaType": "application/vnd.in-toto+json",
        "digest": upstream.blob(repository, statement),
        "size": len(statement),
        "annotations": {"in-toto.io/predicate-type": PREDICATE},
    }
    document = {
        "schemaVersion": 2,
        "mediaType": f"{OCI}.manifest.v1+json",
        "config": {
            "mediaType": f"{OCI}.config.v1+json",
            "digest": upstream.blob(repository, config),
            "size": len(config),
        },
        "layers": [statement_layer],
    }
    digest = upstream.manifest(repository, "attestation", document)
    return {
        "mediaType": document["mediaType"],
        "digest": digest,
        "size": len(json.dumps(document)),
        "platform": UNKNOWN,
        "annotations": {"vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": subject},
    }


def platform(architecture: str) -> str:
    return urllib.parse.quote(json.dumps({"os": "linux", "architecture": architecture}))


def architecture(docker: Docker, name: str, *flags: str) -> str:
    return docker.ok("image", "inspect", *flags, "-f", "{{.Architecture}}", name)


def manifests(api: Api, name: str) -> dict[str, dict[str, Any]]:
    (found,) = api.get(f"/images/json?manifests=1&filters={_filter(name)}").json()
    return {manifest["ID"]: manifest for manifest in found["Manifests"]}


def _filter(name: str) -> str:
    return urllib.parse.quote(json.dumps({"reference": [name]}))


def test_a_second_platform_joins_the_first(docker: Docker, api: Api, several: tuple[str, str, Any]) -> None:
    name, digest, document = several
    amd64, arm64, attestation = document["manifests"]
    docker.ok("pull", name)
    found = manifests(api, name)
    assert list(found) == [entry["digest"] for entry in document["manifests"]]
    assert [found[entry["digest"]]["Available"] for entry in (amd64, arm64, attestation)] == [True, False, True]
    assert docker.ok("pull", "--platform", "linux/arm64", name).count(f"Digest: {digest}") == 1
    found = manifests(api, name)
    assert [found[entry["digest"]]["Kind"] for entry in document["manifests"]] == ["image", "image", "attestation"]
    assert found[arm64["digest"]]["Available"]
    assert found[arm64["digest"]]["ImageData"]["Platform"] == {"architecture": "arm64", "os": "linux"}
    assert found[attestation["digest"]]["AttestationData"] == {"For": amd64["digest"]}
    for given in ("amd64", "arm64"):
        assert architecture(docker, name, "--platform", f"linux/{given}") == given
    assert docker.ok("images", "-q", name).count("\n") == 0
    assert docker.ok("images", "-q", "--filter", "dangling=true") == ""
    tree = docker.ok("image", "ls", "--tree")
    assert "linux/amd64" in tree and "linux/arm64" in tree


def test_the_platform_pulled_last_is_meant(docker: Docker, several: tuple[str, str, Any]) -> None:
    name = several[0]
    for flags, expected in ((["--platform", "linux/arm64"], "arm64"), ([], "amd64")):
        docker.ok("pull", *flags, name)
        assert architecture(docker, name) == expected
    assert "Image is up to date" in docker.ok("pull", name)
    assert docker.ok("run", "--rm", "--pull", "never", "--platform", "linux/arm64", name, "cat", "/text").endswith(
        "arm64"
    )
    assert docker.ok("run", "--rm", "--pull", "never", name, "cat", "/text").endswith("amd64")


def test_inspect_tells_of_the_index(docker: Docker, api: Api, several: tuple[str, str, Any]) -> None:
    name, digest, document = several
    docker.ok("pull", name)
    docker.ok("pull", "--platform", "linux/arm64", name)
    found = api.get(f"/images/{name}/json?manifests=1").json()
    assert found["Descriptor"]["digest"] == digest and len(found["Manifests"]) == 3
    assert found["Identity"] == {"Pull": [{"Repository": name.rpartition(":")[0]}]}
    found = api.get(f"/images/{name}/json?platform={platform('amd64')}").json()
    assert found["Architecture"] == "amd64" and found["Descriptor"]["digest"] == document["manifests"][0]["digest"]
    assert "Manifests" not in found
    (listed,) = api.get(f"/images/json?manifests=1&identity=1&filters={_filter(name)}").json()
    assert all("Identity" in each["ImageData"] for each in listed["Manifests"] if each["Kind"] == "image")
    assert len(api.get(f"/images/{name}/history?platform={platform('amd64')}").json()) == 2
    assert api.get(f"/images/{name}/history?platform={platform('s390x')}").status == 404


def test_attestations(docker: Docker, api: Api, several: tuple[str, str, Any]) -> None:
    name = several[0]
    docker.ok("pull", name)
    docker.ok("pull", "--platform", "linux/arm64", name)
    path = f"/images/{name}/attestations?platform={platform('amd64')}"
    (found,) = api.get(path).json()
    assert found["PredicateType"] == PREDICATE and "Statement" not in found
    assert found["Descriptor"]["mediaType"] == "application/vnd.in-toto+json"
    (found,) = api.get(f"{path}&statement=1&type={urllib.parse.quote(PREDICATE)}").json()
    assert found["Statement"] == STATEMENT
    assert api.get(f"{path}&type=other").json() == []
    assert api.get(f"/images/{name}/attestations?platform={platform('arm64')}").json() == []
    assert api.get(f"/images/{name}/attestations?platform={platform('s390x')}").status == 404
    assert api.get("/images/busybox/attestations").json() == []


def test_one_platform_is_removed(docker: Docker, api: Api, several: tuple[str, str, Any]) -> None:
    name, _, document = several
    docker.ok("pull", name)
    docker.ok("pull", "--platform", "linux/arm64", name)
    refused = api.delete(f"/images/{name}?platforms={platform('amd64')}")
    assert refused.status == 400 and "to force delete" in refused.message
    done = api.delete(f"/images/{name}?force=1&platforms={platform('amd64')}").json()
    assert done[0] == {"Deleted": document["manifests"][0]["digest"]}
    found = manifests(api, name)
    assert [found[each["digest"]]["Available"] for each in document["manifests"]] == [False, True, False]
    assert architecture(docker, name) == "arm64"
    docker.ok("rmi", name)
    assert api.get(f"/images/{name}/json").status == 404


def test_all_platforms_are_removed_together(docker: Docker, several: tuple[str, str, Any]) -> None:
    name, digest, _ = several
    docker.ok("pull", "--platform", "linux/arm64", name)
    docker.ok("pull", name)
    container = docker.ok("create", "--platform", "linux/arm64", name)
    assert "is using its referenced image" in docker.fails("rmi", name)
    docker.ok("rm", container)
    out = docker.ok("rmi", name)
    assert out.count("Untagged:") == 2 and f"@{digest}" in out
    assert len([line for line in out.splitlines() if line.startswith("Deleted:")]) > 2


def test_what_is_pushed_of_an_index(docker: Docker, upstream: Upstream, several: tuple[str, str, Any]) -> None:
    """The one platform that is here; with all of them the index, byte for byte."""
    name, digest, document = several
    repository = f"copy/{name.rpartition('/')[2].partition(':')[0]}"
    target = f"{upstream.host}/{repository}:1"
    amd64, arm64, _ = (each["digest"] for each in document["manifests"])
    docker.ok("pull", name)
    docker.ok("tag", name, target)
    assert f"1: digest: {amd64}" in docker.ok("push", target)
    docker.ok("pull", "--platform", "linux/arm64", name)
    assert f"1: digest: {arm64}" in docker.ok("push", "--platform", "linux/arm64", target)
    assert f"1: digest: {digest}" in docker.ok("push", target)
    assert json.loads(upstream.fetched(repository, "1")) == document
    assert json.loads(upstream.fetched(repository, arm64))["schemaVersion"] == 2


def test_saved_and_loaded_again(docker: Docker, api: Api, several: tuple[str, str, Any], tmp_path: Path) -> None:
    name, digest, document = several
    docker.ok("pull", "--platform", "linux/arm64", name)
    docker.ok("pull", name)
    both = api.get(f"/images/{name}/get").body
    one = api.get(f"/images/{name}/get?platform={platform('arm64')}").body
    two = api.get(f"/images/{name}/get?platform={platform('amd64')}&platform={platform('arm64')}").body
    assert _members(both) == _members(two) and digest.replace(":", "/") in str(_members(both))
    assert digest.replace(":", "/") not in str(_members(one))
    docker.ok("rmi", name)
    (tmp_path / "both.tar").write_bytes(both)
    assert f"Loaded image: {name}" in docker.ok("load", "-i", str(tmp_path / "both.tar"))
    found = manifests(api, name)
    assert [found[each["digest"]]["Available"] for each in document["manifests"]] == [True, True, True]
    assert architecture(docker, name) == "amd64"
    docker.ok("rmi", name)
    docker.ok("load", "--platform", "linux/arm64", "-i", str(tmp_path / "both.tar"))
    assert architecture(docker, name) == "arm64"
    found = manifests(api, name)
    assert [found[each["digest"]]["Available"] for each in document["manifests"]] == [False, True, False]
    docker.ok("rmi", name)
    (tmp_path / "one.tar").write_bytes(one)
    docker.ok("load", "-i", str(tmp_path / "one.tar"))
    assert architecture(docker, name) == "arm64"
    docker.ok("rmi", name)


def _members(archive: bytes) -> list[str]:
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        return sorted(tar.getnames())


def test_containers_say_which_manifest_they_run(docker: Docker, api: Api, several: tuple[str, str, Any]) -> None:
    name, _, document = several
    docker.ok("pull", name)
    container = docker.ok("create", name)
    found = api.get(f"/containers/{container}/json").json()
    assert found["ImageManifestDescriptor"]["digest"] == document["manifests"][0]["digest"]
    docker.ok("rm", container)


def test_skopeo_reads_and_writes_archives_of_several_platforms(
    docker: Docker, api: Api, registry: Registry, several: tuple[str, str, Any], tmp_path: Path
) -> None:
    def skopeo(*args: str) -> str:
        with registry.netns.entered():
            done = subprocess.run(["skopeo", "--insecure-policy", *args], capture_output=True, text=True)
        assert done.returncode == 0, done
        return done.stdout

    name, digest, document = several
    there, back = tmp_path / "there.tar", tmp_path / "back.tar"
    skopeo("copy", "--all", "--src-tls-verify=false", f"docker://{name}", f"oci-archive:{there}:{name}")
    docker.ok("load", "-i", str(there))
    found = manifests(api, name)
    assert [found[each["digest"]]["Available"] for each in document["manifests"]] == [True, True, True]
    back.write_bytes(api.get(f"/images/{name}/get").body)
    assert json.loads(skopeo("inspect", "--raw", f"oci-archive:{back}")) == document
    assert json.loads(skopeo("inspect", f"docker-archive:{back}"))["Architecture"] == "amd64"
    skopeo("copy", "--all", f"oci-archive:{back}", f"oci:{tmp_path}/layout:x")
    docker.ok("rmi", name)
