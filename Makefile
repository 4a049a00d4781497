# `make demo` shows the main job on the emulator. `make test` tests everything that needs neither root nor a booted
# system, in minutes; `make check` tests the rest. They install what they need into .venv.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
# Empty: packaging/find-python finds one.
PYTHON ?=
PREFIX ?= /usr/local
DESTDIR ?=
VENV := .venv
BIN := $(VENV)/bin
# The lock is the only source of versions; building rolekeeper itself uses the locked hatchling, so no isolation.
INSTALL := $(BIN)/python -m pip --disable-pip-version-check install --quiet

REFRESHES ?= 600

# Workers that share the tests: one for each core, and no more than 8.
JOBS := $(shell cores=$$(nproc); echo $$((cores < 8 ? cores : 8)))
# A file for each run of pytest, from which .ci/run adds up what passed and failed.
RESULTS := build/results
# PROGRAM:PACKAGE of Debian's, installed by root where they are missing.
CHECK_NEEDS := /lib/systemd/systemd:systemd dbus-daemon:dbus nsenter:util-linux ip:iproute2 dmidecode:dmidecode \
    x86_64-linux-gnu-strip:binutils strace:strace setpriv:util-linux rpmbuild:rpm groff:groff-base lintian:lintian \
    debootstrap:debootstrap promtool:prometheus prometheus-node-exporter:prometheus-node-exporter \
    cloud-init:cloud-init icinga2:icinga2-bin rpmlint:rpmlint docker-compose:docker-compose
# Clients that read what is published; without one, its tests are skipped and say so.
GO_SDKS := /usr/share/gocode/src/github.com/aws
CLIENT_NEEDS := restic:restic go:golang-go ruby:ruby $(GO_SDKS)/aws-sdk-go:golang-github-aws-aws-sdk-go-dev \
    $(GO_SDKS)/aws-sdk-go-v2:golang-github-aws-aws-sdk-go-v2-dev \
    /var/lib/dpkg/info/ruby-aws-sdk-core.list:ruby-aws-sdk-core
# What `make clients` measures beside these.
MATRIX_LIBRARIES := python3-boto3 ruby-aws-sdk-core php-async-aws-core golang-github-aws-aws-sdk-go-dev \
    golang-github-aws-aws-sdk-go-v2-dev golang-github-minio-minio-go-v7-dev
MATRIX_NEEDS := /usr/bin/aws:awscli /usr/bin/s3cmd:s3cmd rclone:rclone npm:npm php:php-cli \
    $(foreach library,$(MATRIX_LIBRARIES),/usr/share/doc/$(library):$(library))

.PHONY: demo test check clients fleet-check coverage lint unit faults fuzz bench beside soak story mutations exposure \
    packages \
    packages-check install uninstall dist sbom repository lock herd clean
demo: $(VENV)/ready
	$(BIN)/python tests/demo/demo.py

test: lint unit

lint: $(VENV)/ready
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

unit: $(VENV)/ready
	packaging/need-programs faketime:faketime || true # tests of wrong clocks are skipped without it, and say so
	$(BIN)/python -m pytest -m "not check" -n $(JOBS) --dist worksteal --junit-xml=$(RESULTS)/test.xml

# What needs root, a booted systemd or minutes: boxes, packages, a sample of `make faults`, power loss, the demo; and
# the tests with random examples once more, with ten times as many of them.
# Each file goes to one worker as a whole: its tests share booted boxes, and many of them live in an order.
check: export ROLEKEEPER_EXAMPLES := 100
check: $(VENV)/ready $(VENV)/fleet/ready $(VENV)/fleet/schemas
	packaging/need-programs $(CHECK_NEEDS)
	packaging/need-programs $(CLIENT_NEEDS) || true
	$(BIN)/python -m pytest -m "check or hypothesis" -n $(JOBS) --dist loadfile --junit-xml=$(RESULTS)/check.xml

