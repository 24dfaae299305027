# `make` alone lists the targets. A fresh machine needs Rust, gcc, make and Python with pip.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo check test bench clean

# $(call stage,NAME,COMMAND): runs the command, and says how long it took.
define stage
@echo "==> $(1)"; started=$$SECONDS; $(2) && echo "<== $(1): $$((SECONDS - started)) s"
endef

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-7s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

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
	$(call stage,install,scripts/install.sh)
	$(call stage,fetch,cargo fetch --locked)
	$(call stage,build,cargo build --locked --bins --examples)
	$(call stage,test,cargo test --locked)

bench: ## CPU of one Check beside a stock tonic service (release build)
	$(call stage,install,scripts/install.sh bench)
	$(call stage,build,cargo build --release --locked --bin latchkey --example stock)
	@python3 scripts/bench.py

clean: ## Remove what was built and installed
	rm -rf target .tools
