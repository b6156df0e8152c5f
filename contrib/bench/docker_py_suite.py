"""Runs docker-py's own integration tests, from a checkout of it, against lightshipd (or dockerd with --dockerd).

`make docker-py-suite DOCKER_PY=/path/to/docker-py`. The suite wants images of Docker Hub; images of the same names are
made of busybox beforehand, and a mirror has those that it pulls. Prints passed, failed and skipped for each file, and
each failure's message.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import os
import re
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path

from harness import images
from harness.engine import Dockerd, Engine, Lightshipd
from harness.namespaces import isolate_mounts
from harness.registry import Registry

IMAGES = [["alpine:3.10"], ["alpine:latest", "busybox:latest", "busybox:1"]]
PULLED = ["alpine:3.10", "alpine:latest", "busybox:latest", "hello-world:latest"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkout", type=Path)
    parser.add_argument("--dockerd", action="store_true")
    # From 1.52 on the API lacks fields that the suite asks for; real dockerd 28 has 1.51
    parser.add_argument("--api-version", default="1.51")
    parser.add_argument("--file", default="", help="only files whose name holds this text")
    options = parser.parse_args()
    folder = options.checkout / "tests" / "integration"
    if not folder.is_dir():
        parser.error(f"{folder} does not exist")
    isolate_mounts()
    engine: Engine = Dockerd() if options.dockerd else Lightshipd()
    with contextlib.ExitStack() as stack:
        stack.callback(engine.destroy)
        mirror = Registry(engine.netns)
        stack.callback(mirror.close)
        engine.flags += ["--registry-mirror", f"http://{mirror.host}"]
        folder_of_tests = stack.enter_context(shared_folder())
        engine.start()
        fill(engine, mirror)
        totals: collections.Counter[str] = collections.Counter()
        for file in sorted(folder.glob("*_test.py")):
            if options.file not in file.name:
                continue
            results, failures = run(engine, options.checkout, file, options.api_version, folder_of_tests)
            totals += results
            print(
                f"{file.name:32} " + "  ".join(f"{kind} {results[kind]:3}" for kind in ("passed", "failed", "skipped")),
                flush=True,
            )
            for failure in failures:
                print(f"    {failure}")
        print(f"{'in all':32} " + "  ".join(f"{kind} {totals[kind]:3}" for kind in ("passed", "failed", "skipped")))
    return 0


@contextlib.contextmanager
def shared_folder() -> Iterator[str]:
    """A directory for the suite's own: mounts below it propagate, as on a host that runs systemd."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", folder], check=True)
        try:
            subprocess.run(["mount", "--make-shared", folder], check=True)
            yield folder
        finally:
            subprocess.run(["umount", "-l", folder], check=True)


def fill(engine: Engine, mirror: Registry) -> None:
    """Give the engine and the mirror the images that the suite takes from Docker Hub."""
    layers = [images.busybox_layer(), alpine_layer()]
    base = [images.Image(names, layers, {"Labels": {"name": names[0]}}) for names in IMAGES]
    hello = images.Image(["hello-world:latest"], [images.layer(images.entry("hello", b"hello"))])
    engine.docker.ok("load", stdin=images.docker_archive([*base, hello]))
    for name in PULLED:
        engine.docker.ok("tag", name, f"{mirror.host}/library/{name}")
        engine.docker.ok("push", "-q", f"{mirror.host}/library/{name}")
    engine.docker.ok("image", "prune", "-af")
    engine.docker.ok("load", stdin=images.docker_archive(base))


def alpine_layer() -> bytes:
    """What the suite expects of alpine's root: a user and some directories."""
    passwd = images.PASSWD + "postgres:x:70:70::/var/lib/postgresql:/bin/sh\n"
    return images.layer(
        images.entry("etc/passwd", passwd.encode()),
        *(images.entry(name, mode=0o755) for name in ("mnt", "opt", "srv", "var/opt", "var/lib", "usr/bin")),
    )


def run(
    engine: Engine, checkout: Path, file: Path, api_version: str, folder: str
) -> tuple[collections.Counter[str], list[str]]:
    """One file of the suite, with its temporary files in the folder: counts, and a line for each failure."""
    with (
        tempfile.NamedTemporaryFile(suffix=".xml") as report,
        tempfile.TemporaryDirectory() as home,
        engine.netns.entered(),
    ):
        (Path(home) / ".docker").mkdir()
        (Path(home) / ".docker" / "config.json").write_text("{}")  # beside it, contexts are kept
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "-c",
            "/dev/null",
            "--rootdir",
            str(checkout),
            "--timeout",
            "60",
            "-W",
            "default",
            f"--junitxml={report.name}",
            str(file),
        ]
        subprocess.run(
            command,
            cwd=checkout,
            capture_output=True,
            env={
                **os.environ,
                "HOME": home,
                "TMPDIR": folder,
                "DOCKER_HOST": engine.host,
                "DOCKER_TEST_API_VERSION": api_version,
                "PYTHONPATH": str(checkout),
                "PYTHONDONTWRITEBYTECODE": "1",
                "SETUPTOOLS_SCM_PRETEND_VERSION": "7.1.0",
            },
        )
        tree = ElementTree.parse(report.name)
    counts: collections.Counter[str] = collections.Counter()
    failures = []
    for case in tree.iter("testcase"):
        problem = next((case.find(kind) for kind in ("failure", "error") if case.find(kind) is not None), None)
        kind = "failed" if problem is not None else "skipped" if case.find("skipped") is not None else "passed"
        counts[kind] += 1
        if problem is not None:
            text = (problem.get("message") or "no message").strip()
            told = re.search(r'\("(.*)"\)', text)  # the engine's own words in docker-py's error
            name = f"{case.get('classname', '').rsplit('.', 1)[-1]}.{case.get('name')}"
            failures.append(f"{name}: {(told.group(1) if told else text.splitlines()[0])[:160]}")
    return counts, failures


if __name__ == "__main__":
    sys.exit(main())
