"""`docker build` with buildx as the CLI's builder, of two generations: progress, options, outputs, failures."""

from __future__ import annotations

import io
import json
import os
import signal
import socket
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness.docker import Docker
from harness.engine import Engine
from harness.registry import Registry

GENERATIONS = ("new", "old")


@pytest.fixture(params=GENERATIONS)
def buildx(request: pytest.FixtureRequest, docker: Docker, tmp_path: Path) -> Docker:
    return docker.with_plugins(tmp_path / "client", "buildx", generation=request.param)


@pytest.fixture
def new_buildx(docker: Docker, tmp_path: Path) -> Docker:
    """For what older ones do not have."""
    return docker.with_plugins(tmp_path / "client", "buildx")


def write(directory: Path, **files: str) -> str:
    """Write a project; `Dockerfile__dev` is Dockerfile.dev."""
    directory.mkdir(exist_ok=True)
    for name, content in files.items():
        (directory / name.replace("__", ".")).write_text(content)
    return str(directory)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return tmp_path / "project"


def plain(docker: Docker, *args: str, stdin: str | bytes | None = None) -> str:
    """Build with plain progress; return it."""
    result = docker("build", "--progress=plain", *args, stdin=stdin)
    assert result.code == 0, result
    return result.err


def test_an_image_is_built_and_then_cached(buildx: Docker, project: Path, name: str) -> None:
    dockerfile = f"FROM busybox\nCOPY file /copied\nRUN echo {name}; cat /copied\nCMD cat /copied\n"
    directory = write(project, Dockerfile=dockerfile, file="content\n")
    first = plain(buildx, "-t", name, "--no-cache", directory)
    for line in (
        "[internal] load build definition from Dockerfile",
        "transferring dockerfile:",
        "[internal] load .dockerignore",
        "[internal] load build context",
        "[1/3] FROM docker.io/library/busybox",
        "[2/3] COPY file /copied",
        f"[3/3] RUN echo {name}; cat /copied",
        " content\n",
        "exporting to image",
        "exporting layers",
        f"naming to docker.io/library/{name}",
    ):
        assert line in first, first
    assert buildx.ok("run", "--rm", name) == "content"
    id = buildx.ok("image", "inspect", "-f", "{{.Id}}", name)
    second = plain(buildx, "-t", name, directory)
    assert second.count("CACHED") >= 2, second
    assert f"writing image {id}" in second
    assert buildx.ok("image", "inspect", "-f", "{{.Id}}", name) == id


def test_options_reach_the_image(buildx: Docker, project: Path, name: str) -> None:
    directory = write(
        project,
        Dockerfile__dev="""\
ARG BASE=none
FROM ${BASE} AS first
ARG WORD
RUN echo "$WORD" > /word
FROM first AS wanted
ENV KIND=wanted
FROM wanted AS unwanted
RUN exit 1
""",
    )
    options = ("--build-arg", "BASE=busybox", "--build-arg", "WORD=hello", "--target", "wanted", "--label", "a=b")
    iid, metadata = project / "iid", project / "metadata.json"
    plain(
        buildx, "-f", f"{directory}/Dockerfile.dev", *options, "-t", name, "-t", f"{name}:two",
        "--iidfile", str(iid), "--metadata-file", str(metadata), directory,
    )  # fmt: skip
    assert buildx.ok("run", "--rm", f"{name}:two", "sh", "-c", "cat /word; echo $KIND") == "hello\nwanted"
    assert buildx.ok("image", "inspect", "-f", '{{index .Config.Labels "a"}}', name) == "b"
    id = buildx.ok("image", "inspect", "-f", "{{.Id}}", name)
    assert iid.read_text() == id
    told = json.loads(metadata.read_text())
    assert told["containerimage.config.digest"] == id
    assert told["image.name"] == f"docker.io/library/{name},docker.io/library/{name}:two"


def test_quiet_prints_the_id(new_buildx: Docker, project: Path, name: str) -> None:
    directory = write(project, Dockerfile=f"FROM busybox\nLABEL name={name}\n")
    id = new_buildx.ok("build", "-q", "-t", name, directory)
    assert id == new_buildx.ok("image", "inspect", "-f", "{{.Id}}", name)


