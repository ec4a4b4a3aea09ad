# The common commands; `make help` lists them. Cargo builds, and the program `stack` (deploy/) runs the suite. A target
# here only does what must happen before either.

STACK = cargo run --quiet --bin stack --
CARGO_FLAGS ?=
# What `make fuzz` runs, and for how long each.
FUZZ_TARGETS ?= webhooks signatures events query frames
FUZZ_SECONDS ?= 60
# Further arguments of `stack up` or `bench`, for instance: make up ARGS='--traffic --gateways 2'
ARGS ?=

# The tests wait more than they compute, so two run on each core.
test: export RUST_TEST_THREADS ?= $(shell echo $$((2 * $$(getconf _NPROCESSORS_ONLN))))

.PHONY: build help demo up down test bench fuzz release lint check tools machine

## build: fetch the missing tools and build everything (the default)
build: tools
	@echo "Ready. To see a message on its way:  make demo"

## demo: send one message through the whole suite and show every step
demo: tools
	@$(STACK) demo

## up: run the suite on this machine until Ctrl-C; ARGS='--traffic --gateways 2 --database postgres --detach',
##     for a phone in the same network ARGS='--listen 0.0.0.0 --cors http://192.168.1.5:3000'
up: tools
	@$(STACK) up $(ARGS)

## down: stop what `make up ARGS=--detach` started; ARGS='--state DIR' if it runs in a folder of its own
down:
	@$(STACK) down $(ARGS)

## test: run all tests, with a real broker, real databases and the real Socket.IO client; then those of the client package
test: tools
	cargo test --workspace $(CARGO_FLAGS)
	npm test --prefix realtime-gateway/client

## bench: measure a release build; ARGS='storm --help' shows one measurement's options
bench: tools
	cargo build --workspace --release $(CARGO_FLAGS)
	cargo run --release --bin bench -- $(ARGS)

## fuzz: look for input that breaks what reads it, a minute for each target; needs a C++ compiler.
##     FUZZ_TARGETS='events query' FUZZ_SECONDS=600
fuzz: tools
	RUSTC_WORKSPACE_WRAPPER=$(CURDIR)/tests/src/fuzz/instrument.sh \
		cargo build --workspace --bin fuzz --features tests/fuzz $(CARGO_FLAGS)
	@for target in $(FUZZ_TARGETS); do \
		echo "fuzzing $$target for $(FUZZ_SECONDS) seconds" && mkdir -p target/fuzz/$$target && \
		FUZZ_TARGET=$$target target/debug/fuzz -max_total_time=$(FUZZ_SECONDS) -max_len=4096 -len_control=0 -timeout=30 \
			-verbosity=0 -print_final_stats=1 -artifact_prefix=target/fuzz/$$target- \
			target/fuzz/$$target tests/corpus/$$target || exit 1; \
	done

## release: build and pack target/release-package/church-live-VERSION-TARGET.tar.gz, and say what it needs;
##     beside it the front ends' package church-live-VERSION.tgz
release: tools
	@$(STACK) release

## lint: check formatting, clippy, the documentation and the broker's configuration
lint: tools
	cargo fmt --all --check
	cargo clippy --workspace --all-targets $(CARGO_FLAGS) -- -D warnings
	RUSTDOCFLAGS="-D warnings -A rustdoc::private-intra-doc-links" cargo doc --workspace --no-deps --document-private-items $(CARGO_FLAGS)
	@$(STACK) check broker

## check: run lint, then the checks whose tools are installed; lists what it skipped and how to get it
check: lint
	@sh deploy/check.sh

## help: print this list
help:
	@sed -n -e 's/^##     /           /p' -e t -e 's/^## /  make /p' $(MAKEFILE_LIST)

tools: machine
	cargo build --workspace $(CARGO_FLAGS)
	@$(STACK) tools

machine:
	@sh deploy/machine.sh
