# `make` alone lists the targets. A fresh machine needs Rust, gcc, make and Python with pip; the tests also Node with npm.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo check test test-envoys attack bench fuzz clean

# $(call stage,NAME,COMMAND): runs the command, and says how long it took.
define stage
@echo "==> $(1)"; started=$$SECONDS; $(2) && echo "<== $(1): $$((SECONDS - started)) s"
endef

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## Keys through a real Envoy, as a story (KEEP=1 leaves it running)
	$(call stage,install,scripts/install.sh)
	$(call stage,build,cargo build --locked --bins --examples)
	@KEEP='$(KEEP)' exec python3 scripts/demo.py

check: ## Formatting, lints, documentation, and what the dependencies bring
	$(call stage,fmt,cargo fmt --check)
	$(call stage,clippy,cargo clippy --locked --all-targets -- -D warnings)
	$(call stage,doc,RUSTDOCFLAGS='-D warnings' cargo doc --locked --no-deps)
	$(call stage,deny,if cargo deny --version >/dev/null 2>&1; then \
		cargo deny --offline check licenses bans sources; \
	else \
		echo "skipped: cargo-deny is not installed (cargo install --locked cargo-deny)"; \
	fi)

test: ## The whole test suite, the end-to-end tests with a real Envoy among it
	$(call stage,install,scripts/install.sh test)
	$(call stage,fetch,cargo fetch --locked)
	$(call stage,build,cargo build --locked --bins --examples)
	$(call stage,test,cargo test --locked)

test-envoys: ## The end-to-end tests with the oldest supported Envoy
	$(call stage,install,scripts/install.sh envoys)
	$(call stage,build,cargo build --locked --bins --examples)
	$(call stage,test,ENVOY_BINARY=.tools/envoy-1.36.2/bin/envoy cargo test --locked --test it e2e_)

attack: ## The whole hostile corpus through Envoy: every target, every trick (minutes)
	$(call stage,install,scripts/install.sh)
	$(call stage,build,cargo build --locked --bins --examples)
	$(call stage,attack,LATCHKEY_ATTACK=whole cargo test --locked --test it -- --exact attack::no_request_gets_past --nocapture)

bench: ## CPU of one Check beside a stock tonic service, and time and instructions of its pieces (release build)
	$(call stage,install,scripts/install.sh bench)
	$(call stage,build,cargo build --release --locked --bin latchkey --example stock --example backend)
	$(call stage,build,cargo bench --locked --no-run)
	@python3 scripts/bench.py
	@python3 scripts/bench_keys.py
	@python3 scripts/bench_guard.py
	$(call stage,time,cargo bench --locked --bench check -- --quiet)
	$(call stage,guard,cargo bench --locked --bench guard -- --quiet)
	$(call stage,usage,cargo bench --locked --bench usage)
	$(call stage,instructions,scripts/instructions.py)

fuzz: ## Every fuzz target for FUZZ_SECONDS, 60 unless told otherwise (FUZZ_TARGETS='path codec' for some)
	$(call stage,install,scripts/install.sh fuzz)
	@FUZZ_SECONDS='$(FUZZ_SECONDS)' scripts/fuzz.sh $(FUZZ_TARGETS)

clean: ## Remove what was built and installed
	rm -rf target fuzz/target .tools
