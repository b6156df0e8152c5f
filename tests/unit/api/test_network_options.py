"""Where subnets come from and what new networks are like: flags and daemon.json."""

from __future__ import annotations

import json
import re

import pytest
from lightship.api.flags import UsageError
from lightship.api.networks import read_address_pool
from lightship.api.settings import load
from lightship.engine.config import BridgeConfig


def test_address_pools_by_flag_and_by_file(tmp_path):
    by_flag = load(
        ["--default-address-pool", "base=10.0.0.0/8,size=24", "--default-address-pool", "base=fd00::/8,size=64"]
    )
    assert by_flag.engine.default_address_pools == (("10.0.0.0/8", 24), ("fd00::/8", 64))
    file = tmp_path / "daemon.json"
    options = {"bridge": {"com.docker.network.driver.mtu": "1400"}}
    pools = [{"base": "10.0.0.0/8", "size": 24}]
    file.write_text(json.dumps({"default-address-pools": pools, "default-network-opts": options}))
    by_file = load(["--config-file", str(file)])
    assert by_file.engine.default_address_pools == (("10.0.0.0/8", 24),)
    assert by_file.engine.default_network_opts == options


def test_default_network_options_by_flag():
    given = [
        "--default-network-opt",
        "bridge=a=b",
        "--default-network-opt=bridge=c=d=e",
        "--default-network-opt",
        "x=y=",
    ]
    assert load(given).engine.default_network_opts == {"bridge": {"a": "b", "c": "d=e"}, "x": {"y": ""}}
    with pytest.raises(UsageError, match='invalid value "bridge=xx" for map option, should be root-key=key=value'):
        load(["--default-network-opt", "bridge=xx"])


@pytest.mark.parametrize(("text", "read"), [("1", "0x1/0xffffffff"), ("0x10/0xff", "0x10/0xff"), ("", "")])
def test_marks_that_bridges_accept(text, read):
    assert load([f"--bridge-accept-fwmark={text}"]).engine.bridge.accept_mark == read
    for wrong in ("zz", "1/zz", "-1", "0x1ffffffff"):
        with pytest.raises(UsageError, match="invalid firewall mark"):
            load([f"--bridge-accept-fwmark={wrong}"])


def test_options_of_the_default_bridge_by_flag_and_by_file(tmp_path):
    values = {
        "bip": "10.0.0.1/24", "bip6": "fd00::1/64", "fixed-cidr": "10.0.0.128/25", "fixed-cidr-v6": "fd00::/80",
        "default-gateway": "10.0.0.2", "default-gateway-v6": "fd00::2", "mtu": 1400, "ip": "127.0.0.1", "ipv6": True,
        "icc": False, "ip-masq": False, "ip-forward": False, "ip-forward-no-drop": True, "userland-proxy": False,
        "allow-direct-routing": True,
    }  # fmt: skip
    expected = BridgeConfig(
        bip="10.0.0.1/24", bip6="fd00::1/64", fixed_cidr="10.0.0.128/25", fixed_cidr_v6="fd00::/80",
        default_gateway="10.0.0.2", default_gateway_v6="fd00::2", mtu=1400, default_binding_ip="127.0.0.1", ipv6=True,
        icc=False, ip_masq=False, ip_forward=False, ip_forward_no_drop=True, userland_proxy=False,
        allow_direct_routing=True,
    )  # fmt: skip
    flags = [f"--{name}={str(value).lower()}" for name, value in values.items()]
    assert load(flags).engine.bridge == expected
    file = tmp_path / "daemon.json"
    file.write_text(json.dumps(values))
    assert load(["--config-file", str(file)]).engine.bridge == expected


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["-b", "br9", "--bip", "10.0.0.1/24"], "You specified -b & --bip, mutually exclusive options"),
        (["-b", "br9", "--bip6", "fd00::1/64"], "You specified -b & --bip6, mutually exclusive options"),
        (
            ["--icc=false", "--iptables=false"],
            "You specified --iptables=false with --icc=false. ICC=false uses iptables",
        ),
        (["--icc=false", "--ipv6", "--ip6tables=false"], "You specified --ip6tables=false with --icc=false."),
        (["--published-ports-through-input", "--userland-proxy=false"], "published-ports-through-input needs userland"),
        (["--mtu=-5"], "invalid default MTU: -5"),
    ],
)
def test_options_that_do_not_go_together(flags, message):
    with pytest.raises(UsageError, match=re.escape(message)):
        load(flags)


@pytest.mark.parametrize(
    "text", ["base=10.0.0.0/8", "base=10.0.0.1/8,size=24", "base=10.0.0.0/16,size=8", "size=24", "x"]
)
def test_malformed_pools_are_refused(text):
    with pytest.raises(ValueError, match="invalid default address pool"):
        read_address_pool(text)
