#!/usr/bin/env bash
# The tests of API and worker through PgBouncer in transaction mode, with four connections for each
# role, and the tests of the module `pooler`: tests/pooler/run.sh [name of a test …]
#
# PgBouncer tracks prepared statements from version 1.21 on. If the system's is older, it is built from
# Debian's sources into target/.
set -euo pipefail
cd "$(dirname "$0")/../.."

version=1.24.1
follows() { # program
    local version
    version=$("$1" --version 2>/dev/null | sed -n 's/^PgBouncer //p')
    [ -n "$version" ] && [ "$(printf '1.21\n%s\n' "$version" | sort -V | head -1)" = 1.21 ]
}
skip() {
    echo "skipped: $*"
    exit 0
}

program=${PGBOUNCER:-$(command -v pgbouncer || true)}
built=$PWD/target/pgbouncer-$version/pgbouncer
if ! follows "${program:-none}"; then
    program=$built
    if ! follows "$program"; then
        [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null ||
            skip "needs PgBouncer 1.21 or later, on PATH or in PGBOUNCER"
        mkdir -p target/pgbouncer-source
        (
            cd target/pgbouncer-source
            mkdir -p lists/partial archives/partial
            echo "deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian trixie main" >sources.list
            # A separate list: the system's is not changed.
            apt=(apt-get -qq -o Dir::Etc::sourcelist="$PWD/sources.list" -o Dir::Etc::sourceparts=-
                -o Dir::State::lists="$PWD/lists" -o Dir::Cache::archives="$PWD/archives"
                -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= -o APT::Sandbox::User=root)
            "${apt[@]}" update && "${apt[@]}" source --download-only pgbouncer
            apt-get update -qq && apt-get install -y -qq gcc make pkg-config libevent-dev libssl-dev
        ) >target/pgbouncer-source/log 2>&1 &&
            tar -xzf target/pgbouncer-source/pgbouncer_"$version".orig.tar.gz -C target &&
            (cd "target/pgbouncer-$version" && ./configure --without-cares --without-pam && make -j2 pgbouncer) \
                >>target/pgbouncer-source/log 2>&1 || true
        follows "$program" || skip "PgBouncer can't be built here (target/pgbouncer-source/log)"
    fi
fi
"$program" --version | head -1

# It runs as another user than root, so that user must be able to read it.
if [ "$(id -u)" = 0 ]; then
    copy=$(mktemp -d)
    trap 'rm -rf "$copy"' EXIT
    chmod 755 "$copy"
    install -m 755 "$program" "$copy/pgbouncer"
    program=$copy/pgbouncer
fi

tests=("$@")
if [ $# = 0 ]; then
    tests=(access:: cap:: delivery:: history:: links:: pooler:: posting:: provisioning:: threads::)
fi
KINLINE_TEST_POOLER=$program INSTA_UPDATE=no \
    cargo test --quiet --locked --workspace --test e2e -- --include-ignored "${tests[@]}"
