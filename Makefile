# The two commands of a newcomer are `make demo` and `make test`; the rest is for those who stay.
SHELL := /bin/bash
.ONESHELL:
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
PY := .venv/bin

.PHONY: help setup demo test lint types layers unit verify bench clean

help:  ## List what can be made
	@grep -hE '^[a-z]+:.*##' Makefile | sed 's/:.*## /\t/' | expand -t 12

setup:  ## Install what is missing: Java, Redis, zstd, .venv
	@infra/setup.sh

demo: setup  ## Simulated mail through the whole loop, with a report
	@$(PY)/mailwarden demo

test: setup lint types layers unit  ## Lint, types, layers and tests, on real Redis and real Spark

lint:
	@$(PY)/ruff check .
	$(PY)/ruff format --check .

types:
	@$(PY)/mypy

layers:
	@$(PY)/lint-imports --no-cache

unit:
	@$(PY)/pytest -m "not verify" -n 2 --dist loadfile

verify: setup  ## Long campaigns: every message of the corpora, many random histories
	@$(PY)/pytest -m verify

bench: setup  ## Speed beside its peers, as ratios of one run
	@$(PY)/mailwarden bench

clean:  ## Remove what the embedded default keeps
	@rm -rf .mailwarden artifacts
