"""`lightship doctor`: the findings of `checks`, for people and for programs."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict

from . import checks
from .checks import MISSING, OK, WARNING, Finding
from .terminal import coloured

_COLOURS = {OK: "green", WARNING: "yellow", MISSING: "red"}


def doctor(options: argparse.Namespace) -> int:
    """Print what was found; 1 where an engine cannot work."""
    found = [
        *checks.root(),
        *checks.kernel(),
        *checks.filesystems(),
        *checks.namespaces(),
        *checks.cgroups(),
        *checks.confinement(),
        *checks.network(),
        *checks.programs(),
        *checks.resources(options.data_root),
        *checks.engine(),
    ]
    if options.json:
        print(json.dumps([asdict(finding) for finding in found], indent=2))
    else:
        _show(found)
    return 1 if any(finding.state == MISSING for finding in found) else 0


def _show(found: list[Finding]) -> None:
    width = max(len(finding.name) for finding in found)
    for finding in found:
        mark = coloured(finding.state.ljust(len(MISSING)), _COLOURS[finding.state])
        print(f"{mark}  {finding.name.ljust(width)}  {finding.found}")
        if finding.state != OK:
            print(f"{'':{len(MISSING)}}  {'':{width}}  costs: {finding.cost}")
            print(f"{'':{len(MISSING)}}  {'':{width}}  fix:   {coloured(finding.fix, 'bold')}")
    counts = {state: sum(finding.state == state for finding in found) for state in (MISSING, WARNING)}
    if counts[MISSING]:
        print(f"\nAn engine cannot work here: {counts[MISSING]} missing, {counts[WARNING]} to look at.")
    else:
        print(f"\nAn engine works here{f'; {counts[WARNING]} to look at' if counts[WARNING] else ''}.")
