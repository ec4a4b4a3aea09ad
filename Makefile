# Few verbs; `make help` explains them. Building is cargo's and running is the program `stack`'s
# (deploy/): here stands only what must come before either.

STACK = cargo run --quiet --bin stack --
CARGO_FLAGS ?=
# Further arguments of `stack up`, for instance: make up ARGS='--traffic --gateways 2'
ARGS ?=

.PHONY: build help demo up down test bench lint check tools machine

## build: fetch what is missing and build everything (the default)
build: tools
	@echo "Ready. See one message on its way:  make demo"

## demo: send one message through the whole suite and show every step of its way
demo: tools
	@$(STACK) demo

## up: run the suite on this machine until Ctrl-C; ARGS='--traffic --gateways 2 --database postgres --detach',
##     for a phone in the same network ARGS='--listen 0.0.0.0 --cors http://192.168.1.5:3000'
up: tools
	@$(STACK) up $(ARGS)

## down: stop what `make up ARGS=--detach` started; ARGS='--state DIR' for a folder of its own
down:
	@$(STACK) down $(ARGS)

## test: all tests, with a real broker, real databases and the real Socket.IO client
test: tools
	cargo test --workspace $(CARGO_FLAGS)

## bench: measure it, built for release
bench: tools
	cargo build --workspace --release $(CARGO_FLAGS)
	cargo run --release --bin bench -- $(ARGS)

## lint: formatting, clippy, documentation, the broker's configuration
lint: tools
	cargo fmt --all --check
	cargo clippy --workspace --all-targets $(CARGO_FLAGS) -- -D warnings
	RUSTDOCFLAGS="-D warnings -A rustdoc::private-intra-doc-links" cargo doc --workspace --no-deps --document-private-items $(CARGO_FLAGS)
	@$(STACK) check

## check: lint, and what needs tools that not every machine has; names at its end what it skipped
check: lint
	@sh deploy/check.sh

## help: this list
help:
	@sed -n 's/^## /  make /p' $(MAKEFILE_LIST)

tools: machine
	cargo build --workspace $(CARGO_FLAGS)
	@$(STACK) tools

machine:
	@sh deploy/machine.sh
