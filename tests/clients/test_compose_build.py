"""`docker compose build` and `up --build`: by bake where buildx is there, by compose's own client where not."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from harness.docker import Docker, Result

WAYS = [("new", True), ("new", False), ("old", True), ("old", False)]


class Project:
    def __init__(self, docker: Docker, directory: Path, generation: str, *, has_buildx: bool) -> None:
        plugins = ("compose", "buildx") if has_buildx else ("compose",)
        self.docker = docker.with_plugins(directory.parent / "client", *plugins, generation=generation)
        self.directory = directory
        directory.mkdir()

    def __call__(self, *args: str) -> Result:
        command = [self.docker.cli, "compose", "--progress=plain", *args]
        done = subprocess.run(
            command, cwd=self.directory, env=self.docker.env, capture_output=True, text=True, timeout=100, check=False
        )
        return Result(done.returncode, done.stdout, done.stderr)

    def ok(self, *args: str) -> str:
        result = self(*args)
        assert result.code == 0, result
        return result.line


@pytest.fixture(params=WAYS, ids=lambda way: f"{way[0]}-{'bake' if way[1] else 'own'}")
def project(request: pytest.FixtureRequest, docker: Docker, tmp_path: Path, name: str) -> Project:
    generation, has_buildx = request.param
    return Project(docker, tmp_path / name, generation, has_buildx=has_buildx)


def test_build_and_up(project: Project, name: str) -> None:
    (project.directory / "compose.yaml").write_text(
        f"""\
services:
  web:
    build:
      context: .
      args: {{WORD: hello}}
      target: wanted
      labels: {{made: "by-compose"}}
    image: {name}-web
    command: ["cat", "/word"]
  second:
    build:
      context: sub
      dockerfile_inline: |
        FROM busybox
        COPY file /file
    command: ["cat", "/file"]
"""
    )
    (project.directory / "Dockerfile").write_text(
        "FROM busybox AS wanted\nARG WORD\nRUN echo $WORD > /word\nFROM wanted\nRUN exit 1\n"
    )
    (project.directory / "sub").mkdir()
    (project.directory / "sub/file").write_text(name)
    project.ok("build")
    docker = project.docker
    assert docker.ok("run", "--rm", f"{name}-web", "cat", "/word") == "hello"
    assert docker.ok("image", "inspect", "-f", '{{index .Config.Labels "made"}}', f"{name}-web") == "by-compose"
    (project.directory / "sub/file").write_text("changed")
    shown = project.ok("up", "--build", "--no-log-prefix")
    project.ok("down")
    assert "hello" in shown
    assert "changed" in shown


def test_a_failing_build_fails_compose(project: Project, name: str) -> None:
    (project.directory / "compose.yaml").write_text("services:\n  web:\n    build: .\n")
    (project.directory / "Dockerfile").write_text(f"FROM busybox\nRUN echo {name}; exit 9\n")
    result = project("build")
    assert result.code != 0
    assert "exit code: 9" in result.err
