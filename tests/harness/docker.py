"""The stock docker CLI against one engine: run to the end, left running, or on a terminal."""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from .waiting import LIMIT_S

OLDEST_CLI = 28
_CACHE = Path(__file__).resolve().parents[2] / ".cache"
CACHED_CLI = _CACHE / "docker" / "bin" / "docker"
PLUGINS = {"new": _CACHE / "docker" / "cli-plugins", "old": _CACHE / "docker-trixie" / "cli-plugins"}
"""compose 2.40 and buildx 0.29; compose 2.26 and buildx 0.13."""


def docker_cli() -> str:
    """The CLI to test with: the one on PATH where it is new enough, else the one that the set-up fetched."""
    found = shutil.which("docker")
    if found:
        shown = subprocess.run([found, "--version"], capture_output=True, text=True).stdout
        version = re.match(r"Docker version (\d+)", shown)
        if version and int(version.group(1)) >= OLDEST_CLI:
            return found
    if not CACHED_CLI.exists():
        raise RuntimeError("there is no docker CLI: run `make setup`")
    return str(CACHED_CLI)


@dataclass
class Result:
    code: int
    out: str
    err: str

    @property
    def line(self) -> str:
        """Standard output without the line's end."""
        return self.out.strip()


def finish(client: subprocess.Popen[bytes], stdin: bytes | None, timeout_s: float) -> Result:
    """Wait for a CLI that leads a process group; a plugin is its child there, and ends with it."""
    try:
        out, err = client.communicate(stdin, timeout_s)
    except BaseException:
        os.killpg(client.pid, signal.SIGKILL)
        raise
    return Result(client.returncode, out.decode(errors="replace"), err.decode(errors="replace"))


class Docker:
    """`docker("run", "--rm", "busybox", "true")` gives a Result; `docker.ok(...)` its output, and fails the test
    where the code is not 0.
    """

    def __init__(self, host: str, config_dir: str) -> None:
        self.cli = docker_cli()
        keep = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        self.env = {
            **keep,
            "DOCKER_HOST": host,
            "DOCKER_CONFIG": config_dir,
            "DOCKER_CLI_HINTS": "false",
            "TERM": "xterm",
        }

    def with_plugins(self, directory: Path, *names: str, generation: str = "new") -> Docker:
        """The same CLI with plugins (`compose`, `buildx`) and a configuration in `directory`, which it takes over."""
        plugins = directory / "cli-plugins"
        plugins.mkdir(parents=True)
        for name in names:
            plugin = PLUGINS[generation] / f"docker-{name}"
            if not plugin.exists():
                raise RuntimeError(f"{plugin} is missing: run `contrib/bench/docker-cli --plugins`")
            (plugins / plugin.name).symlink_to(plugin)
        return Docker(self.env["DOCKER_HOST"], str(directory))

    def __call__(
        self,
        *args: str,
        stdin: str | bytes | None = None,
        timeout_s: float = LIMIT_S,
        env: dict[str, str] | None = None,
    ) -> Result:
        data = stdin.encode() if isinstance(stdin, str) else stdin
        source = subprocess.DEVNULL if data is None else subprocess.PIPE
        with subprocess.Popen(
            [self.cli, *args],
            env=self.env | (env or {}),
            stdin=source,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            process_group=0,
        ) as client:
            return finish(client, data, timeout_s)

    def ok(self, *args: str, stdin: str | bytes | None = None, timeout_s: float = LIMIT_S) -> str:
        result = self(*args, stdin=stdin, timeout_s=timeout_s)
        assert result.code == 0, f"docker {' '.join(args)}: {result}"
        return result.line

    def fails(self, *args: str, code: int = 1) -> str:
        """The message of a command that must end with ``code``."""
        result = self(*args)
        assert result.code == code, f"docker {' '.join(args)}: {result}"
        return result.err.strip()

    def background(self, *args: str) -> subprocess.Popen[bytes]:
        """A CLI that is left running; its three streams are pipes."""
        pipe = subprocess.PIPE
        return subprocess.Popen([self.cli, *args], env=self.env, stdin=pipe, stdout=pipe, stderr=pipe)

    def terminal(self, *args: str, size: tuple[int, int] = (24, 80)) -> Terminal:
        return Terminal([self.cli, *args], self.env, size)


class Terminal:
    """A command on a pseudo terminal of its own."""

    def __init__(self, argv: list[str], env: dict[str, str], size: tuple[int, int]) -> None:
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execve(argv[0], argv, env)
        self.resize(*size)
        self.seen = ""

    def resize(self, rows: int, columns: int) -> None:
        import fcntl
        import struct
        import termios

        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        os.kill(self.pid, signal.SIGWINCH)

    def send(self, text: str) -> None:
        os.write(self.fd, text.encode())

    def expect(self, pattern: str, timeout_s: float = LIMIT_S) -> str:
        """Read until the pattern is seen; what came before it and itself are taken off."""
        deadline = time.monotonic() + timeout_s
        while not (match := re.search(pattern, self.seen)):
            if not self._read(deadline):
                raise AssertionError(f"{pattern!r} was not seen in {self.seen!r}")
        self.seen = self.seen[match.end() :]
        return match.group(0)

    def shows(self, pattern: str, within_s: float = 0.5) -> bool:
        """Whether the pattern is seen now or soon; nothing is taken off."""
        deadline = time.monotonic() + within_s
        while not re.search(pattern, self.seen):
            if not self._read(deadline):
                return False
        return True

    def _read(self, deadline: float) -> bool:
        ready, _, _ = select.select([self.fd], [], [], max(0, deadline - time.monotonic()))
        if not ready:
            return False
        try:
            data = os.read(self.fd, 65536)
        except OSError:  # the other side of a pty closes with EIO
            return False
        self.seen += data.decode(errors="replace")
        return bool(data)

    def wait(self, timeout_s: float = LIMIT_S) -> int:
        """The exit code; output that comes meanwhile is kept in ``seen``."""
        deadline = time.monotonic() + timeout_s
        while self._read(deadline):
            pass
        while time.monotonic() < deadline:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.pid = 0
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.01)
        raise AssertionError(f"the command did not end; seen: {self.seen!r}")

    def __enter__(self) -> Terminal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self.fd)