# AWS SDKs and tools, each as a long-lived process that gets its credentials in every way: a quarter of an hour, and
# docs/clients.md. CLIENTS=restic measures those whose name has this word anew. What is missing here is skipped.
clients: $(VENV)/ready $(VENV)/clients/ready
	packaging/need-programs $(CLIENT_NEEDS) $(MATRIX_NEEDS) || true
	packaging/build-clients build/clients
	$(BIN)/python -m tests.clients $(CLIENTS)

# The part of `make check` that is about metrics and many servers: monitoring, Ansible, cloud-init, CloudFormation.
fleet-check: $(VENV)/ready $(VENV)/fleet/ready $(VENV)/fleet/schemas
	packaging/need-programs $(CHECK_NEEDS)
	$(BIN)/python -m pytest tests/fleet tests/systemd/test_metrics_exporter.py tests/systemd/test_ansible_role.py

# Which lines and branches `make test` runs; the measurement doubles its time, and is why this is a target of its own.
coverage: $(VENV)/ready
	rm -f .coverage .coverage.*
	$(BIN)/coverage run -m pytest -m "not check"
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

# Every case of what `make check` tries a sample of: each command is killed, and let down by the system, at every step
# that it takes (thousands of runs; FAULTS=--every adds more, FAULTS='--scenario attempt' makes it fewer); the power
# fails; disks fill up and change hands.
faults: $(VENV)/ready
	packaging/need-programs strace:strace
	$(BIN)/python -m tests.faults.sweep --jobs 2 $(FAULTS)
	ROLEKEEPER_WHOLE=1 $(BIN)/python -m pytest -rP tests/powerloss tests/daemonprocess/test_daemonprocess_disks.py

# Coverage-guided; SECONDS for each target, TARGETS all unless some are named. What it finds is left in this directory.
fuzz: SECONDS = 60
fuzz: $(VENV)/fuzz
	$(BIN)/python tests/fuzz/fuzz.py --seconds $(SECONDS) $(TARGETS)

# What the package needs, beside a bare interpreter; a few minutes.
bench: packages
	$(BIN)/python -m tests.benchmarks.figures $(BENCH)

# In trouble, beside what SSM Agent was measured to do.
beside: $(VENV)/ready
	$(BIN)/python -m tests.benchmarks.beside

# Faults, kills and readers while credentials are refreshed every second: `make soak REFRESHES=5000` for a longer one.
soak: $(VENV)/ready
	$(BIN)/python -m tests.soak $(REFRESHES)

# The log of a simulated week with an outage, a reload and a rotation, to read; five minutes or more.
story: $(VENV)/ready
	packaging/need-programs faketime:faketime
	$(BIN)/python -m tests.story

# Each promise broken on purpose, and which test notices; WORDS choose the breaks whose text or file holds one of them.
mutations: $(VENV)/ready
	$(BIN)/python tests/mutations/mutate.py $(WORDS)

# Requests a second of 100,000 nodes, as docs/herd.md shows them; half a minute.
herd: $(VENV)/ready
	$(BIN)/python docs/draw_herd.py > docs/herd.md

# The unit's exposure as systemd itself rates it: 0 is a sealed box, 10 an open door.
exposure:
	systemd-analyze security --offline=true systemd/rolekeeper.service | tail -n 1

# A .deb and an .rpm for amd64 and for arm64.
packages: $(VENV)/ready
	packaging/need-programs dpkg-deb:dpkg rpmbuild:rpm x86_64-linux-gnu-strip:binutils-x86-64-linux-gnu \
	    aarch64-linux-gnu-strip:binutils-aarch64-linux-gnu
	$(BIN)/python packaging/packages.py

# The packages on the systems that they are for: root, and a quarter of an hour for the root file systems at first.
packages-check: $(VENV)/ready
	ROLEKEEPER_WHOLE=1 $(BIN)/python -m pytest -rs tests/packages tests/systems tests/systemd/test_installation.py

