"""What the container's processes must not be able to do."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from lightship.engine.runtime import container, seccomp, seccomp_default
from lightship.engine.runtime.errors import RuntimeFailure

if TYPE_CHECKING:
    from .conftest import Bundle


def test_capabilities_and_no_new_privileges(bundle: Bundle) -> None:
    script = "grep -e Cap -e NoNewPrivs /proc/self/status"
    rows = dict(line.split() for line in bundle.sh(script, noNewPrivileges=True).output.splitlines())
    granted = "00000000a80425fb"
    assert rows == {
        "CapInh:": "0" * 16,
        "CapPrm:": granted,
        "CapEff:": granted,
        "CapBnd:": granted,
        "CapAmb:": "0" * 16,
        "NoNewPrivs:": "1",
    }
    rows = dict(line.split() for line in bundle.sh(script, user={"username": "alice"}).output.splitlines())
    assert (rows["CapEff:"], rows["CapPrm:"], rows["CapBnd:"]) == ("0" * 16, "0" * 16, granted)


def test_ambient_capabilities_survive_for_a_plain_user(bundle: Bundle) -> None:
    sets = {name: ["CAP_NET_RAW"] for name in ("bounding", "effective", "permitted", "inheritable", "ambient")}
    result = bundle.sh("grep CapEff /proc/self/status", user={"username": "alice"}, capabilities=sets)
    assert int(result.output.split()[1], 16) == 1 << 13


def test_masked_and_read_only_paths(bundle: Bundle) -> None:
    result = bundle.sh(
        "wc -c < /proc/keys; ls /sys/firmware | wc -l; ls /proc/acpi | wc -l;"
        " echo 1 > /proc/sys/kernel/domainname; touch /sys/x"
    )
    assert result.output.splitlines()[:3] == ["0", "0", "0"]
    assert result.output.count("Read-only file system") == 2


def test_devices_outside_the_rules_cannot_be_used(bundle: Bundle) -> None:
    script = "mknod /tmp/hwrng c 10 183 && cat /tmp/hwrng; mknod /tmp/n c 1 3 && cat /tmp/n && echo null"
    result = bundle.sh(script)
    assert result.output == "cat: can't open '/tmp/hwrng': Operation not permitted\nnull\n"


def test_devices_of_the_spec(bundle: Bundle) -> None:
    spec = bundle.spec(
        "sh", "-c", "stat -c '%a %u:%g %t:%T' /dev/deep/ptmx; : < /dev/deep/autofs && echo read; : > /dev/deep/autofs"
    )
    autofs = {"type": "c", "major": 10, "minor": 235}
    spec["linux"]["devices"] = [
        {"path": "/dev/deep/ptmx", "type": "c", "major": 5, "minor": 2, "fileMode": 0o640, "uid": 3, "gid": 4},
        {"path": "/dev/deep/autofs", "fileMode": 0o666, **autofs},
    ]
    spec["linux"]["resources"]["devices"].append({"allow": True, "access": "r", **autofs})
    lines = bundle.run(spec).output.splitlines()
    assert lines[0] == "640 3:4 5:2"
    assert lines[1] == "read" or "No such device" in lines[1]  # the rules let it through to the driver
    assert lines[-1].endswith("Operation not permitted")


def test_no_path_leads_to_the_hosts_interpreter(bundle: Bundle) -> None:
    """Between fork and execve the process is a copy of ours; CVE-2019-5736 reached for its /proc/PID/exe."""
    init = bundle.start()
    other = type(bundle)(bundle.path, f"{bundle.id}-2")
    other.state_dir += "2"
    spec = other.spec("sleep", "1000")
    for entry in spec["linux"]["namespaces"]:
        if entry["type"] == "pid":
            entry["path"] = f"/proc/{init.pid}/ns/pid"
    waiting = other.create(spec)
    try:
        result = bundle.execute(
            "sh",
            "-c",
            "ls /proc | grep -x 2; ls -l /proc/2/exe 2>&1 | grep -c python;"
            " readlink /proc/2/root; readlink /proc/2/fd/0; cat /proc/2/maps",
        )
        assert result.output == "2\n0\ncat: can't open '/proc/2/maps': Permission denied\n"
    finally:
        waiting.close()
        other.reap(waiting)
        container.delete(other.state_dir)


def test_a_tracing_container_sees_nothing_of_the_host_in_an_exec(bundle: Bundle) -> None:
    """With CAP_SYS_PTRACE /proc/PID is open; root and descriptors must be the container's from the first moment."""
    capabilities = {name: ["CAP_SYS_PTRACE", "CAP_DAC_OVERRIDE"] for name in ("bounding", "effective", "permitted")}
    watch = (
        "while :; do for p in /proc/[0-9]*; do [ -e $p/root/bin/busybox ] || [ ! -e $p/root ] || echo $p; done; done"
    )
    spec = bundle.spec("sh", "-c", watch, capabilities=capabilities)
    reader, writer = os.pipe()
    init = bundle.create(spec, output_fd=writer)
    os.close(writer)
    init.start()
    for _ in range(20):
        assert bundle.execute("true", capabilities=capabilities).code == 0
    container.kill(bundle.state_dir, 9)
    bundle.reap(init)
    with open(reader) as file:
        assert file.read() == ""


