#!/usr/bin/env bash
# Checks dependencies: licences, sources, bans, unused ones, advisories. If the advisory database can't
# be reached, prints that and goes on; with --strict, fails.
set -euo pipefail
cd "$(dirname "$0")/.."

strict=${1:-}

# Built from crates.io with their lock files, and kept beside the build: a tool that checks a supply
# chain should not be a foreign binary.
tools=${CARGO_TARGET_DIR:-$PWD/target}/tools
PATH=$PATH:$tools/bin
install() { # crate, version
    "$1" --version >/dev/null 2>&1 && return
    local began=$SECONDS
    echo "building $1 $2, once …"
    # Unoptimised: builds in a third of the time, and runs for seconds only.
    CARGO_TARGET_DIR=$tools/build cargo install --quiet --locked --debug --root "$tools" "$1" --version "$2"
    echo "… done in $((SECONDS - began)) s"
}
install cargo-deny 0.20.2
install cargo-machete 0.9.2

echo "— unused dependencies"
cargo machete

echo "— licences, sources, bans"
cargo deny --locked check --hide-inclusion-graph licenses sources bans

echo "— advisories"
# With git's own time limits, a network that drops packets takes minutes to fail.
if refusal=$(timeout 120 cargo deny --locked fetch db 2>&1); then
    cargo deny --locked check --hide-inclusion-graph advisories
else
    printf '%s\n' "$refusal" | grep -v '^$' | tail -n 1
    echo "NOT CHECKED for advisories: https://github.com/RustSec/advisory-db can't be reached from here."
    echo "Where it can: cargo deny check advisories"
    if [ "$strict" = --strict ]; then
        exit 1
    fi
fi
