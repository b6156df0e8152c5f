"""pytest-docker: a project's containers by compose, for the time of its tests."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from harness.docker import Docker

COMPOSE = """
services:
  web:
    image: busybox
    command: [httpd, -f, -p, "80", -h, /etc]
    ports: ["127.0.0.1::80"]
"""

TEST = """
import urllib.request

def is_up(url):
    try:
        return urllib.request.urlopen(url).status == 200
    except OSError:
        return False

def test_web(docker_ip, docker_services):
    url = f"http://{docker_ip}:{docker_services.port_for('web', 80)}/group"
    docker_services.wait_until_responsive(timeout=20.0, pause=0.1, check=lambda: is_up(url))
"""


def test_a_project(docker: Docker, on_host: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path) -> None:
    config = tmp_path / "config"
    docker.with_plugins(config, "compose")
    tests = tmp_path / "tests"
    tests.mkdir()
    (tests / "docker-compose.yml").write_text(COMPOSE)
    (tests / "test_web.py").write_text(TEST)
    done = on_host(
        sys.executable, "-m", "pytest", "-q", str(tests), "-p", "no:cacheprovider", env={"DOCKER_CONFIG": str(config)}
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert docker.ok("ps", "-aq") == ""
