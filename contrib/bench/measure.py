"""What a workload is, and how a command of the CLI is timed."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

from harness.engine import Engine

Measure = Callable[[], float]


@dataclass
class Workload:
    """`prepare` sets an engine up and gives what measures one run; the goal is a ratio to dockerd, or a number of
    its own.
    """

    name: str
    prepare: Callable[[Engine], AbstractContextManager[Measure]]
    unit: str = "ms"
    runs: int = 10
    ratio_goal: float | None = None
    limit: float | None = None
    less_is_better: bool = True
    only_ours: bool = False
    """dockerd is not asked: with a process a port and two a container it would need gigabytes."""

    def met(self, ours: float, ratio: float | None) -> bool:
        if self.limit is not None and (ours > self.limit if self.less_is_better else ours < self.limit):
            return False
        return self.ratio_goal is None or ratio is None or ratio >= self.ratio_goal

    @property
    def goal_text(self) -> str:
        texts = [f"≥ {self.ratio_goal:g}x"] if self.ratio_goal is not None else []
        if self.limit is not None:
            texts.append(f"{'≤' if self.less_is_better else '≥'} {self.limit:g} {self.unit}")
        return ", ".join(texts)

    def show(self, value: float | None) -> str:
        return "-" if value is None else f"{value:.4g} {self.unit}"


def cli(engine: Engine, *args: str, stdin: int = subprocess.DEVNULL) -> float:
    """Milliseconds of a whole CLI process."""
    began = time.perf_counter()
    done = subprocess.run(
        [engine.docker.cli, *args],
        env=engine.docker.env,
        stdin=stdin,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    took = (time.perf_counter() - began) * 1000
    if done.returncode != 0:
        raise RuntimeError(f"docker {' '.join(args)}: {done.stderr.decode(errors='replace').strip()}")
    return took
