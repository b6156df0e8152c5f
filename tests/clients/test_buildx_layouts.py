"""Named contexts from image layouts in directories of the client (`oci-layout://`), which come over the session."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pytest
from harness.docker import Docker
from harness.engine import Engine


@pytest.fixture
def buildx(store_engine: Engine, tmp_path: Path) -> Docker:
    return store_engine.docker.with_plugins(tmp_path / "client", "buildx")


@pytest.fixture
def layout(buildx: Docker, tmp_path: Path, name: str) -> Path:
    """An image that the engine does not have any more."""
    project, target = tmp_path / "base", tmp_path / "layout"
    project.mkdir()
    (project / "Dockerfile").write_text(f"FROM busybox\nRUN echo {name} > /made\nENV KIND={name}\n")
    buildx.ok("build", "--provenance=false", "-t", f"{name}:base", str(project))
    buildx.ok("save", "-o", f"{tmp_path}/saved.tar", f"{name}:base")
    with tarfile.open(tmp_path / "saved.tar") as archive:
        archive.extractall(target)
    buildx.ok("image", "rm", f"{name}:base")
    buildx.ok("buildx", "prune", "-af")
    return target


def write(tmp_path: Path, dockerfile: str) -> str:
    project = tmp_path / "project"
    project.mkdir(exist_ok=True)
    (project / "Dockerfile").write_text(dockerfile)
    return str(project)


def test_a_base_from_a_layout(buildx: Docker, layout: Path, tmp_path: Path, name: str) -> None:
    directory = write(tmp_path, "FROM base\nRUN cat /made > /copied\nCMD echo $KIND $(cat /copied)\n")
    told = buildx(
        "build", "--progress=plain", "-t", name, "--build-context", f"base=oci-layout://{layout}:base", directory
    )
    assert told.code == 0, told
    assert "[context base] OCI load from client" in told.err
    assert buildx.ok("run", "--rm", name) == f"{name} {name}"
    [digest] = [each["digest"] for each in json.loads((layout / "index.json").read_text())["manifests"]]
    again = buildx(
        "build", "--progress=plain", "-t", name, "--build-context", f"base=oci-layout://{layout}@{digest}", directory
    )
    assert "CACHED" in again.err, again


def test_files_from_a_layout(buildx: Docker, layout: Path, tmp_path: Path, name: str) -> None:
    directory = write(tmp_path, "FROM busybox\nCOPY --from=files /made /other\nCMD cat /other\n")
    buildx.ok("build", "-t", name, "--build-context", f"files=oci-layout://{layout}:base", directory)
    assert buildx.ok("run", "--rm", name) == name


def test_a_layout_that_is_damaged(buildx: Docker, layout: Path, tmp_path: Path, name: str) -> None:
    directory = write(tmp_path, "FROM base\nRUN true\n")
    [manifest] = json.loads((layout / "index.json").read_text())["manifests"]
    document = json.loads((layout / "blobs" / manifest["digest"].replace(":", "/")).read_text())
    blob = layout / "blobs" / document["layers"][-1]["digest"].replace(":", "/")
    blob.chmod(0o644)
    blob.write_bytes(b"x" * blob.stat().st_size)
    flags = ("-t", name, "--build-context", f"base=oci-layout://{layout}:base", directory)
    buildx.fails("build", *flags)
    blob.unlink()
    buildx.fails("build", *flags)
    missing = f"base=oci-layout://{layout}@sha256:{'0' * 64}"
    assert "not found" in buildx.fails("build", "--build-context", missing, directory)
    assert buildx("image", "inspect", name).code == 1
