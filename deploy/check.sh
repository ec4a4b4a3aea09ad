#!/bin/sh
# The checks that need a tool which not every machine has: runs those whose tool is there, and names the rest at its
# end with the way to get them. Ends with 1 if a check failed; a skipped one is no failure.

skipped=""
failed=""

has() { command -v "$1" >/dev/null 2>&1; }

# check NAME TOOL HOW_TO_GET_IT COMMAND...
check() {
    name=$1 tool=$2 get=$3
    shift 3
    if ! has "$tool"; then
        skipped="$skipped
  - $name needs $tool: $get"
        return
    fi
    echo "check: $name"
    "$@" || failed="$failed
  - $name: $*"
}

check "licences, bans and sources of dependencies" cargo-deny \
    "cargo install cargo-deny --locked" \
    cargo deny --all-features check licenses bans sources

[ -z "$skipped" ] || echo "Skipped, because a tool is missing:$skipped"
[ -z "$failed" ] || { echo "Failed:$failed"; exit 1; }
echo "check: done"
