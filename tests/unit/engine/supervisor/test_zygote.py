"""What the zygote imports is every shim's memory: an allow-list."""

from __future__ import annotations

import json
import subprocess
import sys

ALLOWED_STANDARD = {
    "_collections_abc", "_ctypes", "_json", "_posixsubprocess", "_random", "_socket", "_struct", "array", "base64",
    "binascii", "collections.abc", "contextlib", "ctypes", "ctypes._endian", "errno", "fcntl", "gc", "grp", "json",
    "json.decoder", "json.encoder", "json.scanner", "math", "mmap", "platform", "resource", "select", "selectors",
    "signal", "socket", "struct", "termios", "zlib",
    # What these import themselves; an environment may have loaded it already
    "__future__", "_collections", "_functools", "_operator", "_sre", "collections", "copyreg", "enum", "functools",
    "itertools", "keyword", "operator", "re", "re._casefix", "re._compiler", "re._constants", "re._parser", "reprlib",
    "types",
}  # fmt: skip
SLOW = ("asyncio", "logging", "dataclasses", "typing", "subprocess", "pathlib", "threading", "tempfile", "shutil")
PROBE = """
import sys
before = set(sys.modules)
import lightship.engine.supervisor.zygote
import json
print(json.dumps(sorted(set(sys.modules) - before)))
"""


def test_the_import_closure_is_an_allow_list():
    output = subprocess.run([sys.executable, "-I", "-c", PROBE], check=True, capture_output=True, text=True).stdout
    added = {name for name in json.loads(output) if not name.startswith("lightship")}
    assert added <= ALLOWED_STANDARD, added - ALLOWED_STANDARD
    ours = {name.split(".")[2] for name in json.loads(output) if name.count(".") >= 2}
    assert ours == {"runtime", "shim", "supervisor"}


def test_our_own_modules_import_nothing_slow():
    """Whatever else the environment has loaded already: none of our modules asks for these."""
    probe = PROBE.replace("before =", f"[sys.modules.__setitem__(name, None) for name in {SLOW!r}]; before =", 1)
    subprocess.run([sys.executable, "-I", "-c", probe], check=True, capture_output=True, text=True)
