"""`lightship doctor`: what is missing is told with its cost and its fix, and decides the status."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
from lightship.api.command import checks, doctor
from lightship.api.command.checks import MISSING, OK, WARNING, Finding
from lightship.api.command.main import main, parser

ESSENTIAL = Finding("kernel", MISSING, "4.4", "nothing works", "boot a newer one")
OPTIONAL = Finding("slirp", WARNING, "missing", "no way out", "apt install it")
WELL = Finding("overlay", OK, "there")


@pytest.fixture
def found(monkeypatch, tmp_path):
    """Make the doctor find these things alone."""
    subjects = [
        "kernel",
        "filesystems",
        "namespaces",
        "cgroups",
        "confinement",
        "network",
        "programs",
        "engine",
        "root",
    ]

    def set_to(*findings):
        for subject in subjects:
            monkeypatch.setattr(checks, subject, lambda: iter(()))
        monkeypatch.setattr(checks, "resources", lambda data_root: iter(findings))
        return SimpleNamespace(json=False, data_root=tmp_path)

    return set_to


def test_where_all_is_there(found, capsys):
    assert doctor.doctor(found(WELL)) == 0
    assert capsys.readouterr().out == "ok       overlay  there\n\nAn engine works here.\n"


def test_what_an_engine_can_do_without_is_a_warning(found, capsys):
    assert doctor.doctor(found(WELL, OPTIONAL)) == 0
    shown = capsys.readouterr().out
    assert "costs: no way out" in shown and "fix:   apt install it" in shown
    assert shown.endswith("An engine works here; 1 to look at.\n") and "\033[" not in shown


def test_what_it_cannot_do_without_is_an_error(found, capsys):
    assert doctor.doctor(found(ESSENTIAL, OPTIONAL)) == 1
    assert capsys.readouterr().out.endswith("An engine cannot work here: 1 missing, 1 to look at.\n")


def test_for_programs(found, capsys):
    options = found(ESSENTIAL)
    options.json = True
    assert doctor.doctor(options) == 1
    assert json.loads(capsys.readouterr().out) == [
        {"name": "kernel", "state": "missing", "found": "4.4", "cost": "nothing works", "fix": "boot a newer one"}
    ]


def test_this_host_is_looked_at_without_a_fault(capsys):
    assert main(["doctor", "--json"]) in (0, 1)
    names = {finding["name"] for finding in json.loads(capsys.readouterr().out)}
    assert {"root", "kernel", "overlay", "control groups", "seccomp", "firewall", "disk space", "engine"} <= names


def test_a_library_that_is_not_there():
    finding = checks._library("libnope", "libnope.so.9", package="libnope9", cost="nothing")
    assert (finding.state, finding.fix) == (MISSING, "apt install libnope9")


@pytest.mark.parametrize("version", ["4.4.0", "5.14.21-rt"])
def test_an_old_kernel(monkeypatch, version):
    monkeypatch.setattr(checks.platform, "release", lambda: version)
    assert next(checks.kernel()).state == MISSING


@pytest.mark.parametrize("command", ["up", "down", "status", "run", "doctor", "explain"])
def test_help_teaches(command, capsys):
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    assert f"lightship {command}" in capsys.readouterr().out


def test_help_has_an_example_of_each_command():
    text = parser().format_help()
    for command in ("up", "down", "status", "run", "doctor", "explain"):
        assert f"  lightship {command}" in text or f"lightship {command})" in text
