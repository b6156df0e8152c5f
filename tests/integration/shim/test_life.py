"""Who may die when: the daemon, the zygote, the shim, the container."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

import pytest
from lightship.engine import errors
from lightship.engine.shim.messages import ExecExited, Exited, OutOfMemory


def test_exit_by_a_signal_and_its_record(lab):
    async def scenario():
        async with lab() as there:
            task = await there.run("sleep 100")
            await task.kill(signal.SIGKILL)
            told = await there.event(Exited)
            assert told.exit_code == 137
            record = json.loads((there.root / "containers/c1/exit.json").read_text())
            assert (record["exit_code"], record["exited_ns"]) == (137, told.exited_ns)
            assert record["status"] == "exited"

    asyncio.run(scenario())


def test_created_but_never_started(lab):
    async def scenario():
        async with lab() as there:
            task = await there.run("true", start=False)
            assert (await task.state()).status == "created"
            with pytest.raises(errors.Conflict):
                await task.pause()
            await there.supervisor.delete("c1")
            assert (await there.event(Exited)).exit_code == 137

    asyncio.run(scenario())


def test_what_cannot_start_leaves_nothing(lab, client):
    async def scenario():
        async with lab() as there:
            for args, message in (
                (["nosuch"], 'exec: "nosuch": executable file not found in \\$PATH'),
                (["/etc"], 'exec: "/etc": is a directory'),
                (["/etc/passwd"], 'exec: "/etc/passwd": permission denied'),
            ):
                one = client()
                with pytest.raises(errors.Error, match=message):
                    await there.run("", spec=there.spec("", args=args), clients=[one.attach()])
                one.given()
                assert await one.receive_all() == b""
                assert not (there.root / "tasks/c1").exists()
            assert there.events.empty()

    asyncio.run(scenario())


def test_a_file_that_is_no_program_starts_and_ends(lab, client):
    async def scenario():
        async with lab() as there:
            script = there.rootfs / "bin/no-format"
            script.write_bytes(b"\x00\x01\x02\x03")
            script.chmod(0o755)
            one = client()
            await there.run("", spec=there.spec("", args=["/bin/no-format"]), clients=[one.attach()])
            one.given()
            assert await one.receive_all() == b"exec /bin/no-format: exec format error\n"
            assert await there.exit_code() == 1

    asyncio.run(scenario())


def test_deleting_kills_what_is_paused(lab):
    async def scenario():
        async with lab() as there:
            task = await there.run("sleep 1000")
            await task.pause()
            await there.supervisor.delete("c1")
            assert await there.exit_code() == 137

    asyncio.run(scenario())


def test_held_descriptors_are_free_when_the_exit_is_told(lab):
    async def scenario():
        async with lab() as there:
            read_fd, write_fd = os.pipe()
            freed = []

            async def listen(task, event):
                freed.append(os.read(read_fd, 1))
                await there.hear(task, event)

            os.set_blocking(read_fd, False)
            there.supervisor.listen(listen)
            task = await there.run("sleep 1000", fds={"port0": write_fd})
            os.close(write_fd)
            await task.kill(9)
            assert await there.exit_code() == 137
            assert freed == [b""]
            os.close(read_fd)

    asyncio.run(scenario())


def test_streams_go_on_without_a_daemon(lab, client):
    async def scenario():
        async with lab() as there:
            one, two = client(), client()
            task = await there.run("cat; exit 7", open_stdin=True, stdin_once=True, clients=[one.attach(stdin=True)])
            one.given()
            await task.exec("e1", there.process("cat; exit 8"), open_stdin=True, client=two.attach(stdin=True))
            two.given()
            await there.supervisor.stop()
            for client_ in (one, two):
                await client_.send(b"hello\n")
                assert await client_.receive_until(b"\n") == b"hello\n"
            two.half_close()
            assert await two.receive_all() == b""

            await there.supervisor.start()
            ((found, state),) = (await there.supervisor.load()).values()
            await found.listen()
            assert (state.status, state.pid, state.attached) == ("running", task.pid, 1)
            assert state.execs["e1"].exit_code == 8
            one.half_close()
            assert await one.receive_all() == b""
            assert await there.exit_code() == 7
            await found.delete()

    asyncio.run(scenario())


def test_an_exit_without_a_daemon_is_found(lab):
    async def scenario():
        async with lab() as there:
            await there.run("read x; exit 7", open_stdin=True)
            task = there.supervisor.get("c1")
            pid, shim_pid = task.pid, task.shim_pid
            pidfd = os.pidfd_open(shim_pid)
            await there.supervisor.stop()
            os.kill(pid, signal.SIGKILL)
            signal_of_end = asyncio.get_running_loop().create_future()
            asyncio.get_running_loop().add_reader(pidfd, signal_of_end.set_result, None)
            async with asyncio.timeout(10):
                await signal_of_end
            asyncio.get_running_loop().remove_reader(pidfd)
            os.close(pidfd)
            await there.supervisor.start()
            assert await there.supervisor.load() == {}
            assert [end.exit_code for end in there.supervisor.end_of("c1")] == [137]
            assert [end.exit_code for end in there.supervisor.end_of("unknown")] == [255]

    asyncio.run(scenario())


def test_a_killed_shim_is_noticed_and_its_container_ended(lab):
    async def scenario():
        async with lab() as there:
            task = await there.run("sleep 1000")
            pidfd = os.pidfd_open(task.pid)
            os.kill(task.shim_pid, signal.SIGKILL)
            assert await there.exit_code() == 137
            os.set_blocking(pidfd, False)
            assert not Path(f"/proc/{task.pid}/root").exists()
            os.close(pidfd)
            with pytest.raises(errors.Unavailable):
                await task.pids()

    asyncio.run(scenario())


def test_the_zygote_may_die(lab):
    async def scenario():
        async with lab() as there:
            await there.run("sleep 1000")
            zygote = int(
                Path(f"/proc/{there.supervisor.get('c1').shim_pid}/stat").read_text().rsplit(")")[1].split()[1]
            )
            assert "zygote" in Path(f"/proc/{zygote}/cmdline").read_text()
            os.kill(zygote, signal.SIGKILL)
            task = await there.run("exit 3", id="c2")
            assert await there.exit_code() == 3
            await there.supervisor.get("c1").kill(9)
            assert await there.exit_code() == 137
            await task.delete()

    asyncio.run(scenario())


def test_the_same_bundle_again_and_again(lab):
    async def scenario():
        async with lab() as there:
            for number in range(5):
                await there.run(f"exit {number}")
                assert await there.exit_code() == number
                with pytest.raises(errors.AlreadyExists):
                    await there.run("true")
                await there.supervisor.delete("c1")

    asyncio.run(scenario())


def test_out_of_memory_is_told(lab):
    async def scenario():
        async with lab() as there:
            spec = there.spec("tail /dev/zero", memory={"limit": 20 << 20, "swap": 20 << 20})
            await there.run("", spec=spec)
            assert isinstance(await there.events.get(), OutOfMemory)
            told = await there.event(Exited)
            assert (told.exit_code, told.oom) == (137, True)

    asyncio.run(scenario())


def test_questions_and_changes(lab):
    async def scenario():
        async with lab() as there:
            task = await there.run("sleep 100 & sleep 100; true")

            async def three():
                pids = await task.pids()
                assert task.pid in pids
                return len(pids) == 3

            await there.until(three)
            assert await task.stats()
            await task.update({"pids": {"limit": 77}})
            with pytest.raises(errors.InvalidArgument):
                await task._connection.request("nonsense", {})

    asyncio.run(scenario())


DAEMON = """
import asyncio, json, sys
from pathlib import Path
from lightship.engine.shim.messages import Attach, LogConfig, TaskRequest
from lightship.engine.supervisor.supervisor import Supervisor

