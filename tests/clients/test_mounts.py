"""`-v`, `--mount` and `--tmpfs`: bind mounts with their modes and propagation, tmpfs, and what is refused."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from harness.docker import Docker
from harness.http import Api


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A directory of the host with a file in it."""
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "file").write_text("content\n")
    return folder


@pytest.mark.parametrize("form", [["-v", "{}:/m"], ["--mount", "type=bind,src={},dst=/m"]])
def test_bind_is_shared_with_the_host(docker: Docker, source: Path, form: list[str]) -> None:
    flags = [part.format(source) for part in form]
    assert docker.ok("run", "--rm", *flags, "busybox", "sh", "-c", "cat /m/file; echo new >/m/new") == "content"
    assert (source / "new").read_text() == "new\n"


@pytest.mark.parametrize("form", [["-v", "{}:/m:ro"], ["--mount", "type=bind,src={},dst=/m,readonly"]])
def test_bind_read_only(docker: Docker, source: Path, form: list[str]) -> None:
    flags = [part.format(source) for part in form]
    assert docker.ok("run", "--rm", *flags, "busybox", "sh", "-c", "cat /m/file; touch /m/new 2>&1 || true") == (
        "content\ntouch: /m/new: Read-only file system"
    )


def test_bind_of_a_file_and_into_a_new_place(docker: Docker, source: Path) -> None:
    assert (
        docker.ok("run", "--rm", "-v", f"{source}/file:/deep/new/place:ro", "busybox", "cat", "/deep/new/place")
        == "content"
    )


def test_p61_v_makes_a_missing_source_and_mount_does_not(docker: Docker, tmp_path: Path) -> None:
    docker.ok("run", "--rm", "-v", f"{tmp_path}/made:/m", "busybox", "touch", "/m/file")
    assert (tmp_path / "made" / "file").exists()
    message = docker.fails(
        "run", "--rm", "--mount", f"type=bind,src={tmp_path}/absent,dst=/m", "busybox", "true", code=125
    )
    assert f'invalid mount config for type "bind": bind source path does not exist: {tmp_path}/absent' in message
    assert not (tmp_path / "absent").exists()


def test_p61_create_mountpoint(api: Api, tmp_path: Path) -> None:
    mount = {"Type": "bind", "Source": f"{tmp_path}/made", "Target": "/m", "BindOptions": {"CreateMountpoint": True}}
    created = api.post(
        "/containers/create", {"Image": "busybox", "Cmd": ["touch", "/m/f"], "HostConfig": {"Mounts": [mount]}}
    )
    assert created.status == 201
    api.post(f"/containers/{created.json()['Id']}/start")
    api.post(f"/containers/{created.json()['Id']}/wait")
    assert (tmp_path / "made" / "f").exists()


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("", ""),
        ("rprivate", ""),
        ("rslave", "master"),
        ("rshared", "shared"),
        ("slave", "master"),
        ("shared", "shared"),
        ("private", ""),
    ],
)
def test_propagation(docker: Docker, source: Path, mode: str, expected: str) -> None:
    subprocess.run(["mount", "--bind", source, source], check=True)
    subprocess.run(["mount", "--make-shared", source], check=True)
    try:
        suffix = f":{mode}" if mode else ""
        line = docker.ok("run", "--rm", "-v", f"{source}:/m{suffix}", "busybox", "grep", " /m ", "/proc/self/mountinfo")
        optional = line.split(" - ")[0].split()[6:]
        assert [field.split(":")[0] for field in optional] == ([expected] if expected else [])
    finally:
        subprocess.run(["umount", source], check=True)


def test_a_mount_made_later_is_seen_with_rslave(docker: Docker, source: Path) -> None:
    subprocess.run(["mount", "--bind", source, source], check=True)
    subprocess.run(["mount", "--make-shared", source], check=True)
    try:
        (source / "sub").mkdir()
        container = docker.ok("run", "-d", "--init", "-v", f"{source}:/m:rslave", "busybox", "sleep", "100")
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", source / "sub"], check=True)
        assert "/m/sub" in docker.ok("exec", container, "cat", "/proc/self/mountinfo")
        subprocess.run(["umount", source / "sub"], check=True)
        assert "/m/sub" not in docker.ok("exec", container, "cat", "/proc/self/mountinfo")
        docker.ok("rm", "-f", container)
    finally:
        subprocess.run(["umount", source], check=True)


