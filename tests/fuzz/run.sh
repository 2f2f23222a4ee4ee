#!/usr/bin/env bash
# Runs the harnesses with libFuzzer: tests/fuzz/run.sh [seconds each, 5] [harness …]
#
# Needs a stable toolchain and a C++ compiler. Only our own crates are instrumented, so little is built.
# Inputs with new coverage are kept in target/fuzz/ for the next run; an input that breaks a harness
# fails the run and is named. Inputs are random, unless KINLINE_FUZZ_SEED=<number> is set.
set -euo pipefail
cd "$(dirname "$0")/../.."

seconds=${1:-5}
shift || true
if [ $# = 0 ]; then
    set -- $(ls tests/fuzz/seeds)
fi

target=${CARGO_TARGET_DIR:-target}
host=$(rustc --version --verbose | sed -n 's/^host: //p')
skipped() { # why
    echo "NOT FUZZED: $1. The property tests feed the same harnesses: cargo test -p fuzz"
    exit 0
}
case $host in
*-linux-gnu | *-apple-darwin) ;;
*) skipped "libFuzzer is not for $host" ;;
esac
command -v "${CXX:-c++}" >/dev/null || skipped "there is no C++ compiler to build libFuzzer with"

# With the features of the whole workspace, for which the tests have built the dependencies already.
RUSTC_WORKSPACE_WRAPPER=$PWD/tests/fuzz/cover.sh \
    cargo build --quiet --locked --workspace --bin fuzz --features fuzz/libfuzzer
fuzz=$target/debug/fuzz

status=0
for name in "$@"; do
    corpus=$target/fuzz/corpus/$name found=$target/fuzz/found
    log=$target/fuzz/$name.log
    mkdir -p "$corpus" "$found"
    if KINLINE_FUZZ_HARNESS=$name "$fuzz" "$corpus" "tests/fuzz/seeds/$name" \
        -dict=tests/fuzz/words.dict -artifact_prefix="$found/$name-" -max_total_time="$seconds" \
        -seed="${KINLINE_FUZZ_SEED:-0}" -max_len=8192 -timeout=60 -rss_limit_mb=2048 -print_final_stats=1 >"$log" 2>&1; then
        runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
        seen=$(sed -n 's/.* cov: \([0-9]*\) .*/\1/p' "$log" | tail -n 1)
        printf '%-8s holds for %9s inputs in %s s, %s places seen\n' "$name" "$runs" "$seconds" "$seen"
    else
        status=1
        printf '%-8s FAILED\n' "$name"
        grep -a -A 4 -m 3 'panicked at\|ERROR: libFuzzer' "$log" || tail -n 20 "$log"
        grep -a 'Test unit written to' "$log" || true
        echo "Again: KINLINE_FUZZ_HARNESS=$name $fuzz <that file>. Once fixed, keep it as a seed: tests/fuzz/seeds/$name/"
    fi
done
exit "$status"
