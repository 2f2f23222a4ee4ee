#!/usr/bin/env bash
# Compares our segment counter with Twilio's: tests/segments/run.sh [number of texts] [seed]
set -euo pipefail
cd "$(dirname "$0")"

if ! command -v npm >/dev/null; then
    echo "skipped: needs Node.js with npm"
    exit 0
fi

count=${1:-10000} seed=${2:-$RANDOM}
echo "$count texts of seed $seed"
npm ci --no-audit --no-fund --silent
# With the features of the whole workspace, for which the tests have built it already.
cargo build --quiet --locked --workspace --example segments
"${CARGO_TARGET_DIR:-../../target}/debug/examples/segments" "$count" "$seed" | node compare.mjs
