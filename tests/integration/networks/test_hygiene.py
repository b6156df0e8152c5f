"""The host's firewall is the host's: others' rules stay as they are, and an earlier backend's rules go."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest
from harness.sandboxes import Server, ask
from lightship.engine.networks.records import NetworkRecord
from lightship.engine.store import Store
from lightship.openapi.types.networks import NetworkCreateRequest
from msgspec.structs import replace

if TYPE_CHECKING:
    from conftest import Machine

HOST, OUTSIDE = "198.51.100.1", "198.51.100.2"
USERS_RULES = """\
*filter
:FORWARD ACCEPT [0:0]
:USERS - [0:0]
[7:420] -A FORWARD -i first0 -j USERS
[9:540] -A FORWARD -i last0 -j ACCEPT
[3:180] -A USERS -s 192.0.2.0/24 -j DROP
[5:300] -A USERS -d 192.0.2.0/24 -j RETURN
COMMIT
*nat
:USERS - [0:0]
[2:120] -A PREROUTING -p tcp -m tcp --dport 9 -j REDIRECT --to-ports 99
[4:240] -A USERS -p udp -m udp --dport 53 -j ACCEPT
COMMIT
"""


def run(*command: str, stdin: str = "") -> str:
    return subprocess.run(command, input=stdin, check=True, capture_output=True, text=True).stdout


def users_rules() -> list[str]:
    """The rules of a user, with their counters, in the order in which the kernel has them."""
    ours = ("DOCKER", "LIGHTSHIP")
    lines = run("iptables-legacy-save", "-c").splitlines()
    return [line for line in lines if line.startswith("[") and not any(word in line for word in ours)]


@pytest.mark.parametrize("machine", ["iptables"], indirect=True)
def test_others_rules_keep_their_places_and_counters(machine: Machine) -> None:
    async def scenario() -> None:
        run("iptables-legacy-restore", "-c", stdin=USERS_RULES)
        before = users_rules()
        assert len(before) == 6
        for turn in range(2):  # the second daemon finds the rules of the first one
            async with machine.networks() as networks:
                if turn == 0:
                    run("iptables-legacy", "-I", "DOCKER-USER", "-s", "203.0.113.0/24", "-j", "DROP")
                    run("iptables-legacy", "-I", "FORWARD", "-i", "above0", "-j", "USERS")
                    before = users_rules()
                forward = run("iptables-legacy", "-S", "FORWARD").splitlines()
                assert forward[1:4] == ["-A FORWARD -i above0 -j USERS", "-A FORWARD -j DOCKER-USER",
                                        "-A FORWARD -j DOCKER-FORWARD"]  # fmt: skip
                await networks.create(NetworkCreateRequest(name="one"))
                sandbox = await machine.container(networks, 1, mode="one", tcp80=":8080")
                await networks.release(sandbox.endpoint.container_id)
                sandbox.close()
                await networks.remove("one")
                networks.reload()
        assert users_rules() == before
        assert "-A DOCKER-USER -s 203.0.113.0/24 -j DROP" in run("iptables-legacy", "-S", "DOCKER-USER")

    machine.run(scenario)


@pytest.mark.parametrize("machine", ["iptables"], indirect=True)
def test_a_change_of_one_bridge_leaves_what_is_made_by_the_whole(machine: Machine) -> None:
    async def scenario() -> None:
        async with machine.networks() as networks:
            empty = machine.rules()
            await networks.create(NetworkCreateRequest(name="one"))
            await networks.create(NetworkCreateRequest(name="six", enable_ipv6=True))
            changed = sorted(machine.rules().splitlines())
        async with machine.networks() as networks:
            assert sorted(machine.rules().splitlines()) == changed
            for name in ("six", "one"):
                await networks.remove(name)
            assert machine.rules() == empty

    machine.run(scenario)


def test_another_backend_takes_over_whole(machine: Machine) -> None:
    """Containers, published ports, and that nobody else is forwarded for."""
    other = {"nftables": "iptables", "iptables": "nftables"}[machine.backend]

    def ours() -> dict[str, str]:
        saved = {"nftables": run("nft", "list", "ruleset"), "iptables": run("iptables-legacy-save")}
        return {name: text for name, text in saved.items() if "docker0" in text}

    async def scenario() -> None:
        async with machine.networks() as networks:
            web = await machine.container(networks, 1, tcp80=":8080")
        assert set(ours()) == {machine.backend}
        for backend in (other, machine.backend):
            async with machine.networks(firewall_backend=backend) as networks:
                await networks.restore({web.endpoint.container_id})
                assert set(ours()) == {backend}
                drops = "policy drop" if backend == "nftables" else ":FORWARD DROP"
                assert drops in ours()[backend]
                if backend == "nftables":
                    assert ":FORWARD DROP" not in run("iptables-legacy-save")
                with Server(web.netns_fd, 80):
                    assert ask(HOST, 8080, place=machine.outside) == OUTSIDE
                    assert ask("127.0.0.1", 8080) == "172.17.0.1"

    machine.run(scenario)


def test_a_network_that_was_half_made_or_half_removed_goes(machine: Machine) -> None:
    """The daemon ended between its first note of it and the last one."""

    async def scenario() -> None:
        async with machine.networks() as networks:
            before = machine.state()["links"]
            await networks.create(NetworkCreateRequest(name="one"))
            record = networks.find("one")
        store = Store(machine.folder / "db")
        store.table("networks", NetworkRecord).put(record.id, replace(record, unfinished=True))
        store.close()
        assert machine.state()["links"] != before
        async with machine.networks() as networks:
            assert machine.state()["links"] == before
            assert networks.find_or_none("one") is None
            await networks.create(NetworkCreateRequest(name="one"))
            assert networks.find("one").unfinished is False

    machine.run(scenario)
