"""`make bench`: lightship beside real dockerd on this machine; prints workload, dockerd's median, ours, ratio, goal.

Each engine has a network namespace, data and image store of its own, as in the tests. The two take turns, run by run,
so that whatever else the machine does falls on both.
`make bench BENCH='--runs 20 --only exec'` changes how much is run.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path

import builds
import containers
import memory
import networks
import streams
import workloads
from harness import images
from harness.engine import Dockerd, Engine, Lightshipd
from harness.namespaces import isolate_mounts
from measure import Workload

ALL: list[Workload] = [*workloads.ALL, *streams.ALL, *networks.ALL, *containers.ALL, *memory.ALL, *builds.ALL]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--runs", type=int, default=0, help="runs of each workload and engine (default: each workload's own)"
    )
    parser.add_argument("--only", default="", help="only workloads whose name holds this text")
    parser.add_argument("--ours-only", action="store_true", help="leave dockerd out")
    options = parser.parse_args()
    isolate_mounts()
    chosen = [workload for workload in ALL if options.only in workload.name]
    print(f"{'workload':52} {'dockerd':>12} {'lightship':>12} {'ratio':>8}   goal", flush=True)
    missed = 0
    with contextlib.ExitStack() as stack:
        ours = stack.enter_context(engine(Lightshipd()))
        theirs = None if options.ours_only else stack.enter_context(engine(Dockerd("--live-restore")))
        for workload in chosen:
            missed += not report(workload, ours, theirs, options.runs or workload.runs)
    print(f"\n{len(chosen) - missed} of {len(chosen)} goals met")
    return 0


@contextlib.contextmanager
def engine(made: Engine) -> Iterator[Engine]:
    try:
        made.start()
        busybox = images.Image(["busybox:latest"], [images.busybox_layer()])
        made.docker.ok("load", stdin=images.docker_archive([busybox]))
        made.docker.ok("run", "--rm", "-p", "80", "busybox", "true")
        yield made
    finally:
        made.destroy()


def report(workload: Workload, ours: Engine, theirs: Engine | None, runs: int) -> bool:
    """Run one workload on both engines in turns, print its line, say whether the goal is met."""
    values: dict[str, list[float]] = {"ours": [], "theirs": []}
    try:
        with contextlib.ExitStack() as stack:
            measures = {"ours": stack.enter_context(workload.prepare(ours))}
            if theirs and not workload.only_ours:
                measures["theirs"] = stack.enter_context(workload.prepare(theirs))
            for turn in range(runs):
                for side in sorted(measures, reverse=bool(turn % 2)):
                    values[side].append(measures[side]())
    except Exception as error:  # one workload that cannot be run leaves the others to be shown
        print(f"{workload.name:52} failed: {str(error)[:200]}", flush=True)
        return False
    our = statistics.median(values["ours"])
    their = statistics.median(values["theirs"]) if values["theirs"] else None
    ratio = None if their is None else (their / our if workload.less_is_better else our / their)
    met = workload.met(our, ratio)
    shown = f"{ratio:.2f}x" if ratio else "-"
    verdict = workload.goal_text + ("" if met else "   MISSED")
    print(f"{workload.name:52} {workload.show(their):>12} {workload.show(our):>12} {shown:>8}   {verdict}", flush=True)
    return met


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    sys.exit(main())
