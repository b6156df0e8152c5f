"""`python -m lightship.openapi emit` prints our document; `drift FILE` compares it with a published one.

`drift` ends with status 1 where a difference has no reason in `drift_reasons`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .document import document
from .drift import differences, operations
from .drift_reasons import reason

NEWEST = "1.55"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m lightship.openapi", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    emit = commands.add_parser("emit", help="print our document")
    emit.add_argument("--version", default=NEWEST)
    drift = commands.add_parser("drift", help="compare with a published document (YAML or JSON)")
    drift.add_argument("file", type=Path)
    options = parser.parse_args(arguments)
    if options.command == "emit":
        json.dump(document(options.version), sys.stdout, indent=2)
        print()
        return 0
    return _drift(_read(options.file))


def _drift(published: dict[str, Any]) -> int:
    version = published["info"]["version"]
    ours = document(version)
    unexplained = 0
    for line in differences(published, ours):
        because = reason(line, is_newest=version == NEWEST)
        unexplained += because is None
        print(f"{line}  # {because}" if because else f"UNEXPLAINED {line}")
    for method, path in sorted(operations(published).keys() - operations(ours).keys()):
        print(f"{method} {path}: gap")
    print(f"{unexplained} unexplained", file=sys.stderr)
    return 1 if unexplained else 0


def _read(path: Path) -> dict[str, Any]:
    text = path.read_text()
    if path.suffix == ".json":
        found: dict[str, Any] = json.loads(text)
    else:
        # A tool for developers, installed with the tests.
        import yaml

        found = yaml.safe_load(text)
    return found


if __name__ == "__main__":
    sys.exit(main())
