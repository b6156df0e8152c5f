"""What the container's first process is given: program, user, environment, directory, terminal."""

from __future__ import annotations

import errno
import os
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from lightship.engine.runtime import container
from lightship.engine.runtime.errors import RuntimeFailure

if TYPE_CHECKING:
    from .conftest import Bundle

PREFIX = "unable to start container process: "


def failure(function: Callable[[], Any]) -> RuntimeFailure:
    with pytest.raises(RuntimeFailure) as raised:
        function()
    return raised.value


def test_exit_code_and_output(bundle: Bundle) -> None:
    result = bundle.sh("echo out; echo err >&2; exit 7")
    assert (result.output, result.code) == ("out\nerr\n", 7)


@pytest.mark.parametrize(
    ("program", "text", "number"),
    [
        ("nope", 'exec: "nope": executable file not found in $PATH', errno.ENOENT),
        ("/nope", 'exec: "/nope": stat /nope: no such file or directory', errno.ENOENT),
        ("/etc", 'exec: "/etc": is a directory', errno.EISDIR),
        ("/etc/passwd", 'exec: "/etc/passwd": permission denied', errno.EACCES),
    ],
)
def test_a_program_that_cannot_run_is_an_error_of_create(bundle: Bundle, program: str, text: str, number: int) -> None:
    raised = failure(lambda: bundle.create(bundle.spec(program)))
    assert (raised.message, raised.errno) == (PREFIX + text, number)
    assert not os.path.exists(os.path.join(bundle.state_dir, "state.json"))


def test_what_fails_is_told_even_where_the_start_was_given_before(bundle: Bundle) -> None:
    missing = {"destination": "/x", "type": "bind", "source": "/nonexistent", "options": ["bind"]}
    for _ in range(10):  # the word to start may come before, while or after init fails
        spec = bundle.spec("true")
        spec["mounts"].append(missing)
        raised = failure(lambda spec=spec: bundle.create(spec, at_once=True))
        assert 'error mounting "/nonexistent" to rootfs at "/x"' in raised.message


def test_a_file_that_is_no_program_starts_and_says_why_it_ends(bundle: Bundle) -> None:
    program = bundle.root / "bin/broken"
    program.write_bytes(b"\x7fELF nothing")
    program.chmod(0o755)
    result = bundle.run(bundle.spec("/bin/broken"))
    assert (result.output, result.code) == ("exec /bin/broken: exec format error\n", 1)


def test_the_caller_who_never_starts_takes_the_process_along(bundle: Bundle) -> None:
    init = bundle.create(bundle.spec("true"))
    init.close()
    assert bundle.reap(init) == 255


@pytest.mark.parametrize(
    ("user", "expected"),
    [
        ({"username": "alice"}, "uid=1000(alice) gid=1001(alice) groups=50(staff),1001(alice)"),
        ({"username": "1000"}, "uid=1000(alice) gid=1001(alice) groups=50(staff),1001(alice)"),
        ({"username": "alice:audio"}, "uid=1000(alice) gid=29(audio) groups=29(audio)"),
        ({"username": "4711"}, "uid=4711 gid=0(root) groups=0(root)"),
        ({"username": "alice:7", "additionalGroups": ["audio", "99"]}, "uid=1000(alice) gid=7 groups=7,29(audio),99"),
        ({"uid": 5, "gid": 6, "additionalGids": [7]}, "uid=5 gid=6 groups=7"),
    ],
)
def test_user(bundle: Bundle, user: dict[str, Any], expected: str) -> None:
    output = bundle.sh("id", user=user).output.strip()
    assert sorted(re.split("[ ,=]", output)) == sorted(re.split("[ ,=]", expected))


@pytest.mark.parametrize(
    ("user", "text"),
    [
        ({"username": "bob"}, "unable to find user bob: no matching entries in passwd file"),
        ({"username": "alice:crew"}, "unable to find group crew: no matching entries in group file"),
        ({"additionalGroups": ["crew"]}, "unable to find group crew: no matching entries in group file"),
    ],
)
def test_unknown_user(bundle: Bundle, user: dict[str, Any], text: str) -> None:
    assert failure(lambda: bundle.create(bundle.spec("true", user=user))).message == text


def test_passwd_file_that_leads_out_of_the_root_or_blocks_is_not_read(bundle: Bundle) -> None:
    (bundle.root / "etc/passwd").unlink()
    os.mkfifo(bundle.root / "etc/passwd")
    text = "unable to find user alice: no matching entries in passwd file"
    assert failure(lambda: bundle.create(bundle.spec("true", user={"username": "alice"}))).message == text


def test_home_comes_from_the_images_passwd(bundle: Bundle) -> None:
    assert bundle.sh("echo $HOME", user={"username": "alice"}).output == "/home/alice\n"
    assert bundle.sh("echo $HOME", user={"uid": 77, "gid": 0}).output == "/\n"
    assert bundle.sh("echo $HOME", env=["PATH=/bin", "HOME=/x"]).output == "/x\n"
    assert bundle.sh("echo $HOME", env=["PATH=/bin", "HOME=/x", "HOME="]).output == "/root\n"


def test_missing_working_directory_is_made(bundle: Bundle) -> None:
    result = bundle.sh("pwd; stat -c '%u %a' .", cwd="/srv/new", user={"username": "alice"})
    assert result.output == "/srv/new\n0 755\n"


