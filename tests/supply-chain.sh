#!/usr/bin/env bash
# What is built in: licences, sources, banned and unused dependencies, known holes. Where the advisory
# database can't be reached, it says so and goes on; with --strict, that is a failure.
set -euo pipefail
cd "$(dirname "$0")/.."

strict=${1:-}

# From crates.io by their lock files, checksums and all, and kept beside the build: a tool that judges
# a supply chain should not be somebody's binary.
tools=${CARGO_TARGET_DIR:-$PWD/target}/tools
PATH=$PATH:$tools/bin
install() { # crate, version
    "$1" --version >/dev/null 2>&1 && return
    local began=$SECONDS
    echo "building $1 $2, once …"
    # Unoptimised: it takes a third of the time to build, and runs for seconds.
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
# By git's own time limits, a network that swallows packets takes minutes to say no.
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
