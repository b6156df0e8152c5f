"""Caches in directories of the client (`type=local`), with buildx of two generations."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
from harness.docker import Docker

pytestmark = pytest.mark.skipif(
    os.environ.get("LIGHTSHIP_TEST_ENGINE") == "dockerd",
    reason="dockerd exports caches with containerd's image store alone",
)
DOCKERFILE = """\
FROM busybox AS first
RUN head -c 3000000 /dev/urandom > /large && echo {name} > /made
FROM busybox
COPY --from=first /made /large /
RUN sha256sum /large > /sum
"""


@pytest.fixture(params=("new", "old"))
def buildx(request: pytest.FixtureRequest, docker: Docker, tmp_path: Path) -> Docker:
    return docker.with_plugins(tmp_path / "client", "buildx", generation=request.param)


@pytest.fixture
def project(tmp_path: Path, name: str) -> str:
    directory = tmp_path / "project"
    directory.mkdir()
    (directory / "Dockerfile").write_text(DOCKERFILE.format(name=name))
    return str(directory)


def plain(docker: Docker, *args: str) -> str:
    """Build with plain progress; return it."""
    result = docker("build", "--progress=plain", *args)
    assert result.code == 0, result
    return result.err


def cached(told: str) -> set[str]:
    """The steps of plain progress that were not run, by their place in their stage."""
    numbers = set(re.findall(r"^#(\d+) CACHED$", told, re.MULTILINE))
    named = re.findall(r"^#(\d+) \[(.*?)\] (?:RUN|COPY)", told, re.MULTILINE)
    return {place for number, place in named if number in numbers}


def forget(docker: Docker, name: str) -> None:
    """Have nothing of a build in the engine any more."""
    docker.ok("image", "rm", "-f", name)
    docker.ok("buildx", "prune", "-af")


def blobs(cache: Path) -> set[str]:
    return {path.name for path in (cache / "blobs" / "sha256").iterdir()}


@pytest.mark.parametrize("mode", ["min", "max"])
def test_a_cache_in_a_directory(buildx: Docker, project: str, tmp_path: Path, name: str, mode: str) -> None:
    cache = tmp_path / "cache"
    plain(buildx, "-t", name, "--cache-to", f"type=local,dest={cache},mode={mode}", project)
    made = buildx.ok("run", "--rm", name, "cat", "/made", "/sum")
    [noted] = json.loads((cache / "index.json").read_text())["manifests"]
    manifest = json.loads((cache / "blobs" / noted["digest"].replace(":", "/")).read_text())
    assert {each["digest"].removeprefix("sha256:") for each in (manifest["config"], *manifest["layers"])} < blobs(cache)
    assert not list((cache / "ingest").iterdir()), "nothing is left half written"

    forget(buildx, name)
    again = plain(buildx, "-t", name, "--cache-from", f"type=local,src={cache}", project)
    assert cached(again) == {"first 2/2", "stage-1 2/3", "stage-1 3/3"}
    assert buildx.ok("run", "--rm", name, "cat", "/made", "/sum") == made

    # Layers that the result does not have are there in the mode for all steps.
    forget(buildx, name)
    first = plain(buildx, "--target", "first", "--cache-from", f"type=local,src={cache}", project)
    assert cached(first) == ({"first 2/2"} if mode == "max" else set())


def test_what_is_there_already_is_not_written_again(buildx: Docker, project: str, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    to = f"type=local,dest={cache},mode=max"
    plain(buildx, "--cache-to", to, project)
    before = {path: path.stat().st_mtime_ns for path in (cache / "blobs" / "sha256").iterdir()}
    plain(buildx, "--cache-to", to, "--cache-from", f"type=local,src={cache}", project)
    after = {path: path.stat().st_mtime_ns for path in (cache / "blobs" / "sha256").iterdir()}
    assert before.items() <= after.items()


def test_a_cache_that_is_damaged_is_done_without(buildx: Docker, project: str, tmp_path: Path, name: str) -> None:
    cache = tmp_path / "cache"
    plain(buildx, "-t", name, "--cache-to", f"type=local,dest={cache}", project)
    for blob in (cache / "blobs" / "sha256").iterdir():
        if blob.stat().st_size > 1_000_000:
            blob.chmod(0o644)
            with blob.open("r+b") as file:
                file.seek(1000)
                file.write(b"damage")
    forget(buildx, name)
    again = plain(buildx, "-t", name, "--cache-from", f"type=local,src={cache}", project)
    assert not cached(again)
    assert buildx.ok("run", "--rm", name, "cat", "/made") == name


def test_a_directory_without_a_cache(buildx: Docker, project: str, tmp_path: Path, name: str) -> None:
    told = plain(buildx, "-t", name, "--cache-from", f"type=local,src={tmp_path}/nothing", project)
    assert not cached(told)
    assert buildx.ok("run", "--rm", name, "cat", "/made") == name


def test_a_cache_that_cannot_be_written(buildx: Docker, project: str, tmp_path: Path, name: str) -> None:
    nowhere, directory = "type=registry,ref=localhost:1/cache", f"type=local,dest={tmp_path}/cache"
    assert "exporting cache to registry" in buildx.fails("build", "--progress=plain", "--cache-to", nowhere, project)
    to = ("--cache-to", directory, "--cache-to", f"{nowhere},mode=max,ignore-error=true")
    plain(buildx, "-t", name, *to, project)
    forget(buildx, name)
    assert cached(plain(buildx, "--cache-from", f"type=local,src={tmp_path}/cache", project))
