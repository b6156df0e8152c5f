"""`docker cp`, `diff`, `export` and `commit`: a container's files in every state, whatever it has put there."""

from __future__ import annotations

import base64
import gzip
import io
import json
import random
import tarfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from harness.docker import Docker
from harness.engine import ON_DOCKERD, Engine
from harness.http import Api, UnixConnection, read_head


def archive(*members: tuple[str, bytes | None], **attributes: Any) -> bytes:
    """A tar of files (with bytes) and directories (None)."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for name, data in members:
            member = tarfile.TarInfo(name)
            member.type, member.size = (tarfile.DIRTYPE, 0) if data is None else (tarfile.REGTYPE, len(data))
            member.mode = 0o755 if data is None else 0o644
            for attribute, value in attributes.items():
                setattr(member, attribute, value)
            tar.addfile(member, io.BytesIO(data or b""))
    return stream.getvalue()


def contents(data: bytes) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return {member.name: member for member in tar}


def put(api: Api, container: str, path: str, data: bytes, flags: str = "") -> tuple[int, str]:
    response = api.request(
        "PUT",
        f"/containers/{container}/archive?path={path}{flags}",
        raw=data,
        headers={"Content-Type": "application/x-tar"},
    )
    return response.status, response.message if response.body else ""


def stat(api: Api, container: str, path: str) -> dict[str, Any]:
    response = api.request("HEAD", f"/containers/{container}/archive?path={path}")
    assert response.status == 200, response
    found: dict[str, Any] = json.loads(base64.b64decode(response.headers["x-docker-container-path-stat"]))
    return found


@pytest.fixture(params=["created", "running", "paused", "exited"])
def container(docker: Docker, request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A container in each state, with a volume at /vol, a bind at /host and a symlink through a directory."""
    (tmp_path / "there").write_text("on the host\n")
    created = docker.ok(
        "create",
        "-v",
        "/vol",
        "-v",
        f"{tmp_path}:/host",
        "busybox",
        "sh",
        "-c",
        "ln -s /vol /to-vol; echo in >/vol/inside; exec sleep 1000",
    )
    if request.param != "created":
        docker.ok("start", created)
        wait_for(docker, created, "/vol/inside")
    if request.param == "paused":
        docker.ok("pause", created)
    if request.param == "exited":
        docker.ok("stop", "-t", "0", created)
    return created


def wait_for(docker: Docker, container: str, path: str) -> None:
    docker.ok("exec", container, "sh", "-c", f"until [ -s {path} ]; do usleep 5000; done")


def test_in_and_out_in_every_state(docker: Docker, container: str, tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "deep").mkdir(parents=True)
    (source / "deep" / "file").write_text("content\n")
    (source / "link").symlink_to("deep/file")
    for target in ("/tmp", "/vol", "/host"):
        docker.ok("cp", str(source), f"{container}:{target}/copied")
        docker.ok("cp", f"{container}:{target}/copied", str(tmp_path / "back"))
        assert (tmp_path / "back" / "deep" / "file").read_text() == "content\n"
        assert (tmp_path / "back" / "link").readlink() == Path("deep/file")
        (tmp_path / "back" / "link").unlink()
        (tmp_path / "back" / "deep" / "file").unlink()
        (tmp_path / "back" / "deep").rmdir()
        (tmp_path / "back").rmdir()
    assert (tmp_path / "copied" / "deep" / "file").read_text() == "content\n"


def test_what_was_put_is_there_after_the_start(docker: Docker, api: Api, name: str) -> None:
    """As compose does with secrets and configs."""
    docker.ok("create", "--name", name, "busybox", "cat", "/run/secrets/token")
    assert put(api, name, "/", archive(("run/secrets/token", b"s3cret"))) == (200, "")
    assert docker.ok("start", "-a", name) == "s3cret"


