# Everything sets itself up in .venv; nothing else needs to be typed first.
PYTHON ?= python3
VENV ?= .venv
RUN := $(VENV)/bin/python

.PHONY: demo test reality lint matrix docs watch clean
.DEFAULT_GOAL := demo

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install -q --disable-pip-version-check -e . "pytest>=8" "pytest-cov>=5" "hypothesis>=6.100" "pyyaml>=6" "mypy>=1.11" "ruff>=0.6"
	touch $@

demo: $(VENV)/.installed  ## the Qwen-VL-Chat-Int4 call, caught and corrected; then this machine
	$(RUN) examples/demo.py

test: $(VENV)/.installed lint  ## the fast tests
	$(RUN) -m pytest --cov --cov-report=term

lint: $(VENV)/.installed  ## types, style, generated pages
	$(RUN) -m ruff check -q src tests examples scripts benchmarks
	$(RUN) -m ruff format -q --check src tests examples scripts benchmarks
	$(RUN) -m mypy
	$(RUN) scripts/rule_docs.py --check
	$(RUN) scripts/accuracy.py --check
	$(RUN) scripts/fit_picture.py --check

reality: $(VENV)/.installed  ## every prediction against the real stacks (built once, outside the checkout)
	$(RUN) tests/reality/stacks.py
	$(RUN) -m pytest -o addopts=--import-mode=importlib -q tests/reality

matrix:  ## the oldest and the newest Python
	scripts/matrix.sh

watch: $(VENV)/.installed  ## make watch VERSION=6.0.0: what that release of transformers changes for the plan, as a patch
	$(RUN) scripts/watch.py $(VERSION)

docs: $(VENV)/.installed  ## write the pages of the rules, the list in the README, the page on accuracy, and the picture of what fits
	$(RUN) scripts/rule_docs.py
	$(RUN) scripts/accuracy.py
	$(RUN) scripts/fit_picture.py

clean:
	rm -rf $(VENV) .venv-* .pytest_cache .mypy_cache .ruff_cache .coverage