def test_a_step_that_fails_shows_its_output_and_its_lines(buildx: Docker, project: Path, name: str) -> None:
    directory = write(project, Dockerfile=f"FROM busybox\nENV A=b\nRUN echo said {name} >&2; exit 7\nRUN true\n")
    result = buildx("build", "--progress=plain", "-t", name, directory)
    command = f"/bin/sh -c echo said {name} >&2; exit 7"
    assert result.code == 1
    assert f'ERROR: process "{command}" did not complete successfully: exit code: 7\n' in result.err
    assert f" said {name}\n" in result.err
    assert "\nDockerfile:3\n--------------------\n   1 |     FROM busybox\n" in result.err
    assert f"\n   3 | >>> RUN echo said {name} >&2; exit 7\n" in result.err
    assert f'failed to solve: process "{command}" did not complete successfully: exit code: 7' in result.err
    assert buildx("image", "inspect", name).code == 1


@pytest.mark.parametrize(
    ("dockerfile", "message", "line"),
    [
        ("FROM busybox\nNONSENSE x\n", "dockerfile parse error on line 2: unknown instruction: NONSENSE", 2),
        ("FROM busybox\nCOPY missing /x\n", '"/missing": not found', 2),
        ("FROM busybox\nCOPY --from=later x /\n", "", 0),
        ("", "the Dockerfile cannot be empty", 0),
    ],
)
def test_what_is_wrong_is_told(new_buildx: Docker, project: Path, dockerfile: str, message: str, line: int) -> None:
    directory = write(project, Dockerfile=dockerfile)
    result = new_buildx("build", "--progress=plain", directory)
    assert result.code == 1
    assert message in result.err
    assert "failed to solve: " in result.err
    if line:
        assert f"   {line} | >>> {dockerfile.splitlines()[line - 1]}\n" in result.err


def test_secrets(buildx: Docker, project: Path, name: str) -> None:
    directory = write(
        project,
        Dockerfile=f"""\
# {name}
FROM busybox
RUN --mount=type=secret,id=one cat /run/secrets/one && stat -c %a /run/secrets/one
RUN --mount=type=secret,id=two test ! -e /run/secrets/two
""",
        secret="of-file\n",
    )
    told = plain(buildx, "--no-cache", "--secret", f"id=one,src={directory}/secret", directory)
    assert " of-file\n" in told
    assert " 400\n" in told
    (project / "Dockerfile").write_text("FROM busybox\nRUN --mount=type=secret,id=none,required=true true\n")
    assert "secret none: not found" in buildx.fails("build", "--progress=plain", directory)


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Path]:
    """Something that looks like an ssh agent: a socket."""
    path = tmp_path / "agent"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        yield path


def test_ssh(buildx: Docker, project: Path, agent: Path) -> None:
    directory = write(project, Dockerfile="FROM busybox\nRUN --mount=type=ssh,required=true test -S $SSH_AUTH_SOCK\n")
    plain(buildx, "--no-cache", "--ssh", f"default={agent}", directory)
    assert "ssh" in buildx.fails("build", "--no-cache", "--progress=plain", directory)


def test_contexts_from_standard_input(buildx: Docker, project: Path, name: str) -> None:
    plain(buildx, "-t", name, "-", stdin=f"FROM busybox\nRUN echo {name} > /x\n")
    assert buildx.ok("run", "--rm", name, "cat", "/x") == name
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for path, content in (("Dockerfile", b"FROM busybox\nCOPY d/f /f\n"), ("d/f", name.encode())):
            member = tarfile.TarInfo(path)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    plain(buildx, "-t", f"{name}:tar", "-", stdin=packed.getvalue())
    assert buildx.ok("run", "--rm", f"{name}:tar", "cat", "/f") == name


def test_contexts_with_names(new_buildx: Docker, project: Path, tmp_path: Path, name: str) -> None:
    other = write(tmp_path / "other", file=name)
    directory = write(project, Dockerfile="FROM nothing\nCOPY --from=files file /file\n")
    contexts = ("--build-context", f"files={other}", "--build-context", "nothing=docker-image://busybox")
    plain(new_buildx, *contexts, "-t", name, directory)
    assert new_buildx.ok("run", "--rm", name, "cat", "/file") == name


def test_the_files_that_are_ignored_stay_away(new_buildx: Docker, project: Path, name: str) -> None:
    directory = write(
        project,
        Dockerfile="FROM busybox\nCOPY . /all\n",
        __dockerignore="*.log\n!keep.log\n",
        a__log="",
        keep__log="",
        b__txt="",
    )
    plain(new_buildx, "-t", name, directory)
    found = new_buildx.ok("run", "--rm", name, "ls", "-A", "/all").split()
    assert sorted(found) == [".dockerignore", "Dockerfile", "b.txt", "keep.log"]


