#!/usr/bin/env bash
# Builds every Lambda binary as deployed: for arm64 by cargo-lambda and zig if the target can be
# installed, else for this machine, and prints which. Then SAM builds one of them from the template, if
# tests/aws/template.sh has installed it.
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
    echo "the target aarch64-unknown-linux-gnu can't be installed here: building for x86-64"
    # This only shows that cargo-lambda builds and places each binary, so it skips link-time optimisation,
    # which takes minutes.
    CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 \
        cargo lambda build --quiet --release --x86-64 --compiler cargo --locked -p functions -p worker
fi

built=0
for source in functions/src/bin/*.rs worker/src/bin/*.rs; do
    name=$(basename "$source" .rs)
    file=${CARGO_TARGET_DIR:-target}/lambda/$name/bootstrap
    # The ELF header names the machine.
    readelf -h "$file" | grep -q "$machine" || { echo "$file is not for $machine" >&2; exit 1; }
    built=$((built + 1))
done
echo "cargo lambda build: $built binaries for $machine"

sam=target/aws-tools/sam/bin/sam
if [ "$machine" != AArch64 ] || ! [ -x "$sam" ]; then
    echo "skipped: sam build needs the arm64 target, and SAM from tests/aws/template.sh"
    exit 0
fi
# One of them only: they differ by name, and SAM takes a minute for each.
SAM_CLI_TELEMETRY=0 "$sam" build HistoryFunction >target/sam-build.log 2>&1 || { cat target/sam-build.log >&2; exit 1; }
readelf -h .aws-sam/build/HistoryFunction/bootstrap | grep -q AArch64
echo "sam build: HistoryFunction from the template"