def test_stat_header(docker: Docker, api: Api, sleeper: Callable[..., str]) -> None:
    container = sleeper()
    docker.ok(
        "exec",
        container,
        "sh",
        "-c",
        "mkdir /d; echo abc >/d/f; chmod 4751 /d/f; ln -s d/f /l; ln -s /nowhere/x /b; mkfifo /p",
    )
    file = stat(api, container, "/d/f")
    assert (file["name"], file["size"], file["mode"], file["linkTarget"]) == ("f", 4, 1 << 23 | 0o751, "")
    assert file["mtime"].startswith("20") and file["mtime"].endswith("Z")
    assert stat(api, container, "/d")["mode"] == 1 << 31 | 0o755
    assert stat(api, container, "/l")["mode"] >> 27 == 1 and stat(api, container, "/l")["linkTarget"] == "/d/f"
    assert stat(api, container, "/b")["linkTarget"] == "/nowhere/x"
    assert stat(api, container, "/p")["mode"] >> 25 == 1
    assert stat(api, container, "/")["name"] == "/"
    assert stat(api, container, "d/")["name"] == "d"


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("/d", ["d", "d/f", "d/l"]),
        ("/d/", ["d", "d/f", "d/l"]),
        ("/d/.", [".", "./f", "./l"]),
        ("/d/f", ["f"]),
        ("/d/l", ["l"]),
        ("/e", ["e"]),
    ],
)
def test_names_in_archives(docker: Docker, api: Api, sleeper: Callable[..., str], path: str, names: list[str]) -> None:
    container = sleeper()
    docker.ok("exec", container, "sh", "-c", "mkdir /d; echo abc >/d/f; ln -s f /d/l; ln -s d /e")
    response = api.get(f"/containers/{container}/archive?path={path}")
    assert response.headers["content-type"] == "application/x-tar"
    assert json.loads(base64.b64decode(response.headers["x-docker-container-path-stat"]))
    assert list(contents(response.body)) == names


def test_compressed_both_ways(api: Api, sleeper: Callable[..., str]) -> None:
    container = sleeper()
    assert put(api, container, "/tmp", gzip.compress(archive(("f", b"zipped")))) == (200, "")
    response = api.get(f"/containers/{container}/archive?path=/tmp/f", headers={"Accept-Encoding": "gzip"})
    assert response.headers["content-encoding"] == "gzip"
    assert contents(gzip.decompress(response.body))["f"].size == 6


def test_follow_link(docker: Docker, sleeper: Callable[..., str], tmp_path: Path) -> None:
    container = sleeper()
    docker.ok("exec", container, "sh", "-c", "echo data >/f; ln -s f /l")
    docker.ok("cp", "-L", f"{container}:/l", str(tmp_path / "out"))
    assert (tmp_path / "out").read_text() == "data\n" and not (tmp_path / "out").is_symlink()


def test_owner(docker: Docker, api: Api, sleeper: Callable[..., str]) -> None:
    container = sleeper("-u", "1234:56")
    data = archive(("f", b"x"), uid=7, gid=8)
    assert put(api, container, "/tmp", data)[0] == 200
    assert docker.ok("exec", container, "stat", "-c", "%u:%g", "/tmp/f") == "7:8"
    assert put(api, container, "/tmp", data, "&copyUIDGID=1")[0] == 200
    assert docker.ok("exec", container, "stat", "-c", "%u:%g", "/tmp/f") == "1234:56"


def test_attributes_survive(docker: Docker, api: Api, sleeper: Callable[..., str]) -> None:
    container = sleeper()
    docker.ok(
        "exec",
        container,
        "sh",
        "-c",
        "mkdir /d; echo x >/d/a; ln /d/a /d/b; mknod /d/null c 1 3; chmod 2755 /d; chown 5:6 /d/a",
    )
    found = contents(api.get(f"/containers/{container}/archive?path=/d").body)
    assert (found["d/a"].uid, found["d/a"].gid, found["d"].mode & 0o7777) == (5, 6, 0o2755)
    assert found["d/b"].islnk() and found["d/b"].linkname == "d/a"
    assert found["d/null"].ischr() and (found["d/null"].devmajor, found["d/null"].devminor) == (1, 3)
    assert put(api, container, "/tmp", api.get(f"/containers/{container}/archive?path=/d").body) == (200, "")
    assert docker.ok("exec", container, "stat", "-c", "%u:%g %h %a", "/tmp/d/a") == "5:6 2 644"
    assert docker.ok("exec", container, "stat", "-c", "%a", "/tmp/d") == "2755"