def test_the_context_changes_between_builds(new_buildx: Docker, project: Path, name: str) -> None:
    """What was sent before is not sent again, and what is gone is gone."""
    directory = write(project, Dockerfile="FROM busybox\nCOPY . /all\n", a="1", b="1", c="1")
    (project / "link").symlink_to("a")
    plain(new_buildx, "-t", name, directory)
    (project / "a").write_text("changed\n")
    (project / "b").unlink()
    (project / "c").chmod(0o600)
    plain(new_buildx, "-t", name, directory)
    script = "ls -A /all; cat /all/link; stat -c %a /all/c"
    shown = new_buildx.ok("run", "--rm", name, "sh", "-c", script).split()
    assert shown == ["Dockerfile", "a", "c", "link", "changed", "600"]


def test_local_and_tar_output(buildx: Docker, project: Path, tmp_path: Path, name: str) -> None:
    directory = write(
        project,
        Dockerfile=f"""\
FROM busybox AS made
RUN mkdir -p /out/d && echo {name} > /out/d/f && chmod 751 /out/d/f && ln -s d/f /out/l
FROM scratch
COPY --from=made /out /
""",
    )
    target = tmp_path / "target"
    plain(buildx, "--output", str(target), directory)
    assert (target / "d/f").read_text().strip() == name
    assert (target / "d/f").stat().st_mode & 0o777 == 0o751
    assert os.readlink(target / "l") == "d/f"
    plain(buildx, "--output", f"type=tar,dest={tmp_path}/out.tar", directory)
    with tarfile.open(tmp_path / "out.tar") as archive:
        assert {"d/f", "l"} <= {member.name.removeprefix("./") for member in archive}


def test_raw_progress_is_json(new_buildx: Docker, project: Path, name: str) -> None:
    directory = write(project, Dockerfile=f"FROM busybox\nRUN echo {name}\n")
    result = new_buildx("build", "--progress=rawjson", directory)
    lines = [json.loads(line) for line in result.err.splitlines() if line.startswith("{")]
    vertexes = {vertex["digest"]: vertex for line in lines for vertex in line.get("vertexes") or ()}
    by_name = {vertex["name"]: vertex for vertex in vertexes.values()}
    run = by_name[f"[2/2] RUN echo {name}"]
    assert run["inputs"] == [next(v["digest"] for v in vertexes.values() if v["name"].startswith("[1/2] FROM"))]
    assert run["completed"] >= run["started"]


def test_questions(new_buildx: Docker, project: Path) -> None:
    directory = write(
        project, Dockerfile="ARG V=1\nFROM busybox as base\nARG WORD=x\nFROM base AS app\nRUN echo $WORD\n"
    )
    checked = new_buildx("build", "--check", directory)
    assert checked.code == 1
    assert "WARNING: FromAsCasing" in checked.out
    assert "Dockerfile:2" in checked.out
    targets = new_buildx.ok("build", "--call=targets", directory)
    assert "base" in targets
    assert "app (default)" in targets
    outline = new_buildx.ok("build", "--call=outline", "--target=base", directory)
    assert "WORD" in outline


def test_an_interrupted_build_leaves_nothing(buildx: Docker, project: Path, name: str) -> None:
    directory = write(project, Dockerfile=f"FROM busybox\nRUN echo begun {name}; sleep 1000\n")
    client = buildx.background("build", "--progress=plain", "-t", name, directory)
    assert client.stderr is not None
    while f" begun {name}\n".encode() not in client.stderr.readline():
        assert client.poll() is None
    client.send_signal(signal.SIGINT)
    assert client.wait(30) != 0
    for pipe in (client.stdin, client.stdout, client.stderr):
        assert pipe is not None
        pipe.close()
    assert buildx("image", "inspect", name).code == 1
    plain(buildx, "-t", name, write(project, Dockerfile="FROM busybox\n"))


def test_a_client_that_is_killed_leaves_nothing(new_buildx: Docker, project: Path, name: str) -> None:
    directory = write(project, Dockerfile=f"FROM busybox\nRUN echo begun {name}; sleep 1000\n")
    client = new_buildx.background("build", "--progress=plain", "-t", name, directory)
    assert client.stderr is not None
    while f" begun {name}\n".encode() not in client.stderr.readline():
        assert client.poll() is None
    children = Path(f"/proc/{client.pid}/task/{client.pid}/children").read_text().split()
    for pid in (*map(int, children), client.pid):
        os.kill(pid, signal.SIGKILL)
    client.wait(30)
    for pipe in (client.stdin, client.stdout, client.stderr):
        assert pipe is not None
        pipe.close()
    plain(new_buildx, "-t", name, write(project, Dockerfile="FROM busybox\n"))


