"""One call of the fuzzer: what is put into it, and what may come back."""

from __future__ import annotations

import json
import re
from typing import Any

import requests
import schemathesis
from docker.transport import UnixHTTPAdapter
from schemathesis import Case, Response
from schemathesis.checks import load_all_checks
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance

DELIBERATE = {501, 503}
LIKE_DOCKERD = (  # its status is 500 too
    "no upgrade proto in request",
    "Cannot locate specified Dockerfile",
    "forbidden path outside the build context",
    "invalid reference format",
    "build tag cannot contain a digest",
    "strconv.ParseInt",
    "unexpected EOF",
    "no such host",
    "dial tcp",
    "Invalid escape keys",
    "ps: error",
    "invalid signal",
    "error setting cgroup config",  # of limits that only the kernel refuses
    "cannot remove the default link name",
)
STREAMS = re.compile(
    r"GET /events|GET /containers/\{id\}/(logs|stats|attach/ws)|POST /containers/\{id\}/(attach|wait)"
    r"|POST /exec/\{id\}/start|POST /session|POST /grpc"
)
STREAM_S, HANG_S = 0.2, 60.0
"""How long a stream is read before it is left; from when on an answer that is no stream counts as hanging."""
HERE = {
    "containers": ["running", "created"],
    "images": ["busybox"],
    "networks": ["bridge", "apart"],
    "volumes": ["volume"],
    "distribution": ["busybox"],
}
WAITED_FOR = {"Driver", "VolumeDriver"}
"""Members of a body that may name a plugin, which is waited for when it is missing."""
MAKERS = {
    "POST /containers/create": ("containers", "Id"),
    "POST /containers/{id}/exec": ("exec", "Id"),
    "POST /networks/create": ("networks", "Id"),
    "POST /volumes/create": ("volumes", "Name"),
}


@schemathesis.serializer("application/x-tar", "application/octet-stream")
def as_bytes(context: Any, value: Any) -> bytes:
    """Archives are fuzzed as bytes that are none."""
    return value if isinstance(value, bytes) else str(value).encode()


def is_stream(about: Any) -> bool:
    """Of a case, or of what asks of an operation."""
    return bool(STREAMS.fullmatch(about.operation.label))


class Caller:
    """Sends cases to one engine and judges the answers; keeps what was wrong, with how to send it again.

    Half of the references are to things that are there: those of the beginning, and those that earlier answers told
    of, so that an operation meets what the ones before it made.
    """

    def __init__(self, socket: str, base_url: str) -> None:
        self._session = requests.Session()
        self._session.mount("http://localhost", UnixHTTPAdapter(f"http+unix://{socket}", timeout=HANG_S))
        self._base_url = base_url
        self.failures: list[str] = []
        self._made: dict[str, list[str]] = {kind: list(names) for kind, names in HERE.items()}
        load_all_checks()

    def close(self) -> None:
        self._session.close()

    def __call__(self, case: Case) -> Response | None:
        """None where it was a stream that did not end by itself."""
        self._make_meaningful(case)
        try:
            return self._send(case)
        except (Exception, FailureGroup) as error:
            self.failures.append(f"{case.as_curl_command()}\n{error}")
            raise

    def _send(self, case: Case) -> Response | None:
        timeout_s = STREAM_S if is_stream(case) else HANG_S
        try:
            answer = case.call(base_url=self._base_url, session=self._session, timeout=timeout_s)
        except (requests.Timeout, requests.ConnectionError) as error:
            assert is_stream(case) and "timed out" in str(error), error
            return None
        judge(case, answer)
        kind, key = MAKERS.get(case.operation.label, ("", ""))
        if kind and answer.status_code == 201:
            self._made.setdefault(kind, []).append(answer.json()[key])
        return answer

    def _make_meaningful(self, case: Case) -> None:
        """Nothing is fetched from a network or waited for long, and much is about things that exist."""
        query = case.query or {}
        if "fromSrc" in query:
            query["fromSrc"] = "-"
        if "t" in query:
            query["t"] = "0"
        parameters = case.path_parameters or {}
        there = self._made.get(case.operation.path.split("/")[1], [])
        for name in {"id", "name"} & parameters.keys():
            number = len(str(parameters[name]))
            if there and number % 2:
                parameters[name] = there[number // 2 % len(there)]
        if isinstance(case.body, dict):
            if case.operation.label == "POST /containers/create":
                case.body = creatable(case.body)
            case.body.update(dict.fromkeys(WAITED_FOR & case.body.keys()))


def creatable(body: dict[str, Any]) -> dict[str, Any]:
    """A container that may be created: all of the body, one member of it, or one of its HostConfig."""
    number = len(repr(body))
    made: dict[str, Any] = {"Image": "busybox", "Cmd": ["sleep", "100000"]}
    host = body.get("HostConfig")
    if number % 3 == 0:
        return {**body, **made}
    if number % 3 == 1 and isinstance(host, dict) and host:
        key = sorted(host)[number // 3 % len(host)]
        return {**made, "HostConfig": {key: host[key]}}
    key = sorted(body)[number // 3 % len(body)] if body else "Image"
    return {key: body.get(key), **made}


def judge(case: Case, answer: Response) -> None:
    status = answer.status_code
    if status >= 500 and status not in DELIBERATE:
        assert any(text in answer.text for text in LIKE_DOCKERD), f"{status}: {answer.text[:500]}"
    if status >= 400:
        if answer.content:
            assert isinstance(answer.json()["message"], str)
    elif case.operation.label == "GET /events":  # several documents, which those published do not tell of
        for line in filter(None, answer.text.split("\n")):
            assert isinstance(json.loads(line.strip("\x1e"))["Type"], str)
    elif answer.content:
        case.validate_response(answer, checks=[response_schema_conformance, content_type_conformance])
