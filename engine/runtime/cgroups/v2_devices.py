"""Device rules under cgroup v2: a small eBPF program attached to the group.

The kernel calls it with struct bpf_cgroup_dev_ctx for each use of a device node; 1 allows. Programs are tested in a
virtual machine, their instructions in a unit test.
"""

from __future__ import annotations

import os
import struct

from ..errors import RuntimeFailure, reason
from . import bpf, devices

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .devices import Rule

# <linux/bpf.h>, <linux/bpf_common.h>
_LDX_W = 0x61
_ALU32_AND_K = 0x54
_ALU32_RSH_K = 0x74
_ALU32_MOV_X = 0xBC
_ALU64_MOV_K = 0xB7
_JMP32_JNE_K = 0x56
_JMP32_JEQ_K = 0x16
_JMP32_JNE_X = 0x5E
_EXIT = 0x95
_TYPES = {"b": 1, "c": 2}
_ACCESS = {"m": 1, "r": 2, "w": 4}
# Registers: the context, a scratch one, and what `_PROLOGUE` loads.
_CONTEXT, _RESULT, _TYPE, _WANTED, _MAJOR, _MINOR, _SCRATCH = 1, 0, 2, 3, 4, 5, 1


def _instruction(code: int, destination: int = 0, source: int = 0, offset: int = 0, immediate: int = 0) -> bytes:
    return struct.pack("=BBhI", code, destination | source << 4, offset, immediate & 0xFFFFFFFF)


_PROLOGUE = (
    _instruction(_LDX_W, _TYPE, _CONTEXT, 0)
    + _instruction(_ALU32_AND_K, _TYPE, immediate=0xFFFF)
    + _instruction(_LDX_W, _WANTED, _CONTEXT, 0)
    + _instruction(_ALU32_RSH_K, _WANTED, immediate=16)
    + _instruction(_LDX_W, _MAJOR, _CONTEXT, 4)
    + _instruction(_LDX_W, _MINOR, _CONTEXT, 8)
)


def program(rules: list[dict[str, Any]]) -> bytes:
    """Return the program for OCI device rules; the last rule that fits decides, so they are tested backwards."""
    allow_all, kept = devices.effective(rules)
    blocks = [_block(rule) for rule in reversed(kept)]
    return b"".join([_PROLOGUE, *blocks, _answer(allow_all)])


def _answer(allow: bool) -> bytes:
    return _instruction(_ALU64_MOV_K, _RESULT, immediate=int(allow)) + _instruction(_EXIT)


def _block(rule: Rule) -> bytes:
    allow, kind, major, minor, access = rule
    # (instruction without its offset, does it leave the block?); the offsets follow from the block's length.
    tests: list[tuple[int, int, int, int]] = [(_JMP32_JNE_K, _TYPE, 0, _TYPES[kind])]
    mask = sum(_ACCESS[letter] for letter in set(access))
    scratch = b""
    if mask != sum(_ACCESS.values()):
        # Allow only if all that is wanted is in the rule, deny if any of it is.
        scratch = _instruction(_ALU32_MOV_X, _SCRATCH, _WANTED) + _instruction(_ALU32_AND_K, _SCRATCH, immediate=mask)
        tests.append((_JMP32_JNE_X, _SCRATCH, _WANTED, 0) if allow else (_JMP32_JEQ_K, _SCRATCH, 0, 0))
    if major >= 0:
        tests.append((_JMP32_JNE_K, _MAJOR, 0, major))
    if minor >= 0:
        tests.append((_JMP32_JNE_K, _MINOR, 0, minor))
    body = b""
    remaining = len(tests) + len(scratch) // 8 + 2
    for number, (code, destination, source, immediate) in enumerate(tests):
        if number == 1 and scratch:
            body += scratch
            remaining -= 2
        remaining -= 1
        body += _instruction(code, destination, source, remaining, immediate)
    return body + _answer(allow)


def apply(directory: str, rules: list[dict[str, Any]]) -> None:
    """Attach the program to the group in place of those of before; the new one first, so that there is no gap."""
    cgroup_fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        before = bpf.attached(cgroup_fd)
        program_fd = bpf.load(program(rules))
        try:
            bpf.attach(cgroup_fd, program_fd)
        finally:
            os.close(program_fd)
        for program_id in before:
            old_fd = bpf.program_fd(program_id)
            try:
                bpf.detach(cgroup_fd, old_fd)
            finally:
                os.close(old_fd)
    except OSError as error:
        text = f"unable to set device rules by bpf: {reason(error)}"
        raise RuntimeFailure("internal", text, error.errno or 0) from error
    finally:
        os.close(cgroup_fd)
