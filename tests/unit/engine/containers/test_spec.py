"""Whole specs against files in golden/.

The files were compared with the config.json that dockerd 28.5.2 hands to runc for the same requests; what differs in
text and not in effect is said in `DIFFERENCES`. To write them anew after a deliberate change, run this file as a
program and read the diff.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest
from lightship.engine.config import Ulimit
from lightship.engine.containers import defaults, merge, mounts, spec, validate
from lightship.engine.containers.host import Host
from lightship.engine.containers.image_mounts import ImageMounts
from lightship.engine.errors import Internal, InvalidArgument
from lightship.engine.events import Events
from lightship.engine.store import Store
from lightship.engine.volumes.volumes import Volumes
from lightship.openapi.types.images import ImageConfig
from lightship.openapi.types.requests import ContainerCreateRequest

GOLDEN = Path(__file__).parent / "golden"
DIFFERENCES = """
user: looked up by the runtime in the container's own files, so the spec carries names
root: mounted by the runtime in the container's mount namespace
seccomp: compiled apart and handed over as a program
shm: that of a shareable IPC namespace is a tmpfs of the container, not one on the host
domainname: a field of the spec now, then the sysctl kernel.domainname
device rules: once, not twice
"""
ID = "c0ffee" + "0" * 58
HOST = Host(
    cpus=2,
    cpuset_cpus="0-1",
    cgroup_version=1,
    cgroupns_mode="host",
    hostname="host",
    init_path="/usr/bin/tini-static",
    thermal_throttle_paths=("/sys/devices/system/cpu/cpu0/thermal_throttle",),
)
MIB = 1 << 20


def host_config(**fields: Any) -> dict[str, Any]:
    return {"HostConfig": fields}


REQUESTS: dict[str, dict[str, Any]] = {
    "plain": {"Env": ["A=1"]},
    "terminal": {
        "Tty": True,
        "Env": ["TERM=foo", "PATH", "B=2"],
        **host_config(ConsoleSize=[24, 80]),
    },
    "capabilities": host_config(CapAdd=["NET_ADMIN", "sys_ptrace"], CapDrop=["MKNOD", "CAP_KILL"]),
    "limits": host_config(
        Memory=64 * MIB,
        NanoCpus=1500000000,
        CpuShares=512,
        PidsLimit=100,
        MemoryReservation=32 * MIB,
        MemorySwappiness=10,
        OomScoreAdj=100,
        CpusetCpus="0",
        CpusetMems="0",
        OomKillDisable=True,
        Ulimits=[{"Name": "nofile", "Soft": 100, "Hard": 200}, {"Name": "core", "Soft": -1, "Hard": -1}],
        BlkioDeviceReadBps=[{"Path": "/dev/null", "Rate": MIB}],
    ),
    "shared_with_host": host_config(
        NetworkMode="host", PidMode="host", IpcMode="host", UTSMode="host", CgroupnsMode="private"
    ),
    "alone": host_config(NetworkMode="none", IpcMode="none", Sysctls={"net.ipv4.ip_unprivileged_port_start": "1024"}),
    "read_only": host_config(ReadonlyRootfs=True, Tmpfs={"/run": "size=1m,exec"}, IpcMode="shareable", ShmSize=MIB),
    "mounts": host_config(
        Binds=["/tmp:/a", "/tmp:/a/b/c:ro", "named:/v", "named:/w:ro", "/etc/hosts:/etc/hosts:ro"],
        Mounts=[
            {
                "Type": "bind",
                "Source": "/tmp",
                "Target": "/m",
                "ReadOnly": True,
                "BindOptions": {"NonRecursive": True, "ReadOnlyNonRecursive": True},
            },
            {
                "Type": "tmpfs",
                "Target": "/t",
                "TmpfsOptions": {"SizeBytes": MIB, "Mode": 0o700, "Options": [["exec"]]},
            },
            {
                "Type": "volume",
                "Source": "elsewhere",
                "Target": "/nfs",
                "ReadOnly": True,
                "VolumeOptions": {
                    "DriverConfig": {
                        "Name": "local",
                        "Options": {"type": "nfs", "device": ":/x", "o": "addr=10.0.0.1,nolock"},
                    }
                },
            },
            {"Type": "volume", "Source": "named", "Target": "/sub", "VolumeOptions": {"Subpath": "s"}},
        ],
    ),
    "own_dev": host_config(Binds=["/tmp:/dev"]),
    "devices": host_config(
        Devices=[{"PathOnHost": "/dev/null", "PathInContainer": "/dev/xnull", "CgroupPermissions": "rw"}],
        DeviceCgroupRules=["c 42:* rmw"],
    ),
    "security": host_config(
        SecurityOpt=["no-new-privileges", "seccomp=unconfined", "writable-cgroups=true"],
        MaskedPaths=[],
        ReadonlyPaths=["/proc/x"],
    ),
    "seccomp_flags": host_config(
        SecurityOpt=['seccomp={"defaultAction":"SCMP_ACT_ALLOW","flags":["SECCOMP_FILTER_FLAG_LOG"]}']
    ),
    "init": host_config(Init=True),
    "user": {
        "User": "daemon:mail",
        "WorkingDir": "/x/y",
        "Hostname": "h1",
        "Domainname": "d1",
        **host_config(GroupAdd=["audio", "1234"], Annotations={"a": "b"}, CgroupParent="/foo"),
    },
}


def context_of(body: dict[str, Any], directory: Path, host: Host = HOST) -> spec.SpecContext:
    """Go the way of a create and a start."""
    request = msgspec.json.decode(json.dumps({"Cmd": ["sleep", "60"], **body}), type=ContainerCreateRequest)
    validate.validate(request, name="", host=host)
    asked = request.host_config
    assert asked is not None
    defaults.fill_host_config(asked, host, id_of=lambda ref: ref)
    config = merge.merge(request, ImageConfig(cmd=["sh"]))
    config.hostname = defaults.hostname(config, asked, ID, host)
    volumes = Volumes(Store(directory / "db"), Events(), directory / "volumes")
    volumes.load()

    def mounts_of(ref: str) -> Sequence[mounts.ResolvedMount]:
        return ()

    resolved = asyncio.run(
        mounts.resolve(
            config,
            asked,
            container_id=ID,
            volumes=volumes,
            mounts_of=mounts_of,
            images=ImageMounts(cast(Any, None), cast(Any, None), ID),
            data_root="/data",
        )
    )
    path, args = merge.command(config)
    return spec.SpecContext(
        id=ID,
        config=config,
        host_config=asked,
        path=path,
        args=args,
        host=host,
        mounts=resolved,
        resolv_conf_path=f"/data/containers/{ID}/resolv.conf",
        hostname_path=f"/data/containers/{ID}/hostname",
        hosts_path=f"/data/containers/{ID}/hosts",
    )


def golden_text(name: str, directory: Path) -> str:
    text = json.dumps(spec.build_spec(context_of(REQUESTS[name], directory)), indent=1, sort_keys=True) + "\n"
    return text.replace(str(directory), "/data")


@pytest.mark.parametrize("name", REQUESTS)
def test_golden(name: str, tmp_path: Path) -> None:
    assert golden_text(name, tmp_path) == (GOLDEN / f"{name}.json").read_text()


def test_privileged_container_has_everything(tmp_path: Path) -> None:
    context = context_of(host_config(Privileged=True), tmp_path)
    built = spec.build_spec(context)
    assert built["process"]["capabilities"]["bounding"] == list(HOST.capabilities)
    linux = built["linux"]
    assert "maskedPaths" not in linux and "readonlyPaths" not in linux
    assert linux["resources"]["devices"][-1] == {"allow": True, "access": "rwm"}
    assert {"/dev/null", "/dev/zero"} <= {node["path"] for node in linux["devices"]}
    options = {mount["destination"]: mount["options"] for mount in built["mounts"]}
    assert "ro" not in options["/sys"] and "ro" not in options["/sys/fs/cgroup"]
    assert spec.seccomp_profile(context.host_config, HOST) is None


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, ["CAP_CHOWN", "CAP_KILL"]),
        (host_config(CapAdd=["ALL"], CapDrop=["KILL"]), ["CAP_CHOWN"]),
        (host_config(CapAdd=["KILL"], CapDrop=["ALL"]), ["CAP_KILL"]),
        (host_config(Privileged=True), ["CAP_CHOWN", "CAP_KILL"]),
    ],
)
def test_engine_hands_on_only_capabilities_that_it_has(
    body: dict[str, Any], expected: list[str], tmp_path: Path
) -> None:
    built = spec.build_spec(context_of(body, tmp_path, Host(capabilities=("CAP_CHOWN", "CAP_KILL"))))
    assert built["process"]["capabilities"] == dict.fromkeys(("bounding", "effective", "permitted"), expected)


def test_default_ulimits_fill_the_gaps(tmp_path: Path) -> None:
    host = Host(ulimits=(Ulimit("nofile", 1, 2), Ulimit("core", 3, 4)))
    body = host_config(Ulimits=[{"Name": "core", "Soft": 5, "Hard": 6}])
    rlimits = spec.build_spec(context_of(body, tmp_path, host))["process"]["rlimits"]
    assert rlimits == [
        {"type": "RLIMIT_CORE", "soft": 5, "hard": 6},
        {"type": "RLIMIT_NOFILE", "soft": 1, "hard": 2},
    ]


def test_joined_namespaces(tmp_path: Path) -> None:
    context = context_of(host_config(PidMode="container:x", NetworkMode="container:x", Init=True), tmp_path)
    joined = msgspec.json.decode(msgspec.json.encode(_joining(context)))
    assert {"type": "network", "path": "/proc/self/fd/9"} in joined["linux"]["namespaces"]
    assert {"type": "pid", "path": "/proc/7/ns/pid"} in joined["linux"]["namespaces"]
    assert "sysctl" not in joined["linux"]
    assert joined["process"]["args"] == ["sleep", "60"], "there is an init in the joined namespace already"


def _joining(context: spec.SpecContext) -> spec.Spec:
    fields = {name: getattr(context, name) for name in context.__slots__}
    fields |= {"network_namespace": "/proc/self/fd/9", "pid_namespace": "/proc/7/ns/pid"}
    return spec.build_spec(spec.SpecContext(**fields))


def test_cgroup_v2_gives_a_private_cgroup_namespace(tmp_path: Path) -> None:
    assert {"type": "cgroup"} in spec.build_spec(context_of({}, tmp_path, Host()))["linux"]["namespaces"]


def test_systemd_is_told_slice_and_name(tmp_path: Path) -> None:
    by_systemd = Host(cgroup_driver="systemd", cgroup_parent="system.slice")
    context = context_of({}, tmp_path, by_systemd)
    assert spec.build_spec(context)["linux"]["cgroupsPath"] == f"system.slice:docker:{context.id}"
    given = spec.build_spec(context_of(host_config(CgroupParent="a-b.slice"), tmp_path, by_systemd))
    assert given["linux"]["cgroupsPath"] == f"a-b.slice:docker:{context.id}"
    with pytest.raises(InvalidArgument, match="should be a valid slice"):
        context_of(host_config(CgroupParent="/a"), tmp_path, by_systemd)


def test_propagation_reaches_the_root(tmp_path: Path) -> None:
    built = spec.build_spec(context_of(host_config(Binds=["/tmp:/a:rslave"]), tmp_path))
    assert built["linux"]["rootfsPropagation"] == "rslave"


REFUSED = [
    (
        host_config(Devices=[{"PathOnHost": "/dev/nope", "PathInContainer": "/dev/x", "CgroupPermissions": "rwm"}]),
        'error gathering device information while adding custom device "/dev/nope": no such file or directory',
    ),
    (
        host_config(Devices=[{"PathOnHost": "/etc/passwd", "PathInContainer": "/dev/x"}]),
        'error gathering device information while adding custom device "/etc/passwd": not a device node',
    ),
    (host_config(DeviceCgroupRules=["foo"]), "invalid device cgroup rule format: 'foo'"),
    (
        host_config(DeviceRequests=[{"Count": 1, "Capabilities": [["gpu"]]}]),
        'could not select device driver "" with capabilities: [[gpu]]',
    ),
    (
        host_config(DeviceRequests=[{"Driver": "nvidia", "Capabilities": [["gpu", "x"], ["y"]]}]),
        'could not select device driver "nvidia" with capabilities: [[gpu x] [y]]',
    ),
    (host_config(Tmpfs={"/t": "foo=bar"}), 'invalid tmpfs option "foo"'),
    (host_config(BlkioDeviceReadBps=[{"Path": "/dev/nonex", "Rate": 5}]), "stat /dev/nonex: no such file or directory"),
]


@pytest.mark.parametrize(("body", "sentence"), REFUSED, ids=[sentence for _, sentence in REFUSED])
def test_refused_at_the_start_with_dockerds_sentence(body: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    context = context_of(body, tmp_path)
    with pytest.raises(InvalidArgument) as raised:
        spec.build_spec(context)
    assert str(raised.value) == sentence


def test_bad_seccomp_profile_is_refused(tmp_path: Path) -> None:
    context = context_of(host_config(SecurityOpt=["seccomp=nope"]), tmp_path)
    with pytest.raises(InvalidArgument, match="^Decoding seccomp profile failed: "):
        spec.build_spec(context)


def test_init_that_is_not_installed(tmp_path: Path) -> None:
    context = context_of(host_config(Init=True), tmp_path, Host())
    with pytest.raises(Internal, match='exec: "docker-init": executable file not found in \\$PATH'):
        spec.build_spec(context)


def test_default_filter_follows_the_capabilities(tmp_path: Path) -> None:
    def allowed(body: dict[str, Any], directory: str) -> set[str]:
        (tmp_path / directory).mkdir()
        profile = spec.seccomp_profile(context_of(body, tmp_path / directory).host_config, HOST)
        assert profile is not None
        return {name for rule in profile["syscalls"] if rule["action"] == "SCMP_ACT_ALLOW" for name in rule["names"]}

    assert "mount" not in allowed({}, "plain")
    assert "mount" in allowed(host_config(CapAdd=["SYS_ADMIN"]), "admin")


def _write_all() -> None:
    import tempfile

    GOLDEN.mkdir(exist_ok=True)
    for name in REQUESTS:
        with tempfile.TemporaryDirectory() as directory:
            (GOLDEN / f"{name}.json").write_text(golden_text(name, Path(os.path.realpath(directory))))


if __name__ == "__main__":
    _write_all()