@pytest.mark.parametrize(
    ("path", "status", "message"),
    [
        ("", 400, "bad parameter: pathcannot be empty"),
        ("/nope", 404, "Could not find the file /nope in container {}"),
        ("/etc/passwd/", 500, "lstat /etc/passwd/: not a directory"),
        ("/proc/version", 404, "Could not find the file /proc/version in container {}"),
    ],
)
def test_bad_sources(api: Api, sleeper: Callable[..., str], path: str, status: int, message: str) -> None:
    container = sleeper()
    response = api.get(f"/containers/{container}/archive?path={path}")
    assert (response.status, response.message) == (status, message.format(container))
    assert api.request("HEAD", f"/containers/{container}/archive?path={path}").status == status


@pytest.mark.parametrize(
    ("path", "data", "flags", "status", "message"),
    [
        ("/etc/passwd", archive(), "", 400, "extraction point is not a directory"),
        ("/nope", archive(), "", 404, "Could not find the file /nope in container {}"),
        ("/tmp", archive(("../x", b"")), "", 500, 'invalid entry name "../x"'),
        ("/tmp", archive(("f", b"x" * 2000))[:1000], "", 500, "unexpected EOF"),
        ("/tmp", b"\1" * 1024, "", 500, "archive/tar: invalid tar header"),
        (
            "/",
            archive(("tmp", b"")),
            "&noOverwriteDirNonDir=1",
            500,
            'cannot overwrite directory "tmp" with non-directory "/"',
        ),
        (
            "/",
            archive(("etc/passwd", None)),
            "&noOverwriteDirNonDir=1",
            500,
            'cannot overwrite non-directory "etc/passwd" with directory "/"',
        ),
        ("/", archive(("etc/hosts", b"")), "", 500, "RemoveAll etc/hosts: device or resource busy"),
    ],
)
def test_bad_targets(
    docker: Docker, api: Api, sleeper: Callable[..., str], path: str, data: bytes, flags: str, status: int, message: str
) -> None:
    container = sleeper()
    assert put(api, container, path, data, flags) == (status, message.format(container))
    docker.ok("exec", container, "true")


def test_replaces_what_is_there(docker: Docker, api: Api, sleeper: Callable[..., str]) -> None:
    container = sleeper()
    docker.ok(
        "exec",
        container,
        "sh",
        "-c",
        "mkdir -p /tmp/a/b; echo old >/tmp/a/b/c; ln -s /etc/passwd /tmp/l; echo f >/tmp/f",
    )
    assert put(api, container, "/tmp", archive(("a", b"file"), ("l", b"no link"), ("f", None))) == (200, "")
    assert (
        docker.ok("exec", container, "sh", "-c", "cat /tmp/a /tmp/l; [ -d /tmp/f ]; cat /etc/passwd | head -c 4")
        == "fileno linkroot"
    )


def test_read_only_targets(docker: Docker, api: Api, sleeper: Callable[..., str], tmp_path: Path) -> None:
    container = sleeper("--read-only", "-v", f"{tmp_path}:/ro:ro", "-v", f"{tmp_path}:/rw")
    assert put(api, container, "/etc", archive()) == (400, "container rootfs is marked read-only")
    assert put(api, container, "/ro", archive(("f", b""))) == (400, "mounted volume is marked read-only")
    assert put(api, container, "/rw", archive(("f", b"x"))) == (200, "")
    assert (tmp_path / "f").read_text() == "x"


@pytest.mark.skipif(ON_DOCKERD, reason="dockerd does not see a running container's tmpfs")
def test_tmpfs_of_a_running_container(docker: Docker, api: Api, sleeper: Callable[..., str]) -> None:
    container = sleeper("--read-only", "--tmpfs", "/scratch")
    assert put(api, container, "/scratch", archive(("f", b"seen"))) == (200, "")
    assert docker.ok("exec", container, "cat", "/scratch/f") == "seen"
    assert contents(api.get(f"/containers/{container}/archive?path=/scratch/f").body)["f"].size == 4


