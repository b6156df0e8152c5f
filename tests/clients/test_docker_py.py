"""docker-py against the engine: what its users do, and the shapes of answers that it depends on."""

from __future__ import annotations

import itertools
import socket
import threading
from collections.abc import Iterator

import docker as docker_py
import pytest
from docker.errors import APIError, ContainerError, ImageNotFound, NotFound
from docker.types import LogConfig, Mount, Ulimit
from harness import images
from harness.http import frames, read_all

Client = docker_py.DockerClient
# docker-py leaves the sockets of streams to the garbage collector
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture
def sleeper(client: Client) -> Iterator[docker_py.models.containers.Container]:
    yield client.containers.run("busybox", ["sleep", "1000"], detach=True, init=True)


def test_p4_the_servers_version_is_used(client: Client) -> None:
    assert client.ping() is True
    assert client.api._version == client.version()["ApiVersion"]
    assert client.info()["OSType"] == "linux"


def test_run_returns_output(client: Client) -> None:
    assert client.containers.run("busybox", ["echo", "hello"], remove=True) == b"hello\n"
    assert client.containers.run("busybox", "sh -c 'echo out; echo err >&2'", remove=True, stderr=True) in (
        b"out\nerr\n",
        b"err\nout\n",
    )


def test_run_raises_on_failure(client: Client) -> None:
    with pytest.raises(ContainerError) as caught:
        client.containers.run("busybox", ["sh", "-c", "echo problem >&2; exit 4"], remove=True)
    assert caught.value.exit_status == 4 and caught.value.stderr == b"problem\n"


def test_p8_missing_things(client: Client) -> None:
    with pytest.raises(NotFound):
        client.containers.get("absent")
    with pytest.raises(ImageNotFound):
        client.images.get("absent")
    with pytest.raises(NotFound) as caught:
        client.volumes.get("absent")
    assert "no such volume" in caught.value.explanation  # P7
    with pytest.raises(ImageNotFound):
        client.api.create_container("absent:1", "true")


def test_p10_conflicts_are_409(client: Client, name: str) -> None:
    client.containers.create("busybox", name=name)
    with pytest.raises(APIError) as caught:
        client.containers.create("busybox", name=name)
    assert caught.value.status_code == 409


def test_streaming_logs_p18(client: Client) -> None:
    container = client.containers.run(
        "busybox", ["sh", "-c", "for n in 1 2 3; do echo $n; sleep 0.1; done"], detach=True
    )
    assert b"".join(container.logs(stream=True, follow=True)) == b"1\n2\n3\n"
    assert container.logs(tail=1) == b"3\n"
    assert container.logs(stdout=True, stderr=False, timestamps=True).endswith(b" 3\n")


def test_p42_terminal_and_not(client: Client) -> None:
    plain = client.containers.run("busybox", ["echo", "x"], detach=True)
    with_tty = client.containers.run("busybox", ["echo", "x"], detach=True, tty=True)
    assert plain.wait() == with_tty.wait() == {"StatusCode": 0}
    assert (plain.logs(), with_tty.logs()) == (b"x\n", b"x\r\n")


def test_attach_stream(client: Client) -> None:
    container = client.containers.create("busybox", ["sh", "-c", "echo one; sleep 0.2; echo two"])
    stream = container.attach(stream=True, logs=True)
    container.start()
    assert b"".join(stream) == b"one\ntwo\n"


def test_attach_socket(client: Client) -> None:
    container = client.containers.create("busybox", ["cat"], stdin_open=True)
    with container.attach_socket(params={"stdin": 1, "stdout": 1, "stream": 1}) as connection:
        container.start()
        connection._sock.sendall(b"ping\n")
        connection._sock.shutdown(socket.SHUT_WR)
        assert frames(read_all(connection._sock)) == [(1, b"ping\n")]


def test_exec_run(sleeper: docker_py.models.containers.Container) -> None:
    assert sleeper.exec_run(["sh", "-c", "echo out; exit 3"]) == (3, b"out\n")
    assert sleeper.exec_run("sh -c 'echo out; echo err >&2'", demux=True) == (0, (b"out\n", b"err\n"))
    assert b"".join(sleeper.exec_run("seq 3", stream=True).output) == b"1\n2\n3\n"
    assert sleeper.exec_run("env", environment={"A": "b"}).output.count(b"A=b") == 1
    assert sleeper.exec_run("id -u", user="app").output == b"1000\n"
    assert sleeper.exec_run("pwd", workdir="/tmp").output == b"/tmp\n"


def test_exec_socket(client: Client, sleeper: docker_py.models.containers.Container) -> None:
    exec_id = client.api.exec_create(sleeper.id, ["cat"], stdin=True)["Id"]
    with client.api.exec_start(exec_id, socket=True) as stream:
        stream._sock.sendall(b"word\n")
        stream._sock.shutdown(socket.SHUT_WR)
        assert frames(read_all(stream._sock)) == [(1, b"word\n")]
    assert client.api.exec_inspect(exec_id)["ProcessConfig"]["entrypoint"] == "cat"


def test_lifecycle(client: Client, name: str) -> None:
    container = client.containers.create("busybox", ["sleep", "1000"], name=name, init=True)
    assert container.status == "created"
    states = []
    for action in (container.start, container.pause, container.unpause, container.restart, container.stop):
        action()
        container.reload()
        states.append(container.status)
    assert states == ["running", "paused", "running", "running", "exited"]
    container.rename(f"{name}-new")
    container.reload()
    assert container.name == f"{name}-new"
    container.remove()
    with pytest.raises(NotFound):
        container.reload()


