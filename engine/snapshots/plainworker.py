"""A process that copies a tree of layers, or compares one with its copy: one job, told and answered in JSON.

Started by `copies.py` as `python -m`, so it imports little. It ends with the daemon when that is killed; what it leaves
half-made is removed by the snapshotter's `reconcile`, or with the container that there is no record of.
"""

from __future__ import annotations

import json
import os
import signal
import sys

from ..runtime.constants import PR_SET_PDEATHSIG
from ..runtime.linux import prctl
from .difference import Difference
from .flatten import flatten

_MAX_DEPTH = 10_000


def main() -> None:
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != int(sys.argv[1]):
        return  # the daemon died before the line above
    os.umask(0)
    sys.setrecursionlimit(_MAX_DEPTH)
    job = json.load(sys.stdin)
    try:
        if job.pop("op") == "flatten":
            flatten(**job)
            answer: dict[str, object] = {}
        else:
            found = Difference(**job)
            answer = {"changes": found.changes, "size": found.size}
    except OSError as error:
        name = error.filename2 or error.filename
        shown = f"{os.fsdecode(name)}: " if isinstance(name, str | bytes) else ""
        answer = {"error": shown + (error.strerror or str(error)).lower()}
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main()
