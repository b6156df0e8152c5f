"""The answer to `docker build --check`: what the build checks found, without building."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence

from ...errors import Error
from .checks import Finding
from .errors import DockerfileError
from .subrequests import encoded, excerpt, location_of


def lint(findings: Sequence[Finding], error: Error | None, *, filename: str, source: bytes) -> Mapping[str, bytes]:
    warnings = [
        {
            "ruleName": finding.rule.name,
            "description": finding.rule.description,
            **({"url": finding.rule.url} if finding.rule.url else {}),
            "detail": finding.message,
            "location": location_of(finding.location),
        }
        for finding in findings
    ]
    info = {"filename": filename, "data": base64.b64encode(source).decode(), "language": "Dockerfile"}
    document: dict[str, object] = {"warnings": warnings or None, "sources": [info]}
    if error is not None:
        document["buildError"] = {"message": str(error), "location": _location(error)}
    text = "".join(_shown(finding, filename, source) for finding in sorted(findings, key=_line))
    status = b"1" if findings or error else b"0"
    return {**encoded(document, text), "result.statuscode": status}


def _line(finding: Finding) -> int:
    return finding.location.first


def _location(error: Error) -> dict[str, object]:
    places = error.locations if isinstance(error, DockerfileError) else ()
    ranges: list[object] = []
    for place in places:
        lines = location_of(place)["ranges"]
        ranges += lines if isinstance(lines, list) else []
    return {"ranges": ranges} if ranges else {}


def _shown(finding: Finding, filename: str, source: bytes) -> str:
    url = f" - {finding.rule.url}" if finding.rule.url else ""
    lines = excerpt(filename, source, [finding.location])
    return f"\nWARNING: {finding.rule.name}{url}\n{finding.message}\n{lines}"
