"""Flags of run that can never work: dockerd's answer to each, word for word, and its effect where it can be seen.

What the CLI itself refuses is not here; `tests/differential` runs more of it against both.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from harness.docker import Docker
from harness.engine import Engine
from lightship.engine.host import cgroup_version as host_version

REFUSED = [
    ("--tmpfs /t:bogus", 125, 'invalid tmpfs option "bogus"'),
    ("--tmpfs t", 125, "invalid mount path: 't' mount path must be absolute"),
    ("--storage-opt size=1G", 125, "--storage-opt is supported only for overlay over xfs with 'pquota' mount option"),
    ("--storage-opt foo=1G", 125, "Unknown option foo"),
    ("--storage-opt size=abc", 125, "--storage-opt is supported only for overlay over xfs with 'pquota' mount option"),
    ("--isolation hyperv", 125, "invalid isolation (hyperv): linux only supports 'default'"),
    ("--gpus all", 125, 'could not select device driver "" with capabilities: [[gpu]]'),
    ("--gpus 2", 125, 'could not select device driver "" with capabilities: [[gpu]]'),
    ("--gpus device=0", 125, 'could not select device driver "" with capabilities: [[gpu]]'),
    ("--cpuset-cpus abc", 125, "Invalid value abc for cpuset cpus: invalid format: abc"),
    ("--cpuset-cpus 0-99999", 125, "Invalid value 0-99999 for cpuset cpus: value of out range, maximum is 8192"),
    (
        "--cpu-rt-period 1000 --cpu-rt-runtime 2000",
        125,
        "cpu real-time runtime cannot be higher than cpu real-time period",
    ),
    ("--cpu-period 10", 125, "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)"),
    ("--cpu-quota 10", 125, "CPU cfs quota can not be less than 1ms (i.e. 1000)"),
    ("--cpu-shares -1", 125, "invalid CPU shares (-1): value must be a positive integer"),
    ("--cpus 1 --cpu-period 1000", 125, "Conflicting options: Nano CPUs and CPU Period cannot both be set"),
    ("-m 1m", 125, "Minimum memory limit allowed is 6MB"),
    ("-m 10m --memory-swap 5m", 125, "Minimum memoryswap limit should be larger than memory limit, see usage"),
    ("--memory-swap 5m", 125, "You should always set the Memory limit when using Memoryswap limit, see usage"),
    ("--memory-reservation 1k", 125, "Minimum memory reservation allowed is 6MB"),
    (
        "-m 10m --memory-reservation 20m",
        125,
        "Minimum memory limit can not be less than memory reservation limit, see usage",
    ),
    ("--oom-score-adj 2000", 125, "Invalid value 2000, range for oom score adj is [-1000, 1000]"),
    ("--device-read-bps /dev/nosuch:1mb", 127, "stat /dev/nosuch: no such file or directory"),
    ("--security-opt nosuch=1", 125, 'invalid --security-opt 2: "nosuch=1"'),
    ("--security-opt no-new-privileges=foo", 125, 'invalid --security-opt 2: "no-new-privileges=foo"'),
    ("--security-opt systempaths=foo", 125, 'invalid --security-opt 2: "systempaths=foo"'),
    ("--cap-add NOSUCH", 125, 'invalid CapAdd: unknown capability: "CAP_NOSUCH"'),
    ("--cap-drop foo", 125, 'invalid CapDrop: unknown capability: "CAP_FOO"'),
    ("--ipc foo", 125, "invalid IPC mode: foo"),
    ("--ipc container:nosuch", 125, "No such container: nosuch"),
    ("--pid container:nosuch", 125, "No such container: nosuch"),
    ("--network container:nosuch", 125, "joining network namespace of container: No such container: nosuch"),
    ("--volumes-from nosuch", 125, "No such container: nosuch"),
    ("--volumes-from nosuch:bad", 125, "invalid mode: bad"),
    (
        "--device /dev/nosuch",
        127,
        'error gathering device information while adding custom device "/dev/nosuch": no such file or directory',
    ),
    (
        "--device /etc/passwd",
        125,
        'error gathering device information while adding custom device "/etc/passwd": not a device node',
    ),
    ("--runtime foo", 125, "unknown or invalid runtime name: foo"),
    ("--stop-signal FOO", 125, "invalid signal: FOO"),
    ("--workdir rel", 125, "the working directory 'rel' is invalid, it needs to be an absolute path"),
    ("--group-add nosuch", 125, "unable to find group nosuch: no matching entries in group file"),
    ("-u nosuch", 125, "unable to find user nosuch: no matching entries in passwd file"),
    ("-u 99999999999", 125, "uids and gids must be in range 0-2147483647"),
    ("--link nosuch", 125, "could not get container for nosuch: No such container: nosuch"),
    (
        "--network bridge --link-local-ip 10.1.1.1",
        125,
        "failed to set up container networking: invalid link local IP address: 10.1.1.1",
    ),
    (
        "--network bridge --link-local-ip x",
        125,
        "invalid config for network bridge: invalid endpoint settings:\ninvalid link-local IP address: x",
    ),
    ("--network nosuch", 125, "failed to set up container networking: network nosuch not found"),
    ("--log-driver nosuch", 125, 'error looking up logging plugin nosuch: plugin "nosuch" not found'),
    ("--log-opt foo=bar", 125, "unknown log opt 'foo' for json-file log driver"),
    ("--health-cmd x --health-interval 1us", 125, "Interval in Healthcheck cannot be less than 1ms"),
    ("--annotation =x", 125, "invalid Annotations: the empty string is not permitted as an annotation key"),
    ("--mount type=foo,dst=/x", 125, 'invalid mount config for type "foo": mount type unknown'),
    (
        "--mount type=bind,src=/nosuch,dst=/x",
        125,
        'invalid mount config for type "bind": bind source path does not exist: /nosuch',
    ),
    (
        "--mount type=bind,src=rel,dst=/x",
        125,
        "invalid mount config for type \"bind\": invalid mount path: 'rel' mount path must be absolute",
    ),
    (
        "--mount type=volume,dst=rel",
        125,
        "invalid mount config for type \"volume\": invalid mount path: 'rel' mount path must be absolute",
    ),
    (
        "--mount type=bind,src=/tmp,dst=/x,bind-propagation=foo",
        125,
        'invalid mount config for type "bind": invalid propagation mode: foo',
    ),
    ("-v /tmp:/x:foo", 125, "invalid mode: foo"),
    (
        "-v /tmp:/",
        125,
        "invalid volume specification: '/tmp:/': invalid mount config for type \"bind\": invalid "
        "specification: destination can't be '/'",
    ),
    ("-v a:b:c:d", 125, "invalid volume specification: 'a:b:c:d'"),
    (
        "-v rel/x:/y",
        125,
        'create rel/x: "rel/x" includes invalid characters for a local volume name, only '
        '"[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. If you intended to pass a host directory, use absolute path',
    ),
    ("--name /", 125, "Invalid container name (/), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"),
    ("--name -x", 125, "Invalid container name (-x), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"),
    ("--net container:x --hostname y", 125, "conflicting options: hostname and the network mode"),
    ("--net container:x -p 80:80", 125, "conflicting options: port publishing and the container type network mode"),
    ("--uts host --hostname y", 125, "conflicting options: hostname and the UTS mode"),
]


@pytest.mark.parametrize(("flags", "code", "message"), REFUSED, ids=[flags for flags, _, _ in REFUSED])
def test_refused(docker: Docker, flags: str, code: int, message: str) -> None:
    said = docker.fails("run", "--rm", *flags.split(), "busybox", "true", code=code)
    assert said.partition("\n\nRun 'docker run")[0] == f"docker: Error response from daemon: {message}"


SHOWN = [
    ("--annotation a=b", "{{json .HostConfig.Annotations}}", '{"a":"b"}'),
    ("--isolation default", "{{.HostConfig.Isolation}}", "default"),
    ("--cgroupns host", "{{.HostConfig.CgroupnsMode}}", "host"),
    ("--cgroupns private", "{{.HostConfig.CgroupnsMode}}", "private"),
    ("--cpuset-mems 0", "{{.HostConfig.CpusetMems}}", "0"),
    ("--shm-size 0", "{{.HostConfig.ShmSize}}", "67108864"),
    ("--pids-limit -5", "{{json .HostConfig.PidsLimit}}", "null"),
    ("--security-opt label=disable", "{{json .HostConfig.SecurityOpt}}", '["label=disable"]'),
    ("--security-opt label=type:foo", "{{json .HostConfig.SecurityOpt}}", '["label=type:foo"]'),
    ("--userns host", "{{.HostConfig.UsernsMode}}", "host"),
    (
        "--link-local-ip 169.254.1.1 --network bridge",
        "{{json .NetworkSettings.Networks.bridge.IPAMConfig}}",
        '{"LinkLocalIPs":["169.254.1.1"]}',
    ),
]


@pytest.mark.parametrize(("flags", "template", "shown"), SHOWN, ids=[flags for flags, _, _ in SHOWN])
def test_shown(docker: Docker, name: str, flags: str, template: str, shown: str) -> None:
    docker.ok("run", "--name", name, *flags.split(), "busybox", "true")
    assert docker.ok("inspect", "-f", template, name) == shown


INSIDE = [
    ("--cgroupns host", f'[ "$(readlink /proc/self/ns/cgroup)" = "{os.readlink("/proc/self/ns/cgroup")}" ]'),
    ("--cgroupns private", f'[ "$(readlink /proc/self/ns/cgroup)" != "{os.readlink("/proc/self/ns/cgroup")}" ]'),
    ("--shm-size 0", "df -k /dev/shm | grep -q ' 65536 '"),
    ("--pids-limit -5", "grep -q max /sys/fs/cgroup/pids/pids.max || grep -q max /sys/fs/cgroup/pids.max"),
    ("--link-local-ip 169.254.1.1 --network bridge", "ip address show eth0 | grep -q 'inet 169.254.1.1/16'"),
]


@pytest.mark.parametrize(("flags", "test"), INSIDE, ids=[flags for flags, _ in INSIDE])
def test_effective(docker: Docker, flags: str, test: str) -> None:
    assert docker("run", "--rm", *flags.split(), "busybox", "sh", "-c", test).code == 0


@pytest.mark.parametrize("flags", ["--disable-content-trust", "--kernel-memory 10m"])
def test_without_effect(docker: Docker, name: str, flags: str) -> None:
    for container, more in ((f"{name}-with", flags.split()), (f"{name}-without", [])):
        docker.ok("run", "--name", container, *more, "busybox", "true")
    shown = [docker.ok("inspect", "-f", "{{json .HostConfig}}", f"{name}-{which}") for which in ("with", "without")]
    assert shown[0] == shown[1]


def test_signals_that_stay_with_the_client(docker: Docker, name: str) -> None:
    script = "trap 'echo told' USR1; trap 'echo end; exit 5' USR2; echo ready; while :; do sleep 0.1; done"
    with docker.background("run", "--sig-proxy=false", "--name", name, "busybox", "sh", "-c", script) as client:
        assert client.stdout is not None
        assert client.stdout.readline() == b"ready\n"
        client.send_signal(signal.SIGUSR1)
        docker.ok("exec", name, "true")  # time enough to pass it on
        docker.ok("kill", "-s", "USR2", name)
        assert client.communicate(timeout=60)[0] == b"end\n"
    assert client.returncode == 5


@pytest.mark.parametrize("flag", ["--io-maxbandwidth=1m", "--io-maxiops=5", "--cpu-count=2", "--cpu-percent=50"])
def test_what_only_windows_has(docker: Docker, flag: str) -> None:
    """The CLI asks what the daemon runs on."""
    assert "is only supported on a Docker daemon running on windows" in docker.fails("create", flag, "busybox", "true")


def test_a_warning_about_the_oom_killer(docker: Docker) -> None:
    result = docker("run", "--rm", "--oom-kill-disable", "busybox", "true")
    assert result.code == 0
    assert "WARNING: " in result.err


def test_the_engines_own_socket(engine: Engine, docker: Docker) -> None:
    told = docker.ok("run", "--rm", "--use-api-socket", "busybox", "stat", "-c", "%F", "/var/run/docker.sock")
    assert told == "socket"


@pytest.mark.parametrize(("kind", "read", "write"), [("bps", "1mb", "2mb"), ("iops", "10", "20")])
def test_block_io_limits(docker: Docker, kind: str, read: str, write: str) -> None:
    disk = next(path for path in sorted(Path("/sys/block").iterdir()) if not path.name.startswith(("loop", "ram")))
    number = (disk / "dev").read_text().strip()
    flags = [f"--device-read-{kind}", f"/dev/{disk.name}:{read}", f"--device-write-{kind}", f"/dev/{disk.name}:{write}"]
    values = ("1048576", "2097152") if kind == "bps" else (read, write)
    if host_version() == "1":
        files, expected = f"blkio/blkio.throttle.*_{kind}_device", [f"{number} {value}" for value in values]
    else:
        limits = {"rbps": "max", "wbps": "max", "riops": "max", "wiops": "max"} | {
            f"{way}{kind}": value for way, value in zip("rw", values, strict=True)
        }
        files, expected = "io.max", [" ".join([number, *(f"{name}={value}" for name, value in limits.items())])]
    told = docker.ok("run", "--rm", *flags, "busybox", "sh", "-c", f"cat /sys/fs/cgroup/{files}")
    assert [line.strip() for line in told.splitlines()] == expected


def test_an_ipv6_address(docker: Docker) -> None:
    docker.ok("network", "create", "--ipv6", "--subnet", "fd00:5::/64", "six")
    command = ["busybox", "ip", "-6", "-o", "address", "show", "dev", "eth0"]
    assert "fd00:5::9/64" in docker.ok("run", "--rm", "--network", "six", "--ip6", "fd00:5::9", *command)
