"""How a compiled seccomp filter is to be installed; compiling is `seccomp.py`, which the shim never loads."""

from __future__ import annotations

from .constants import SECCOMP_FILTER_FLAG_LOG, SECCOMP_FILTER_FLAG_SPEC_ALLOW, SECCOMP_FILTER_FLAG_TSYNC
from .errors import RuntimeFailure
from .process import Confinement

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

FLAGS = {
    "SECCOMP_FILTER_FLAG_LOG": SECCOMP_FILTER_FLAG_LOG,
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW": SECCOMP_FILTER_FLAG_SPEC_ALLOW,
    "SECCOMP_FILTER_FLAG_TSYNC": SECCOMP_FILTER_FLAG_TSYNC,
}


def confinement(seccomp: dict[str, Any] | None, program: bytes | None) -> Confinement:
    """Return what the child installs; without a ready program an OCI linux.seccomp object is compiled now."""
    if program is None and seccomp:
        from .seccomp import compile

        program = compile(seccomp)
    names = (seccomp or {}).get("flags")
    if names is None:
        # As runc: without it the kernel slows confined processes down against speculation attacks.
        return Confinement(program, SECCOMP_FILTER_FLAG_SPEC_ALLOW)
    flags = 0
    for name in names:
        if name not in FLAGS:
            raise RuntimeFailure("invalid_argument", f"unknown seccomp flag {name!r}")
        flags |= FLAGS[name]
    return Confinement(program, flags)
