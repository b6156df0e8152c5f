"""schemathesis over the document that we emit: every operation with generated parameters and bodies.

There is no 5xx but deliberate ones, errors are `{"message": …}`, and the engine lives and leaves nothing on the host.
$LIGHTSHIP_FUZZ_SECONDS bounds the whole run (300 unless told). Streams are read for a moment and left.
"""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests
import schemathesis
from docker.transport import UnixHTTPAdapter
from harness import host
from harness.engine import Engine, Lightshipd
from hypothesis import HealthCheck, given, settings

BUDGET_S = float(os.environ.get("LIGHTSHIP_FUZZ_SECONDS", "300"))
DELIBERATE = {501, 503}
LIKE_DOCKERD = (  # its status is 500 too
    "no upgrade proto in request",
    "Cannot locate specified Dockerfile",
    "forbidden path outside the build context",
    "invalid reference format",
    "build tag cannot contain a digest",
    "strconv.ParseInt",
    "unexpected EOF",
)
READ_S = 1.0
pytestmark = [
    pytest.mark.timeout(int(BUDGET_S) + 600),
    pytest.mark.filterwarnings("ignore"),  # of the fuzzer's own libraries
]


@schemathesis.serializer("application/x-tar", "application/octet-stream")
def as_bytes(context: Any, value: Any) -> bytes:
    """Archives are fuzzed as bytes that are none."""
    return value if isinstance(value, bytes) else str(value).encode()


def operations() -> list[Any]:
    """Every operation of the newest document."""
    command = [sys.executable, "-m", "lightship.openapi", "emit"]
    document = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    schema = schemathesis.openapi.from_dict(document)
    return [operation.ok() for operation in schema.get_all_operations()]


OPERATIONS = operations()


@pytest.fixture(scope="module")
def target(isolated: None, base_archive: bytes) -> Iterator[Engine]:
    """An engine with a container in each everyday state; nothing may be left when it is emptied."""
    engine = Lightshipd()
    try:
        engine.start()
        engine.docker.ok("load", stdin=base_archive)
        engine.docker.ok("run", "--rm", "-p", "80", "busybox", "true")
        engine.docker.ok("network", "create", "--ipv6", "first")  # what is made once for IPv6 is made now
        engine.docker.ok("run", "--rm", "--network", "first", "busybox", "true")
        engine.docker.ok("network", "rm", "first")
        before = host.snapshot(engine)
        engine.docker.ok("run", "-d", "--init", "--name", "running", "busybox", "sleep", "100000")
        engine.docker.ok("create", "--name", "created", "busybox", "true")
        engine.docker.ok("volume", "create", "volume")
        yield engine
        assert engine.api.get("/_ping").status == 200
        engine.remove_containers()
        engine.docker.ok("network", "prune", "-f")
        leaks = host.leaks(before, engine)
        assert not {kind: leaks[kind] for kind in ("mounts", "cgroups", "links", "addresses", "rules") if kind in leaks}
    finally:
        engine.destroy()


@pytest.fixture(scope="module")
def session(target: Engine) -> Iterator[requests.Session]:
    with requests.Session() as session:
        session.mount("http://localhost", UnixHTTPAdapter(f"http+unix://{target.socket}", timeout=READ_S))
        yield session
    with warnings.catch_warnings():  # of the sockets that streams left to the garbage collector
        warnings.simplefilter("ignore")
        gc.collect()


def known(case: Any) -> None:
    """Half of the references are to things that exist; nothing is fetched from a network."""
    if "fromSrc" in (case.query or {}):
        case.query["fromSrc"] = "-"
    parameters = case.path_parameters or {}
    for name, values in (("id", ["running", "created"]), ("name", ["busybox", "volume", "bridge"])):
        if name in parameters and len(str(parameters[name])) % 2:
            parameters[name] = values[len(str(parameters[name])) % len(values)]


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.label)
def test_operation(operation: Any, target: Engine, session: requests.Session) -> None:
    ends = time.monotonic() + BUDGET_S / len(OPERATIONS)
    answers: list[int] = []

    def call(case: Any) -> None:
        if time.monotonic() > ends:
            return
        known(case)
        try:
            answer = case.call(base_url="http://localhost", session=session, timeout=READ_S)
        except requests.Timeout:
            return  # a stream, or a wait
        except requests.ConnectionError as error:
            assert "Read timed out" in str(error) or "timed out" in str(error), error
            return
        answers.append(answer.status_code)
        if answer.status_code >= 500 and answer.status_code not in DELIBERATE:
            assert any(text in answer.text for text in LIKE_DOCKERD), (answer.status_code, answer.text[:500])
        if (
            answer.status_code >= 400
            and answer.content
            and "application/json" in str(answer.headers.get("content-type"))
        ):
            assert isinstance(answer.json()["message"], str)

    fuzz(operation, call)
    assert target.process is not None and target.process.poll() is None


def fuzz(operation: Any, call: Callable[[Any], None]) -> None:
    checks = list(HealthCheck)
    run = settings(
        max_examples=10_000 if BUDGET_S > 600 else 60, deadline=None, database=None, suppress_health_check=checks
    )
    run(given(case=operation.as_strategy())(lambda case: call(case)))()
