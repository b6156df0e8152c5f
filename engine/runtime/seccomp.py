"""Seccomp profiles compiled to the BPF programs that the kernel runs, by libseccomp.

The daemon compiles a container's profile (cached by digest, in `compile_cached`) and hands the program to the shim;
the command line compiles on the spot. Loaded by neither zygote nor shim. Installing is `process.Confinement`.
"""

from __future__ import annotations

import _thread
import ctypes
import errno
import hashlib
import json
import os
from ctypes import c_char_p, c_int, c_uint, c_uint32, c_uint64, c_void_p

from . import seccomp_stub
from .errors import RuntimeFailure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_CACHE_FORMAT = 1
_MANY_RULES = 32
_MAX_ARGUMENTS = 6
# <seccomp.h>
ACTIONS = {
    "SCMP_ACT_KILL": 0x00000000,
    "SCMP_ACT_KILL_THREAD": 0x00000000,
    "SCMP_ACT_KILL_PROCESS": 0x80000000,
    "SCMP_ACT_TRAP": 0x00030000,
    "SCMP_ACT_ERRNO": 0x00050000,
    "SCMP_ACT_TRACE": 0x7FF00000,
    "SCMP_ACT_LOG": 0x7FFC0000,
    "SCMP_ACT_ALLOW": 0x7FFF0000,
}
OPERATORS = {
    "SCMP_CMP_NE": 1,
    "SCMP_CMP_LT": 2,
    "SCMP_CMP_LE": 3,
    "SCMP_CMP_EQ": 4,
    "SCMP_CMP_GE": 5,
    "SCMP_CMP_GT": 6,
    "SCMP_CMP_MASKED_EQ": 7,
}
ARCHITECTURES = [
    f"SCMP_ARCH_{name}"
    for name in (
        "X86", "X86_64", "X32", "ARM", "AARCH64", "LOONGARCH64", "M68K", "MIPS", "MIPS64", "MIPS64N32", "MIPSEL",
        "MIPSEL64", "MIPSEL64N32", "PARISC", "PARISC64", "PPC", "PPC64", "PPC64LE", "RISCV64", "S390", "S390X", "SH",
        "SHEB",
    )
]  # fmt: skip
_SCMP_FLTATR_CTL_NNP = 3
_SCMP_FLTATR_CTL_OPTIMIZE = 8


class _Comparison(ctypes.Structure):
    """struct scmp_arg_cmp."""

    _fields_ = [("arg", c_uint), ("op", c_int), ("datum_a", c_uint64), ("datum_b", c_uint64)]


class _Version(ctypes.Structure):
    """struct scmp_version."""

    _fields_ = [("major", c_uint), ("minor", c_uint), ("micro", c_uint)]


def _load() -> ctypes.CDLL:
    try:
        library = ctypes.CDLL("libseccomp.so.2", use_errno=True)
    except OSError as error:
        raise RuntimeFailure("not_implemented", "seccomp needs libseccomp (libseccomp.so.2)") from error
    library.seccomp_init.argtypes = [c_uint32]
    library.seccomp_init.restype = c_void_p
    library.seccomp_release.argtypes = [c_void_p]
    library.seccomp_release.restype = None
    library.seccomp_arch_add.argtypes = [c_void_p, c_uint32]
    library.seccomp_arch_native.restype = c_uint32
    library.seccomp_arch_resolve_name.argtypes = [c_char_p]
    library.seccomp_arch_resolve_name.restype = c_uint32
    library.seccomp_attr_set.argtypes = [c_void_p, c_int, c_uint32]
    library.seccomp_syscall_resolve_name.argtypes = [c_char_p]
    library.seccomp_syscall_resolve_name_arch.argtypes = [c_uint32, c_char_p]
    library.seccomp_rule_add_array.argtypes = [c_void_p, c_uint32, c_int, c_uint, c_void_p]
    library.seccomp_export_bpf.argtypes = [c_void_p, c_int]
    library.seccomp_version.restype = ctypes.POINTER(_Version)
    return library


_libraries: list[ctypes.CDLL] = []


def _library() -> ctypes.CDLL:
    if not _libraries:
        _libraries.append(_load())
    return _libraries[0]


def version() -> str:
    """Return libseccomp's version."""
    found = _library().seccomp_version().contents
    return f"{found.major}.{found.minor}.{found.micro}"


