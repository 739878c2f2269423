# securebox.stack: everything a developer or a CI machine runs. `make help` lists it.

SHELL := /bin/bash
.DEFAULT_GOAL := help

# The newest Python that ansible-core runs on, also from pyenv.
PYTHON ?= $(shell for v in 3.14 3.13 3.12 3.11; do \
	for p in $$HOME/.pyenv/versions/$$v.*/bin/python $$(command -v python$$v); do \
	"$$p" -c 'import venv, ensurepip' 2>/dev/null && { echo $$p; exit; }; done; done)
VENV := $(CURDIR)/.venv
CACHE := $(CURDIR)/.cache
COLLECTIONS := $(CACHE)/collections
INSTALLED := $(COLLECTIONS)/ansible_collections/securebox/stack
# What the tarball is made of, directories too, so that a removed file counts.
SOURCES := $(shell find galaxy.yml meta plugins roles playbooks inventories/example docs tests/testinfra README.md \
	CHANGELOG.md -not -name __pycache__ -not -name '*.pyc')
STAGE := molecule/resources/stage
# Programs that judge the box, and cannot live beside Ansible (sslyze wants an older cryptography): an environment of
# their own, and nothing but their commands on the PATH.
JUDGES := $(CACHE)/judges
LAB := $(VENV)/bin/python molecule/resources/lab.py