# For systems without a package, as root: `make install`, later `make install` again or `make uninstall`.
install:
	packaging/install "$(PREFIX)" "$(DESTDIR)" "$(PYTHON)"

uninstall:
	DESTDIR="$(DESTDIR)" "$(DESTDIR)$(PREFIX)/lib/rolekeeper/uninstall"

# Wheel and source distribution.
dist: $(VENV)/release
	rm -rf build/dist
	SOURCE_DATE_EPOCH=$${SOURCE_DATE_EPOCH:-$$(date --date="$$(sed -n 's/^ -- .*>  //p;T;q' packaging/deb/changelog)" +%s)} \
	    $(BIN)/hatchling build --directory build/dist
	$(BIN)/twine check --strict build/dist/*
	mkdir -p dist
	cp build/dist/* dist

# Everything that is inside the packages, as CycloneDX.
sbom: $(VENV)/release
	$(BIN)/python packaging/sbom.py

# A signed apt repository and a yum repository, of the packages in dist: `make repository KEY=name-of-a-gpg-key`.
repository: packages
	packaging/need-programs apt-ftparchive:apt-utils createrepo_c:createrepo-c gpg:gnupg rpmsign:rpm
	packaging/repository "$(KEY)" dist dist/repository

$(VENV)/ready: packaging/dev.txt pyproject.toml
	packaging/make-venv "$(PYTHON)" $(VENV)
	$(INSTALL) --require-hashes -r packaging/dev.txt
	$(INSTALL) --no-deps --no-build-isolation -e .
	touch $@

$(VENV)/fuzz: packaging/fuzz.txt $(VENV)/ready
	$(INSTALL) --require-hashes -r packaging/fuzz.txt
	touch $@

# Clients of AWS that Python's index has, away from our own libraries.
$(VENV)/clients/ready: packaging/clients.txt $(VENV)/ready
	packaging/make-venv "$(PYTHON)" $(VENV)/clients
	$(VENV)/clients/bin/python -m pip --disable-pip-version-check install --quiet --require-hashes -r packaging/clients.txt
	touch $@

# Tools that check what is for other tools, away from our own libraries.
$(VENV)/fleet/ready: packaging/fleet.txt $(VENV)/ready
	packaging/make-venv "$(PYTHON)" $(VENV)/fleet
	$(VENV)/fleet/bin/python -m pip --disable-pip-version-check install --quiet --require-hashes -r packaging/fleet.txt
	touch $@

# The arguments of Terraform's providers, in classes that are generated from them; only read, never installed.
$(VENV)/fleet/schemas: packaging/schemas.txt $(VENV)/fleet/ready
	$(VENV)/fleet/bin/python -m pip --disable-pip-version-check download --quiet --no-deps --require-hashes \
	    -r packaging/schemas.txt --dest $@
	touch $@

$(VENV)/release: packaging/release.txt $(VENV)/ready
	$(INSTALL) --require-hashes -r packaging/release.txt
	touch $@

# Plain requirements with hashes, one set for every supported Python; no address of any index is recorded.
lock:
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --upgrade \
	    pyproject.toml -o packaging/runtime.txt
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --upgrade \
	    --extra emulator -c packaging/runtime.txt pyproject.toml packaging/dev.in -o packaging/dev.txt
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --upgrade \
	    packaging/fuzz.in -o packaging/fuzz.txt
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --upgrade \
	    packaging/fleet.in -o packaging/fleet.txt
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --upgrade \
	    --no-deps packaging/schemas.in -o packaging/schemas.txt
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --upgrade \
	    packaging/clients.in -o packaging/clients.txt
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --upgrade \
	    -c packaging/dev.txt packaging/release.in -o packaging/release.txt
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --upgrade \
	    -c packaging/dev.txt packaging/build.in -o packaging/build.txt

clean:
	rm -rf $(VENV) dist build .coverage .coverage.* .mypy_cache .ruff_cache .pytest_cache .hypothesis
