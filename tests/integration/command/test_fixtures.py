"""The pytest plugin, as a project that has lightship installed uses it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

TESTS = """
    import os, socket, subprocess, urllib.request

    def test_client(docker_client):
        assert docker_client.images.list()[0].tags == ["busybox:latest"]

    def test_a_published_port_is_on_localhost(docker_client):
        docker_client.containers.run(
            "busybox", ["sh", "-c", "echo served > /tmp/x; httpd -f -p 80 -h /tmp"], detach=True, ports={"80/tcp": 8080}
        )
        for _ in range(100):
            try:
                assert urllib.request.urlopen("http://127.0.0.1:8080/x").read() == b"served\\n"
                break
            except ConnectionError:
                pass
        else:
            raise AssertionError("no answer")

    def test_environment(docker_engine):
        assert os.environ["DOCKER_HOST"] == docker_engine.host
        print("ENGINE", docker_engine.host)
"""


@pytest.fixture
def project(pytester: pytest.Pytester, base_archive: bytes) -> pytest.Pytester:
    """A project whose engine has busybox."""
    pytester.path.joinpath("images.tar").write_bytes(base_archive)
    pytester.makeini("[pytest]\ndocker_engine_load = images.tar\ndocker_engine_flags = --debug\n")
    pytester.makepyfile(TESTS)
    return pytester


def engines() -> list[Path]:
    return list(Path(os.environ.get("TMPDIR", "/tmp")).glob("lightship-run-*"))


def test_tests_have_an_engine_of_their_own(project: pytest.Pytester) -> None:
    host, network = os.environ.get("DOCKER_HOST"), os.readlink("/proc/thread-self/ns/net")
    result = project.runpytest_subprocess("-s", "-p", "no:cacheprovider")
    result.assert_outcomes(passed=3)
    root = result.stdout.str().partition("ENGINE unix://")[2].partition("/docker.sock")[0]
    assert root and not Path(root).exists()
    assert (os.environ.get("DOCKER_HOST"), os.readlink("/proc/thread-self/ns/net")) == (host, network)


def test_each_worker_has_one(project: pytest.Pytester) -> None:
    """Both publish the same port of their localhost."""
    pytest.importorskip("xdist")
    project.makepyfile(test_one=TESTS, test_two=TESTS)
    result = project.runpytest_subprocess("-n", "2", "--dist", "loadfile", "test_one.py", "test_two.py")
    result.assert_outcomes(passed=6)


def test_a_scope_that_there_is_not(pytester: pytest.Pytester) -> None:
    pytester.makeini("[pytest]\ndocker_engine_scope = week\n")
    pytester.makepyfile("def test_it(docker_engine): pass")
    result = pytester.runpytest_subprocess()
    assert "docker_engine_scope: week is not one of session" in result.stdout.str() + result.stderr.str()


def test_an_engine_that_does_not_start_says_why(pytester: pytest.Pytester) -> None:
    pytester.makeini("[pytest]\ndocker_engine_flags = --nope\n")
    pytester.makepyfile("def test_it(docker_engine): pass")
    result = pytester.runpytest_subprocess()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*no engine could be started: *unknown flag: --nope*"])
