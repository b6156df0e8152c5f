"""Start both engines, play the scenarios on both, and end with 1 where something differs without a reason.

PYTHONPATH=tests python -m differential [TEXT...]      only scenarios whose name holds one of the texts
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from conftest import TOOLS_CONFIG, clean
from harness import images
from harness.engine import Dockerd, Engine, Lightshipd
from harness.host import records
from harness.namespaces import isolate_mounts

from .compare import differences
from .explained import REASONS
from .play import Player
from .script import Scenario, scenarios


def main(words: Sequence[str]) -> int:
    isolate_mounts()
    wanted = [each for each in scenarios() if not words or any(word in each.name for word in words)]
    layer = images.busybox_layer()
    made = [images.Image(["busybox:latest"], [layer]), images.Image(["rich:1"], [layer], TOOLS_CONFIG)]
    known = {image.id.removeprefix("sha256:") for image in made} | {images.sha256(layer)}
    with started(Dockerd(), made) as dockerd, started(Lightshipd(), made) as lightshipd:
        players = [Player(engine, known, cleaner(engine)) for engine in (dockerd, lightshipd)]
        unexplained, used, steps = 0, set(), 0
        for scenario in wanted:
            found, explained = compared(scenario, players)
            used |= explained
            unexplained += found
            steps += sum(step.is_compared for step in scenario.steps)
    unneeded = (
        [reason for number, reason in enumerate(REASONS) if number not in used and not reason.is_chance]
        if not words
        else []
    )
    for reason in unneeded:
        print(f"no difference needs this reason any more: {reason}")
    print(
        f"diff: {steps} steps in {len(wanted)} scenarios; {unexplained} differences without a reason, {len(used)} with"
    )
    return 1 if unexplained or unneeded else 0


@contextlib.contextmanager
def started(engine: Engine, made: Sequence[images.Image]) -> Iterator[Engine]:
    try:
        engine.start()
        engine.docker.ok("load", stdin=images.docker_archive(made))
        yield engine
    finally:
        engine.destroy()


def cleaner(engine: Engine) -> object:
    keep = records(engine)
    return lambda: clean(engine, keep)


def compared(scenario: Scenario, players: Sequence[Player]) -> tuple[int, set[int]]:
    """Print what differs without a reason; return how much it is, and the numbers of the reasons that were needed."""
    with ThreadPoolExecutor(len(players)) as pool:
        theirs, ours = pool.map(lambda player: player.play(scenario), players)
    names = [step.text for step in scenario.steps if step.is_compared] + [f"events of {scenario.name}"]
    count, used = 0, set()
    for step, one, other in zip(names, theirs, ours, strict=True):
        for path, expected, found in differences(one, other):
            reasons = {number for number, reason in enumerate(REASONS) if reason.explains(step, path)}
            used |= reasons
            if not reasons:
                count += 1
                print(f"{scenario.name}\n  {step}\n    {path}: dockerd {expected}, lightship {found}", flush=True)
    return count, used


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
