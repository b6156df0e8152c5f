"""The daemon is killed in the middle of a build: the next one clears away what is left, and uses what was done."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from harness.engine import Engine, cgroups_below

DOCKERFILE = """
FROM busybox
RUN echo done > /done
COPY file /file
RUN {} sleep {}
"""


def build(engine: Engine, folder: Path, seconds: int) -> list[str]:
    (folder / "Dockerfile").write_text(DOCKERFILE.format("cat /file;", seconds))
    return ["build", "-t", "made", str(folder)]


def snapshots(engine: Engine) -> int:
    return len(list((engine.data_root / "snapshots").iterdir()))


def processes(engine: Engine) -> list[str]:
    files = [directory / "cgroup.procs" for directory in cgroups_below(engine.cgroup_parent)]
    return [pid for file in files if file.exists() for pid in file.read_text().split()]


def test_a_killed_daemons_build_is_cleared_away(private_engine: Callable[..., Engine], tmp_path: Path) -> None:
    engine = private_engine()
    engine.docker.env["DOCKER_BUILDKIT"] = "0"
    (tmp_path / "file").write_text("content\n")
    with subprocess.Popen(
        [engine.docker.cli, *build(engine, tmp_path, 1000)],
        env=engine.docker.env,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as building:
        assert building.stdout is not None
        while b"content" not in building.stdout.readline():
            assert building.poll() is None
        engine.kill()
    engine.start()
    for _ in range(500):
        if not processes(engine):
            break
        time.sleep(0.02)  # nobody tells when the kernel is through
    assert processes(engine) == []
    left = {
        "tasks": list((engine.exec_root / "tasks").iterdir()),
        "private": list(engine.exec_root.glob("build/*")),
        "containers": list((engine.data_root / "containers").iterdir()),
        "temporary": list(engine.data_root.glob("build/temporary/*")),
        "ingests": list((engine.data_root / "content/ingest").iterdir()),
    }
    assert not any(left.values()), left
    assert "made" not in engine.docker.ok("images")
    before = snapshots(engine)
    output = engine.docker(*build(engine, tmp_path, 0))
    assert output.code == 0 and output.out.count("Using cache") == 2, (output, engine.log.read_text()[-3000:])
    assert snapshots(engine) == before + 1
