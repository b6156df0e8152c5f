"""The log of `lightship-runtime`: lines in runc's format, in the file of `--log` or on stderr.

Called by the command line and by its commands; the library below them does not log, it raises.
"""

from __future__ import annotations

import argparse
import json
import sys
import time


def write(options: argparse.Namespace, level: str, message: str) -> None:
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    if options.log_format == "json":
        line = json.dumps({"level": level, "msg": message, "time": stamp})
    else:
        line = f'time="{stamp}" level={level} msg={json.dumps(message)}'
    if options.log:
        with open(options.log, "a") as file:
            file.write(line + "\n")
    else:
        print(line, file=sys.stderr)
