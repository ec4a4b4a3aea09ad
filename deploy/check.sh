#!/bin/sh
# Runs the checks that need tools which not every machine has. A check whose tool is missing is skipped. At the end it
# lists the skipped checks with the command that installs each tool. Exits with 1 if a check failed; skipped checks are
# no failure.

skipped=""
failed=""

has() { command -v "$1" >/dev/null 2>&1; }

# check NAME TOOL INSTALL_COMMAND COMMAND...
check() {
    name=$1 tool=$2 install=$3
    shift 3
    if ! has "$tool"; then
        skipped="$skipped
  skipped: $name. It needs $tool; get it by: $install"
        return
    fi
    echo "check: $name"
    "$@" || failed="$failed
  failed: $name. Repeat it with: $*"
}

check "licences, bans and sources of the dependencies" cargo-deny \
    "cargo install cargo-deny --version 0.20.2 --locked" \
    cargo deny --all-features check licenses bans sources

# Schemathesis runs on nothing older.
python=python3
python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || python=python3.11
check "the running API against its document" "$python" "apt install python3, or see python.org: 3.11 or newer" \
    cargo test --workspace --test stories -- --ignored document

check "nats commands of docs/operations.md, by the nats CLI (make test sends the same requests without it)" go \
    "apt install golang, or see go.dev: 1.25 or newer" \
    cargo test --workspace --test stories -- --ignored nats_cli

check "the client package: types, size, and a fresh page that installs it" npm "see nodejs.org" \
    npm run --prefix realtime-gateway/client check:package
browser=chromium
for name in "$CHROMIUM" chromium-browser google-chrome; do has "$name" && browser=$name; done
check "the page, the console and the client package's hooks in a browser" "$browser" "apt install chromium, or set CHROMIUM to its path" \
    npm run --prefix realtime-gateway/client check:browser

stack="cargo run --quiet --bin stack -- check"
# Small runs: whether the measurements that need much time or Node still work. Their figures mean nothing. Word
# splitting is wanted: each is a command with its arguments.
bench="cargo run --quiet --bin bench --"
check "bench peer, small" npm "see nodejs.org" \
    $bench peer --count 400 --rounds 2 --idle 20 --seconds 1 --big 10 --small 2
check "bench history, small" cargo "see rustup.rs" \
    $bench history --messages 4000 --church 400 --churches 40 --requests 10
check "bench growth, small" cargo "see rustup.rs" $bench growth --messages 4000 --churches 40 --count 400
check "bench relay, small" cargo "see rustup.rs" $bench relay --messages 400 --churches 40

check "systemd units" systemd-analyze "apt install systemd" $stack units
check "nginx.conf" nginx "apt install nginx-light" $stack nginx
check "Caddyfile" python3 "apt install python3-pip" $stack caddy
check "Dockerfile" python3 "apt install python3-pip" $stack dockerfile
check "compose file" npm "apt install npm" $stack compose
check "alerts and their tests" promtool "apt install prometheus, or see prometheus.io" $stack monitoring
check "dashboard and alerts on a running stack" prometheus "apt install prometheus, or see prometheus.io" \
    cargo test --quiet --workspace --test stories -- --ignored monitoring
check "Kubernetes objects" go "apt install golang, or see go.dev" $stack kubernetes
if [ "$(id -u)" -eq 0 ]; then
    check "container image" buildah "apt install buildah debootstrap" $stack image
    check "commands of docs/install.md" nginx "apt install nginx-light curl" \
        cargo test --quiet --workspace --test install -- --ignored
else
    skipped="$skipped
  skipped: container image, commands of docs/install.md. They need root; repeat it as root"
fi
# Without nginx its stories pass without a word.
has nginx || skipped="$skipped
  skipped: stories behind nginx. They need nginx; get it by: apt install nginx-light"

echo "check: summary$skipped$failed"
[ -z "$failed" ] || exit 1
[ -n "$skipped" ] || echo "  all checks passed"
