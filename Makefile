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
LAB := $(VENV)/bin/python molecule/resources/lab.py

# What users install is what is tested. DEV=1 uses the work tree itself instead.
DEV ?=
# Those with a virtual machine last: what runs beside the first ones is over by then.
SCENARIOS ?= $(notdir $(patsubst %/molecule.yml,%,$(shell grep -L "engine: vm" molecule/*/molecule.yml; grep -l "engine: vm" molecule/*/molecule.yml)))

# The Debian release of machines whose platform names none.
RELEASE ?= $(SECUREBOX_LAB_RELEASE)
export SECUREBOX_LAB_RELEASE := $(RELEASE)
export PATH := $(VENV)/bin:$(PATH)
export ANSIBLE_COLLECTIONS_PATH := $(COLLECTIONS)
export ANSIBLE_HOME := $(CACHE)/ansible
export PY_COLORS ?= 0
export ANSIBLE_FORCE_COLOR ?= 0

.PHONY: help setup doctor build install link lint unit contract sanity images scenario scenarios demo demo-down test clean

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

scenario: install doctor ## One molecule scenario: make scenario NAME=lxd (RELEASE=trixie: on Debian 13).
	@test -f molecule/$(NAME)/molecule.yml || { echo "make scenario NAME=...: one of $(SCENARIOS)"; exit 1; }
	@SECUREBOX_LAB_PROGRESS=/proc/$$$$/fd/2 $(STAGE) "scenario $(NAME)" molecule test --scenario-name $(NAME)

scenarios: install doctor ## All molecule scenarios (SCENARIOS="a b": these).
	@failed=""; for name in $(SCENARIOS); do \
		SECUREBOX_LAB_PROGRESS=/proc/$$$$/fd/2 $(STAGE) "scenario $$name" molecule test --scenario-name $$name || failed="$$failed $$name"; done; \
	test -z "$$failed" || { echo "failed scenarios:$$failed"; exit 1; }

demo: install doctor ## Build, deploy, reboot, unlock and verify a whole box in a virtual machine (FROM=unlock: go on there).
	@$(VENV)/bin/python molecule/resources/demo.py $(if $(FROM),--from $(FROM))

demo-down: ## Remove the demo's machine.
	@$(LAB) down --force --name demo

test: install doctor ## Everything that .ci/run runs: lint, unit, contract, sanity, all scenarios, and the demo at the end.
	@mkdir -p $(CACHE); log=$(CACHE)/static.log; failed=""; begin=$$SECONDS; \
	echo "beside what follows: lint, unit, contract, sanity (shown when they are done; tail -f $$log)"; \
	$(MAKE) --no-print-directory --keep-going lint unit contract sanity >$$log 2>&1 & static=$$!; \
	trap 'kill $$static 2>/dev/null' INT TERM; \
	$(MAKE) --no-print-directory images && $(MAKE) --no-print-directory scenarios || failed="$$failed scenarios"; \
	wait $$static || failed="$$failed static"; cat $$log; \
	$(MAKE) --no-print-directory demo || failed="$$failed demo"; \
	echo "test took $$((SECONDS - begin)) s"; \
	test -z "$$failed" || { echo "failed:$$failed"; exit 1; }; \
	$(MAKE) --no-print-directory demo-down

clean: ## Remove what was built here (images are kept: they are shared between checkouts).
	@rm -rf $(CACHE) $(VENV) .ansible report
