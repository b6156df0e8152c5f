"""Compiled filters run in a small BPF machine, so that what they answer can be asked without installing them."""

from __future__ import annotations

import errno
import os
import struct
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from lightship.engine.runtime import seccomp, seccomp_default
from lightship.engine.runtime.errors import RuntimeFailure

X86_64, I386 = 0xC000003E, 0x40000003
ALLOW = 0x7FFF0000
pytestmark = pytest.mark.skipif(os.uname().machine != "x86_64", reason="the numbers are x86_64's")
DOCKER = {f"CAP_{name}" for name in ("CHOWN", "DAC_OVERRIDE", "SYS_CHROOT", "MKNOD", "KILL")}


def answer(program: bytes, number: int, *arguments: int, arch: int = X86_64) -> int:
    """Run a classic BPF program on struct seccomp_data."""
    data = struct.pack("=IIQ6Q", number & 0xFFFFFFFF, arch, 0, *arguments, *[0] * (6 - len(arguments)))
    code = [struct.unpack_from("=HBBI", program, at) for at in range(0, len(program), 8)]
    at, a = 0, 0
    while True:
        op, true, false, k = code[at]
        at += 1
        if op == 0x20:
            a = struct.unpack_from("=I", data, k)[0]
        elif op == 0x06:
            return k
        elif op == 0x05:
            at += k
        elif op == 0x54:
            a &= k
        else:
            result = {0x15: a == k, 0x25: a > k, 0x35: a >= k, 0x45: bool(a & k)}[op]
            at += true if result else false


def denied(code: int) -> int:
    return 0x00050000 | code


def test_default_profile_answers() -> None:
    program = seccomp.compile(seccomp_default.default_profile(DOCKER))
    ask = lambda *call, **options: answer(program, *call, **options)  # noqa: E731
    assert ask(0) == ALLOW  # read
    assert ask(161) == ALLOW  # chroot, by its capability
    assert ask(165) == denied(errno.EPERM)  # mount
    assert ask(435) == denied(errno.ENOSYS)  # clone3
    assert ask(56, 0x00000100) == ALLOW  # clone
    assert ask(56, 0x10000000) == denied(errno.EPERM)  # clone with CLONE_NEWUSER
    assert ask(41, 2) == ALLOW  # socket AF_INET
    assert [ask(41, family) for family in (37, 38, 39, 40, 41)] == [ALLOW, denied(1), ALLOW, denied(1), ALLOW]
    assert [ask(135, persona) for persona in (0, 8, 1, 0xFFFFFFFF)] == [ALLOW, ALLOW, denied(1), ALLOW]
    assert ask(9999) == denied(errno.ENOSYS)  # newer than the profile
    assert ask(3, arch=I386) == ALLOW  # read on i386
    assert ask(21, arch=I386) == denied(errno.EPERM)  # mount on i386
    assert ask(9999, arch=I386) == denied(errno.ENOSYS)
    assert ask(0x40000000) == ALLOW  # read on x32
    assert ask(0x40000000 + 9999) == denied(errno.ENOSYS)


def test_capabilities_open_calls() -> None:
    program = seccomp.compile(seccomp_default.default_profile({*DOCKER, "CAP_SYS_ADMIN", "CAP_SYS_TIME"}))
    assert [answer(program, number) for number in (165, 435, 227)] == [ALLOW] * 3
    assert answer(program, 246) == denied(errno.EPERM)  # kexec_load is nobody's


def rule(name: str, action: str = "SCMP_ACT_ALLOW", **more: Any) -> dict[str, Any]:
    return {"names": [name], "action": action, **more}


def test_comparisons_and_actions() -> None:
    argument = lambda index, op, value, two=0: {"index": index, "op": f"SCMP_CMP_{op}", "value": value, "valueTwo": two}  # noqa: E731
    program = seccomp.compile(
        {
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [
                rule("read", "SCMP_ACT_ERRNO", errnoRet=7, args=[argument(0, "EQ", 1), argument(2, "GT", 9)]),
                rule("write", "SCMP_ACT_ERRNO", args=[argument(0, "EQ", 1), argument(0, "EQ", 2)]),
                rule("close", "SCMP_ACT_KILL_PROCESS", args=[argument(0, "MASKED_EQ", 0xF0, 0x10)]),
                rule("a_call_of_the_future", "SCMP_ACT_ERRNO"),
                rule("getpid", "SCMP_ACT_TRAP"),
            ],
        }
    )
    assert [answer(program, 0, *arguments) for arguments in ((1, 0, 10), (1, 0, 9), (2, 0, 10))] == [
        denied(7),
        ALLOW,
        ALLOW,
    ]
    assert [answer(program, 1, fd) for fd in (1, 2, 3)] == [denied(1), denied(1), ALLOW]
    assert [answer(program, 3, fd) for fd in (0x1F, 0x2F)] == [0x80000000, ALLOW]
    assert answer(program, 39) & 0xFFFF0000 == 0x00030000
    assert answer(program, 9999) == ALLOW


@pytest.mark.parametrize(
    ("profile", "kind"),
    [
        ({"defaultAction": "SCMP_ACT_NO"}, "invalid_argument"),
        ({"defaultAction": "SCMP_ACT_NOTIFY"}, "not_implemented"),
        ({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_PDP11"]}, "invalid_argument"),
        ({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule("read", "X")]}, "invalid_argument"),
    ],
)
def test_bad_profiles(profile: dict[str, Any], kind: str) -> None:
    with pytest.raises(RuntimeFailure) as raised:
        seccomp.compile(profile)
    assert raised.value.kind == kind


def test_profile_files() -> None:
    loaded = seccomp_default.load_profile(
        {
            "defaultAction": "SCMP_ACT_ERRNO",
            "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]}],
            "syscalls": [
                rule("read"),
                {"name": "old", "action": "SCMP_ACT_ALLOW"},
                rule("mount", includes={"caps": ["CAP_SYS_ADMIN"]}),
                rule("umount", excludes={"caps": ["CAP_CHOWN"]}),
                rule("arm", includes={"arches": ["arm64"]}),
                rule("new", includes={"minKernel": "99.1"}),
                rule("ptrace", includes={"minKernel": "4.8"}),
            ],
        },
        DOCKER,
    )
    assert loaded is not None
    assert loaded["architectures"] == ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"]
    assert [call["names"] for call in loaded["syscalls"]] == [["read"], ["old"], ["ptrace"]]
    assert seccomp_default.load_profile({}, DOCKER) is None
    with pytest.raises(RuntimeFailure, match="both 'architectures' and 'archMap'"):
        seccomp_default.load_profile({"defaultAction": "x", "architectures": ["a"], "archMap": [{}]}, set())


def test_many_compile_the_same_at_once(tmp_path: Any) -> None:
    profile = seccomp_default.default_profile(DOCKER)
    with ThreadPoolExecutor(8) as threads:
        paths = set(threads.map(lambda _: seccomp.compile_cached(profile, str(tmp_path)), range(8)))
    assert os.listdir(tmp_path) == [os.path.basename(path) for path in paths]


def test_cache_compiles_once(tmp_path: Any) -> None:
    profile = seccomp_default.default_profile(DOCKER)
    path = seccomp.compile_cached(profile, str(tmp_path))
    with open(path, "rb") as file:
        assert file.read() == seccomp.compile(profile)
    inode = os.stat(path).st_ino
    assert seccomp.compile_cached(profile, str(tmp_path)) == path
    assert os.stat(path).st_ino == inode
    assert seccomp.compile_cached(seccomp_default.default_profile(set()), str(tmp_path)) != path