def test_propagation_needs_a_shared_source(docker: Docker, source: Path) -> None:
    subprocess.run(["mount", "--bind", source, source], check=True)
    try:
        message = docker.fails("run", "--rm", "-v", f"{source}:/m:rshared", "busybox", "true", code=125)
        assert f"path {source} is mounted on {source} but it is not a shared mount" in message
    finally:
        subprocess.run(["umount", source], check=True)


def test_non_recursive_bind(docker: Docker, source: Path) -> None:
    (source / "sub").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", source / "sub"], check=True)
    try:
        (source / "sub" / "inner").touch()
        form = f"type=bind,src={source},dst=/m"
        assert docker.ok("run", "--rm", "--mount", form, "busybox", "ls", "/m/sub") == "inner"
        assert docker.ok("run", "--rm", "--mount", f"{form},bind-recursive=disabled", "busybox", "ls", "/m/sub") == ""
        read_only = docker("run", "--rm", "--mount", f"{form},readonly", "busybox", "touch", "/m/sub/x")
        assert "Read-only file system" in read_only.err
    finally:
        subprocess.run(["umount", source / "sub"], check=True)


@pytest.mark.parametrize(
    ("flags", "options"),
    [
        (["--tmpfs", "/t"], {"rw", "nosuid", "nodev", "noexec"}),
        (["--tmpfs", "/t:size=1m,mode=700,exec"], {"rw", "nosuid", "nodev", "size=1024k", "mode=700"}),
        (["--tmpfs", "/t:ro"], {"ro"}),
        (["--mount", "type=tmpfs,dst=/t,tmpfs-size=2m,tmpfs-mode=1777"], {"size=2048k", "nosuid", "nodev", "noexec"}),
    ],
)
def test_p62_tmpfs(docker: Docker, flags: list[str], options: set[str]) -> None:
    line = docker.ok("run", "--rm", *flags, "busybox", "grep", " /t ", "/proc/self/mounts")
    kind, shown = line.split()[2], set(line.split()[3].split(","))
    assert kind == "tmpfs" and options <= shown


def test_tmpfs_takes_over_mode_and_content_of_nothing(docker: Docker) -> None:
    script = "stat -c '%a %u' /data; ls /data"
    assert docker.ok(
        "run", "--rm", "--tmpfs", "/data", "--entrypoint", "sh", "-u", "0", "rich:1", "-c", script
    ).splitlines()[0] in ("1777 0", "750 0", "750 1000")


def test_inspect_shows_mounts(docker: Docker, api: Api, name: str, source: Path) -> None:
    docker.ok(
        "create",
        "--name",
        name,
        "-v",
        f"{source}:/b:ro",
        "--mount",
        "type=volume,src=vol,dst=/v",
        "--tmpfs",
        "/t",
        "busybox",
    )
    document = api.json(f"/containers/{name}/json")
    mounts = {mount["Destination"]: mount for mount in document["Mounts"]}
    assert mounts["/b"] == {
        "Type": "bind",
        "Source": str(source),
        "Destination": "/b",
        "Mode": "ro",
        "RW": False,
        "Propagation": "rprivate",
    }
    volume = mounts["/v"]
    assert (volume["Type"], volume["Name"], volume["Driver"], volume["RW"]) == ("volume", "vol", "local", True)
    assert volume["Source"].endswith("/volumes/vol/_data")
    assert document["HostConfig"]["Binds"] == [f"{source}:/b:ro"] and document["HostConfig"]["Tmpfs"] == {"/t": ""}


def test_mounts_are_ordered_by_depth(docker: Docker, source: Path) -> None:
    result = docker.ok("run", "--rm", "-v", f"{source}:/m/inner", "--tmpfs", "/m", "busybox", "cat", "/m/inner/file")
    assert result == "content"


