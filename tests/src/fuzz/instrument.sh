#!/bin/sh
# Cargo runs this in place of rustc for the workspace's own crates (RUSTC_WORKSPACE_WRAPPER): they count for libFuzzer
# which code an input reaches. The flags are stable ones, those of `cargo fuzz --sanitizer none`. Build scripts are left
# as they are.
case " $* " in
*" --crate-name build_script_"*) exec "$@" ;;
*" --crate-name "*) exec "$@" -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares ;;
*) exec "$@" ;;
esac