# What users install is what is tested. DEV=1 uses the work tree itself instead.
DEV ?=
scenarios_where = $(notdir $(patsubst %/molecule.yml,%,$(shell grep $(1) "engine: vm" molecule/*/molecule.yml)))
# An emulated machine needs the processors for itself.
VM_SCENARIOS := $(call scenarios_where,-l)
# The longest ones first: the others fit beside them.
LONG_SCENARIOS := hardening firewall bans wireguard
CONTAINER_SCENARIOS := $(LONG_SCENARIOS) $(filter-out $(LONG_SCENARIOS),$(call scenarios_where,-L))
SCENARIOS ?= $(CONTAINER_SCENARIOS) $(VM_SCENARIOS)

# Scenarios wait much of their time, for a timer or for a machine that starts.
JOBS ?= 3

# The Debian release of machines whose platform names none.
RELEASE ?= $(SECUREBOX_LAB_RELEASE)
export SECUREBOX_LAB_RELEASE := $(RELEASE)
export PATH := $(VENV)/bin:$(JUDGES)/bin:$(PATH)
export ANSIBLE_COLLECTIONS_PATH := $(COLLECTIONS)
export ANSIBLE_HOME := $(CACHE)/ansible
export PY_COLORS ?= 0
export ANSIBLE_FORCE_COLOR ?= 0

.PHONY: help setup judges doctor build install link lint unit contract sanity images scenario scenarios benchmark demo demo-down test clean

help: ## This list.
	@echo "make TARGET:"; echo
	@sed -nE 's/^([a-z-]+):[^#]*## (.*)/  \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16
	@echo; echo "scenarios: $(SCENARIOS)"

setup: $(VENV)/.ready ## The Python environment in .venv, pinned.

$(VENV)/.ready: requirements.txt
	@test -n "$(PYTHON)" || { echo "No Python 3.11 or later with venv: apt-get install python3 python3-venv"; exit 1; }
	@$(STAGE) "set up .venv with $(PYTHON)" bash -ec '"$(PYTHON)" -m venv --clear $(VENV); \
		$(VENV)/bin/pip install --quiet --disable-pip-version-check -r requirements.txt 2>&1 | { grep -v WARNING || true; }'
	@touch $@

judges: $(JUDGES)/.ready ## The judges that `verify` asks where they are there (sslyze), in .cache/judges, pinned.

$(JUDGES)/.ready: requirements-judges.txt
	@test -n "$(PYTHON)" || { echo "No Python 3.11 or later with venv: apt-get install python3 python3-venv"; exit 1; }
	@$(STAGE) "set up the judges" bash -ec '"$(PYTHON)" -m venv --clear $(JUDGES)/environment; \
		$(JUDGES)/environment/bin/pip install --quiet --disable-pip-version-check -r requirements-judges.txt 2>&1 \
			| { grep -v WARNING || true; }; \
		mkdir -p $(JUDGES)/bin; ln -sfn ../environment/bin/sslyze $(JUDGES)/bin/sslyze; \
		$(JUDGES)/bin/sslyze --help >/dev/null'
	@touch $@

doctor: setup ## What is missing on this machine; installs it where the caller may.
	@$(LAB) doctor --install

build: install

install: $(if $(DEV),link,$(INSTALLED)/MANIFEST.json) ## Build the collection and install the tarball below .cache (DEV=1: link the work tree).

# Only when something changed: what runs beside this keeps its files.
$(INSTALLED)/MANIFEST.json: $(VENV)/.ready $(SOURCES)
	@rm -rf $(INSTALLED); mkdir -p $(dir $(INSTALLED)) $(CACHE)/build
	@$(STAGE) "build and install the tarball" bash -ec 'rm -f $(CACHE)/build/*.tar.gz; \
		ansible-galaxy collection build --force --output-path $(CACHE)/build >/dev/null; \
		ansible-galaxy collection install --offline --no-deps --force --collections-path $(COLLECTIONS) \
			$(CACHE)/build/securebox-stack-*.tar.gz >/dev/null'
	@touch $@

link: setup
	@rm -rf $(INSTALLED); mkdir -p $(dir $(INSTALLED)); ln -s $(CURDIR) $(INSTALLED)

lint: install ## ruff, yamllint, ansible-lint, documentation and changelog.
	@$(STAGE) "ruff" ruff check .
	@$(STAGE) "yamllint" yamllint --strict .
	@$(STAGE) "ansible-lint (production)" ansible-lint -q
	@$(STAGE) "antsibull-docs" bash -ec 'cd $(INSTALLED); antsibull-docs lint-collection-docs --plugin-docs --skip-rstcheck .'
	@$(STAGE) "antsibull-changelog" antsibull-changelog lint

unit: install ## Unit tests: plugins, lab, report, input check.
	@$(STAGE) "unit tests" pytest -q tests/unit

contract: install ## Contract tests: what every role and plugin has in common.
	@$(STAGE) "contract tests" pytest -q tests/contract

sanity: setup ## ansible-test sanity with every ansible-core that runs here (SANITY_CORES=2.18,2.21).
	@$(STAGE) "sanity" $(VENV)/bin/python tests/sanity.py $(if $(SANITY_CORES),--cores $(SANITY_CORES))

images: setup doctor ## The lab's images, cached by content.
	@$(LAB) images --build

scenario: ## One molecule scenario: make scenario NAME=lxd (RELEASE=trixie: on Debian 13).
	@test -f molecule/$(NAME)/molecule.yml || { echo "make scenario NAME=...: one of $(SCENARIOS)"; exit 1; }
	@$(MAKE) --no-print-directory scenario-$(NAME)

scenario-%: install doctor
	@SECUREBOX_LAB_PROGRESS=/proc/$$$$/fd/2 $(STAGE) "scenario $*" molecule test --scenario-name $*

scenario-proxy_apache: judges

scenarios: ## All molecule scenarios, one after the other (SCENARIOS="a b": these).
	@$(MAKE) --no-print-directory --keep-going $(addprefix scenario-,$(SCENARIOS))

benchmark: install doctor ## How hardened a server is afterwards, ours and our peers' roles (ROWS=nothing,ours ENGINE=vm PEERS=DIRECTORY WRITE=1).
	@$(VENV)/bin/python molecule/resources/benchmark.py $(if $(ROWS),--rows $(ROWS)) \
		$(if $(ENGINE),--engine $(ENGINE)) $(if $(PEERS),--peers $(PEERS)) $(if $(WRITE),--write)

demo: install doctor judges ## Build, deploy, reboot, unlock and verify a whole box in a virtual machine (FROM=unlock: go on there).
	@$(VENV)/bin/python molecule/resources/demo.py $(if $(FROM),--from $(FROM))

demo-down: ## Remove the demo's machine.
	@$(LAB) down --force --name demo

test: install doctor ## Everything that .ci/run runs: lint, unit, contract, sanity (oldest and newest core), all scenarios, the demo.
	@echo "$(JOBS) at a time, each shown when it is done: images, lint, unit, contract, sanity, $(CONTAINER_SCENARIOS)"
	@begin=$$SECONDS; failed=""; make="$(MAKE) --no-print-directory --keep-going"; \
	$$make -j$(JOBS) --output-sync=target SANITY_CORES=2.18,2.21 images lint $(addprefix scenario-,$(CONTAINER_SCENARIOS)) unit contract sanity \
		|| failed="$$failed the first part,"; \
	$$make $(addprefix scenario-,$(VM_SCENARIOS)) || failed="$$failed scenarios with a virtual machine,"; \
	$$make demo && $$make demo-down || failed="$$failed demo,"; \
	echo "test took $$((SECONDS - begin)) s"; \
	test -z "$$failed" || { echo "FAILED:$${failed%,}"; exit 1; }

clean: ## Remove what was built here (images are kept: they are shared between checkouts).
	@rm -rf $(CACHE) $(VENV) .ansible report
