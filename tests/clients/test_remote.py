"""The stock CLI from elsewhere: over ssh, and over TLS with certificates of a CA."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from harness.docker import Docker
from harness.engine import Engine

SSHD = shutil.which("sshd", path="/usr/sbin:/usr/bin")


def openssl(*arguments: object) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


@pytest.fixture
def over_ssh(engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Docker]:
    """The CLI with DOCKER_HOST=ssh://, and a server for it in the engine's network; what logs in has the engine's
    socket in its environment."""
    if SSHD is None or shutil.which("ssh") is None:
        pytest.skip("there is no openssh")
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-N", "", "-t", "ed25519", "-f", tmp_path / name], check=True)
    shutil.copy(tmp_path / "user.pub", tmp_path / "authorized")
    Path("/run/sshd").mkdir(exist_ok=True)
    config = tmp_path / "sshd_config"
    path = f"{Path(engine.docker.cli).parent}:/usr/bin:/bin"
    config.write_text(
        f"Port 2222\nListenAddress 127.0.0.1\nHostKey {tmp_path}/host\nAuthorizedKeysFile {tmp_path}/authorized\n"
        f"PermitRootLogin yes\nStrictModes no\nUsePAM no\nPidFile none\nMaxStartups 100\n"
        f"SetEnv DOCKER_HOST={engine.host} PATH={path}\n"
    )
    client = tmp_path / "ssh"
    client.write_text(
        f"#!/bin/sh\nexec /usr/bin/ssh -p 2222 -i {tmp_path}/user -o UserKnownHostsFile=/dev/null "
        '-o StrictHostKeyChecking=no -o LogLevel=ERROR "$@"\n'
    )
    client.chmod(0o755)
    with engine.netns.entered():
        server = subprocess.Popen([SSHD, "-D", "-e", "-f", config], stderr=subprocess.PIPE)
    assert server.stderr
    with server.stderr as told:
        while b"listening" not in (line := told.readline()):
            assert line, "sshd has ended"
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    docker = Docker("ssh://root@127.0.0.1", str(tmp_path))
    try:
        with engine.netns.entered():
            yield docker
    finally:
        server.terminate()
        server.wait()


def test_over_ssh(over_ssh: Docker, name: str) -> None:
    """`docker system dial-stdio` at the other end carries requests, streams, and a stdin that ends."""
    assert over_ssh.ok("version", "-f", "{{.Server.Os}}") == "linux"
    assert over_ssh.ok("run", "--rm", "-i", "busybox", "cat", stdin="through a tunnel\n") == "through a tunnel"
    over_ssh.ok("run", "-d", "--name", name, "busybox", "sleep", "100")
    assert over_ssh("exec", name, "sh", "-c", "echo out; echo err >&2; exit 3").code == 3
    assert over_ssh.ok("rm", "-f", name) == name


def test_over_ssh_by_a_context(over_ssh: Docker) -> None:
    over_ssh.ok("context", "create", "remote", "--docker", "host=ssh://root@127.0.0.1")
    del over_ssh.env["DOCKER_HOST"]
    assert over_ssh.ok("--context", "remote", "info", "-f", "{{.OSType}}") == "linux"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As clients have them in DOCKER_CERT_PATH, with the server's beside."""
    folder = tmp_path_factory.mktemp("certs")
    new_key = ("req", "-newkey", "rsa:2048", "-nodes", "-subj")
    openssl(*new_key, "/CN=ca", "-x509", "-days", "2", "-keyout", folder / "ca-key.pem", "-out", folder / "ca.pem")
    (folder / "extensions").write_text("subjectAltName=IP:127.0.0.1\nextendedKeyUsage=serverAuth,clientAuth\n")
    for key, certificate in (("key.pem", "cert.pem"), ("server-key.pem", "server.pem")):
        openssl(*new_key, f"/CN={certificate}", "-keyout", folder / key, "-out", folder / "request")
        openssl(
            "x509", "-req", "-in", folder / "request", "-CA", folder / "ca.pem", "-CAkey", folder / "ca-key.pem",
            "-CAcreateserial", "-days", "2", "-extfile", folder / "extensions", "-out", folder / certificate,
        )  # fmt: skip
    return folder


def test_over_tls(private_engine: Callable[..., Engine], certificates: Path, tmp_path: Path) -> None:
    """Streams are pumped through the daemon there; those without a certificate are refused."""
    files = ("--tlscacert", f"{certificates}/ca.pem", "--tlscert", f"{certificates}/server.pem")
    keys = ("--tlskey", f"{certificates}/server-key.pem")
    engine = private_engine("--tlsverify", *files, *keys, "-H", "tcp://127.0.0.1:2376")
    docker = Docker("tcp://127.0.0.1:2376", str(tmp_path))
    with engine.netns.entered():
        assert docker("version").code == 1
        docker.env |= {"DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": str(certificates)}
        assert docker.ok("run", "--rm", "-i", "busybox", "cat", stdin="encrypted\n") == "encrypted"
        container = docker.ok("run", "-d", "busybox", "sh", "-c", "while :; do echo tick; sleep 0.1; done")
        with docker.background("logs", "-f", container) as follower:
            assert follower.stdout and follower.stdout.readline() == b"tick\n"
            docker.ok("rm", "-f", container)
            follower.communicate(timeout=30)
            assert follower.returncode == 0
        (tmp_path / "ca.pem").write_bytes((certificates / "ca.pem").read_bytes())
        docker.env["DOCKER_CERT_PATH"] = str(tmp_path)
        assert docker("version").code == 1