def test_the_interpreter_runs_from_a_read_only_mount(bundle: Bundle) -> None:
    program = (
        "import os; from lightship.engine.runtime import selfexe; selfexe.protect();"
        " print(selfexe.is_protected()); os.chmod('/proc/self/exe', 0o755)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stdout == "True\n"
    assert "Read-only file system" in done.stderr


def test_read_only_root(bundle: Bundle) -> None:
    spec = bundle.spec("sh", "-c", "touch /x; touch /dev/shm/x && echo shm")
    spec["root"]["readonly"] = True
    result = bundle.run(spec)
    assert "Read-only file system" in result.output
    assert result.output.endswith("shm\n")


@pytest.mark.parametrize("no_new_privileges", [False, True])
def test_default_seccomp_profile(bundle: Bundle, no_new_privileges: bool) -> None:
    capabilities = set(bundle.spec("x")["process"]["capabilities"]["bounding"])
    program = seccomp.compile(seccomp_default.default_profile(capabilities))
    spec = bundle.spec(
        "sh", "-c", "grep Seccomp: /proc/self/status; mount -t tmpfs x /tmp", noNewPrivileges=no_new_privileges
    )
    spec["process"]["capabilities"] = {
        name: [*capabilities, "CAP_SYS_ADMIN"] for name in ("bounding", "effective", "permitted")
    }
    result = bundle.run(spec, seccomp=program)
    assert result.output.startswith("Seccomp:\t2\n")
    assert "permission denied" in result.output.lower()
    spec["linux"]["seccomp"] = seccomp_default.default_profile({*capabilities, "CAP_SYS_ADMIN"})
    assert "permission denied" not in bundle.run(spec).output.lower()


@pytest.mark.parametrize("refusal", [errno.EPERM, errno.ENOSYS])
def test_profiles_older_than_a_call_of_ours_leave_the_program_to_execve(bundle: Bundle, refusal: int) -> None:
    spec = bundle.spec("echo", "here")
    rule = {"names": ["faccessat2"], "action": "SCMP_ACT_ERRNO", "errnoRet": refusal}
    spec["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}
    assert bundle.run(spec).output == "here\n"
    spec["process"]["args"] = ["/etc/passwd"]
    with pytest.raises(RuntimeFailure, match=r'exec: "/etc/passwd": permission denied'):
        bundle.create(spec)


def test_a_profile_without_getcwd_still_has_a_working_directory(bundle: Bundle) -> None:
    spec = bundle.spec("ls", cwd="/home/alice")
    (bundle.root / "home/alice/here").touch()
    rule = {"names": ["getcwd"], "action": "SCMP_ACT_ERRNO"}
    spec["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}
    assert bundle.run(spec).output == "here\n"
    outside = os.open("/", os.O_RDONLY)
    os.set_inheritable(outside, True)
    try:
        spec["process"]["cwd"] = f"/proc/self/fd/{outside}"
        with pytest.raises(RuntimeFailure, match="possible container breakout detected"):
            bundle.create(spec, preserve_fds=outside - 2)
    finally:
        os.close(outside)


def test_sysctls_reach_only_the_containers_namespaces(bundle: Bundle) -> None:
    spec = bundle.spec("cat", "/proc/sys/net/ipv4/ip_unprivileged_port_start", "/proc/sys/kernel/shmmax")
    spec["linux"]["sysctl"] = {"net.ipv4.ip_unprivileged_port_start": "77", "kernel.shmmax": "4096"}
    assert bundle.run(spec).output == "77\n4096\n"
    for name, text in (
        ("kernel.panic", 'sysctl "kernel.panic" is not in a separate kernel namespace'),
        ("kernel.hostname", 'sysctl "kernel.hostname" is not allowed as it conflicts with the OCI "hostname" field'),
    ):
        spec["linux"]["sysctl"] = {name: "1"}
        with pytest.raises(RuntimeFailure) as raised:
            bundle.create(spec)
        assert raised.value.message == text
    spec["linux"]["sysctl"] = {"net.nothing": "1"}
    with pytest.raises(RuntimeFailure) as raised:
        bundle.create(spec)
    assert raised.value.message.endswith("container init: open /proc/sys/net/nothing: no such file or directory")


def test_user_namespace(bundle: Bundle) -> None:
    spec = bundle.spec("sh", "-c", "id -u; cat /proc/self/uid_map; touch /tmp/mine; ls -ln /dev/null")
    spec["linux"]["namespaces"].append({"type": "user"})
    maps = [{"containerID": 0, "hostID": 100000, "size": 65536}]
    spec["linux"] |= {"uidMappings": maps, "gidMappings": maps}
    for directory, _, files in os.walk(bundle.root):
        for name in (".", *files):
            os.chown(os.path.join(directory, name), 100000, 100000, follow_symlinks=False)
    for path in (bundle.path, *bundle.path.parents[:2]):
        path.chmod(0o755)
    result = bundle.run(spec)
    assert result.output.splitlines()[:2] == ["0", "         0     100000      65536"]
    assert (bundle.root / "tmp/mine").stat().st_uid == 100000


def test_joined_namespaces(bundle: Bundle) -> None:
    init = bundle.start()
    other = type(bundle)(bundle.path, f"{bundle.id}-2")
    other.state_dir += "2"
    spec = other.spec("sh", "-c", "readlink /proc/self/ns/net; readlink /proc/self/ns/ipc; ps")
    fd = os.open(f"/proc/{init.pid}/ns/net", os.O_RDONLY)
    paths = {"network": f"/proc/self/fd/{fd}", "ipc": f"/proc/{init.pid}/ns/ipc", "pid": f"/proc/{init.pid}/ns/pid"}
    for entry in spec["linux"]["namespaces"]:
        if entry["type"] in paths:
            entry["path"] = paths[entry["type"]]
    try:
        output = other.run(spec).output
    finally:
        os.close(fd)
    assert output.splitlines()[:2] == [os.readlink(f"/proc/{init.pid}/ns/{kind}") for kind in ("net", "ipc")]
    assert "sleep 1000" in output


def test_delete_kills_what_a_shared_pid_namespace_leaves(bundle: Bundle) -> None:
    spec = bundle.spec("sh", "-c", "sleep 1000 & echo done")
    spec["linux"]["namespaces"] = [entry for entry in spec["linux"]["namespaces"] if entry["type"] != "pid"]
    init = bundle.create(spec)
    init.start()
    assert bundle.reap(init) == 0
    assert len(container.pids(bundle.state_dir)) == 1
    container.delete(bundle.state_dir)


def test_a_user_namespace_can_be_shared(bundle: Bundle, tmp_path: Path) -> None:
    """What the second container makes belongs to the namespace that it joins: it may mount and set its clocks."""
    spec = bundle.spec("sleep", "1000")
    maps = [{"containerID": 0, "hostID": 100000, "size": 65536}]
    spec["linux"]["namespaces"] += [{"type": "user"}, {"type": "time"}]
    spec["linux"] |= {"uidMappings": maps, "gidMappings": maps, "timeOffsets": {"boottime": {"secs": 100000}}}
    for directory, _, files in os.walk(bundle.root):
        for name in (".", *files):
            os.chown(os.path.join(directory, name), 100000, 100000, follow_symlinks=False)
    for path in (bundle.path, *bundle.path.parents[:2]):
        path.chmod(0o755)
    init = bundle.create(spec)
    init.start()
    uptime = float(Path("/proc/uptime").read_text().split()[0])
    assert float(bundle.execute("cat", "/proc/uptime").output.split()[0]) > uptime + 99000
    other = type(bundle)(tmp_path, f"{bundle.id}-other")
    other.state_dir = str(tmp_path / "other")
    spec = other.spec("sh", "-c", "readlink /proc/self/ns/user; echo $$; touch /tmp/mine && stat -c %u /tmp/mine")
    spec["linux"]["namespaces"].append({"type": "user", "path": f"/proc/{init.pid}/ns/user"})
    found = other.run(spec).output.split()
    assert found == [os.readlink(f"/proc/{init.pid}/ns/user"), "1", "0"]
    assert (bundle.root / "tmp/mine").stat().st_uid == 100000
