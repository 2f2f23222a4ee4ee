#!/usr/bin/env bash
# The size of each Lambda binary as deployed: stripped, and compressed for upload.
set -euo pipefail
cd "$(dirname "$0")/.."

# A cold start loads the uploaded zip. The largest has the AWS SDK, two HTTP clients and the phone numbers of
# every country.
limit=6000000
cargo build --quiet --locked --release -p functions -p worker --bins
printf '%-10s %12s %12s\n' function bytes gzipped
for binary in threads messages history families export health links members web docs migrate worker sweeper; do
    file=${CARGO_TARGET_DIR:-target}/release/$binary
    bytes=$(wc -c <"$file")
    gzipped=$(gzip -9c "$file" | wc -c)
    printf '%-10s %12d %12d\n' "$binary" "$bytes" "$gzipped"
    if [ "$gzipped" -gt "$limit" ]; then
        echo "$binary is over 6 MB" >&2
        exit 1
    fi
done
