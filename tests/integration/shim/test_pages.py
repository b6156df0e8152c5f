"""What an idle process gives back of its memory, and that nothing is lost by it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

from lightship.engine.shim.messages import ExecExited

PROGRAM = """
import gc, json, os, sys
from lightship.engine.shim import pages

COUNT = 200_000
objects = [[number] for number in range(COUNT)]

def own_kib():
    with open("/proc/self/smaps_rollup") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("Private_Dirty:"))

def work():
    kept = [part for part in objects]
    made = [json.dumps({"number": number}) for number in range(5000)]
    assert len(kept) == COUNT and json.loads(made[-1]) == {"number": 4999}
    return made

gc.collect()
gc.freeze()
for _ in range(2):
    pages.share()
    pages.give_back()
pages.share()
child_pid = os.fork()
if child_pid:
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child_pid, 0)[1]))
made = work()
before = own_kib()
pages.give_back()
after = own_kib()
assert after < before * 0.8, (before, after)
assert made == work() and sum(part[0] for part in objects) == COUNT * (COUNT - 1) // 2
for _ in range(20):
    objects[len(made)].append(work())
    made.append("more")
    pages.give_back()
assert len(made) == 5020 and all(objects[5000 + number][1] == made[:5000] for number in range(20))
def fail(_pid):
    raise OSError
pages._unchanged = fail
pages.give_back()
assert made[-1] == "more" and len(work()) == 5000
"""


def test_what_is_as_it_was_is_given_back_and_the_rest_stays() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_shim_that_has_nothing_to_do_gives_memory_back_and_goes_on(lab) -> None:
    async def scenario() -> None:
        async with lab() as there:
            task = await there.run("echo begun; read line; echo $line; exec sleep 100", open_stdin=True)
            shim_pid = (await task.state()).shim_pid
            before = own_kib(shim_pid)

            async def is_smaller() -> bool:
                return own_kib(shim_pid) < before * 0.9

            await there.until(is_smaller)
            await task.exec("e1", there.process("exit 7"))
            assert (await there.event(ExecExited)).exit_code == 7
            assert "begun" in there.log_path("c1").read_text()

    asyncio.run(scenario())


def own_kib(pid: int) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Private_Dirty:"))