def compile(profile: dict[str, Any]) -> bytes:
    """Compile an OCI linux.seccomp object; b"" where it asks for nothing.

    As with runc: system calls that this libseccomp does not know are left out, and those that are newer than all in
    the profile fail with ENOSYS instead of the default action, so that programs fall back as on an older kernel.
    """
    if not profile.get("defaultAction") and not profile.get("syscalls"):
        return b""
    library = _library()
    default = _action(profile["defaultAction"], profile.get("defaultErrnoRet"))
    architectures = [_architecture(name) for name in profile.get("architectures") or ()]
    context = library.seccomp_init(default)
    if not context:
        raise RuntimeFailure("invalid_argument", "error creating seccomp filter")
    try:
        for token in architectures:
            _check(
                library.seccomp_arch_add(context, token), "error adding architecture to seccomp filter", errno.EEXIST
            )
        rules = [(name, call) for call in profile.get("syscalls") or () for name in call["names"]]
        if len(rules) > _MANY_RULES:
            # A binary tree instead of a list; libseccomp before 2.5 does not have it.
            library.seccomp_attr_set(context, _SCMP_FLTATR_CTL_OPTIMIZE, 2)
        _check(library.seccomp_attr_set(context, _SCMP_FLTATR_CTL_NNP, 0), "error setting no new privileges")
        for name, call in rules:
            _add(context, name, call, default)
        program = _export(context)
    finally:
        library.seccomp_release(context)
    if default & 0xFFFF0000 not in _STUBBED or default == ACTIONS["SCMP_ACT_ERRNO"] | errno.ENOSYS:
        return program
    return seccomp_stub.generate(_largest(architectures, [name for name, _ in rules])) + program


# Default actions that deny; with the others a new system call is let through anyway.
_STUBBED = frozenset(ACTIONS[f"SCMP_ACT_{name}"] for name in ("KILL", "KILL_PROCESS", "TRAP", "ERRNO"))


def compile_cached(profile: dict[str, Any], directory: str) -> str:
    """Return the path of a file with the compiled program, made when there is none for this profile yet."""
    key = json.dumps([_CACHE_FORMAT, version(), os.uname().machine, profile], sort_keys=True)
    path = os.path.join(directory, f"{hashlib.sha256(key.encode()).hexdigest()}.bpf")
    if os.path.exists(path):
        return path
    program = compile(profile)
    os.makedirs(directory, 0o700, exist_ok=True)
    temporary = f"{path}.{_thread.get_native_id()}"
    with open(temporary, "wb") as file:
        file.write(program)
    os.rename(temporary, path)
    return path


def _check(result: int, what: str, *allowed: int) -> None:
    if result < 0 and -result not in allowed:
        raise RuntimeFailure("invalid_argument", f"{what}: {os.strerror(-result).lower()}", -result)


def _action(name: str, errno_ret: int | None) -> int:
    if name == "SCMP_ACT_NOTIFY":
        raise RuntimeFailure("not_implemented", "SCMP_ACT_NOTIFY is not implemented")
    if name not in ACTIONS:
        raise RuntimeFailure("invalid_argument", f"string {name} is not a valid action for seccomp")
    action = ACTIONS[name]
    if name in ("SCMP_ACT_ERRNO", "SCMP_ACT_TRACE"):
        return action | (errno.EPERM if errno_ret is None else errno_ret & 0xFFFF)
    return action


def _architecture(name: str) -> int:
    short = name.removeprefix("SCMP_ARCH_").lower()
    token: int = _library().seccomp_arch_resolve_name(short.encode())
    if token == 0:
        raise RuntimeFailure("invalid_argument", f"string {name} is not a valid arch for seccomp")
    return token


def _add(context: int, name: str, call: dict[str, Any], default: int) -> None:
    action = _action(call["action"], call.get("errnoRet"))
    number: int = _library().seccomp_syscall_resolve_name(name.encode())
    if action == default or number == -1:
        return
    conditions = [_condition(name, argument) for argument in call.get("args") or ()]
    arguments = [condition.arg for condition in conditions]
    # Several conditions on one argument are alternatives; on different ones they must hold together.
    alternatives = [[one] for one in conditions] if len(set(arguments)) < len(arguments) else [conditions]
    for together in alternatives:
        array = (_Comparison * len(together))(*together)
        result = _library().seccomp_rule_add_array(context, action, number, len(together), array)
        _check(result, f"error adding seccomp filter rule for syscall {name}", errno.EEXIST)


def _condition(name: str, argument: dict[str, Any]) -> _Comparison:
    operator = OPERATORS.get(argument["op"])
    if operator is None:
        raise RuntimeFailure("invalid_argument", f"string {argument['op']} is not a valid operator for seccomp")
    if not 0 <= argument["index"] < _MAX_ARGUMENTS:
        text = f"error creating seccomp syscall condition for syscall {name}: invalid argument index"
        raise RuntimeFailure("invalid_argument", text)
    return _Comparison(argument["index"], operator, argument["value"], argument.get("valueTwo") or 0)


def _export(context: int) -> bytes:
    fd = os.memfd_create("seccomp", os.MFD_CLOEXEC)
    try:
        _check(_library().seccomp_export_bpf(context, fd), "error exporting seccomp filter")
        return os.pread(fd, os.fstat(fd).st_size, 0)
    finally:
        os.close(fd)


def _largest(architectures: list[int], names: list[str]) -> dict[int, int]:
    """Return the largest number that the profile's names have on each architecture."""
    library = _library()
    largest: dict[int, int] = {}
    for token in dict.fromkeys([library.seccomp_arch_native(), *architectures]):
        numbers = [library.seccomp_syscall_resolve_name_arch(token, name.encode()) for name in names]
        if max(numbers, default=0) > 0:
            largest[token] = max(numbers)
    return largest