def test_volumes_from(docker: Docker, name: str, source: Path) -> None:
    docker.ok("create", "--name", name, "-v", f"{source}:/b", "-v", "shared:/v", "busybox")
    docker.ok("run", "--rm", "--volumes-from", name, "busybox", "sh", "-c", "echo x >/v/file; cat /b/file")
    assert docker.ok("run", "--rm", "--volumes-from", f"{name}:ro", "busybox", "cat", "/v/file") == "x"
    assert "Read-only" in docker("run", "--rm", "--volumes-from", f"{name}:ro", "busybox", "touch", "/v/y").err
    assert "No such container: absent" in docker.fails("run", "--volumes-from", "absent", "busybox", code=125)


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        (["-v", "/a:b"], "invalid mount path: 'b' mount path must be absolute"),
        (["-v", "/a:/b:nonsense"], "invalid mode: nonsense"),
        (["-v", "/:/"], "invalid specification: destination can't be '/'"),
        (["-v", "/tmp:/m", "-v", "/usr:/m"], "Duplicate mount point: /m"),
        (["-v", "/tmp:/m", "--tmpfs", "/m"], "Duplicate mount point: /m"),
        (["-v", "/tmp:/m:ro,rw"], "invalid mode: ro,rw"),
        (["-v", "bad name:/m"], "includes invalid characters for a local volume name"),
        (["--mount", "type=volume,src=x,dst=relative"], "must be absolute"),
        (["--mount", "type=nonsense,src=/,dst=/m"], "nonsense"),
        (["--tmpfs", "/t:nonsense=1"], 'invalid tmpfs option "nonsense"'),
        (["--tmpfs", "relative"], "must be absolute"),
    ],
)
def test_refused(docker: Docker, flags: list[str], text: str) -> None:
    assert text in docker.fails("run", "--rm", *flags, "busybox", "true", code=125)


def test_a_mount_over_a_file_of_another_kind(docker: Docker, source: Path) -> None:
    message = docker.fails("run", "--rm", "-v", f"{source}/file:/tmp", "busybox", "true", code=125)
    assert "error mounting" in message and "not a directory" in message
    assert "Are you trying to mount a directory onto a file" in message


def test_a_link_in_the_image_cannot_lead_a_mount_out(docker: Docker, tmp_path: Path, source: Path, name: str) -> None:
    """A mount point that the image made a symbolic link is resolved inside the container."""
    outside = tmp_path / "outside"
    outside.mkdir()
    docker.ok("run", "--name", name, "busybox", "ln", "-s", str(outside), "/link")
    docker.ok("run", "--rm", "-v", f"{source}:/x", "busybox", "true")
    state = docker.ok("inspect", "-f", "{{.State.ExitCode}}", name)
    assert state == "0" and list(outside.iterdir()) == []


def test_shm_is_private_and_writable(docker: Docker) -> None:
    line = docker.ok("run", "--rm", "busybox", "grep", " /dev/shm ", "/proc/self/mounts")
    assert {"rw", "nosuid", "nodev", "noexec", "size=65536k"} <= set(line.split()[3].split(","))


def test_docker_sock_can_be_mounted_p109(docker: Docker, engine: object, sleeper: Callable[..., str]) -> None:
    host = docker.env["DOCKER_HOST"].removeprefix("unix://")
    python = """
import socket
s = socket.socket(socket.AF_UNIX); s.connect("/var/run/docker.sock")
s.sendall(b"GET /_ping HTTP/1.0\\r\\nHost: x\\r\\n\\r\\n"); print(s.makefile().read().splitlines()[-1])
"""
    assert (
        docker.ok(
            "run",
            "--rm",
            "-v",
            f"{host}:/var/run/docker.sock",
            "-v",
            "/usr:/usr:ro",
            "busybox",
            "/usr/bin/python3",
            "-c",
            python,
        )
        == "OK"
    )


def test_mount_documents_are_json(docker: Docker, name: str) -> None:
    docker.ok("create", "--name", name, "--mount", "type=tmpfs,dst=/t,tmpfs-size=1048576", "busybox")
    mounts = json.loads(docker.ok("inspect", "-f", "{{json .HostConfig.Mounts}}", name))
    assert mounts == [{"Type": "tmpfs", "Target": "/t", "TmpfsOptions": {"SizeBytes": 1048576}}]
