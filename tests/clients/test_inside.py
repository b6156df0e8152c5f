"""From inside it looks like Docker: what tools look for to find out where they are."""

from __future__ import annotations

import re
from collections.abc import Callable

from harness.docker import Docker

Sleeper = Callable[..., str]


def inside(docker: Docker, script: str, *flags: str) -> str:
    return docker.ok("run", "--rm", *flags, "busybox", "sh", "-c", script)


def test_p107_dockerenv_and_mtab(docker: Docker) -> None:
    assert inside(docker, "wc -c </.dockerenv; readlink /etc/mtab").split() == ["0", "/proc/mounts"]


def test_p107_hostname_is_the_short_id(docker: Docker, sleeper: Sleeper) -> None:
    container = sleeper()
    assert docker.ok("exec", container, "sh", "-c", "hostname; cat /etc/hostname").split() == [container[:12]] * 2


def test_p107_files_are_mounted(docker: Docker) -> None:
    mounts = inside(docker, "cat /proc/self/mounts")
    for path in ("/etc/resolv.conf", "/etc/hostname", "/etc/hosts"):
        assert f" {path} " in mounts


def test_p108_mountinfo_names_the_container(docker: Docker, sleeper: Sleeper) -> None:
    container = sleeper()
    mountinfo = docker.ok("exec", container, "cat", "/proc/self/mountinfo")
    assert re.findall(r"/containers/([0-9a-f]{64})/(hostname|hosts|resolv\.conf)", mountinfo) and container in mountinfo
    assert f"/containers/{container}/hostname" in mountinfo


def test_hosts(docker: Docker) -> None:
    lines = [
        line.split()
        for line in inside(docker, "cat /etc/hosts; ip -4 -o addr show eth0", "--hostname", "me").splitlines()
    ]
    assert ["127.0.0.1", "localhost"] in lines
    assert ["::1", "localhost", "ip6-localhost", "ip6-loopback"] in lines
    address = lines[-1][3].split("/")[0]
    assert [address, "me"] in lines


def test_the_host_file_is_the_containers(docker: Docker, sleeper: Sleeper) -> None:
    container = sleeper("--hostname", "me", "--domainname", "example.org")
    assert "me.example.org me" in docker.ok("exec", container, "cat", "/etc/hosts")


def test_the_files_can_be_written(docker: Docker, sleeper: Sleeper) -> None:
    container = sleeper()
    docker.ok("exec", container, "sh", "-c", "echo 10.0.0.1 mine >>/etc/hosts")
    assert "mine" in docker.ok("exec", container, "cat", "/etc/hosts")


def test_first_process_and_namespaces(docker: Docker) -> None:
    assert inside(docker, "echo $$; ps | wc -l").split()[0] == "1"
    script = "ls -l /proc/self/ns | awk '{print $NF}' | grep -oE '^[a-z]+'"
    assert {"ipc", "mnt", "net", "pid", "uts"} <= set(inside(docker, script).split())


def test_root_is_an_overlay(docker: Docker) -> None:
    line = inside(docker, "grep ' / ' /proc/self/mounts")
    assert line.split()[0] == "overlay" and line.split()[2] == "overlay"


def test_standard_mounts(docker: Docker) -> None:
    mounts = {
        line.split()[1]: (line.split()[2], set(line.split()[3].split(",")))
        for line in inside(docker, "cat /proc/self/mounts").splitlines()
    }
    assert mounts["/proc"][0] == "proc" and {"nosuid", "nodev", "noexec"} <= mounts["/proc"][1]
    assert mounts["/dev"][0] == "tmpfs" and {"nosuid", "mode=755"} <= mounts["/dev"][1]
    assert mounts["/dev/pts"][0] == "devpts" and {"gid=5", "mode=620", "ptmxmode=666"} <= mounts["/dev/pts"][1]
    assert mounts["/dev/mqueue"][0] == "mqueue" and mounts["/sys"][0] == "sysfs"


def test_the_file_mode_mask_and_working_directory(docker: Docker) -> None:
    assert inside(docker, "umask; pwd").split() == ["0022", "/"]


def test_no_signal_is_ignored_or_blocked(docker: Docker) -> None:
    out = docker.ok("run", "--rm", "busybox", "grep", "-E", "^Sig(Blk|Ign):", "/proc/self/status")
    c_library = 1 << 31 | 1 << 32  # glibc's posix_spawn ignores its own two in what it starts; make starts so
    assert [int(line.split()[1], 16) & ~c_library for line in out.splitlines()] == [0, 0]


def test_a_session_of_its_own(docker: Docker) -> None:
    assert docker.ok("run", "--rm", "busybox", "sh", "-c", "cut -d' ' -f5,6 /proc/1/stat") == "1 1"


def test_what_is_written_stays_over_a_restart_but_not_over_containers(docker: Docker, name: str) -> None:
    docker.ok("run", "--name", name, "busybox", "sh", "-c", "echo x >>/file; cat /file")
    assert docker.ok("start", "-a", name).split() == ["x", "x"]
    assert "No such file" in docker("run", "--rm", "busybox", "cat", "/file").err
