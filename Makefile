# demo: a container from nothing; test: everything, each stage timed; bench: beside real dockerd. All need root and a Debian-like machine.
SHELL := /bin/bash
PYTHON ?= /usr/bin/python3
VENV := .venv
BIN := $(VENV)/bin
PYTEST := $(BIN)/python -m pytest -q
stage = @began=$$SECONDS; echo "== $(1)"; $(2); code=$$?; echo "== $(1): $$((SECONDS - began)) s"; exit $$code

.PHONY: setup demo test lint unit integration clients vm fuzz bench diff docker-py-suite oci-suite runc-suite oci-validation protocol clean

setup: $(VENV)/installed .cache/setup
	@contrib/bench/docker-cli

.cache/setup: contrib/setup
	@contrib/setup
	@mkdir -p .cache && touch $@

# The installed package is what the tests run, from a wheel, as a user has it.
SOURCES := pyproject.toml $(shell find api compat engine openapi -name '*.py' -o -name '*.json' | grep -v __pycache__)
$(VENV)/installed: .cache/setup $(SOURCES)
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@rm -rf build
	@$(BIN)/python -m pip install -q '.[test]'
	@rm -rf build *.egg-info
	@touch $@

demo: setup
	@contrib/demo/demo

test: setup
	$(call stage,lint and types,$(MAKE) -s lint)
	$(call stage,unit tests,$(MAKE) -s unit)
	$(call stage,integration tests,$(MAKE) -s integration)
	$(call stage,client tests,$(MAKE) -s clients)
	$(call stage,fuzzing,$(MAKE) -s fuzz)

lint:
	@$(PYTEST) tests/unit/test_linters.py

unit:
	@$(PYTEST) tests/unit --ignore tests/unit/test_linters.py

integration:
	@$(PYTEST) tests/integration

clients:
	@contrib/bench/docker-cli --plugins
	@contrib/bench/other-clients
	@$(PYTEST) tests/clients

# A Debian in qemu with its own kernel, systemd, cgroup v2 and AppArmor, in which VM_TESTS run: `checks` and `units` of tests/vm, tests of
# pytest's, NAME=VALUE for their environment. All is emulated: half an hour, so not part of `test`.
VM_TESTS ?= checks units tests/integration/runtime $(addprefix tests/clients/test_,$(addsuffix .py,resources stats update run_flags \
  confinement create_options exec health))
vm: setup
	@apt-get -qq install -y --no-install-recommends qemu-system-x86 debootstrap e2fsprogs >/dev/null
	@tests/vm/run "$(VM_TESTS)"

# For as long as wanted, from any round on: make fuzz LIGHTSHIP_FUZZ_SECONDS=3600 LIGHTSHIP_FUZZ_ROUND=100
fuzz: setup
	@$(PYTEST) tests/fuzz

bench: setup
	@contrib/bench/debian-docker .cache/docker --engine
	@PYTHONPATH=tests $(BIN)/python contrib/bench/bench.py $(BENCH)

# The same requests and commands against real dockerd and here: ends with 1 where something differs without a reason.
diff: setup
	@contrib/bench/debian-docker .cache/docker --engine
	@PYTHONPATH=tests $(BIN)/python -m differential $(DIFF)

# make docker-py-suite DOCKER_PY=/path/to/a/checkout
docker-py-suite: setup
	@$(BIN)/python -m pip install -q paramiko
	@PYTHONPATH=tests $(BIN)/python contrib/bench/docker_py_suite.py "$(DOCKER_PY)"

# podman and containerd of the distribution with lightship-runtime, and podman with our images. Installs both, so not part of `test`.
oci-suite: setup
	@apt-get -qq install -y --no-install-recommends podman containerd >/dev/null
	@$(PYTEST) tests/oci

# make runc-suite RUNC=/path/to/a/checkout [SUITE="exec mounts"]
runc-suite: setup
	@contrib/runc-suite "$(RUNC)" "$(CURDIR)/.cache" "$(CURDIR)/$(BIN)/lightship-runtime" $(SUITE)

# make oci-validation RUNTIME_TOOLS=/path/to/a/checkout [OCI_RUNTIME=runc] [SUITE="hooks state"]
OCI_RUNTIME ?= $(CURDIR)/$(BIN)/lightship-runtime
oci-validation: setup
	@contrib/oci-validation "$(RUNTIME_TOOLS)" "$(CURDIR)/.cache" "$(OCI_RUNTIME)" $(SUITE)

# Modules of BuildKit's messages, made anew after a change of their .proto files.
protocol:
	@contrib/protocol

clean:
	rm -rf $(VENV) .cache build .mypy_cache .ruff_cache .pytest_cache .hypothesis
