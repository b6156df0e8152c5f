"""A compose project: a directory with its file, and one of the compose programs against one engine."""

from __future__ import annotations

import json
import shutil
import subprocess
import textwrap
from pathlib import Path
from typing import Any

from .docker import Docker, Result, finish

GENERATIONS = ("2.40", "2.26", "1.29")


class Compose:
    """`project.ok("up", "-d")`. The project's name is its directory's; its file is what `write` was given last."""

    def __init__(self, docker: Docker, directory: Path, generation: str) -> None:
        self.generation = generation
        self.directory = directory
        self.name = directory.name
        config = directory.parent / f"{directory.name}-client"
        if generation == "1.29":
            program = shutil.which("docker-compose")
            assert program is not None, "docker-compose is missing: run `make setup`"
            self._command, self.docker = [program], docker
            # From 1.45 on the API has no ContainerConfig, from 1.52 on events have no status: it needs both
            self._env = docker.env | {"COMPOSE_API_VERSION": "1.44"}
        else:
            self.docker = docker.with_plugins(config, "compose", generation="new" if generation == "2.40" else "old")
            self._command = [self.docker.cli, "compose"]
            self._env = self.docker.env

    def write(self, text: str, name: str = "docker-compose.yml") -> None:
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))

    def __call__(self, *args: str, stdin: bytes | None = None, timeout_s: float = 90) -> Result:
        with self.background(*args, has_stdin=stdin is not None) as client:
            return finish(client, stdin, timeout_s)

    def ok(self, *args: str, stdin: bytes | None = None) -> str:
        result = self(*args, stdin=stdin)
        assert result.code == 0, f"compose {' '.join(args)}: {result}"
        return result.line

    def background(self, *args: str, has_stdin: bool = False) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [*self._command, *args],
            cwd=self.directory,
            env=self._env,
            stdin=subprocess.PIPE if has_stdin else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            process_group=0,
        )

    def ids(self, *services: str) -> list[str]:
        return self.ok("ps", "-q", *services).split()

    def container(self, service: str) -> dict[str, Any]:
        """Inspect the service's only container; also one that has ended."""
        labels = [f"label=com.docker.compose.project={self.name}", f"label=com.docker.compose.service={service}"]
        filters = [flag for label in labels for flag in ("--filter", label)]
        (id,) = self.docker.ok("ps", "-aq", "--no-trunc", *filters).split()
        found: dict[str, Any] = json.loads(self.docker.ok("inspect", id))[0]
        return found
