"""schemathesis over the documents that we emit and those that are published: each operation with generated parameters
and bodies, and chains of operations, each fed by what the one before answered.

There is no 5xx but deliberate ones, nothing hangs, answers are as the document says, errors are `{"message": …}`; the
engine lives and leaves nothing on the host. Rounds follow one another, each with a number, which is its seed, and with
its document, from $LIGHTSHIP_FUZZ_ROUND (0 unless told) until $LIGHTSHIP_FUZZ_SECONDS are over; unless told, until each
document has had its round, or two minutes are over.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import random
import time
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from conftest import clean
from harness import host
from harness.engine import Engine, Lightshipd
from harness.namespaces import ip
from harness.published import VERSIONS, published
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import Flaky
from lightship.openapi.document import document

from fuzz.calls import Caller, is_stream

BUDGET_S = float(os.environ.get("LIGHTSHIP_FUZZ_SECONDS", "120"))
IS_TIMED = "LIGHTSHIP_FUZZ_SECONDS" in os.environ
FIRST = int(os.environ.get("LIGHTSHIP_FUZZ_ROUND", "0"))
DOCUMENTS = [(make, version) for version in reversed(VERSIONS) for make in (document, published)]
ALWAYS = {"network bridge", "network host", "network none"}
CASES, CHAINS, LINKS = 5, 10, 20
"""How often a round calls each operation, how many chains it plays and how long they are."""
SETTINGS = settings(
    deadline=None, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck), print_blob=False
)
pytestmark = [
    pytest.mark.timeout(int(BUDGET_S) + 600),
    pytest.mark.filterwarnings("ignore"),  # of the fuzzer's own libraries
]


@pytest.fixture(scope="module")
def target(isolated: None, base_archive: bytes) -> Iterator[Engine]:
    """An engine without a way out; nothing may be left when it is emptied."""
    engine = Lightshipd()
    try:
        with engine.netns.entered():
            ip("route", "flush", "default")
            ip("route", "add", "unreachable", "default")
        engine.start()
        engine.docker.ok("load", stdin=base_archive)
        engine.docker.ok("run", "--rm", "-p", "80", "busybox", "true")
        engine.docker.ok("network", "create", "--ipv6", "first")  # what is made once for IPv6 is made now
        engine.docker.ok("run", "--rm", "--network", "first", "busybox", "true")
        engine.docker.ok("network", "rm", "first")
        clean(engine, ALWAYS)
        before, descriptors = host.snapshot(engine), open_files(engine)
        yield engine
        clean(engine, ALWAYS)
        found = host.leaks(before, engine, but="processes")
        assert not found, f"left behind on the host: {found}"
        assert open_files(engine) < descriptors + 20, sorted(open_files(engine))
    finally:
        engine.destroy()


def open_files(engine: Engine) -> int:
    return len(os.listdir(f"/proc/{engine.pid}/fd"))


@functools.cache
def schema(number: int) -> Any:
    make, version = DOCUMENTS[number]
    return schemathesis.openapi.from_dict(as_go_writes(make(version)))


def as_go_writes(document: Any) -> Any:
    """A document that allows what the published ones leave out: lists, maps and what may be unset are null in both
    engines' answers and accepted as such.
    """
    if isinstance(document, list):
        return [as_go_writes(item) for item in document]
    if not isinstance(document, dict):
        return document
    made = {key: as_go_writes(item) for key, item in document.items()}
    if made.get("type") in ("array", "object", "integer", "boolean") and "in" not in made:
        made["type"] = [made["type"], "null"]
    if isinstance(made.get("required"), list):
        made["required"] = [name for name in made["required"] if name in made.get("properties", {})]
    return made


def test_rounds(target: Engine, base_archive: bytes) -> None:
    """The first failure of each round is told at the end: what was sent, how to send it again, and the round."""
    ends, failures = time.monotonic() + BUDGET_S, list[str]()
    for number in itertools.count(FIRST) if IS_TIMED else range(FIRST, FIRST + len(DOCUMENTS)):
        failures += play(number, target, base_archive)
        assert target.process is not None and target.process.poll() is None, target.log_tail()
        if time.monotonic() > ends:
            break
    assert not failures, f"in rounds {FIRST} to {number}:\n\n" + "\n\n".join(failures)


def play(number: int, engine: Engine, base_archive: bytes) -> Iterator[str]:
    """One round on an engine that has what each round begins with; yields its failures."""
    make, version = DOCUMENTS[number % len(DOCUMENTS)]
    clean(engine, ALWAYS)
    engine.docker.ok("load", stdin=base_archive)
    engine.docker.ok("run", "-d", "--init", "--name", "running", "busybox", "sleep", "100000")
    engine.docker.ok("create", "--name", "created", "busybox", "true")
    engine.docker.ok("network", "create", "apart")
    engine.docker.ok("volume", "create", "volume")
    found = schema(number % len(DOCUMENTS))
    operations = [operation.ok() for operation in found.get_all_operations()]
    random.Random(number).shuffle(operations)
    tests = {operation.label: functools.partial(alone, operation) for operation in operations}
    tests["chains"] = functools.partial(chained, found)
    for label, test in tests.items():
        caller = Caller(engine.socket, f"http://localhost/v{version}")
        with contextlib.closing(caller):
            try:
                test(caller, number)
            except Flaky:
                pass  # an engine with a memory does not answer the same twice; what is wrong, the caller keeps
            except (Exception, BaseExceptionGroup) as error:
                caller.failures.append(f"\n{error!r}")
        for failure in caller.failures[:1]:
            again = f"LIGHTSHIP_FUZZ_SECONDS=0 LIGHTSHIP_FUZZ_ROUND={number}"
            yield f"{again} ({make.__name__}, {version}), {label}: {failure}"


def alone(operation: Any, caller: Caller, number: int) -> None:
    @seed(number)
    @settings(SETTINGS, max_examples=CASES)
    @given(case=operation.as_strategy())
    def run(case: Any) -> None:
        caller(case)

    run()


def chained(whole: Any, caller: Caller, number: int) -> None:
    class Chain(whole.exclude(is_stream).as_state_machine()):  # type: ignore[misc]
        def call(self, case: Any, **_: Any) -> Any:
            return caller(case)

        def validate_response(self, *_: Any, **__: Any) -> None:
            """The caller does it."""

    seed(number)(Chain)
    Chain.run(settings=settings(SETTINGS, max_examples=CHAINS, stateful_step_count=LINKS))
