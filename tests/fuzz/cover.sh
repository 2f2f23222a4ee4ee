#!/bin/sh
# rustc for cargo's workspace members (RUSTC_WORKSPACE_WRAPPER): instruments the fuzzed crates for
# libFuzzer's coverage. Stable flags; dependencies stay as they were built.
for crate in shared functions worker fuzz; do
    case " $* " in
    *" --crate-name $crate "*)
        exec "$@" -Cpasses=sancov-module -Ccodegen-units=1 -Copt-level=1 \
            -Cllvm-args=-sanitizer-coverage-level=4 \
            -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
            -Cllvm-args=-sanitizer-coverage-pc-table \
            -Cllvm-args=-sanitizer-coverage-trace-compares
        ;;
    esac
done
exec "$@"
