"""Flags and daemon.json as dockerd reads them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from lightship.api import settings
from lightship.api.flags import UsageError, parse, usage
from lightship.api.main import main
from lightship.api.options import NOT_YET, OPTIONS, read_size
from lightship.engine.config import BridgeConfig, EngineConfig, RegistryConfig, Runtime, Ulimit

MERGED = "FILE: merged configuration validation from file and command line flags failed"


def load(tmp_path, *flags, **file):
    path = tmp_path / "daemon.json"
    path.write_text(json.dumps({key.replace("_", "-"): value for key, value in file.items()}))
    return settings.load(["--config-file", str(path), *flags])


def refused(tmp_path, *flags, **file):
    with pytest.raises(UsageError) as caught:
        load(tmp_path, *flags, **file)
    return str(caught.value).replace(
        f"unable to configure the Docker daemon with file {tmp_path}/daemon.json: ", "FILE: "
    )


def test_nothing_given_is_the_defaults(tmp_path):
    found = load(tmp_path)
    assert found.engine == EngineConfig()
    assert found.hosts == ("unix:///var/run/docker.sock",)


def test_flags_are_read_as_pflag_does(tmp_path):
    found = load(
        tmp_path, "-D", "-H", "unix:///a", "--host=unix:///b", "-Hunix:///c", "--icc=false", "--mtu", "1400", "--dns",
        "1.1.1.1", "--dns=::1", "--log-opt", "max-size=1m", "--log-opt=max-file=3", "--default-ulimit", "nofile=5:6",
        "--default-shm-size", "128M", "--label", "a=b", "--data-root=/d", "-G", "root", "--bip", "10.0.0.1/24",
    )  # fmt: skip
    assert found.hosts == ("unix:///a", "unix:///b", "unix:///c")
    assert found.group == "root"
    engine = found.engine
    assert (engine.debug, engine.dns, engine.data_root) == (True, ("1.1.1.1", "::1"), Path("/d"))
    assert engine.bridge == BridgeConfig(icc=False, mtu=1400, bip="10.0.0.1/24")
    assert engine.log_opts == {"max-size": "1m", "max-file": "3"}
    assert engine.default_ulimits == (Ulimit("nofile", 5, 6),)
    assert (engine.default_shm_size, engine.labels) == (128 << 20, ("a=b",))


def test_who_makes_control_groups(tmp_path, monkeypatch):
    asked = {"exec_opts": ["native.cgroupdriver=systemd"]}
    assert load(tmp_path).engine.cgroup_driver == "cgroupfs"
    assert "native.cgroupdriver option x not supported" in refused(tmp_path, exec_opts=["native.cgroupdriver=x"])
    for parent in ("/given", "given", ".slice"):
        wrong = 'cgroup-parent for systemd cgroup should be a valid slice named as "xxx.slice"'
        assert wrong in refused(tmp_path, cgroup_parent=parent, **asked)
    monkeypatch.setattr(settings, "cgroup_version", lambda: "1")
    assert "needs a host that systemd has booted, with cgroup v2" in refused(tmp_path, cgroup_parent="a.slice", **asked)
    monkeypatch.setattr(settings, "cgroup_version", lambda: "2")
    monkeypatch.setattr(settings.os.path, "isdir", lambda path: path == "/run/systemd/system")
    assert load(tmp_path, cgroup_parent="a.slice", **asked).engine.cgroup_driver == "systemd"


def test_the_file_says_the_same(tmp_path):
    found = load(
        tmp_path, debug=True, hosts=["unix:///a"], icc=False, mtu=1400, dns=["1.1.1.1"], log_opts={"max-size": "1m"},
        default_ulimits={"nofile": {"Name": "nofile", "Soft": 5, "Hard": 6}}, default_shm_size="128M",
        labels=["a=b"], bridge="none", live_restore=False, storage_driver="overlay2", userland_proxy=False,
    )  # fmt: skip
    assert found.hosts == ("unix:///a",)
    engine = found.engine
    assert (engine.debug, engine.dns, engine.bridge_disabled, engine.live_restore) == (True, ("1.1.1.1",), True, False)
    assert engine.default_ulimits == (Ulimit("nofile", 5, 6),)
    assert (engine.default_shm_size, engine.labels) == (128 << 20, ("a=b",))
    assert (engine.bridge.icc, engine.bridge.mtu, engine.bridge.name) == (False, 1400, "docker0")


def test_unknown_directives_are_refused(tmp_path):
    assert refused(tmp_path, foo=1, bar=2) == (
        "FILE: the following directives don't match any configuration option: foo, bar"
    )
    assert refused(tmp_path, storage_opts=[]) == ("FILE: the following directives are not supported yet: storage-opts")


@pytest.mark.parametrize(
    ("runtime", "message"),
    [
        ({}, "runtime foo: either a runtimeType or a path must be configured"),
        ({"path": "/x", "runtimeType": "y"},
         "runtime foo: cannot configure both path and runtimeType for the same runtime"),
        ({"path": "/x", "options": {"a": 1}}, "runtime foo: options cannot be used with a path runtime"),
        ({"runtimeType": "io.containerd.runc.v2", "runtimeArgs": ["x"]},
         "runtime foo: args cannot be used with a runtimeType runtime"),
        ({"runtimeType": "io.containerd.kata.v2"},
         "runtime foo: only io.containerd.runc.v2 with the option BinaryName is supported as a runtimeType"),
    ],
)  # fmt: skip
def test_bad_runtimes_in_the_file(tmp_path, runtime, message):
    assert refused(tmp_path, runtimes={"foo": runtime}) == f"FILE: {message}"


def test_runtimes_of_flags_and_file_are_taken_together(tmp_path):
    file = {"runtimes": {"crun": {"path": "crun", "runtimeArgs": ["--debug"]}}, "default_runtime": "crun"}
    engine = load(tmp_path, "--add-runtime", "other=/x", **file).engine
    assert engine.runtimes == {"other": Runtime("/x"), "crun": Runtime("crun", ("--debug",))}
    assert engine.default_runtime == "crun"


def test_no_cdi_directory_at_all(tmp_path):
    assert load(tmp_path, cdi_spec_dirs=[""]).engine.cdi_spec_dirs == ()
    assert load(tmp_path, "--cdi-spec-dir", "/a", "--cdi-spec-dir", "/b").engine.cdi_spec_dirs == ("/a", "/b")


def test_a_flag_and_the_file_may_not_both_say_it(tmp_path):
    assert refused(tmp_path, "--debug", "--dns", "8.8.8.8", debug=False, dns=["1.1.1.1"]) == (
        "FILE: the following directives are specified both as a flag and in the configuration file: "
        "debug: (from flag: true, from file: false), dns: (from flag: [8.8.8.8], from file: [1.1.1.1])"
    )


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--nope"], "unknown flag: --nope"),
        (["--nope=1"], "unknown flag: --nope"),
        (["extra"], '"lightshipd" accepts no arguments: extra'),
        (["--storage-opt", "x"], "flag --storage-opt is not supported yet"),
        (["--mtu"], "flag needs an argument: --mtu"),
        (["--mtu", "x"], 'invalid argument "x" for "--mtu" flag: strconv.ParseInt: parsing "x": invalid syntax'),
        (["--icc=zz"], 'invalid argument "zz" for "--icc" flag: strconv.ParseBool: parsing "zz": invalid syntax'),
        (["--dns", "x"], 'invalid argument "x" for "--dns" flag: failed to parse IP: "x"'),
        (["--label", "a"], 'invalid argument "a" for "--label" flag: bad attribute format: a'),
        (["--default-ulimit", "x=1"], 'invalid argument "x=1" for "--default-ulimit" flag: invalid ulimit type: x'),
        (["-l", "zz"], f"{MERGED}: invalid logging level: zz"),
        (["--firewall-backend", "zz"], f'{MERGED}: invalid firewall-backend "zz"'),
        (["--selinux-enabled"], f"{MERGED}: selinux-enabled: true is not supported, only false"),
        (["--add-runtime", "foo"], 'invalid argument "foo" for "--add-runtime" flag: invalid runtime argument: foo'),
        (["--add-runtime", "=x"], 'invalid argument "=x" for "--add-runtime" flag: invalid runtime argument: =x'),
        (["--add-runtime", "runc=/x"],
         'invalid argument "runc=/x" for "--add-runtime" flag: runtime name \'runc\' is reserved'),
        (["--add-runtime", "foo=/x", "--add-runtime", "foo=/y"],
         'invalid argument "foo=/y" for "--add-runtime" flag: runtime \'foo\' was already defined'),
        (["--default-runtime", "foo"], "specified default runtime 'foo' does not exist"),
    ],
)  # fmt: skip
def test_bad_flags_are_refused(tmp_path, flags, message):
    assert refused(tmp_path, *flags) == message


def test_bad_values_in_the_file_are_refused(tmp_path):
    unmarshal = "FILE: invalid JSON: json: cannot unmarshal"
    assert refused(tmp_path, debug="x") == f"{unmarshal} string into Go struct field Config.debug of type bool"
    assert refused(tmp_path, dns="1.1.1.1") == f"{unmarshal} string into Go struct field Config.dns of type []string"
    log_opts = refused(tmp_path, log_opts={"a": 1})
    assert log_opts == f"{unmarshal} number into Go struct field Config.log-opts.a of type string"
    (tmp_path / "bad.json").write_text("{bad")
    with pytest.raises(UsageError, match="invalid JSON"):
        settings.load(["--config-file", str(tmp_path / "bad.json")])
    with pytest.raises(UsageError, match=r"open .*none\.json: no such file or directory"):
        settings.load(["--config-file", str(tmp_path / "none.json")])


def test_an_empty_file_says_nothing(tmp_path):
    (tmp_path / "daemon.json").write_text("")
    assert settings.load(["--config-file", str(tmp_path / "daemon.json")]).engine == EngineConfig()


@pytest.mark.parametrize(("text", "size"), [("64", 64), ("64m", 64 << 20), ("1.5GiB", 3 << 29), ("2kb", 2048)])
def test_sizes(text, size):
    assert read_size(text) == size


def test_every_option_sets_something_that_exists():
    fields = {
        "": settings.Settings.__dataclass_fields__,
        "engine": EngineConfig.__dataclass_fields__,
        "bridge": BridgeConfig.__dataclass_fields__,
        "registry": RegistryConfig.__dataclass_fields__,
    }
    for option in OPTIONS:
        group, _, attribute = option.target.rpartition(".")
        is_given = attribute in fields[group] or (option.document is not None and not attribute)
        is_checked = option.only or option.name == "feature"  # which allows what is so anyway
        assert is_given or (not option.target and is_checked), option
        assert option.name not in NOT_YET
        assert option.document is not None or option.name in usage()


def test_what_is_refused_is_documented():
    """A key may be the flag's name with an s."""
    page = (Path(__file__).resolve().parents[3] / "contrib/docs/daemon.md").read_text()
    assert [name for name in NOT_YET if name not in page and name.removesuffix("s") not in page] == []


