"""Sentences and statuses were taken from dockerd 28.5.2 by sending it the same requests."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from lightship.engine.containers.host import Host, Limits
from lightship.engine.containers.validate import validate
from lightship.engine.errors import InvalidArgument, NotImplemented
from lightship.openapi.types.requests import ContainerCreateRequest

MIB = 1 << 20
HOST = Host(
    cpus=2,
    cpuset_cpus="0-1",
    cgroup_version=1,
    capabilities=tuple(name for name in Host().capabilities if name != "CAP_SYS_RESOURCE"),
)
LOG_PREFIX = "failed to create task for container: failed to initialize logging driver: "
LINKS_UNDEFINED = "can't be used with links. This would result in undefined behavior"


def request(body: dict[str, Any]) -> ContainerCreateRequest:
    return msgspec.json.decode(json.dumps({"Image": "busybox", **body}), type=ContainerCreateRequest)


def host_config(**fields: Any) -> dict[str, Any]:
    return {"HostConfig": fields}


def mount(**fields: Any) -> dict[str, Any]:
    return host_config(Mounts=[fields])


def bind(**fields: Any) -> dict[str, Any]:
    return mount(Type="bind", Source="/tmp", Target="/a", **fields)


def volume(**fields: Any) -> dict[str, Any]:
    return mount(Type="volume", Target="/a", **fields)


def policy(name: str, count: int = 0) -> dict[str, Any]:
    return {"RestartPolicy": {"Name": name, "MaximumRetryCount": count}}


def joined(**fields: Any) -> dict[str, Any]:
    return host_config(NetworkMode="container:x", **fields)


REFUSED = [
    # memory
    (host_config(Memory=1000), "Minimum memory limit allowed is 6MB"),
    (
        host_config(Memory=8 * MIB, MemorySwap=7 * MIB),
        "Minimum memoryswap limit should be larger than memory limit, see usage",
    ),
    (
        host_config(MemorySwap=8 * MIB),
        "You should always set the Memory limit when using Memoryswap limit, see usage",
    ),
    (host_config(MemorySwappiness=101), "Invalid value: 101, valid memory swappiness range is 0-100"),
    (host_config(MemorySwappiness=-2), "Invalid value: -2, valid memory swappiness range is 0-100"),
    (host_config(MemoryReservation=100), "Minimum memory reservation allowed is 6MB"),
    (
        host_config(Memory=8 * MIB, MemoryReservation=9 * MIB),
        "Minimum memory limit can not be less than memory reservation limit, see usage",
    ),
    # cpu
    (
        host_config(NanoCpus=1, CpuPeriod=1000),
        "Conflicting options: Nano CPUs and CPU Period cannot both be set",
    ),
    (host_config(NanoCpus=1, CpuQuota=1000), "Conflicting options: Nano CPUs and CPU Quota cannot both be set"),
    (
        host_config(NanoCpus=3 * 10**9),
        "range of CPUs is from 0.01 to 2.00, as there are only 2 CPUs available",
    ),
    (host_config(NanoCpus=-1), "range of CPUs is from 0.01 to 2.00, as there are only 2 CPUs available"),
    (
        host_config(CpuPeriod=10),
        "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)",
    ),
    (host_config(CpuQuota=10), "CPU cfs quota can not be less than 1ms (i.e. 1000)"),
    (host_config(CpuShares=-1), "invalid CPU shares (-1): value must be a positive integer"),
    (host_config(CpuRealtimePeriod=5), "kernel does not support CPU real-time scheduler"),
    (host_config(CpusetCpus="0-9"), "Requested CPUs are not available - requested 0-9, available: 0-1"),
    (host_config(CpusetCpus="a"), "Invalid value a for cpuset cpus: invalid format: a"),
    (host_config(CpusetCpus="3-1"), "Invalid value 3-1 for cpuset cpus: invalid format: 3-1"),
    (host_config(CpusetMems="5"), "Requested memory nodes are not available - requested 5, available: 0"),
    (host_config(CpusetMems="x"), "Invalid value x for cpuset mems: invalid format: x"),
    # block I/O, and what only Windows has
    (host_config(BlkioWeight=5), "Range of blkio weight is from 10 to 1000"),
    (
        host_config(IOMaximumBandwidth=5),
        "invalid option: QoS maximum bandwidth configuration is not supported on linux",
    ),
    (host_config(IOMaximumIOps=5), "invalid option: QoS maximum IOPs configuration is not supported on linux"),
    (host_config(Isolation="hyperv"), "invalid isolation (hyperv): linux only supports 'default'"),
    # namespaces
    (host_config(IpcMode="foo"), "invalid IPC mode: foo"),
    (host_config(PidMode="foo"), "invalid PID mode: foo"),
    (host_config(PidMode="container:"), "invalid PID mode: container:"),
    (host_config(UTSMode="x"), "invalid UTS mode: x"),
    (host_config(CgroupnsMode="x"), "invalid cgroup namespace mode: x"),
    (host_config(ShmSize=-1), "SHM size can not be less than 0"),
    (host_config(OomScoreAdj=-1001), "Invalid value -1001, range for oom score adj is [-1000, 1000]"),
    (host_config(OomScoreAdj=1001), "Invalid value 1001, range for oom score adj is [-1000, 1000]"),
    # network modes
    (
        host_config(NetworkMode="host", Links=["a:b"]),
        f"conflicting options: host type networking {LINKS_UNDEFINED}",
    ),
    (
        host_config(NetworkMode="container:"),
        "invalid network mode: invalid container format container:<name|id>",
    ),
    (
        host_config(NetworkMode="container"),
        "invalid network mode: invalid container format container:<name|id>",
    ),
    ({"Hostname": "a", **joined()}, "conflicting options: hostname and the network mode"),
    (joined(Links=["a"]), f"conflicting options: container type network {LINKS_UNDEFINED}"),
    (joined(Dns=["1.1.1.1"]), "conflicting options: dns and the network mode"),
    (
        joined(ExtraHosts=["a:1.1.1.1"]),
        "conflicting options: custom host-to-IP mapping and the network mode",
    ),
    (
        joined(PublishAllPorts=True),
        "conflicting options: port publishing and the container type network mode",
    ),
    (
        joined(PortBindings={"80/tcp": []}),
        "conflicting options: port publishing and the container type network mode",
    ),
    (
        {"ExposedPorts": {"80/tcp": {}}, **joined()},
        "conflicting options: port exposing and the container type network mode",
    ),
    ({"Hostname": "h", **host_config(UTSMode="host")}, "conflicting options: hostname and the UTS mode"),
    ({"Hostname": "h" * 65}, f'hostname "{"h" * 65}" is too long (maximum 64 bytes)'),
    # host config
    (host_config(Runtime="nope"), "unknown or invalid runtime name: nope"),
    (host_config(Tmpfs={"/": ""}), "invalid specification: destination can't be '/'"),
    (host_config(Tmpfs={"rel": ""}), "invalid mount path: 'rel' mount path must be absolute"),
    (
        host_config(AutoRemove=True, **policy("always")),
        "can't create 'AutoRemove' container with restart policy",
    ),
    (
        host_config(**policy("always", 2)),
        "invalid restart policy: maximum retry count can only be used with 'on-failure'",
    ),
    (
        host_config(**policy("on-failure", -2)),
        "invalid restart policy: maximum retry count cannot be negative",
    ),
    (
        host_config(**policy("no", -2)),
        "invalid restart policy: maximum retry count can only be used with 'on-failure' and cannot be negative",
    ),
    (
        host_config(**policy("foo")),
        "invalid restart policy: unknown policy 'foo'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'",
    ),
    (
        host_config(**policy("", 3)),
        "invalid restart policy: maximum retry count can only be used with 'on-failure'",
    ),
    (host_config(ExtraHosts=["a"]), 'bad format for add-host: "a"'),
    (host_config(ExtraHosts=["a:b"]), 'invalid IP address in add-host: "b"'),
    (host_config(ExtraHosts=[":1.1.1.1"]), 'bad format for add-host: ":1.1.1.1"'),
    (
        host_config(Dns=["x"]),
        'bad nameserver address x: ParseAddr("x"): unable to parse IP',
    ),
    (host_config(PortBindings={"foo": []}), 'invalid port specification: "foo"'),
    (host_config(PortBindings={"80/tcp": [{"HostPort": "x"}]}), 'invalid port specification: "x"'),
    (host_config(PortBindings={"80/tcp": [{"HostPort": "99999"}]}), 'invalid port specification: "99999"'),
    (host_config(PortBindings={"80/tcp": [{"HostPort": "90-80"}]}), 'invalid port specification: "90-80"'),
    (host_config(CapAdd=["foo"]), 'invalid CapAdd: unknown capability: "CAP_FOO"'),
    (host_config(CapDrop=["foo"]), 'invalid CapDrop: unknown capability: "CAP_FOO"'),
    (
        host_config(CapAdd=["SYS_RESOURCE"]),
        "invalid CapAdd: capability not supported by your kernel or not available in the current environment: "
        '"CAP_SYS_RESOURCE"',
    ),
    (
        host_config(Annotations={"": "x"}),
        "invalid Annotations: the empty string is not permitted as an annotation key",
    ),
    (host_config(StorageOpt={"foo": "1"}), "Unknown option foo"),
    (
        host_config(StorageOpt={"size": "10G"}),
        "--storage-opt is supported only for overlay over xfs with 'pquota' mount option",
    ),
    # config
    ({"WorkingDir": "rel"}, "the working directory 'rel' is invalid, it needs to be an absolute path"),
    ({"StopSignal": "foo"}, "invalid signal: foo"),
    ({"StopSignal": "0"}, "invalid signal: 0"),
    ({"Env": ["=a"]}, "invalid environment variable: =a"),
    ({"Env": [""]}, "invalid environment variable: "),
    ({"Healthcheck": {"Interval": 5}}, "Interval in Healthcheck cannot be less than 1ms"),
    ({"Healthcheck": {"Timeout": 5}}, "Timeout in Healthcheck cannot be less than 1ms"),
    ({"Healthcheck": {"Retries": -1}}, "Retries in Healthcheck cannot be negative"),
    ({"Healthcheck": {"StartPeriod": 5}}, "StartPeriod in Healthcheck cannot be less than 1ms"),
    ({"Healthcheck": {"StartInterval": 5}}, "StartInterval in Healthcheck cannot be less than 1ms"),
    # security options
    (host_config(SecurityOpt=["foo"]), 'invalid --security-opt 1: "foo"'),
    (host_config(SecurityOpt=["foo=bar"]), 'invalid --security-opt 2: "foo=bar"'),
    (host_config(SecurityOpt=["no-new-privileges=x"]), 'invalid --security-opt 2: "no-new-privileges=x"'),
    (host_config(SecurityOpt=["writable-cgroups=x"]), 'invalid --security-opt 2: "writable-cgroups=x"'),
    (
        host_config(SecurityOpt=["systempaths=unconfined"]),
        'invalid --security-opt 2: "systempaths=unconfined"',
    ),
    # logs
    (
        host_config(LogConfig={"Type": "foo"}),
        'error looking up logging plugin foo: plugin "foo" not found',
    ),
    (
        host_config(LogConfig={"Type": "json-file", "Config": {"foo": "1"}}),
        "unknown log opt 'foo' for json-file log driver",
    ),
    (host_config(LogConfig={"Config": {"foo": "1"}}), "unknown log opt 'foo' for json-file log driver"),
    (host_config(LogConfig={"Config": {"mode": "x"}}), "logger: logging mode not supported: x"),
    (
        host_config(LogConfig={"Config": {"mode": "non-blocking", "max-buffer-size": "x"}}),
        "error parsing option max-buffer-size: invalid size: 'x'",
    ),
    (
        host_config(LogConfig={"Config": {"max-buffer-size": "1k"}}),
        "logger: max-buffer-size option is only supported with 'mode=non-blocking'",
    ),
    (host_config(LogConfig={"Config": {"max-size": "x"}}), LOG_PREFIX + "invalid size: 'x'"),
    (host_config(LogConfig={"Config": {"max-size": "0"}}), LOG_PREFIX + "max-size must be a positive number"),
    (
        host_config(LogConfig={"Config": {"max-file": "x"}}),
        LOG_PREFIX + 'strconv.Atoi: parsing "x": invalid syntax',
    ),
    (host_config(LogConfig={"Config": {"max-file": "0"}}), LOG_PREFIX + "max-file cannot be less than 1"),
    (
        host_config(LogConfig={"Config": {"compress": "x"}}),
        LOG_PREFIX + 'strconv.ParseBool: parsing "x": invalid syntax',
    ),
    (
        host_config(LogConfig={"Config": {"compress": "true", "max-size": "10k", "max-file": "1"}}),
        LOG_PREFIX + "compress cannot be true when max-file is less than 2 or max-size is not set",
    ),
    (
        host_config(LogConfig={"Config": {"env-regex": "("}}),
        LOG_PREFIX + "error parsing regexp: missing ), unterminated subpattern at position 0: `(`",
    ),
    # -v
    (
        host_config(Binds=["/tmp:/"]),
        "invalid volume specification: '/tmp:/': invalid mount config for type \"bind\": invalid specification: "
        "destination can't be '/'",
    ),
    (
        host_config(Binds=["/tmp:rel"]),
        "invalid volume specification: '/tmp:rel': invalid mount config for type \"bind\": invalid mount path: 'rel' "
        "mount path must be absolute",
    ),
    (host_config(Binds=["a:b:c:d"]), "invalid volume specification: 'a:b:c:d'"),
    (host_config(Binds=[""]), "invalid volume specification: ''"),
    (host_config(Binds=[":/a"]), "invalid volume specification: ':/a'"),
    (host_config(Binds=["/a:"]), "invalid volume specification: '/a:'"),
    (host_config(Binds=["/tmp:ro"]), "invalid volume specification: '/tmp:ro'"),
    (host_config(Binds=["/tmp:/a:foo"]), "invalid mode: foo"),
    (host_config(Binds=["/tmp:/a:ro,rw"]), "invalid mode: ro,rw"),
    (host_config(Binds=["spec:x:/a"]), "invalid mode: /a"),
    (host_config(Binds=["/tmp:/a", "/tmp:/a"]), "Duplicate mount point: /a"),
    (host_config(Binds=["/tmp:/a/", "/tmp:/a"]), "Duplicate mount point: /a"),
    (host_config(Binds=["/tmp:/a:ro"], Tmpfs={"/a": ""}), "Duplicate mount point: /a"),
    (
        host_config(Binds=["v1:/a:shared"]),
        "invalid volume specification: 'v1:/a:shared': invalid mount config for type \"volume\": field BindOptions "
        "must not be specified",
    ),
    (
        host_config(Binds=["/tmp:/a:nocopy"]),
        "invalid volume specification: '/tmp:/a:nocopy': invalid mount config for type \"bind\": field VolumeOptions "
        "must not be specified",
    ),
    (host_config(VolumesFrom=[""]), "volumes-from specification cannot be an empty string"),
    (host_config(VolumesFrom=["x:foo"]), "invalid mode: foo"),
    (host_config(VolumesFrom=["x:shared"]), "invalid mode: shared"),
    # --mount
    (
        mount(Type="bind", Source="/tmp", Target=""),
        'invalid mount config for type "bind": field Target must not be empty',
    ),
    (
        mount(Type="bind", Source="/tmp", Target="/"),
        "invalid mount config for type \"bind\": invalid specification: destination can't be '/'",
    ),
    (
        mount(Type="bind", Source="/tmp", Target="rel"),
        "invalid mount config for type \"bind\": invalid mount path: 'rel' mount path must be absolute",
    ),
    (
        mount(Type="bind", Target="/a"),
        'invalid mount config for type "bind": field Source must not be empty',
    ),
    (
        mount(Type="bind", Source="/nonexistent-x", Target="/a"),
        'invalid mount config for type "bind": bind source path does not exist: /nonexistent-x',
    ),
    (
        mount(Type="bind", Source="rel", Target="/a"),
        "invalid mount config for type \"bind\": invalid mount path: 'rel' mount path must be absolute",
    ),
    (
        bind(BindOptions={"Propagation": "foo"}),
        'invalid mount config for type "bind": invalid propagation mode: foo',
    ),
    (bind(VolumeOptions={}), 'VolumeOptions must not be specified on mount type "bind"'),
    (bind(TmpfsOptions={}), 'TmpfsOptions must not be specified on mount type "bind"'),
    (volume(BindOptions={}), 'BindOptions must not be specified on mount type "volume"'),
    (
        volume(VolumeOptions={"Subpath": "x"}),
        'invalid mount config for type "volume": must not set Subpath when using anonymous volumes',
    ),
    (
        volume(Source="v1", VolumeOptions={"Subpath": "../x"}),
        'invalid mount config for type "volume": subpath must be a relative path within the volume',
    ),
    (
        mount(Type="tmpfs", Source="x", Target="/a"),
        'invalid mount config for type "tmpfs": field Source must not be specified',
    ),
    (
        mount(Type="tmpfs", Target="/a", TmpfsOptions={"Options": [["foo"]]}),
        'invalid mount config for type "tmpfs": invalid option: foo',
    ),
    (
        mount(Type="tmpfs", Target="/a", TmpfsOptions={"Options": [["exec", "a", "b"]]}),
        'invalid mount config for type "tmpfs": invalid option array length',
    ),
    (mount(Type="npipe", Source="x", Target="/a"), 'invalid mount config for type "npipe": mount type unknown'),
    (mount(Type="foo", Target="/a"), 'invalid mount config for type "foo": mount type unknown'),
    (mount(Target="/a"), 'invalid mount config for type "": mount type unknown'),
    (
        host_config(Binds=["/tmp:/a"], Mounts=[{"Type": "bind", "Source": "/tmp", "Target": "/a/"}]),
        "Duplicate mount point: /a/",
    ),
]


@pytest.mark.parametrize(("body", "sentence"), REFUSED, ids=lambda value: json.dumps(value)[:60])
def test_refused_with_dockerds_sentence(body: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InvalidArgument) as raised:
        validate(request(body), name="", host=HOST)
    assert str(raised.value) == sentence


ACCEPTED: list[dict[str, Any]] = [
    {},
    {"WorkingDir": "/a/../b//c/", "StopSignal": "SIGRTMIN+3", "Env": ["A", "B=", "A B=c"], "StopTimeout": -5},
    {"StopSignal": "99", "Healthcheck": {"Test": ["FOO"]}},
    {"Hostname": "h_%/", "Domainname": "d" * 80, "User": "nope", "Entrypoint": []},
    host_config(Memory=8 * MIB, MemorySwap=-1, MemorySwappiness=-1, CpuQuota=-10, PidsLimit=-5, CpuShares=1),
    host_config(CpusetCpus="0-1", CpusetMems="0", CapAdd=["all", "cap_net_admin"], CapDrop=["ALL"]),
    host_config(IpcMode="shareable", Isolation="default", NetworkMode="container:nope"),
    host_config(ExtraHosts=["a:host-gateway", "b:::1"], PortBindings={"80": [{"HostPort": "90-99"}], "81/TCP": None}),
    host_config(SecurityOpt=["no-new-privileges:true", "seccomp=unconfined", "label=disable", "apparmor=x", "disable"]),
    host_config(LogConfig={"Type": "none", "Config": {"x": "y"}}),
    host_config(LogConfig={"Config": {"max-size": "1k", "max-file": "3", "tag": "{{.ID}}", "labels": "a"}}),
    host_config(Binds=["/tmp", "/tmp:/a:z", "/nonexistent-x:/b:ro,Z", "v1:/c:ro,z,nocopy", "/tmp:/d:cached,rslave"]),
    host_config(Tmpfs={"/a": "size=1m"}, Mounts=[{"Type": "bind", "Source": "/tmp", "Target": "/a/"}]),
    host_config(Runtime="runc", StorageOpt={}, Devices=[{"PathOnHost": "/dev/nope"}], Sysctls={"foo": "bar"}),
    mount(Type="bind", Source="/nonexistent-x", Target="/a", BindOptions={"CreateMountpoint": True}),
    mount(Type="tmpfs", Target="/a", TmpfsOptions={"SizeBytes": MIB, "Mode": 0o700, "Options": [["exec"]]}),
]


@pytest.mark.parametrize("body", ACCEPTED, ids=lambda value: json.dumps(value)[:60])
def test_accepted_without_warning(body: dict[str, Any]) -> None:
    assert validate(request(body), name="ok", host=HOST) == []


def test_working_directory_is_shortened() -> None:
    asked = request({"WorkingDir": "/a/../b//c/"})
    validate(asked, name="", host=HOST)
    assert asked.working_dir == "/b/c"


@pytest.mark.parametrize(
    ("fields", "warning"),
    [
        (
            {"OomKillDisable": True},
            "OOM killer is disabled for the container, but no memory limit is set, this can result in the system "
            "running out of resources.",
        ),
        ({"CpuPercent": 10}, "linux does not support CPU percent. Percent discarded."),
        (
            {"NetworkMode": "host", "PortBindings": {"80/tcp": [{"HostPort": "80"}]}},
            "Published ports are discarded when using host network mode",
        ),
    ],
)
def test_warnings(fields: dict[str, Any], warning: str) -> None:
    assert validate(request(host_config(**fields)), name="", host=HOST) == [warning]


def test_limits_that_the_kernel_lacks_are_dropped_with_a_warning() -> None:
    bare = Host(cpus=2, limits=Limits(**dict.fromkeys(Limits.__dataclass_fields__, False)))
    asked = request(
        host_config(
            Memory=8 * MIB,
            MemorySwappiness=10,
            PidsLimit=5,
            CpuShares=5,
            CpuQuota=5000,
            CpusetCpus="0",
            BlkioWeight=5,
            BlkioWeightDevice=[{"Path": "/dev/null", "Weight": 5}],
            BlkioDeviceReadBps=[{"Path": "/dev/null", "Rate": 5}],
            OomKillDisable=True,
        )
    )
    warnings = validate(asked, name="", host=bare)
    assert "Your kernel does not support Block I/O weight or the cgroup is not mounted. Weight discarded." in warnings
    assert len(warnings) == 10
    limits = asked.host_config
    assert limits is not None
    assert (limits.memory, limits.memory_swap, limits.memory_swappiness) == (0, -1, None)
    assert (limits.pids_limit, limits.cpu_shares, limits.cpu_quota, limits.cpuset_cpus) == (None, 0, 0, "")
    assert (limits.blkio_weight, limits.blkio_weight_device, limits.blkio_device_read_bps) == (0, [], [])
    assert limits.oom_kill_disable is None


@pytest.mark.parametrize(
    "body",
    [
        host_config(LogConfig={"Type": "splunk"}),
        host_config(LogConfig={"Type": "awslogs"}),
    ],
)
def test_what_is_not_built_says_so(body: dict[str, Any]) -> None:
    with pytest.raises(NotImplemented):
        validate(request(body), name="", host=HOST)


def test_name_is_checked() -> None:
    with pytest.raises(InvalidArgument, match=r"Invalid container name \(a b\), only \[a-zA-Z0-9\]"):
        validate(request({}), name="a b", host=HOST)


def test_container_wide_mac_address_goes_to_the_endpoint() -> None:
    asked = request({"MacAddress": "02:42:ac:11:00:09"})
    warnings = validate(asked, name="", host=HOST)
    assert warnings == [
        "The container-wide MacAddress field is now deprecated. It should be specified in EndpointsConfig instead."
    ]
    assert asked.networking_config and asked.networking_config.endpoints_config
    assert asked.networking_config.endpoints_config["default"].mac_address == "02:42:ac:11:00:09"
    with pytest.raises(InvalidArgument, match="conflicting options: mac-address and the network mode"):
        validate(request({"MacAddress": "02:42:ac:11:00:09", **host_config(NetworkMode="host")}), name="", host=HOST)
    endpoints = {"EndpointsConfig": {"bridge": {"MacAddress": "02:42:ac:11:00:01"}}}
    with pytest.raises(InvalidArgument, match="the container-wide MAC address must match"):
        validate(request({"MacAddress": "02:42:ac:11:00:09", "NetworkingConfig": endpoints}), name="", host=HOST)
