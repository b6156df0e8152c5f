"""Builds by both doors: the classic one, and BuildKit's through buildx."""

from __future__ import annotations

import contextlib
import itertools
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from harness.docker import PLUGINS
from harness.engine import Engine
from measure import Measure, Workload, cli

_STEPS = 5
_FILES, _BYTES = 5000, 1000
_LARGE = 200 << 20
_PARALLEL = "FROM busybox AS one\nRUN sleep 5; echo {0}\nFROM busybox\nRUN sleep 5; echo {0}\nCOPY --from=one /bin /b\n"


def steps(folder: Path) -> None:
    lines = ["FROM busybox", "ARG RUN"]
    for number in range(_STEPS):
        (folder / f"file{number}").write_text(f"{number}\n")
        lines += [f"RUN echo $RUN > /{number}", f"COPY file{number} /copied/"]
    (folder / "Dockerfile").write_text("\n".join(lines))


def small_files(folder: Path) -> None:
    for number in range(_FILES):
        directory = folder / "files" / str(number % 50)
        directory.mkdir(parents=True, exist_ok=True)
        (directory / str(number)).write_bytes(os.urandom(_BYTES))
    (folder / "Dockerfile").write_text("FROM busybox\nCOPY files /files\n")


def large_file(folder: Path) -> None:
    (folder / "large").write_bytes(os.urandom(_LARGE))
    (folder / "Dockerfile").write_text("FROM busybox\nCOPY large /\n")


def built(
    fill: Callable[[Path], None], *, classic: bool, cached: bool = False
) -> Callable[[Engine], AbstractContextManager[Measure]]:
    """A build of a context; anew each time, unless it is to be cached."""

    @contextlib.contextmanager
    def prepare(engine: Engine) -> Iterator[Measure]:
        with tempfile.TemporaryDirectory() as folder, _door(engine, classic=classic):
            fill(Path(folder))
            numbers = itertools.count()

            def run() -> float:
                anew = [] if cached else ["--no-cache", "--build-arg", f"RUN={next(numbers)}"]
                return cli(engine, "build", "-q", "-t", "bench-build", *anew, folder)

            run()
            yield run
            engine.docker("rmi", "-f", "bench-build")
            engine.docker("builder", "prune", "-af")

    return prepare


@contextlib.contextmanager
def _door(engine: Engine, *, classic: bool) -> Iterator[None]:
    """Have the CLI build by one of the doors."""
    with tempfile.TemporaryDirectory() as config:
        changed = {"DOCKER_BUILDKIT": "0" if classic else "1", "DOCKER_CONFIG": config}
        if not classic:
            plugins = Path(config) / "cli-plugins"
            plugins.mkdir()
            (plugins / "docker-buildx").symlink_to(PLUGINS["new"] / "docker-buildx")
        before = dict(engine.docker.env)
        engine.docker.env.update(changed)
        try:
            yield
        finally:
            engine.docker.env.clear()
            engine.docker.env.update(before)


@contextlib.contextmanager
def two_stages(engine: Engine) -> Iterator[Measure]:
    with tempfile.TemporaryDirectory() as folder, _door(engine, classic=False):
        numbers = itertools.count()

        def run() -> float:
            (Path(folder) / "Dockerfile").write_text(_PARALLEL.format(next(numbers)))
            return cli(engine, "build", "-q", "-t", "bench-build", folder)

        yield run
        engine.docker("rmi", "-f", "bench-build")


def _pair(name: str, fill: Callable[[Path], None], goal: float, *, cached: bool = False) -> list[Workload]:
    return [
        Workload(f"build ({door}), {name}", built(fill, classic=classic, cached=cached), runs=5, ratio_goal=goal)
        for door, classic in (("classic", True), ("buildx", False))
    ]


ALL = [
    *_pair("10 steps", steps, 3),
    *_pair("10 steps, cached", steps, 1, cached=True),
    *_pair(f"COPY of {_FILES} files", small_files, 1),
    *_pair("COPY of 200 MB", large_file, 1),
    Workload("build (buildx), two stages of 5 s", two_stages, runs=1, limit=7000),
]