async def main():
    root, client_fd, exec_fd = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    given = json.loads(sys.argv[4])
    supervisor = Supervisor(root / "tasks", root / "containers")
    await supervisor.start()
    how = Attach(stdin=True, stdout=True, stderr=True)
    task, _ = await supervisor.create_task(TaskRequest(
        "c1", given["spec"], given["rootfs"], open_stdin=True, stdin_once=True, start=True,
        log=LogConfig("json-file", given["log"]), clients=[(client_fd, how)],
    ))
    await task.exec("e1", given["process"], open_stdin=True, client=(exec_fd, how))
    print("ready", flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


def test_a_daemon_killed_for_real(lab, client):
    async def scenario():
        async with lab() as there:
            one, two = client(), client()
            request = there.request("cat; exit 5")
            given = {
                "spec": request.spec,
                "rootfs": request.rootfs,
                "log": str(there.log_path("c1")),
                "process": there.process("cat; exit 6"),
            }
            fds = (one.theirs.fileno(), two.theirs.fileno())
            daemon = await asyncio.create_subprocess_exec(
                *(sys.executable, "-c", DAEMON, str(there.root), str(fds[0]), str(fds[1]), json.dumps(given)),
                pass_fds=fds,
                stdout=asyncio.subprocess.PIPE,
            )
            assert await daemon.stdout.readline() == b"ready\n"
            for client_ in (one, two):
                client_.given()
                await client_.send(b"before\n")
                await client_.receive_until(b"before\n")
            daemon.kill()
            await daemon.wait()
            for client_ in (one, two):
                await client_.send(b"after\n")
                await client_.receive_until(b"after\n")
            ((found, state),) = (await there.supervisor.load()).values()
            await found.listen()
            assert state.status == "running"
            two.half_close()
            assert await two.receive_all() == b""
            assert (await there.event(ExecExited)).exit_code == 6
            one.half_close()
            assert await one.receive_all() == b""
            assert await there.exit_code() == 5
            assert '"after\\n"' in there.log_path("c1").read_text()

    asyncio.run(scenario())