def test_wait_conditions(client: Client) -> None:
    container = client.containers.create("busybox", ["sh", "-c", "exit 7"])
    results: list[dict[str, int]] = []
    waiter = threading.Thread(target=lambda: results.append(container.wait(condition="next-exit", timeout=20)))
    waiter.start()
    container.start()
    waiter.join(20)
    assert container.wait()["StatusCode"] == 7


def test_host_config_of_all_kinds(client: Client, tmp_path: object) -> None:
    container = client.containers.run(
        "busybox",
        [
            "sh",
            "-c",
            "cat /proc/self/limits | grep 'open files'; cat /sys/class/net/eth0/mtu; ls /m /t; id -G; echo $A",
        ],
        detach=True,
        environment={"A": "b"},
        mounts=[Mount("/m", str(tmp_path), type="bind", read_only=True)],
        tmpfs={"/t": "size=1m"},
        ulimits=[Ulimit(name="nofile", soft=50, hard=60)],
        mem_limit="64m",
        nano_cpus=500_000_000,
        pids_limit=50,
        cap_add=["NET_ADMIN"],
        cap_drop=["CHOWN"],
        security_opt=["no-new-privileges"],
        dns=["192.0.2.1"],
        extra_hosts={"other": "10.0.0.1"},
        group_add=["staff"],
        hostname="h",
        labels={"a": "b"},
        log_config=LogConfig(type="json-file", config={"max-size": "1m"}),
        ports={"80/tcp": None},
        privileged=False,
        read_only=True,
        restart_policy={"Name": "on-failure", "MaximumRetryCount": 1},
        shm_size="1m",
        sysctls={"net.ipv4.ip_forward": "1"},
        working_dir="/tmp",
        stop_signal="SIGINT",
        user="root",
        init=True,
        oom_score_adj=5,
    )
    assert container.wait()["StatusCode"] == 0, container.logs()
    assert b"50" in container.logs() and b"\nb\n" in container.logs()


def test_list_and_filters(client: Client, name: str) -> None:
    client.containers.create("busybox", name=name, labels={"k": "v"})
    assert [c.name for c in client.containers.list(all=True, filters={"label": "k=v"})] == [name]
    assert client.containers.list(filters={"label": ["k=v"]}) == []
    assert [c.name for c in client.containers.list(all=True, filters={"name": name, "status": "created"})] == [name]


def test_top_port_and_diff_free_attributes(sleeper: docker_py.models.containers.Container) -> None:
    processes = sleeper.top()["Processes"]
    assert any("sleep 1000" in process[-1] for process in processes)
    sleeper.reload()
    assert sleeper.attrs["State"]["Running"] and len(sleeper.short_id) == 12
    assert sleeper.image.tags == ["busybox:latest"]


def test_events(client: Client) -> None:
    stream = client.events(decode=True, filters={"type": "container"})
    container = client.containers.create("busybox", "true")
    event = next(iter(stream))
    assert (event["Action"], event["Actor"]["ID"]) == ("create", container.id)
    stream.close()


def test_images(client: Client, busybox_layer: bytes) -> None:
    image = images.Image(["py:1"], [busybox_layer], {"Labels": {"py": "1"}})
    loaded = client.images.load(images.docker_archive([image]))
    assert [i.id for i in loaded] == [image.id] and loaded[0].tags == ["py:1"]
    assert loaded[0].tag("other", tag="2")
    archive = b"".join(itertools.islice(client.images.get("py:1").save(named="py:1"), 100000))
    client.images.remove("py:1")
    client.images.remove("other:2")
    assert [i.id for i in client.images.load(archive)] == [image.id]
    assert [i.id for i in client.images.list(filters={"label": "py=1"})] == [image.id]
    assert client.images.get("py:1").history()[0]["Tags"] == ["py:1"]
    client.api.import_image_from_data(busybox_layer, repository="imported", tag="x")
    assert client.images.get("imported:x").attrs["Os"] == "linux"
    assert client.images.prune(filters={"dangling": True})["SpaceReclaimed"] == 0


def test_volumes(client: Client) -> None:
    volume = client.volumes.create("pyvol", labels={"a": "b"})
    assert client.volumes.get("pyvol").attrs["Labels"] == {"a": "b"}
    assert [v.name for v in client.volumes.list(filters={"label": "a=b"})] == ["pyvol"]
    client.containers.run("busybox", ["touch", "/v/f"], volumes={"pyvol": {"bind": "/v", "mode": "rw"}}, remove=True)
    assert client.containers.run("busybox", ["ls", "/v"], volumes=["pyvol:/v:ro"], remove=True) == b"f\n"
    volume.remove()
    assert client.volumes.prune()["SpaceReclaimed"] == 0


def test_networks(client: Client) -> None:
    assert {"bridge", "host", "none"} <= {network.name for network in client.networks.list()}
    assert client.networks.get("bridge").attrs["Driver"] == "bridge"


def test_resize_and_kill(client: Client) -> None:
    container = client.containers.run("busybox", ["sleep", "1000"], detach=True, tty=True)
    container.resize(30, 90)
    assert container.exec_run("stty -F /dev/pts/0 size").output.strip() == b"30 90"
    container.kill(signal=9)
    assert container.wait()["StatusCode"] == 137
