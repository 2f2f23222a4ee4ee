#!/usr/bin/env bash
# Builds every Lambda binary as it is deployed: for arm64 by cargo-lambda and zig where the target can
# be had, else for this machine, and says which. Then has SAM build one of them from the template,
# where tests/aws/template.sh has installed it.
set -euo pipefail
cd "$(dirname "$0")/../.."

tools=target/lambda-tools
if ! { cargo lambda --version && { zig version || python3 -m ziglang version; }; } >/dev/null 2>&1; then
    PATH="$PWD/$tools/bin:$PATH"
    if ! cargo lambda --version >/dev/null 2>&1 &&
        ! { python3 -m venv "$tools" && pip install --quiet cargo-lambda==1.9.2 ziglang==0.15.2; }; then
        echo "skipped: cargo-lambda and zig can't be installed here (needs python3 with venv)"
        exit 0
    fi
fi

if rustup target add aarch64-unknown-linux-gnu >/dev/null 2>&1 ||
    [ -d "$(rustc --print sysroot)/lib/rustlib/aarch64-unknown-linux-gnu" ]; then
    machine=AArch64
    cargo lambda build --quiet --release --arm64 --locked -p functions -p worker
else
    machine=X86-64
    echo "the target aarch64-unknown-linux-gnu can't be had here: building for x86-64"
    # What this shows is that cargo-lambda builds and places each of them. Nothing of it is deployed, so it
    # goes without the minutes that are spent on all crates together.
    CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 \
        cargo lambda build --quiet --release --x86-64 --compiler cargo --locked -p functions -p worker
fi

built=0
for source in functions/src/bin/*.rs worker/src/bin/*.rs; do
    name=$(basename "$source" .rs)
    file=${CARGO_TARGET_DIR:-target}/lambda/$name/bootstrap
    # The ELF header says what runs it.
    readelf -h "$file" | grep -q "$machine" || { echo "$file is not for $machine" >&2; exit 1; }
    built=$((built + 1))
done
echo "cargo lambda build: $built binaries for $machine"

sam=target/aws-tools/sam/bin/sam
if [ "$machine" != AArch64 ] || ! [ -x "$sam" ]; then
    echo "skipped: sam build needs the target for arm64, and tests/aws/template.sh to be run before"
    exit 0
fi
# One for all of them: they differ by their names, and SAM takes a minute for each.
SAM_CLI_TELEMETRY=0 "$sam" build HistoryFunction >target/sam-build.log 2>&1 || { cat target/sam-build.log >&2; exit 1; }
readelf -h .aws-sam/build/HistoryFunction/bootstrap | grep -q AArch64
echo "sam build: HistoryFunction from the template"
