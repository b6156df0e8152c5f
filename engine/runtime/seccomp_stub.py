"""The first instructions of a filter: ENOSYS for system calls that are newer than the profile.

A profile that answers EPERM to what it does not name breaks programs that try a new call and fall back on ENOSYS;
so numbers above the largest in the profile are answered before the filter proper (runc does the same).
"""

from __future__ import annotations

import errno
import struct

# <linux/bpf_common.h>, <linux/seccomp.h>, <linux/audit.h>
_LD_W_ABS = 0x20
_JA = 0x05
_JEQ_K = 0x15
_JGT_K = 0x25
_JSET_K = 0x45
_RET_K = 0x06
_OFFSET_NR = 0
_OFFSET_ARCH = 4
_RET_ENOSYS = 0x00050000 | errno.ENOSYS
_AUDIT_ARCH_X86_64 = 0xC000003E
_X32_BIT = 1 << 30
# libseccomp's token for x32; on the wire it shares x86_64's.
_SCMP_ARCH_X32 = 0x4000003E


def generate(largest: dict[int, int]) -> bytes:
    """Return the instructions for {libseccomp's architecture: largest number}; they fall through to the filter."""
    sections: dict[int, list[tuple[int, int, int, int]]] = {}
    for token, number in largest.items():
        if token not in (_AUDIT_ARCH_X86_64, _SCMP_ARCH_X32):
            # More than the largest? return : go on
            sections[token] = [(_JGT_K, 0, 1, number), (_RET_K, 0, 0, _RET_ENOSYS)]
    if _AUDIT_ARCH_X86_64 in largest or _SCMP_ARCH_X32 in largest:
        sections[_AUDIT_ARCH_X86_64] = _x86_64(largest)
    program: list[tuple[int, int, int, int]] = []
    remaining = sum(len(section) + 3 for section in sections.values())
    for token, section in sections.items():
        # Another architecture? past this section : load the number, test it, and leave all the sections.
        remaining -= len(section) + 3
        program += [(_JEQ_K, 0, len(section) + 2, token), (_LD_W_ABS, 0, 0, _OFFSET_NR), *section]
        program.append((_JA, 0, 0, remaining))
    head = [(_LD_W_ABS, 0, 0, _OFFSET_ARCH)] if program else []
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in head + program)


def _x86_64(largest: dict[int, int]) -> list[tuple[int, int, int, int]]:
    """x86_64 and x32 numbers come under one architecture; bit 30 tells them apart. No rule for one: no answer here."""
    plain = largest.get(_AUDIT_ARCH_X86_64, _X32_BIT - 1)
    x32 = largest.get(_SCMP_ARCH_X32, 0xFFFFFFFF)
    return [
        (_JSET_K, 1, 0, _X32_BIT),
        (_JGT_K, 1, 2, plain),
        (_JGT_K, 0, 1, x32),
        (_RET_K, 0, 0, _RET_ENOSYS),
    ]