def test_descriptors_of_the_runtime_do_not_reach_the_program(bundle: Bundle) -> None:
    leak = os.open("/", os.O_RDONLY)  # close-on-exec, and one that is not
    os.set_inheritable(leak, True)
    try:
        assert bundle.sh("cd /proc/self/fd; echo *").output.split() in (["0", "1", "2"], ["0", "1", "2", "3"])
        raised = failure(lambda: bundle.create(bundle.spec("true", cwd=f"/proc/self/fd/{leak}")))
        assert raised.message.startswith(PREFIX)
    finally:
        os.close(leak)


def test_preserved_descriptors_reach_the_program(bundle: Bundle) -> None:
    kept = os.dup2(os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC), 3) if not _is_open(3) else 3
    result = bundle.run(bundle.spec("sh", "-c", "test -e /proc/self/fd/3 && echo kept"), preserve_fds=1)
    assert kept == 3
    assert result.output == "kept\n"


def _is_open(fd: int) -> bool:
    return os.path.exists(f"/proc/self/fd/{fd}")


def test_terminal_is_the_containers_own(bundle: Bundle) -> None:
    script = "tty; stat -c %t:%T /dev/console; ls -l /proc/self/fd/1; exit 4"
    spec = bundle.spec("sh", "-c", script, terminal=True, consoleSize={"height": 33, "width": 44})
    init = bundle.create(spec)
    assert os.get_terminal_size(init.console_fd) == (44, 33)
    init.start()
    output = b""
    while True:
        try:
            output += os.read(init.console_fd, 4096)
        except OSError as error:
            assert error.errno == errno.EIO
            break
    assert output.startswith(b"/dev/pts/0\r\n88:0\r\n")
    assert bundle.reap(init) == 4


def test_rlimits_umask_and_oom_score(bundle: Bundle) -> None:
    limits = [{"type": "RLIMIT_NOFILE", "soft": 64, "hard": 128}]
    script = "ulimit -n; ulimit -Hn; umask; cat /proc/self/oom_score_adj"
    result = bundle.sh(script, rlimits=limits, oomScoreAdj=500, user={"uid": 0, "gid": 0, "umask": 0o27})
    assert result.output == "64\n128\n0027\n500\n"
    raised = failure(lambda: bundle.create(bundle.spec("true", rlimits=[{"type": "RLIMIT_X", "soft": 1, "hard": 1}])))
    assert raised.message == f"{PREFIX}invalid rlimit type: RLIMIT_X"


def test_ignored_signals_of_the_caller_are_not_inherited(bundle: Bundle) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        result = bundle.run(bundle.spec("grep", "-e", "SigIgn", "-e", "SigBlk", "/proc/self/status"))
    finally:
        signal.signal(signal.SIGHUP, before)
    # Two signals are the C library's own: nobody can set them, and posix_spawn leaves them ignored
    own = 1 << 31 | 1 << 32
    assert [int(line.split()[1], 16) & ~own for line in result.output.splitlines()] == [0, 0]


def test_exec_joins_and_is_confined_alike(bundle: Bundle) -> None:
    init = bundle.start()
    inside = bundle.execute(
        "sh", "-c", "hostname; readlink /proc/self/ns/pid; grep CapBnd /proc/self/status; cat /proc/self/cgroup"
    )
    hostname, namespace, capabilities, *groups = inside.output.splitlines()
    assert hostname == "inside"
    assert namespace == os.readlink(f"/proc/{init.pid}/ns/pid")
    assert capabilities.split()[1] == "00000000a80425fb"
    assert all(line.endswith(bundle.cgroup_path) for line in groups)
    raised = failure(lambda: bundle.execute("nope"))
    assert raised.message == f'{PREFIX}exec: "nope": executable file not found in $PATH'
    raised = failure(lambda: bundle.execute("true", cwd="/nowhere"))
    assert raised.message == f'{PREFIX}chdir to cwd ("/nowhere") set in config.json failed: no such file or directory'


def test_exec_needs_a_running_container(bundle: Bundle) -> None:
    init = bundle.start()
    container.pause(bundle.state_dir)
    text = "cannot exec in a paused container (use --ignore-paused to override)"
    assert failure(lambda: bundle.execute("true")).message == text
    container.resume(bundle.state_dir)
    container.kill(bundle.state_dir, signal.SIGKILL)
    assert bundle.reap(init) == -signal.SIGKILL
    assert failure(lambda: bundle.execute("true")).message == "cannot exec in a stopped container"
    assert failure(lambda: container.kill(bundle.state_dir, 15)).message == "container not running"
    assert container.load(bundle.state_dir)["status"] == "stopped"


def test_the_callers_processors_are_not_the_containers(bundle: Bundle) -> None:
    everywhere = os.sched_getaffinity(0)
    if len(everywhere) < 2:
        pytest.skip("needs two processors")
    one = min(everywhere)
    os.sched_setaffinity(0, {one})
    try:
        found = bundle.sh("grep Cpus_allowed_list /proc/self/status")
        bundle.start()
        executed = bundle.execute("grep", "Cpus_allowed_list", "/proc/self/status")
        bound = bundle.execute(
            "grep", "Cpus_allowed_list", "/proc/self/status", execCPUAffinity={"initial": str(one), "final": str(one)}
        )
    finally:
        os.sched_setaffinity(0, everywhere)
    allowed = Path("/proc/self/status").read_text().split("Cpus_allowed_list:")[1].split()[0]
    assert found.output.split()[1] == executed.output.split()[1] == allowed
    assert bound.output.split()[1] == str(one)
