#!/usr/bin/env bash
# Feeds libFuzzer's bytes to the harnesses: tests/fuzz/run.sh [seconds each, 5] [harness …]
#
# Any stable toolchain does, with a C++ compiler. Our own crates tell where they have been, what they
# depend on doesn't, so next to nothing is built. What is found along the way is kept in target/fuzz/
# for the next time; an input that something does not hold for fails the run and is named. The inputs
# are others each time, but with KINLINE_FUZZ_SEED=<number>.
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

# The whole workspace's features: what the tests were built with is built already.
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
        echo "Again: KINLINE_FUZZ_HARNESS=$name $fuzz <that file>. Once mended, it is a seed: tests/fuzz/seeds/$name/"
    fi
done
exit "$status"