def test_reload_takes_what_may_change(tmp_path):
    current = load(tmp_path, "--data-root", "/d")
    fresh = load(tmp_path, "--data-root", "/other", debug=True, labels=["a=b"], live_restore=False, shutdown_timeout=3)
    found = settings.reloaded(current, fresh)
    assert found.engine.data_root == Path("/d")
    assert (found.engine.debug, found.engine.labels, found.engine.live_restore) == (True, ("a=b",), False)
    assert found.engine.shutdown_timeout_s == 3


def test_certificates_are_where_clients_have_them(tmp_path, monkeypatch):
    monkeypatch.setenv("DOCKER_CERT_PATH", "/certs")
    found = load(tmp_path, "--tlsverify", "--tlskey", "/k.pem")
    assert (found.tlscacert, found.tlscert, found.tlskey) == ("/certs/ca.pem", "/certs/cert.pem", "/k.pem")


def test_version_help_and_validate(tmp_path, capsys):
    path = tmp_path / "daemon.json"
    path.write_text("{}")
    assert main(["--version"]) == 0
    assert main(["--help"]) == 0
    assert main(["--validate", "--config-file", str(path)]) == 0
    assert capsys.readouterr().out.endswith("configuration OK\n")
    assert main(["--nope"]) == 1
    assert capsys.readouterr().err == "unknown flag: --nope\nSee 'lightshipd --help'.\n"


def test_short_flags_may_stand_for_one_option_only():
    assert parse(["-Htcp://x", "-l", "warn"]) == {"host": ["tcp://x"], "log-level": "warn"}
