"""What exporters may be asked by buildx: layers' compression, media types, annotations, times, names, provenance.

dockerd has these with containerd's image store, which it is run with here.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from harness.docker import Docker
from harness.engine import ON_DOCKERD, Engine
from harness.registry import Registry

Json = dict[str, Any]
OCI = "application/vnd.oci.image"
MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
LAYER = "application/vnd.docker.image.rootfs.diff.tar"
EPOCH = "1700000000"


@pytest.fixture
def buildx(store_engine: Engine, tmp_path: Path) -> Docker:
    return store_engine.docker.with_plugins(tmp_path / "client", "buildx")


@pytest.fixture
def project(tmp_path: Path, name: str) -> str:
    directory = tmp_path / "project"
    directory.mkdir()
    (directory / "Dockerfile").write_text(f"FROM busybox\nRUN echo {name} > /made && chmod 640 /made\nCMD cat /made\n")
    return str(directory)


class Archive:
    """An image layout in a tar."""

    def __init__(self, data: bytes) -> None:
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            members = [(each.name, archive.extractfile(each)) for each in archive]
        self.files = {name: file.read() for name, file in members if file is not None}
        [self.top] = json.loads(self.files["index.json"])["manifests"]

    def blob(self, descriptor: Json) -> bytes:
        return self.files[f"blobs/{descriptor['digest'].replace(':', '/')}"]

    def read(self, descriptor: Json) -> Json:
        document: Json = json.loads(self.blob(descriptor))
        return document

    @property
    def manifests(self) -> list[Json]:
        """Descriptors of what an index names, or of the one manifest."""
        top = self.read(self.top)
        return top.get("manifests", [self.top])

    @property
    def manifest(self) -> Json:
        return self.read(self.manifests[0])

    @property
    def statement(self) -> Json:
        """The first attestation."""
        return self.read(self.read(self.manifests[1])["layers"][0])


@pytest.fixture
def export(buildx: Docker, project: str, tmp_path: Path) -> Callable[..., Archive]:
    def run(kind: str, attributes: str = "", *flags: str) -> Archive:
        target = tmp_path / f"{kind}.tar"
        flags = flags or ("--provenance=false",)
        buildx.ok("build", "--output", f"type={kind},dest={target}{attributes and ','}{attributes}", *flags, project)
        return Archive(target.read_bytes())

    return run


@pytest.mark.parametrize(
    ("kind", "attributes", "manifest", "layer"),
    [
        ("oci", "compression=uncompressed", f"{OCI}.manifest.v1+json", f"{OCI}.layer.v1.tar"),
        ("oci", "oci-mediatypes=false,compression-level=1", MANIFEST, f"{LAYER}.gzip"),
        ("docker", "compression=zstd,compression-level=9", MANIFEST, f"{LAYER}.zstd"),
        ("docker", "oci-mediatypes=true", f"{OCI}.manifest.v1+json", f"{OCI}.layer.v1.tar+gzip"),
    ],
)
def test_layers_are_compressed_as_asked(
    buildx: Docker,
    export: Callable[..., Archive],
    tmp_path: Path,
    name: str,
    kind: str,
    attributes: str,
    manifest: str,
    layer: str,
) -> None:
    made = export(kind, f"name={name},force-compression=true,{attributes}")
    assert made.top["mediaType"] == made.manifest["mediaType"] == manifest
    assert {each["mediaType"] for each in made.manifest["layers"]} == {layer}
    assert made.top["annotations"].keys() >= {"org.opencontainers.image.created", "io.containerd.image.name"}
    buildx.ok("load", "-i", f"{tmp_path}/{kind}.tar")
    assert buildx.ok("run", "--rm", f"{name}:latest") == name


def test_annotations(export: Callable[..., Archive]) -> None:
    made = export("oci", "annotation.a=1,annotation-manifest.b=2,annotation-manifest-descriptor.d=4")
    assert made.manifest["annotations"] == {"a": "1", "b": "2"}
    assert made.top["annotations"]["d"] == "4"
    index = export("oci", "annotation-index.e=5,annotation-index-descriptor.f=6", "--provenance=mode=min")
    assert index.read(index.top)["annotations"] == {"e": "5"}
    assert index.top["annotations"]["f"] == "6"


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("type=oci,compression=lz4", "unsupported compression type lz4"),
        ("type=oci,compression-level=x", "non-integer value x specified for compression-level"),
        ("type=oci,compression-level=11,force-compression=true", "gzip: invalid compression level: 11"),
        ("type=oci,force-compression=perhaps", "non-bool value"),
        ("type=oci,annotation-index.a=b", "index annotations not supported for single platform export"),
        ("type=oci,annotation-other.a=b", "unrecognized annotation type other"),
        ("type=image,name=x,rewrite-timestamp=true", 'exporter option "rewrite-timestamp" conflicts with "unpack"'),
        ("type=image,name=x,store=perhaps", "non-bool value specified for store"),
    ],
)
def test_what_is_wrong_is_told(buildx: Docker, project: str, tmp_path: Path, output: str, message: str) -> None:
    output += f",dest={tmp_path}/x.tar" if "oci" in output else ""
    flags = ("--provenance=false", "--build-arg", f"SOURCE_DATE_EPOCH={EPOCH}")
    assert message in buildx.fails("build", "--output", output, *flags, project)


@pytest.mark.skipif(ON_DOCKERD, reason="BuildKit says nothing, or has more")
@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--output", "type=image,name=x,nonsense=1"), "unknown option nonsense of exporter image"),
        (("--output", "type=local,dest=x,compression=gzip"), "unknown option compression of exporter local"),
        (("--output", "type=image,name=x,compression=estargz"), "unsupported compression type estargz"),
        (("--cache-to", "type=inline,compression=zstd"), "unknown option compression of cache inline"),
        (("--provenance", "capture-usage=true"), "provenance with capture-usage is not supported"),
    ],
)
def test_what_is_not_known_is_told(buildx: Docker, project: str, flags: tuple[str, ...], message: str) -> None:
    assert message in buildx.fails("build", *flags, project)


def test_an_image_is_kept_in_the_form_that_is_asked_for(buildx: Docker, project: str, name: str) -> None:
    def kept(attributes: str) -> Archive:
        output = f"type=image,name={name}{attributes and ','}{attributes}"
        buildx.ok("build", "--provenance=false", "--output", output, project)
        target = Path(buildx.env["DOCKER_CONFIG"]) / "saved.tar"
        buildx.ok("save", "-o", str(target), name)
        assert buildx.ok("run", "--rm", name) == name
        return Archive(target.read_bytes())

    kept("")
    forced = "compression=zstd,force-compression=true,oci-mediatypes=true"
    made = kept(f"{forced},annotation.a=b")
    assert {each["mediaType"] for each in made.manifest["layers"]} == {f"{OCI}.layer.v1.tar+zstd"}
    assert made.manifest["annotations"] == {"a": "b"}
    again = kept("compression=gzip,force-compression=true,oci-mediatypes=true")
    assert {each["mediaType"] for each in again.manifest["layers"]} == {f"{OCI}.layer.v1.tar+gzip"}


def test_names_with_a_digest(buildx: Docker, project: str, name: str) -> None:
    output = f"type=image,name={name},name-canonical=true,oci-mediatypes=true"
    buildx.ok("build", "--provenance=false", "--output", output, project)
    digests = json.loads(buildx.ok("image", "inspect", "-f", "{{json .RepoDigests}}", name))
    digest = next(each for each in digests if each.startswith(f"{name}@sha256:"))
    assert buildx.ok("run", "--rm", digest) == name


def test_files_are_no_newer_than_the_build_is_said_to_be(export: Callable[..., Archive]) -> None:
    """Two builds give the same."""
    flags = ("--provenance=false", "--no-cache", "--build-arg", f"SOURCE_DATE_EPOCH={EPOCH}")
    first = export("oci", "name=example.com/x,rewrite-timestamp=true,compression=gzip", *flags)
    with tarfile.open(fileobj=io.BytesIO(first.blob(first.manifest["layers"][-1])), mode="r:gz") as layer:
        times = {member.name: member.mtime for member in layer}
    assert times["made"] == int(EPOCH)
    assert max(times.values()) <= int(EPOCH)
    again = export("oci", "name=example.com/x,rewrite-timestamp=true,compression=gzip", *flags)
    assert again.top["digest"] == first.top["digest"]


def test_files_of_directories_and_tars_have_the_time_too(buildx: Docker, project: str, tmp_path: Path) -> None:
    target, packed = tmp_path / "out", tmp_path / "out.tar"
    flags = ("--provenance=false", "--build-arg", f"SOURCE_DATE_EPOCH={EPOCH}")
    buildx.ok("build", "--output", f"type=local,dest={target}", *flags, project)
    assert (target / "made").stat().st_mtime == int(EPOCH)
    buildx.ok("build", "--output", f"type=tar,dest={packed}", *flags, project)
    with tarfile.open(packed) as archive:
        assert archive.getmember("made").mtime == int(EPOCH)


def steps(config: Json) -> list[str]:
    """What kinds of steps a graph has."""
    return [next(iter(step["op"]["Op"]), "") for step in config["llbDefinition"]]


def test_provenance_of_all_that_was_done(export: Callable[..., Archive], name: str) -> None:
    asked = ("--provenance=mode=max", "--build-arg", "WORD=w", "--label", "a=b")
    made = export("oci", "name=example.com/x:1", *asked)
    assert made.statement["predicateType"] == "https://slsa.dev/provenance/v0.2"
    assert made.statement["subject"][0]["digest"]["sha256"] == made.manifests[0]["digest"].removeprefix("sha256:")
    said = made.statement["predicate"]
    assert said["invocation"]["parameters"]["args"].items() >= {"build-arg:WORD": "w", "label:a": "b"}.items()
    assert said["invocation"]["parameters"]["locals"] == [{"name": "context"}, {"name": "dockerfile"}]
    assert said["invocation"]["configSource"] == {"entryPoint": "Dockerfile"}
    assert said["metadata"]["completeness"] == {"parameters": True, "environment": True, "materials": False}
    config = said["buildConfig"]
    assert steps(config) == ["source", "exec", ""]
    assert config["llbDefinition"][1]["inputs"] == ["step0:0"]
    assert config["llbDefinition"][1]["op"]["Op"]["exec"]["meta"]["args"][2].startswith(f"echo {name}")
    assert sorted(config["digestMapping"].values()) == ["step0", "step1", "step2"]
    kept = said["metadata"]["https://mobyproject.org/buildkit@v1#metadata"]
    assert kept["source"]["locations"]["step1"]["locations"][0]["ranges"][0]["start"] == {"line": 2}
    [info] = kept["source"]["infos"]
    assert (info["filename"], info["language"], steps(info)) == ("Dockerfile", "Dockerfile", ["source", ""])
    [chain] = kept["layers"]["step1:0"]
    assert [each["digest"] for each in chain] == [each["digest"] for each in made.manifest["layers"]]


def test_provenance_of_the_other_version(export: Callable[..., Archive]) -> None:
    asked = ("--provenance=mode=min,version=v1,reproducible=true", "--build-arg", "WORD=w")
    made = export("oci", "name=example.com/x:1,oci-artifact=true", *asked)
    assert made.read(made.manifests[1])["subject"]["digest"] == made.manifests[0]["digest"]
    assert made.statement["predicateType"] == "https://slsa.dev/provenance/v1"
    said = made.statement["predicate"]
    assert said["buildDefinition"]["externalParameters"]["configSource"] == {"path": "Dockerfile"}
    assert "build-arg:WORD" not in said["buildDefinition"]["externalParameters"]["request"].get("args", {})
    assert said["buildDefinition"]["resolvedDependencies"][0]["uri"].startswith("pkg:docker/busybox@latest?platform=")
    assert said["runDetails"]["metadata"]["buildkit_completeness"]["request"] is False
    assert said["runDetails"]["metadata"]["buildkit_reproducible"] is True
    assert "buildConfig" not in said["buildDefinition"]["internalParameters"]


def test_provenance_beside_files(buildx: Docker, project: str, tmp_path: Path, name: str) -> None:
    target = tmp_path / "out"
    output = f"type=local,dest={target},attestation-prefix=of-"
    buildx.ok("build", "--output", output, "--provenance=mode=min", project)
    said = json.loads((target / "of-provenance.json").read_text())
    assert {"made", "bin/busybox"} <= {each["name"] for each in said["subject"]}
    plain = tmp_path / "plain"
    buildx.ok("build", "--output", str(plain), project)
    assert not list(plain.glob("*provenance*")), "nobody has asked"


def test_provenance_of_an_image(buildx: Docker, project: str, tmp_path: Path, name: str) -> None:
    buildx.ok("build", "-t", name, "--provenance=mode=max", project)
    buildx.ok("save", "-o", f"{tmp_path}/saved.tar", name)
    made = Archive((tmp_path / "saved.tar").read_bytes())
    assert steps(made.statement["predicate"]["buildConfig"]) == ["source", "exec", ""]
    assert buildx.ok("run", "--rm", name) == name
    assert 'invalid mode "x"' in buildx.fails("build", "--provenance=mode=x", project)


@pytest.fixture
def registry(store_engine: Engine) -> Iterator[Registry]:
    registry = Registry(store_engine.netns)
    yield registry
    registry.close()


def test_an_image_is_pushed_in_the_form_that_is_asked_for(
    buildx: Docker, project: str, registry: Registry, name: str
) -> None:
    reference = f"{registry.host}/{name}:1"
    output = f"type=image,name={reference},push=true,compression=zstd,force-compression=true,oci-mediatypes=true"
    buildx.ok("build", "--provenance=false", "--output", output, project)
    buildx.ok("image", "rm", reference)
    [manifest] = [data for path in registry.blobs() if b'"layers":' in (data := path.read_bytes())[:1000]]
    assert {each["mediaType"] for each in json.loads(manifest)["layers"]} == {f"{OCI}.layer.v1.tar+zstd"}
    assert buildx.ok("run", "--rm", reference) == name


@pytest.mark.parametrize("attributes", ["image-manifest=false", "oci-mediatypes=false,compression=zstd"])
def test_caches_in_other_forms(
    buildx: Docker, project: str, registry: Registry, tmp_path: Path, name: str, attributes: str
) -> None:
    for to, origin in (
        (f"type=registry,ref={registry.host}/cache:1", f"type=registry,ref={registry.host}/cache:1"),
        (f"type=local,dest={tmp_path}/cache", f"type=local,src={tmp_path}/cache"),
    ):
        buildx.ok("build", "-t", name, "--cache-to", f"{to},mode=max,{attributes}", project)
        buildx.ok("image", "rm", "-f", name)
        buildx.ok("buildx", "prune", "-af")
        told = buildx("build", "--progress=plain", "-t", name, "--cache-from", origin, project)
        assert "CACHED" in told.err, told
        assert buildx.ok("run", "--rm", name) == name
    wrong = f"type=local,dest={tmp_path}/cache,image-manifest=true,oci-mediatypes=false"
    assert "OCI mediatypes are required" in buildx.fails("build", "--cache-to", wrong, project)