def test_links_stay_inside(docker: Docker, api: Api, sleeper: Callable[..., str], tmp_path: Path) -> None:
    """A container's links are resolved in the container, on the way to a source and to a target (CVE-2018-15664)."""
    host_file = tmp_path / "host"
    host_file.write_text("the host's")
    container = sleeper()
    docker.ok(
        "exec",
        container,
        "sh",
        "-c",
        f"mkdir -p {tmp_path}; ln -s {host_file} /l; ln -s / /root-link; ln -s ../../../../..{tmp_path} /d",
    )
    assert api.get(f"/containers/{container}/archive?path=/root-link{host_file}").status == 404
    assert put(api, container, "/d", archive(("host", b"the container's"))) == (200, "")
    assert put(api, container, f"/root-link{tmp_path}", archive(("second", b"too"))) == (200, "")
    assert docker.ok("exec", container, "cat", str(host_file), f"{tmp_path}/second") == "the container'stoo"
    assert host_file.read_text() == "the host's" and not (tmp_path / "second").exists()


def test_races_with_links(docker: Docker, api: Api, sleeper: Callable[..., str], tmp_path: Path) -> None:
    """A directory that the container keeps swapping for a link to a host's path never leads there."""
    (tmp_path / "target").mkdir(mode=0o700)
    container = sleeper()
    there = f"{tmp_path}/target"
    swap = f"mkdir -p {there} /a; ln -s {there} /b; while :; do mv /a /c; mv -T /b /a; mv -T /a /b; mv /c /a; done"
    docker.ok("exec", "-d", container, "sh", "-c", swap)
    for _ in range(30):
        put(api, container, "/", archive(("a", None), ("a/f", b"x"), ("a/d", None)))
        api.get(f"/containers/{container}/archive?path=/a")
    assert list((tmp_path / "target").iterdir()) == [] and (tmp_path / "target").stat().st_mode & 0o777 == 0o700


def test_whole_body_is_read(api: Api, sleeper: Callable[..., str]) -> None:
    """What follows the archive's end is taken, and the answer comes after the work (P77)."""
    container = sleeper()
    assert put(api, container, "/tmp", archive(("f", b"x")) + bytes(100_000)) == (200, "")
    assert stat(api, container, "/tmp/f")["size"] == 1


def test_a_chunked_body_leaves_the_connection_as_it_was(
    engine: Engine, docker: Docker, sleeper: Callable[..., str]
) -> None:
    """Read by the process that unpacks it, it ends where it ends; what fails half-way costs the connection only."""
    container = sleeper()
    data = archive(("file", random.Random(1).randbytes(3_000_000)))
    connection = UnixConnection(engine.socket, 30)
    try:
        for path, status in (("/", 200), ("/tmp", 200), ("/nowhere", 404), ("/etc/passwd", 400), ("/var", 200)):
            chunks = (data[at : at + 70_001] for at in range(0, len(data), 70_001))
            try:
                connection.request(
                    "PUT",
                    f"/containers/{container}/archive?path={path}",
                    chunks,
                    encode_chunked=True,
                    headers={"Transfer-Encoding": "chunked"},
                )
                response = connection.getresponse()
                response.read()
                assert response.status == status
                if status == 200:
                    connection.request("GET", "/_ping")
                    assert connection.getresponse().read() == b"OK"
            except (BrokenPipeError, ConnectionResetError):
                assert status != 200
            if status != 200:
                connection.close()
    finally:
        connection.close()
    sums = docker.ok("exec", container, "md5sum", "/file", "/tmp/file", "/var/file")
    assert len({line.split()[0] for line in sums.splitlines()}) == 1


def test_client_that_goes_away(api: Api, sleeper: Callable[..., str]) -> None:
    """Half an upload and a download that nobody reads: the engine lets go of both."""
    container = sleeper()
    head = {"Content-Type": "application/x-tar"}
    upload = api.dial("PUT", f"/containers/{container}/archive?path=/tmp", headers=head | {"Expect": ""}, body=b"")
    upload.close()
    download = api.dial("GET", f"/containers/{container}/archive?path=/")
    assert read_head(download)[0] == "HTTP/1.1 200 OK"
    download.close()
    assert put(api, container, "/tmp", archive(("f", b"x"))) == (200, "")