def test_the_builder_describes_itself(buildx: Docker) -> None:
    assert "default" in buildx.ok("buildx", "ls")
    shown = buildx.ok("buildx", "inspect")
    assert "Driver: docker" in shown.replace("   ", " ").replace("  ", " ")
    assert "Status: " in shown.replace("           ", " ")
    assert "linux/" in shown
    assert "org.mobyproject.buildkit.worker.moby.host-gateway-ip" in shown


def test_disk_usage_and_prune(new_buildx: Docker, project: Path, name: str) -> None:
    plain(new_buildx, write(project, Dockerfile=f"FROM busybox\nRUN head -c 100000 /dev/zero > /{name}\n"))
    assert "Total:" in new_buildx.ok("buildx", "du")
    assert name in new_buildx.ok("buildx", "du", "--verbose")
    assert "Total:" in new_buildx.ok("buildx", "prune", "-af")
    assert name not in new_buildx.ok("buildx", "du", "--verbose")


def test_history(new_buildx: Docker, project: Path, name: str) -> None:
    directory = write(project, Dockerfile=f"FROM busybox\nRUN echo {name}\n")
    metadata = project / "metadata.json"
    plain(new_buildx, "--metadata-file", str(metadata), directory)
    told = json.loads(metadata.read_text())
    ref = told["buildx.build.ref"].rpartition("/")[2]
    assert told["buildx.build.provenance"]["invocation"]["parameters"]["frontend"] == "dockerfile.v0"
    new_buildx("build", "-q", write(project, Dockerfile=f"FROM busybox\nRUN echo {name}; exit 1\n"))
    listed = new_buildx.ok("buildx", "history", "ls")
    assert "Completed" in next(line for line in listed.splitlines() if line.startswith(ref))
    assert "Error" in listed
    logs = new_buildx("buildx", "history", "logs", "--progress=plain", ref)
    assert f"[2/2] RUN echo {name}" in logs.err
    assert ref in new_buildx.ok("buildx", "history", "inspect", ref)
    kept = json.loads(new_buildx.ok("buildx", "history", "inspect", "attachment", "--type", "provenance", ref))
    assert f"echo {name}" in json.dumps(kept["buildConfig"]["llbDefinition"])
    if os.environ.get("LIGHTSHIP_TEST_ENGINE") != "dockerd":  # which dies when asked for its records after that
        new_buildx.ok("buildx", "history", "rm", ref)
        assert ref not in new_buildx.ok("buildx", "history", "ls")


@pytest.fixture
def registry_host(engine: Engine) -> Iterator[str]:
    registry = Registry(engine.netns)
    yield registry.host
    registry.close()


@pytest.mark.parametrize("generation", GENERATIONS)
def test_push(docker: Docker, registry_host: str, project: Path, tmp_path: Path, name: str, generation: str) -> None:
    buildx = docker.with_plugins(tmp_path / "client", "buildx", generation=generation)
    directory = write(project, Dockerfile=f"FROM busybox\nRUN echo {name} > /pushed\n")
    reference = f"{registry_host}/{name}:1"
    plain(buildx, "--push", "-t", reference, directory)
    buildx("image", "rm", "-f", reference)
    assert buildx.ok("run", "--rm", reference, "cat", "/pushed") == name


def test_cache_at_a_registry(archiving: Docker, registry_host: str, project: Path, name: str) -> None:
    directory = write(project, Dockerfile=f"FROM busybox\nRUN echo {name} > /made\nRUN cat /made\n")
    cache = f"type=registry,ref={registry_host}/cache:1"
    plain(archiving, "--cache-to", f"{cache},mode=max", directory)
    archiving.ok("buildx", "prune", "-af")
    assert plain(archiving, "--cache-from", cache, directory).count("CACHED") >= 2


@pytest.fixture
def archiving(new_buildx: Docker) -> Docker:
    """buildx, where the engine exports archives and caches: dockerd does with containerd's image store alone."""
    if "worker.snapshotter:" not in new_buildx.ok("buildx", "inspect"):
        pytest.skip("this engine exports images into its own store only")
    return new_buildx


@pytest.mark.parametrize("kind", ["oci", "docker"])
def test_archives_can_be_loaded(archiving: Docker, project: Path, tmp_path: Path, name: str, kind: str) -> None:
    directory = write(project, Dockerfile=f"FROM busybox\nRUN echo {name} > /made\n")
    target = tmp_path / "image.tar"
    plain(archiving, "--output", f"type={kind},dest={target},name={name}", directory)
    loaded = archiving.ok("load", "-i", str(target))
    assert loaded.startswith("Loaded image")
    assert archiving.ok("run", "--rm", loaded.rpartition(": ")[2], "cat", "/made") == name
