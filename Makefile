# make demo    set up, start everything on this machine, process a folder of images
# make test    set up, run every test
# make test-integrations   the callbacks for libraries that train, with the libraries (several gigabytes)
# make quick   the tests that start no server and no browser
# make js      types and tests of the pages' script alone
# make check   lint, types, architecture, migrations, deployment settings, freshness of the built CSS
# make bench   every benchmark; bench-NAME for one
.PHONY: demo test test-integrations quick js check bench bench-pipeline bench-images bench-live bench-crowd bench-ingest bench-client bench-eta bench-fairness css docs lock shots pages clean
.DELETE_ON_ERROR:

# Made with the Python that `PYTHON` names, or else the first that is new enough.
VENV := .venv
RUN := $(VENV)/bin/python
export PYTHONUNBUFFERED := 1

demo: $(VENV)/.runtime
	@exec $(RUN) -m progress_site.demo

test: $(VENV)/.test
	@scripts/install-programs
	@scripts/test-js
	@$(RUN) -m pytest $(or $(ARGS),-n auto --dist worksteal)

# Nothing of it is in the environment of the other tests.
test-integrations: $(VENV)/.test $(VENV)/integrations/.made
	@INTEGRATIONS_PYTHON=$(VENV)/integrations/bin/python $(RUN) -m pytest tests/integrations $(ARGS)

$(VENV)/integrations/.made: requirements/integrations.txt | $(VENV)/.made
	@echo "Installing the libraries..."
	@$(RUN) -m venv --clear $(VENV)/integrations
	@scripts/install-requirements $(VENV)/integrations $<
	@touch $@

quick: $(VENV)/.test
	@$(RUN) -m pytest -m "not slow" --failed-first --maxfail 3 $(or $(ARGS),-n auto)
	@echo "Left out: the tests that start a server or a browser or take long (make test), and the pages' script (make js)."

# The types of the pages' script, and its tests. Needs Node 20 or newer.
js:
	@cd apps/theme/static_src && { [ node_modules/.package-lock.json -nt package-lock.json ] || npm ci --silent --no-audit --no-fund; }
	@apps/theme/static_src/node_modules/.bin/tsc --project .
	@scripts/test-js

check: $(VENV)/.test
	@scripts/check

bench: bench-pipeline bench-live bench-crowd bench-ingest bench-client bench-eta bench-fairness

bench-pipeline: $(VENV)/.test
	@$(RUN) -m tests.bench.pipeline

# Installs imagededup and cleanvision, which are large, into an environment of their own. Not by -m: each process of the
# pool would import the benchmark as its main module, which would count.
bench-images: $(VENV)/.test
	@$(RUN) -c 'from tests.bench.images import main; main()'

bench-live: $(VENV)/.test
	@scripts/install-programs
	@$(RUN) -m tests.bench.live

bench-crowd: $(VENV)/.test
	@scripts/install-programs
	@$(RUN) -m tests.bench.crowd

bench-ingest: $(VENV)/.test
	@scripts/install-programs
	@$(RUN) -m tests.bench.ingest

bench-client: $(VENV)/.test
	@$(RUN) -m tests.bench.client

bench-eta: $(VENV)/.test
	@$(RUN) -m tests.bench.eta

bench-fairness: $(VENV)/.test
	@$(RUN) -m tests.bench.fairness

# Build the stylesheets, which are committed. Needs Node 20 or newer.
css:
	@scripts/build-css apps/theme/static/css/dist

# Take the pictures in the README, of a real run in a real browser.
shots: $(VENV)/.test
	@scripts/install-programs
	@$(RUN) -m scripts.screenshots

# Take a picture of every page in every state, light and dark, on a laptop and on a phone, into the folder SHOTS.
SHOTS ?= var/pages
pages: $(VENV)/.test
	@scripts/install-programs
	@mkdir -p $(SHOTS)
	@SHOTS=$(SHOTS) $(RUN) -m pytest tests/e2e/test_pages.py -n 0 -k every_page_is_accessible

# Write the table of settings in docs/deployment.md.
docs: $(VENV)/.test
	@$(RUN) -m scripts.settings_table

# Lock the requirements, after a change of pyproject.toml.
lock: $(VENV)/.test
	@scripts/lock

clean:
	rm -rf $(VENV) node_modules apps/theme/static_src/node_modules .mypy_cache .pytest_cache .ruff_cache .hypothesis

$(VENV)/.runtime: requirements/runtime.txt | $(VENV)/.made
	@echo "Installing the runtime dependencies..."
	@scripts/install-requirements $(VENV) $<
	@touch $@

$(VENV)/.test: requirements/test.txt | $(VENV)/.made
	@echo "Installing the test dependencies..."
	@scripts/install-requirements $(VENV) $<
	@touch $@

# The stamp is made last, so an interrupted set-up starts again.
$(VENV)/.made:
	@rm -rf $(VENV)
	@scripts/make-venv $(VENV)
	@touch $@
