# Everything that a developer, CI or a curious operator runs. `make help` lists it.
#
# The targets install what they need by themselves: Debian packages from bindep.txt
# (as root, only when one is missing) and a virtualenv in .venv.

VENV := .venv
PY := $(VENV)/bin/python
SHELL := /bin/bash

# An installed package has its bytecode, and so has what is tested here: an environment
# that forbids to write it has each of some thousand short processes compile all modules anew.
test unit functional openstack cloud demo: export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.PHONY: help deps venv demo test versions unit functional openstack cloud cloud-up cloud-down faults mutants fuzz thrash bench lint format docs man genconfig lab-up lab-down clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' Makefile

deps: ## install the Debian packages of bindep.txt that are missing
	@tools/install-deps.sh

venv: deps ## create .venv with the package and its tools, or bring it up to date
	@tools/make-venv.sh

demo: venv ## boot a guest and move its disk nfs -> rbd -> iscsi -> nfs while it writes
	@$(PY) -m tests.demo

test: venv ## unit tests, and the core of the others; the last line counts them
	@$(PY) -m tests.run

unit: venv ## unit tests only
	@$(PY) -m tests.run unit

functional: venv ## all functional tests, in labs of their own; make test has their core
	@$(PY) -m tests.run thorough

openstack: venv ## unit tests against Nova's and Cinder's own classes
	@$(PY) -m tests.run openstack

cloud: venv ## all tests on a real OpenStack, in a lab of its own; make test has their core
	@$(PY) -m tests.run campaign

cloud-up: venv ## start a small OpenStack and leave it running
	@$(PY) -m tests.cloud up

cloud-down: venv ## stop it
	@$(PY) -m tests.cloud down

versions: venv ## functional tests on other Debian suites, in root file systems of their own
	@$(PY) -m tests.versions $(SUITES)

faults: venv ## every fault in every state of a swap, on real parts; takes about an hour
	@$(PY) -m tests.faults --report $(if $(RESUME),--resume)

mutants: venv ## break each promise on purpose; a test must notice each time
	@$(PY) -m tests.mutants --report

INPUTS := 10000
fuzz: venv ## INPUTS random inputs for each property of the unit tests
	@$(PY) -m tests.fuzz --inputs $(INPUTS) --report

SEED := 1
SWAPS := 100
thrash: venv ## SWAPS random swaps with random faults from SEED
	@$(PY) -m tests.thrash --seed $(SEED) --swaps $(SWAPS)

bench: venv ## measure our swap beside virsh, Nova and qemu-img; QUICK=1 takes 5 minutes, ARGS=--help
	@$(PY) -m tests.bench $(if $(QUICK),--quick) $(ARGS)

lint: venv ## ruff, mypy, import-linter and the project's own checks
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/flake8
	$(VENV)/bin/lint-imports
	$(VENV)/bin/mypy

format: venv ## let ruff format and mend what it can
	$(VENV)/bin/ruff format
	$(VENV)/bin/ruff check --fix

docs: venv ## the documentation as HTML, in doc/build/html
	$(VENV)/bin/sphinx-build -W --keep-going -q -b html doc/source doc/build/html

man: venv ## the manual page, in doc/build/man
	$(VENV)/bin/sphinx-build -W --keep-going -q -b man doc/source doc/build/man

genconfig: venv ## write etc/blockmirror/blockmirror.conf.sample again
	$(VENV)/bin/oslo-config-generator --config-file etc/blockmirror/config-generator.conf

lab-up: venv ## start the lab (libvirt, Ceph, iSCSI, NFS) and leave it running
	@$(PY) -m tests.lab up

lab-down: venv ## stop the lab
	@$(PY) -m tests.lab down

clean: ## remove what was built; the lab must be down
	@if [ -x $(PY) ]; then $(PY) -m tests.lab down || true; fi
	rm -rf build dist doc/build .lab .mypy_cache .ruff_cache .pytest_cache \
	    .import_linter_cache .hypothesis .coverage $(VENV) *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
