"""`docker inspect`: what the document says of a container, in each state, and that it can be created from again."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness.docker import Docker
from harness.http import Api

Sleeper = Callable[..., str]


def test_running(api: Api, sleeper: Sleeper, base_images: list[Any]) -> None:
    document = api.json(f"/containers/{sleeper()}/json")
    state = document["State"]
    assert (state["Status"], state["Running"], state["Paused"], state["Restarting"], state["Dead"]) == (
        "running",
        True,
        False,
        False,
        False,
    )
    assert Path(f"/proc/{state['Pid']}").exists()
    assert (state["ExitCode"], state["Error"], state["OOMKilled"]) == (0, "", False)
    assert document["Image"] == base_images[0].id
    assert (document["Path"], document["Args"]) == ("sleep", ["1000"])
    assert document["RestartCount"] == 0 and document["Platform"] == "linux"
    assert document["Driver"] == "overlay2" and document["GraphDriver"]["Name"] == "overlay2"
    container = document["Id"]
    for key, suffix in (("HostnamePath", "hostname"), ("HostsPath", "hosts"), ("ResolvConfPath", "resolv.conf")):
        assert document[key].endswith(f"/containers/{container}/{suffix}")
        assert Path(document[key]).exists()


def test_created_and_exited(docker: Docker, api: Api, name: str) -> None:
    docker.ok("create", "--name", name, "busybox", "sh", "-c", "exit 4")
    state = api.json(f"/containers/{name}/json")["State"]
    assert (state["Status"], state["Pid"], state["StartedAt"]) == ("created", 0, "0001-01-01T00:00:00Z")
    docker("start", "-a", name)
    state = api.json(f"/containers/{name}/json")["State"]
    assert (state["Status"], state["Running"], state["Pid"], state["ExitCode"]) == ("exited", False, 0, 4)
    assert state["FinishedAt"] > state["StartedAt"] > "2020"


def test_p50_no_health_without_a_check(api: Api, sleeper: Sleeper) -> None:
    assert "Health" not in api.json(f"/containers/{sleeper()}/json")["State"]


def test_p68_config(api: Api, docker: Docker, name: str) -> None:
    docker.ok("create", "--name", name, "--stop-signal", "TERM", "--expose", "99/udp", "rich:1", "word")
    config = api.json(f"/containers/{name}/json")["Config"]
    assert config["Image"] == "rich:1" and config["Cmd"] == ["word"] and config["Entrypoint"] == ["/bin/echo", "entry"]
    assert config["ExposedPorts"] == {"8080/tcp": {}, "99/udp": {}} and config["Volumes"] == {"/data": {}}
    assert (config["User"], config["WorkingDir"], config["StopSignal"]) == ("app", "/work", "TERM")
    assert config["Hostname"] == api.json(f"/containers/{name}/json")["Id"][:12]
    assert (config["AttachStdin"], config["AttachStdout"], config["OpenStdin"], config["Tty"]) == (
        False,
        True,
        False,
        False,
    )


def test_host_config_defaults(api: Api) -> None:
    created = api.post("/v1.44/containers/create", {"Image": "busybox"}).json()["Id"]
    host_config = api.json(f"/v1.44/containers/{created}/json")["HostConfig"]
    assert host_config["NetworkMode"] == "bridge"
    assert host_config["ShmSize"] == 64 * 1024 * 1024
    assert host_config["IpcMode"] == "private" and host_config["PidMode"] == "" and host_config["UTSMode"] == ""
    assert host_config["RestartPolicy"] == {"Name": "no", "MaximumRetryCount": 0}
    assert host_config["LogConfig"] == {"Type": "json-file", "Config": {}}
    assert host_config["MaskedPaths"][0] == "/proc/asound" and "/proc/sys" in host_config["ReadonlyPaths"]
    assert host_config["ConsoleSize"] == [0, 0]
    for name in ("Memory", "NanoCpus", "CpuShares", "CpuQuota", "OomScoreAdj"):
        assert host_config[name] == 0, name
    for name in (
        "Binds",
        "CapAdd",
        "CapDrop",
        "Dns",
        "ExtraHosts",
        "GroupAdd",
        "SecurityOpt",
        "Ulimits",
        "PidsLimit",
        "Links",
    ):
        assert host_config[name] in (None, []), name


def test_p54_default_network_mode_means_bridge(docker: Docker, api: Api, name: str) -> None:
    for mode in ("default", "bridge"):
        created = api.post("/containers/create", {"Image": "busybox", "HostConfig": {"NetworkMode": mode}})
        assert created.status == 201
        document = api.json(f"/containers/{created.json()['Id']}/json")
        assert document["HostConfig"]["NetworkMode"] in (mode, "bridge")
        assert document["HostConfig"]["Links"] is None
        assert list(document["NetworkSettings"]["Networks"]) == ["bridge"]


def test_network_settings(api: Api, sleeper: Sleeper) -> None:
    container = sleeper("-p", "127.0.0.1:18080:80", "-p", "53/udp", "--mac-address", "02:11:22:33:44:55")
    settings = api.json(f"/v1.44/containers/{container}/json")["NetworkSettings"]
    endpoint = settings["Networks"]["bridge"]
    assert endpoint["Gateway"] == "172.17.0.1" and endpoint["IPPrefixLen"] == 16
    assert endpoint["IPAddress"].startswith("172.17.0.") and endpoint["MacAddress"] == "02:11:22:33:44:55"
    assert api.json(f"/v1.51/containers/{container}/json")["Config"]["MacAddress"] == "02:11:22:33:44:55"
    assert len(endpoint["NetworkID"]) == 64 and len(endpoint["EndpointID"]) == 64
    assert settings["Ports"]["80/tcp"] == [{"HostIp": "127.0.0.1", "HostPort": "18080"}]
    assert {binding["HostIp"] for binding in settings["Ports"]["53/udp"]} <= {"0.0.0.0", "::"}
    assert settings["SandboxID"] and settings["SandboxKey"]
    assert settings["IPAddress"] == endpoint["IPAddress"] and settings["Gateway"] == "172.17.0.1"  # P5: until 1.52


def test_after_the_end_no_address_is_reported(docker: Docker, api: Api, name: str) -> None:
    docker.ok("run", "--name", name, "-p", "80", "busybox", "true")
    document = api.json(f"/containers/{name}/json")
    endpoint = document["NetworkSettings"]["Networks"]["bridge"]
    assert (endpoint["IPAddress"], endpoint["EndpointID"], document["NetworkSettings"]["Ports"]) == ("", "", {})
    assert document["HostConfig"]["PortBindings"] == {"80/tcp": [{"HostIp": "", "HostPort": ""}]}


def test_p66_a_container_can_be_created_from_its_document(api: Api, docker: Docker, name: str) -> None:
    docker.ok(
        "create",
        "--name",
        name,
        "-e",
        "A=b",
        "-l",
        "x=y",
        "-v",
        "/tmp:/host:ro",
        "--tmpfs",
        "/t",
        "-p",
        "127.0.0.1::80",
        "--memory",
        "64m",
        "--ulimit",
        "nofile=100:200",
        "--cap-add",
        "NET_ADMIN",
        "--device",
        "/dev/null:/dev/n",
        "--dns",
        "192.0.2.1",
        "--restart",
        "always",
        "--log-opt",
        "max-size=1m",
        "--stop-timeout",
        "7",
        "--sysctl",
        "net.ipv4.ip_forward=1",
        "busybox",
        "sleep",
        "9",
    )
    document = api.json(f"/v1.44/containers/{name}/json")
    again = api.post(
        f"/v1.44/containers/create?name={name}-2",
        {
            **document["Config"],
            "HostConfig": document["HostConfig"],
            "NetworkingConfig": {"EndpointsConfig": document["NetworkSettings"]["Networks"]},
        },
    )
    assert again.status == 201, again
    copy = api.json(f"/v1.44/containers/{name}-2/json")
    assert copy["Config"] == document["Config"]
    assert copy["HostConfig"] == document["HostConfig"]


def test_values_are_echoed_as_given(docker: Docker, api: Api, name: str) -> None:
    docker.ok(
        "create",
        "--name",
        name,
        "--cpus",
        "1.5",
        "--memory",
        "100m",
        "--memory-swap",
        "200m",
        "--cpu-shares",
        "512",
        "--pids-limit",
        "50",
        "--cap-add",
        "sys_time",
        "--cap-drop",
        "CAP_CHOWN",
        "--ulimit",
        "core=0",
        "--security-opt",
        "no-new-privileges",
        "--read-only",
        "--add-host",
        "a:1.2.3.4",
        "--group-add",
        "wheel",
        "--shm-size",
        "1m",
        "--init",
        "--oom-score-adj",
        "100",
        "busybox",
    )
    host_config = api.json(f"/v1.44/containers/{name}/json")["HostConfig"]
    assert (
        host_config["NanoCpus"] == 1_500_000_000
        and host_config["Memory"] == 104857600
        and host_config["MemorySwap"] == 209715200
    )
    assert host_config["CpuShares"] == 512 and host_config["PidsLimit"] == 50 and host_config["ShmSize"] == 1048576
    assert [cap.removeprefix("CAP_") for cap in host_config["CapAdd"] + host_config["CapDrop"]] == ["SYS_TIME", "CHOWN"]
    assert host_config["Ulimits"] == [{"Name": "core", "Hard": 0, "Soft": 0}]
    assert (
        host_config["SecurityOpt"] == ["no-new-privileges"]
        and host_config["ReadonlyRootfs"] is True
        and host_config["Init"] is True
    )
    assert (
        host_config["ExtraHosts"] == ["a:1.2.3.4"]
        and host_config["GroupAdd"] == ["wheel"]
        and host_config["OomScoreAdj"] == 100
    )


def test_size_and_type(docker: Docker, name: str) -> None:
    docker.ok("create", "--name", name, "busybox")
    document = json.loads(docker.ok("inspect", "-s", name))[0]
    assert document["SizeRw"] == 0 and document["SizeRootFs"] > 1_000_000
    assert "no such object: absent" in docker.fails("inspect", "absent").lower()
    assert docker.ok("inspect", "--type", "image", "-f", "{{.Os}}", "busybox") == "linux"
