#!/usr/bin/env bash
# Compares our segment counter with somebody else's: tests/segments/run.sh [how many] [seed]
set -euo pipefail
cd "$(dirname "$0")"

if ! command -v npm >/dev/null; then
    echo "skipped: needs Node.js with npm"
    exit 0
fi

count=${1:-10000} seed=${2:-$RANDOM}
echo "$count texts of seed $seed"
npm ci --no-audit --no-fund --silent
cargo run --quiet --locked -p worker --example segments -- "$count" "$seed" | node compare.mjs