def test_copies_at_the_same_time(api: Api, sleeper: Callable[..., str]) -> None:
    container = sleeper()
    answers: list[tuple[int, str]] = []

    def copy(number: int) -> None:
        answers.append(put(api, container, "/tmp", archive((f"f{number}", b"x" * 100_000))))

    threads = [threading.Thread(target=copy, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [(200, "")] * 4
    assert len(contents(api.get(f"/containers/{container}/archive?path=/tmp").body)) == 5


def test_events(engine: Engine, docker: Docker, api: Api, sleeper: Callable[..., str]) -> None:
    container = sleeper()
    since = api.json("/info")["SystemTime"]
    put(api, container, "/tmp", archive(("f", b"")))
    api.get(f"/containers/{container}/archive?path=/tmp/f")
    api.get(f"/containers/{container}/export")
    found = docker.ok(
        "events",
        "--since",
        since,
        "--until",
        api.json("/info")["SystemTime"],
        "--filter",
        f"container={container}",
        "--format",
        "{{.Action}}",
    )
    assert found.split() == ["extract-to-dir", "archive-path", "export"]


def test_diff(docker: Docker) -> None:
    container = docker.ok("run", "-d", "-v", "/data", "busybox", "sleep", "1000")
    assert [line for line in docker.ok("diff", container).splitlines() if line != "A /data"] == []
    docker.ok(
        "exec",
        container,
        "sh",
        "-c",
        "rm /bin/zcat; mkdir -p /new/sub; echo x >/new/sub/f; echo >>/etc/passwd; chmod 700 /root; : >>/etc/group",
    )
    found = set(docker.ok("diff", container).splitlines()) - {"A /data"}
    assert found == {
        "C /bin",
        "D /bin/zcat",
        "A /new",
        "A /new/sub",
        "A /new/sub/f",
        "C /etc",
        "C /etc/passwd",
        "C /root",
    }


def test_diff_of_nothing(docker: Docker, api: Api, name: str) -> None:
    docker.ok("create", "--name", name, "busybox", "true")
    response = api.get(f"/containers/{name}/changes")
    assert (response.status, response.json()) == (200, None)
    assert api.get("/containers/nope/changes").message == "No such container: nope"


@pytest.mark.parametrize("runs", [True, False])
def test_export(docker: Docker, api: Api, name: str, runs: bool) -> None:
    docker.ok(
        "run",
        "-d",
        "--init",
        "--name",
        name,
        "-v",
        "/vol",
        "busybox",
        "sh",
        "-c",
        "rm /bin/zcat; echo x >/vol/f; mkdir /d; echo y >/d/a; "
        "ln /d/a /d/b; chown 3:4 /d/a; echo >/ready; exec sleep 1000",
    )
    docker.ok("exec", name, "sh", "-c", "until [ -e /ready ]; do usleep 5000; done")
    if not runs:
        docker.ok("stop", "-t", "0", name)
    response = api.get(f"/containers/{name}/export")
    found = contents(response.body)
    assert (found["d/a"].uid, found["d/a"].gid) == (3, 4) and found["d/b"].linkname == "d/a"
    assert "bin/zcat" not in found and "vol/f" not in found and found["vol"].isdir()
    assert found["etc/hosts"].size == 0 and found["bin/busybox"].size > 0
    assert not [path for path in found if path.startswith(("proc/", "sys/"))] and ".dockerenv" in found
    docker.ok("import", "-", f"{name}:imported", stdin=response.body)
    assert docker.ok("run", "--rm", f"{name}:imported", "/bin/busybox", "cat", "/d/b") == "y"


def test_commit(docker: Docker, api: Api, name: str) -> None:
    flags = ["--init", "--name", name, "-l", "a=b", "-e", "X=1", "-w", "/w", "-u", "0"]
    docker.ok(
        "run",
        "-d",
        *flags,
        "--entrypoint",
        "",
        "rich:1",
        "sh",
        "-c",
        "rm -r /data/deep /bin/zcat; mkdir /o; echo x >/o/f; rm -r /root; "
        "mkdir /root; echo r >/root/r; echo >/ready; exec sleep 1000",
    )
    since = api.json("/info")["SystemTime"]
    docker.ok("exec", name, "true")
    image_id = docker.ok(
        "commit",
        "-a",
        "me",
        "-m",
        "words",
        "-c",
        "ENV Y=2",
        "-c",
        'CMD ["cat", "/o/f"]',
        "-c",
        "ENTRYPOINT []",
        name,
        f"{name}:made",
    )
    assert image_id.startswith("sha256:")
    made = api.json(f"/images/{name}:made/json")
    assert (made["Id"], made["Author"], made["Comment"]) == (image_id, "me", "words")
    config = made["Config"]
    assert config["Labels"] == {"origin": "image", "a": "b"} and {"X=1", "Y=2", "COLOUR=blue"} <= set(config["Env"])
    assert (config["WorkingDir"], config["User"], config["StopSignal"], config["Cmd"]) == (
        "/w",
        "0",
        "SIGINT",
        ["cat", "/o/f"],
    )
    assert len(made["RootFS"]["Layers"]) == len(api.json("/images/rich:1/json")["RootFS"]["Layers"]) + 1
    history = api.json(f"/images/{name}:made/history")
    assert history[0]["Comment"] == "words" and history[0]["Id"] == image_id
    until = api.json("/info")["SystemTime"]
    told = docker.ok(
        "events",
        "--since",
        since,
        "--until",
        until,
        "--filter",
        "type=container",
        "--filter",
        f"container={name}",
        "--format",
        "{{.Action}}",
    )
    assert [action for action in told.split("\n") if action in ("pause", "commit", "unpause")] == [
        "pause",
        "commit",
        "unpause",
    ]


def test_commit_and_run(docker: Docker, name: str) -> None:
    docker.ok(
        "run",
        "-d",
        "--init",
        "--name",
        name,
        "busybox",
        "sh",
        "-c",
        "rm /bin/zcat; rm -r /etc; mkdir /etc; echo new >/etc/only; echo >/ready; exec sleep 1000",
    )
    docker.ok("exec", name, "sh", "-c", "until [ -e /ready ]; do usleep 5000; done")
    docker.ok("commit", "--pause=false", name, f"{name}:made")
    inside = docker.ok("run", "--rm", f"{name}:made", "sh", "-c", "ls /bin/zcat 2>&1; ls /etc; cat /etc/only")
    assert "zcat: No such file" in inside and "passwd" not in inside and inside.endswith("new")


def test_commit_of_nothing(docker: Docker, api: Api, name: str) -> None:
    docker.ok("create", "--name", name, "busybox", "true")
    image_id = docker.ok("commit", name)
    made, base = api.json(f"/images/{image_id}/json"), api.json("/images/busybox/json")
    assert made["RootFS"] == base["RootFS"] and made["Id"] != base["Id"] and made["RepoTags"] == []


@pytest.mark.parametrize(
    ("query", "status", "message"),
    [
        ("container=nope", 404, "No such container: nope"),
        (
            "container={name}&repo=UPPER",
            400,
            "invalid reference format: repository name (library/UPPER) must be lowercase",
        ),
        ("container={name}&changes=FOO%20bar", 400, "FOO is not a valid change command"),
    ],
)
def test_bad_commits(docker: Docker, api: Api, name: str, query: str, status: int, message: str) -> None:
    docker.ok("create", "--name", name, "busybox", "true")
    response = api.post(f"/commit?{query.format(name=name)}")
    assert (response.status, response.message) == (status, message)


def test_sizes(docker: Docker, api: Api, sleeper: Callable[..., str]) -> None:
    container = sleeper()
    docker.ok("exec", container, "sh", "-c", "head -c 12345 /dev/zero >/f")
    shown = api.json(f"/containers/{container}/json?size=1")
    image = api.json("/images/busybox/json")
    assert shown["SizeRw"] == 12345 and shown["SizeRootFs"] == 12345 + image["Size"]
    assert "12.3kB" in docker.ok("ps", "-s", "--format", "{{.Size}}", "--no-trunc", "--filter", f"id={container}")
