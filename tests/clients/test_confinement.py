"""What a container's process may not do: capabilities, seccomp, masked paths, devices, read-only system files,
privileges.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable
from pathlib import Path

import pytest
from harness import images
from harness.docker import Docker

PYTHON = ["-v", "/usr:/usr:ro", "--entrypoint", "/usr/bin/python3", "busybox", "-c"]
DEFAULT_CAPABILITIES = 0xA80425FB
HOST_BOUNDING = next(
    int(line.split()[1], 16) for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("CapBnd")
)
CAP = {"CHOWN": 0, "NET_RAW": 13, "NET_ADMIN": 12, "SYS_ADMIN": 21, "SYS_TIME": 25, "SYS_PTRACE": 19, "MKNOD": 27}


def status(docker: Docker, *flags: str) -> dict[str, str]:
    """/proc/self/status of a process started with the flags."""
    lines = docker.ok("run", "--rm", *flags, "busybox", "cat", "/proc/self/status").splitlines()
    return {name: value.strip() for name, value in (line.split(":", 1) for line in lines)}


def probe(docker: Docker, code: str, *flags: str) -> str:
    """Python code run inside, with `call(number, *args)` giving 0 or the name of the error."""
    prelude = (
        "import ctypes, errno, os\n"
        "libc = ctypes.CDLL(None, use_errno=True)\n"
        "def call(*args):\n"
        "    result = libc.syscall(*[ctypes.c_long(a) if isinstance(a, int) else a for a in args])\n"
        "    return 'ok' if result >= 0 else errno.errorcode[ctypes.get_errno()]\n"
    )
    return docker.ok("run", "--rm", *flags, *PYTHON, prelude + code)


def test_default_capabilities(docker: Docker) -> None:
    shown = status(docker)
    assert int(shown["CapBnd"], 16) == int(shown["CapEff"], 16) == int(shown["CapPrm"], 16) == DEFAULT_CAPABILITIES
    assert int(shown["CapInh"], 16) == int(shown["CapAmb"], 16) == 0


def test_another_user_has_none_but_the_bounding_set(docker: Docker) -> None:
    shown = status(docker, "-u", "app")
    assert int(shown["CapBnd"], 16) == DEFAULT_CAPABILITIES
    assert int(shown["CapEff"], 16) == int(shown["CapPrm"], 16) == int(shown["CapAmb"], 16) == 0


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--cap-add", "NET_ADMIN"], DEFAULT_CAPABILITIES | 1 << CAP["NET_ADMIN"]),
        (["--cap-add", "cap_sys_time"], DEFAULT_CAPABILITIES | 1 << CAP["SYS_TIME"]),
        (
            ["--cap-drop", "CHOWN", "--cap-drop", "NET_RAW"],
            DEFAULT_CAPABILITIES & ~(1 << CAP["CHOWN"] | 1 << CAP["NET_RAW"]),
        ),
        (["--cap-drop", "ALL"], 0),
        (["--cap-drop", "ALL", "--cap-add", "MKNOD"], 1 << CAP["MKNOD"]),
        (["--cap-add", "ALL"], HOST_BOUNDING),
        (["--cap-add", "ALL", "--cap-drop", "SYS_ADMIN"], HOST_BOUNDING & ~(1 << CAP["SYS_ADMIN"])),
        (["--privileged"], HOST_BOUNDING),
    ],
)
def test_capabilities(docker: Docker, flags: list[str], expected: int) -> None:
    shown = status(docker, *flags)
    assert f"{int(shown['CapEff'], 16):x} {int(shown['CapBnd'], 16):x}" == f"{expected:x} {expected:x}"


def test_unknown_capability(docker: Docker) -> None:
    for flag in ("--cap-add", "--cap-drop"):
        assert 'unknown capability: "CAP_NONSENSE"' in docker.fails("run", flag, "NONSENSE", "busybox", code=125)


def test_seccomp_mode(docker: Docker) -> None:
    assert status(docker)["Seccomp"] == "2"
    assert status(docker, "--security-opt", "seccomp=unconfined")["Seccomp"] == "0"
    assert status(docker, "--privileged")["Seccomp"] == "0"


@pytest.mark.parametrize(
    ("code", "confined", "free"),
    [
        ("print(call(248, b'user', b'x', b'p', 1, -3))", "EPERM", ("ok", "EDQUOT", "EACCES", "EINVAL")),  # add_key
        ("print(call(250, 0, -3, 0))", "EPERM", ("ok", "ENOKEY", "EACCES")),  # keyctl
        ("print(call(321, 0, 0, 0))", "EPERM", ("EINVAL", "EFAULT", "EPERM")),  # bpf
        ("print(call(298, 0, 0, -1, -1, 0))", "EPERM", ("EFAULT", "EACCES")),  # perf_event_open
        ("print(call(272, 0x10000000))", "EPERM", ("ok", "EINVAL", "ENOSPC")),  # unshare(CLONE_NEWUSER)
        ("print(call(425, 1, 0))", "EPERM", ("EFAULT", "ENOSYS", "EPERM")),  # io_uring_setup
        ("print(call(323, 1))", "EPERM", ("ok", "EPERM", "EINVAL")),  # userfaultfd
        ("print(call(135, 0x0040000))", "EPERM", ("ok",)),  # personality(ADDR_NO_RANDOMIZE)
    ],
)
@pytest.mark.skipif(platform.machine() != "x86_64", reason="system call numbers of x86_64")
def test_seccomp_refuses(docker: Docker, code: str, confined: str, free: tuple[str, ...]) -> None:
    assert probe(docker, code) == confined
    assert probe(docker, code, "--security-opt", "seccomp=unconfined") in free


@pytest.mark.skipif(platform.machine() != "x86_64", reason="system call numbers of x86_64")
def test_seccomp_unknown_calls_are_not_there(docker: Docker) -> None:
    """clone3 answers ENOSYS, so that libc falls back to clone, whose flags the filter can read."""
    assert probe(docker, "print(call(435, 0, 0))") == "ENOSYS"


@pytest.mark.skipif(platform.machine() != "x86_64", reason="system call numbers of x86_64")
def test_seccomp_depends_on_capabilities(docker: Docker) -> None:
    mount = "print(call(165, b'none', b'/tmp', b'tmpfs', 0, 0))"
    assert probe(docker, mount) == "EPERM"
    assert probe(docker, mount, "--cap-add", "SYS_ADMIN", "--security-opt", "apparmor=unconfined") == "ok"


@pytest.mark.skipif(platform.machine() != "x86_64", reason="system call numbers of x86_64")
def test_a_seccomp_profile_of_ones_own(docker: Docker, tmp_path: Path) -> None:
    profile = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95}],
    }
    (tmp_path / "profile.json").write_text(json.dumps(profile))
    code = "try:\n    os.mkdir('/tmp/x')\nexcept OSError as e:\n    print(errno.errorcode[e.errno])"
    assert probe(docker, code, "--security-opt", f"seccomp={tmp_path}/profile.json") in ("ENOTSUP", "EOPNOTSUPP")
    (tmp_path / "broken.json").write_text("{")
    assert docker("run", "--rm", "--security-opt", f"seccomp={tmp_path}/broken.json", "busybox", "true").code == 125


@pytest.mark.parametrize("option", ["no-new-privileges", "no-new-privileges:true", "no-new-privileges=true"])
def test_no_new_privileges(docker: Docker, option: str) -> None:
    assert status(docker, "--security-opt", option)["NoNewPrivs"] == "1"
    assert status(docker)["NoNewPrivs"] == "0"


def test_bad_security_options(docker: Docker) -> None:
    assert 'invalid --security-opt 2: "nonsense=1"' in docker.fails(
        "run", "--security-opt", "nonsense=1", "busybox", code=125
    )


@pytest.mark.parametrize("path", ["/proc/kcore", "/proc/keys", "/proc/timer_list"])
def test_masked_files_are_empty(docker: Docker, path: str) -> None:
    if not os.path.exists(path):
        pytest.skip("this kernel does not have it")
    assert docker.ok("run", "--rm", "busybox", "sh", "-c", f"wc -c <{path}; stat -c %t,%T {path}").split() == [
        "0",
        "1,3",
    ]


@pytest.mark.parametrize("path", ["/proc/acpi", "/proc/scsi", "/sys/firmware", "/sys/devices/virtual/powercap"])
def test_masked_directories_are_empty(docker: Docker, path: str) -> None:
    if not os.path.isdir(path):
        pytest.skip("this kernel does not have it")
    assert docker.ok("run", "--rm", "busybox", "ls", path) == ""


@pytest.mark.parametrize(
    "path",
    ["/proc/sys/kernel/domainname", "/proc/sysrq-trigger", "/proc/irq/default_smp_affinity", "/proc/sys/vm/swappiness"],
)
def test_read_only_paths(docker: Docker, path: str) -> None:
    if not os.path.exists(path):
        pytest.skip("this kernel does not have it")
    assert "Read-only file system" in docker("run", "--rm", "busybox", "sh", "-c", f"echo >{path}").err


def test_sys_and_cgroups_are_read_only(docker: Docker) -> None:
    mounts = docker.ok("run", "--rm", "busybox", "cat", "/proc/self/mounts").splitlines()
    options = {line.split()[1]: line.split()[3].split(",") for line in mounts}
    assert options["/sys"][0] == "ro"
    assert all(value[0] == "ro" for point, value in options.items() if point.startswith("/sys/fs/cgroup/"))
    privileged = docker.ok("run", "--rm", "--privileged", "busybox", "cat", "/proc/self/mounts").splitlines()
    assert {line.split()[1]: line.split()[3] for line in privileged}["/sys"].startswith("rw")


def test_masked_paths_are_open_when_asked(docker: Docker) -> None:
    mounts = docker.ok("run", "--rm", "--security-opt", "systempaths=unconfined", "busybox", "cat", "/proc/self/mounts")
    assert "/proc/kcore" not in mounts and " /proc/sys " not in mounts


def test_devices(docker: Docker) -> None:
    names = docker.ok("run", "--rm", "busybox", "ls", "/dev").split()
    assert set(names) - {"core"} == {
        "fd",
        "full",
        "mqueue",
        "null",
        "ptmx",
        "pts",
        "random",
        "shm",
        "stderr",
        "stdin",
        "stdout",
        "tty",
        "urandom",
        "zero",
    }
    assert "console" in docker.ok("run", "--rm", "-t", "busybox", "ls", "-1", "/dev").split()
    assert (
        docker.ok(
            "run", "--rm", "busybox", "sh", "-c", "head -c 3 /dev/zero | wc -c; echo x >/dev/null; readlink /dev/ptmx"
        )
        == "3\npts/ptmx"
    )


def test_other_devices_cannot_be_opened(docker: Docker) -> None:
    """mknod is allowed, opening what was made is not: the device cgroup."""
    assert (
        "Operation not permitted"
        in docker("run", "--rm", "busybox", "sh", "-c", "mknod /mem c 1 1 && head -c1 /mem").err
    )


def test_a_device_given(docker: Docker, name: str) -> None:
    major_minor = "1 11"
    script = "ls -l /dev/log-device | awk '{print $1,$5,$6}'; echo x >/dev/log-device && echo written"
    out = docker.ok("run", "--rm", "--device", "/dev/kmsg:/dev/log-device:rw", "busybox", "sh", "-c", script)
    assert major_minor.replace(" ", ", ") in out and out.endswith("written")
    result = docker(
        "run", "--rm", "--device", "/dev/kmsg:/dev/log-device:r", "busybox", "sh", "-c", "echo x >/dev/log-device"
    )
    assert "Operation not permitted" in result.err
    message = docker.fails("run", "--name", name, "--device", "/dev/absent", "busybox", code=127)
    assert (
        'error gathering device information while adding custom device "/dev/absent": no such file or directory'
        in message
    )


def test_device_cgroup_rule(docker: Docker) -> None:
    result = docker(
        "run",
        "--rm",
        "--device-cgroup-rule",
        "c 1:11 rwm",
        "busybox",
        "sh",
        "-c",
        "mknod /k c 1 11; echo x >/k && echo open",
    )
    assert result.out.strip() == "open"
    assert "invalid" in docker.fails("run", "--device-cgroup-rule", "nonsense", "busybox", code=125).lower()


def test_privileged_sees_the_hosts_devices(docker: Docker) -> None:
    names = docker.ok("run", "--rm", "--privileged", "busybox", "ls", "/dev").split()
    assert {name for name in ("kmsg", "mem", "vda", "sda") if os.path.exists(f"/dev/{name}")} <= set(names)


def test_privileged_can_mount(docker: Docker) -> None:
    assert (
        docker.ok(
            "run",
            "--rm",
            "--privileged",
            "busybox",
            "sh",
            "-c",
            "mount -t tmpfs t /tmp && grep -c ' /tmp ' /proc/self/mounts",
        )
        == "1"
    )


@pytest.mark.parametrize(
    "command",
    [
        ["mount", "-t", "tmpfs", "t", "/tmp"],
        ["umount", "/proc"],
        ["chroot", "/tmp", "/x"],
        ["hostname", "other"],
        ["swapoff", "-a"],
        ["sysctl", "-w", "kernel.hostname=x"],
        ["unshare", "-m", "true"],
        ["insmod", "/x.ko"],
    ],
)
def test_what_root_inside_may_not(docker: Docker, command: list[str]) -> None:
    assert docker("run", "--rm", "busybox", *command).code != 0


def test_the_host_is_not_reached_through_proc(docker: Docker, sleeper: Callable[..., str]) -> None:
    """No descriptor of the engine is open inside, and the root of the first process is the container's
    (CVE-2024-21626).
    """
    container = sleeper()
    out = docker.ok("exec", container, "sh", "-c", "ls -l /proc/self/fd /proc/1/fd")
    targets = [line.split(" -> ")[1] for line in out.splitlines() if " -> " in line]
    assert all(t.startswith(("/dev/null", "pipe:", "/proc/", "socket:")) for t in targets), targets
    for number in range(3, 12):
        assert docker("run", "--rm", "-w", f"/proc/self/fd/{number}", "busybox", "cat", "../../../etc/shadow").code != 0


def test_the_runtimes_program_cannot_be_overwritten(docker: Docker) -> None:
    """What /proc/self/exe is for a process that is just entering belongs to the container (CVE-2019-5736)."""
    assert docker.ok("run", "--rm", "busybox", "readlink", "/proc/1/exe") == "/bin/busybox"


@pytest.mark.parametrize(
    ("flag", "script", "value"),
    [
        ("nofile=123:456", "ulimit -n; ulimit -Hn", "123\n456"),
        ("core=0", "ulimit -c", "0"),
        ("nproc=77:88", "grep processes /proc/self/limits | tr -s ' '", "Max processes 77 88 processes"),
    ],
)
def test_ulimits(docker: Docker, flag: str, script: str, value: str) -> None:
    assert docker.ok("run", "--rm", "--ulimit", flag, "busybox", "sh", "-c", script) == value


def test_unknown_ulimit(docker: Docker) -> None:
    assert "invalid ulimit type: nonsense" in docker.fails("run", "--ulimit", "nonsense=1", "busybox", code=125)


def test_sysctls(docker: Docker, name: str) -> None:
    out = docker.ok(
        "run",
        "--rm",
        "--sysctl",
        "net.ipv4.ip_forward=0",
        "--sysctl",
        "kernel.msgmax=9000",
        "busybox",
        "cat",
        "/proc/sys/net/ipv4/ip_forward",
        "/proc/sys/kernel/msgmax",
    )
    assert out.split() == ["0", "9000"]
    assert docker("run", "--rm", "--sysctl", "vm.swappiness=1", "busybox", "true").code in (125, 126, 127)
    assert docker("run", "--rm", "--network", "host", "--sysctl", "net.ipv4.ip_forward=0", "busybox", "true").code != 0


def test_low_ports_and_ping_need_no_capability(docker: Docker) -> None:
    out = docker.ok(
        "run",
        "--rm",
        "busybox",
        "cat",
        "/proc/sys/net/ipv4/ip_unprivileged_port_start",
        "/proc/sys/net/ipv4/ping_group_range",
    )
    assert out.split() == ["0", "0", "2147483647"]


def test_setuid_programs(docker: Docker, busybox_layer: bytes) -> None:
    """They work, as under dockerd, unless new privileges are refused."""
    python = Path("/usr/bin/python3").resolve().read_bytes()
    image = images.Image(
        ["suid:1"], [busybox_layer, images.layer(images.entry("bin/suid-python", python, mode=0o4755))]
    )
    docker.ok("load", stdin=images.docker_archive([image]))
    run = ["run", "--rm", "-u", "app", "-v", "/usr:/usr:ro"]
    effective = ["suid:1", "/bin/suid-python", "-c", "import os; print(os.getuid(), os.geteuid())"]
    assert docker.ok(*run, *effective) == "1000 0"
    assert docker.ok(*run, "--security-opt", "no-new-privileges", *effective) == "1000 1000"
