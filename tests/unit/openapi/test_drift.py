"""Our document against the published ones: what we have differs only for the reasons that are written down."""

from __future__ import annotations

import json
import re

import pytest
import yaml
from harness.published import VERSIONS, published
from lightship.compat.gaps import GAPS
from lightship.openapi.__main__ import NEWEST, main
from lightship.openapi.document import document
from lightship.openapi.drift import differences, operations
from lightship.openapi.drift_reasons import REASONS, reason


@pytest.mark.parametrize("version", VERSIONS)
def test_every_difference_has_its_reason(version):
    found = differences(published(version), document(version))
    assert [line for line in found if reason(line, is_newest=version == NEWEST) is None] == []


def test_every_reason_is_needed():
    found = {line for version in VERSIONS for line in differences(published(version), document(version))}
    unneeded = [pattern for pattern, _ in REASONS if not any(re.fullmatch(pattern, line) for line in found)]
    assert unneeded == []


def test_versions_are_those_that_differ():
    assert [f"1.{minor}" for minor in range(44, 56)] == VERSIONS


def test_all_our_operations_are_published():
    unpublished = {("POST", "/grpc"), ("POST", "/build/cancel")}
    assert operations(document(NEWEST)).keys() == operations(published(NEWEST)).keys() | unpublished


def test_gaps_are_not_operations():
    have = operations(document(NEWEST)).keys()
    assert [gap for gap in GAPS if (gap.method, gap.path) in have] == []
    assert len({(gap.method, gap.path) for gap in GAPS}) == len(GAPS)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda d: d["definitions"]["ContainerState"]["properties"].pop("Pid"), "ContainerState.Pid: not published"),
        (lambda d: d["definitions"]["ContainerState"]["properties"].update(New={}), "ContainerState.New: missing"),
        (
            lambda d: d["definitions"]["ContainerState"]["properties"]["Pid"].update(type="string"),
            "ContainerState.Pid: type string, ours integer",
        ),
        (
            lambda d: d["definitions"]["ContainerState"]["properties"]["Status"]["enum"].append("odd"),
            "ContainerState.Status: enum ['created', 'running', 'paused', 'restarting', 'removing', 'exited', 'dead', "
            "'odd'], ours ['created', 'running', 'paused', 'restarting', 'removing', 'exited', 'dead']",
        ),
        (
            lambda d: d["paths"]["/containers/json"]["get"]["parameters"].pop(0),
            "GET /containers/json: query all not published",
        ),
        (
            lambda d: d["paths"]["/containers/json"]["get"]["responses"].update({"418": {}}),
            "GET /containers/json: status 418 missing",
        ),
        (lambda d: d["definitions"]["Volume"]["required"].remove("Scope"), "Volume.Scope: not required there"),
    ],
)
def test_differences_are_seen(change, line):
    other = json.loads(json.dumps(published(NEWEST)))
    before = set(differences(other, document(NEWEST)))
    change(other)
    assert set(differences(other, document(NEWEST))) - before == {line}


def test_the_command_compares_a_file(tmp_path, capsys):
    file = tmp_path / "v1.55.yaml"
    file.write_text(yaml.safe_dump(json.loads(json.dumps(published(NEWEST)))))
    assert main(["drift", str(file)]) == 0
    output = capsys.readouterr()
    assert "Network.Peers: missing  # swarm mode" in output.out
    assert output.err == "0 unexplained\n"


def test_the_command_prints_our_document(capsys):
    assert main(["emit"]) == 0
    assert json.loads(capsys.readouterr().out) == document(NEWEST)
