# SPDX-License-Identifier: GPL-2.0
#
# The entrance to the project; the module itself is described in Kbuild. What
# the targets do is in scripts/.

# The kernels that the tests run on.
KERNELS := fast strict
# The kernel of the targets that need just one.
CONFIG ?= fast
# How long make test-stress runs each race.
STRESS_SECONDS ?= 60

SHELL := /bin/bash
.NOTPARALLEL:
.DEFAULT_GOAL := help
targets := demo test test-mm test-peer test-stress test-fresh bench bench-compare profile \
	kernel modules check check-patches fmt clippy doc rust-analyzer shell clean distclean help
.PHONY: $(targets) setup

demo: setup ## set up, build, boot, and watch pages move to a device and back
	@scripts/demo

test: setup ## set up, build, run every test on both kernels
	@scripts/test

test-mm: ## compare the kernel's mm selftests on the unpatched and the patched kernel
	@scripts/setup libnuma-dev liburing-dev
	@scripts/test-mm

test-peer: setup ## show that our tests can fail: on the kernel's C driver, unpatched
	@scripts/test-peer

test-stress: setup ## run each race for STRESS_SECONDS (60) on the strict kernel
	@scripts/test --stress $(STRESS_SECONDS)

test-fresh: ## run CMD in a clean clone on a fresh Debian SUITE (as root)
	@scripts/test-fresh "$$SUITE" "$$CMD"

bench: ## measure each operation, in instructions a page, against the C driver
	@scripts/setup python3-matplotlib
	@scripts/bench

bench-compare: ## show what got slower than in BASE, an operations.csv of make bench
	@scripts/bench-compare "$$BASE"

profile: setup ## show where the instructions of OP go (for PAGES pages), as in OP=read/cold
	@scripts/profile "$$OP" "$${PAGES:-512}"

kernel: setup ## fetch, patch and build both kernels
	@for kernel in $(KERNELS); do scripts/build-kernel $$kernel || exit; done

modules: kernel ## build the module for both kernels
	@for kernel in $(KERNELS); do scripts/build-modules $$kernel || exit; done

check: setup ## check formatting, lints, documentation, style of all sources
	@scripts/check

check-patches: setup ## build every kernel patch by itself, in eight configurations
	@scripts/check-patches

fmt: setup ## format the Rust sources
	@scripts/fetch-kernel
	@. scripts/env.sh && "$$RUSTFMT" --config-path "$$KSRC/.rustfmt.toml" \
		src/dmirror.rs selftests/compile-fail/*.rs

clippy: setup ## only clippy's part of check
	@scripts/check clippy

doc: setup ## build the documentation of the Rust code in build/doc
	@scripts/check rustdoc

rust-analyzer: setup ## write rust-project.json for the editor
	@scripts/rust-analyzer

shell: setup ## boot an interactive guest with the module inserted
	@scripts/build-kernel $(CONFIG)
	@scripts/build-modules $(CONFIG)
	@scripts/vm --kernel $(CONFIG) --driver dmirror --interactive

clean: ## remove build/
	rm -rf build rust-project.json

distclean: clean ## remove build/ and the cache with the kernels
	@. scripts/env.sh && echo "rm -rf $$CACHE" && rm -rf "$$CACHE"

help: ## show this
	@sed -nE 's/^([a-z-]+):.*## (.*)/  \1\t\2/p' Makefile | expand -t 18
	@echo
	@echo 'Variables:'
	@echo '  KERNEL_SRC=PATH  another kernel source, tree or tarball'
	@echo '  CONFIG=strict    the kernel of make shell; default fast'
	@echo '  STRESS_SECONDS=N how long make test-stress runs each race; default 60'
	@echo '  SUITE=bookworm|trixie CMD="make demo"   for make test-fresh'

setup:
	@scripts/setup
