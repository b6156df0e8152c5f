"""The kernel's numbers against its C headers, and what the zygote loads with the runtime."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from lightship.engine.runtime import constants, linux

# The kernel's headers only: glibc's say the same things again, and clash.
_LINUX = ("bpf", "close_range", "fcntl", "inotify", "ioprio", "keyctl", "magic", "mount", "openat2", "personality")
_HEADERS = (
    *("asm/ioctls.h", "asm/unistd.h", "asm-generic/fcntl.h"),
    *(f"linux/{name}.h" for name in (*_LINUX, "prctl", "sched", "seccomp")),
)


@pytest.mark.skipif(not shutil.which("gcc"), reason="needs a C compiler")
def test_constants_equal_the_headers(tmp_path: Path) -> None:
    names = [name for name in vars(constants) if re.fullmatch(r"[A-Z][A-Z0-9_]+", name)]
    numbers = [f"__NR_{name}" for name in linux._NUMBERS]
    lines = [
        "#define _GNU_SOURCE",
        "#include <stdio.h>",
        *(f"#include <{name}>" for name in _HEADERS),
        "int main(void) {",
    ]
    for name in (*names, *numbers):
        # Enumerators are no macros; those are named without a guard.
        printed = f'printf("{name} %lld\\n", (long long)({name}));'
        enumerator = name.startswith(("BPF_PROG_", "BPF_CGROUP_", "FSCONFIG_", "IOPRIO_WHO", "PER_"))
        lines.append(printed if enumerator else f"#ifdef {name}\n{printed}\n#endif")
    (tmp_path / "c.c").write_text("\n".join([*lines, "}"]))
    subprocess.run(["gcc", "-w", "-o", tmp_path / "c", tmp_path / "c.c"], check=True)
    output = subprocess.run([tmp_path / "c"], capture_output=True, text=True, check=True).stdout
    found = {name: int(value) for name, value in (line.split() for line in output.splitlines())}
    ours = {**{name: getattr(constants, name) for name in names}, **{f"__NR_{n}": v for n, v in linux._NUMBERS.items()}}
    assert found == {name: ours[name] for name in found}
    assert len(found) > len(ours) - 5


def test_import_closure_is_small() -> None:
    """The zygote loads this and forks: nothing heavy, and nothing that the command line or the daemon alone needs."""
    program = "import sys; before = set(sys.modules); import lightship.engine.runtime.container; "
    program += "print(*set(sys.modules) - before)"
    done = subprocess.run([sys.executable, "-I", "-c", program], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    heavy = {"argparse", "asyncio", "dataclasses", "logging", "shutil", "subprocess", "tempfile", "threading", "typing"}
    assert "lightship.engine.runtime.init" in loaded
    assert not loaded & (heavy | {"lightship.engine.runtime.seccomp", "lightship.engine.runtime.cli"})
