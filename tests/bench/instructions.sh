#!/usr/bin/env bash
# Counts the instructions of the hot parts without I/O, in the code as it is deployed, and compares
# them with tests/bench/instructions.txt:
#
#     tests/bench/instructions.sh            fails for a part that takes over 3 % more
#     tests/bench/instructions.sh --update   stores the current figures
#
# Counts don't depend on the load of the machine, nor on its x86-64 processor if that has AVX2:
# valgrind simulates the same one everywhere. Compilers differ: figures of another rustc or valgrind
# are printed and not compared.
set -euo pipefail
cd "$(dirname "$0")/../.."

stored=tests/bench/instructions.txt
tolerance=3
# Calls of a run; a second run with twice as many cancels the cost of the start.
times=200

case ${1:-} in
    "" | --update) ;;
    *)
        sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0"
        exit 2
        ;;
esac

if [ "$(uname -sm)" != "Linux x86_64" ]; then
    echo "skipped: the figures are of x86-64 on Linux"
    exit 0
fi
if ! command -v valgrind >/dev/null && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    { apt-get update -qq && apt-get install -y -qq valgrind; } >/dev/null || true
fi
if ! command -v valgrind >/dev/null; then
    echo "skipped: needs valgrind"
    exit 0
fi

cargo build --quiet --locked --release -p instructions
program=${CARGO_TARGET_DIR:-target}/release/instructions
made_with="$(rustc --version | cut -d' ' -f1,2), $(valgrind --version)"

# Instructions of a whole run.
executed() {
    local said
    if ! said=$(valgrind --tool=callgrind --callgrind-out-file=/dev/null "$program" "$@" 2>&1); then
        echo "$said" >&2
        return 1
    fi
    sed -n 's/.*Collected : //p' <<<"$said"
}

figures=$(
    for part in $("$program"); do
        once=$(executed "$part" "$times")
        twice=$(executed "$part" $((2 * times)))
        echo "$part $(((twice - once) / times))"
    done
)

if [ "${1:-}" = --update ]; then
    {
        echo "# Instructions of one call, by tests/bench/instructions.sh --update"
        echo "# $made_with"
        echo "$figures"
    } >"$stored"
    cat "$stored"
    exit 0
fi

printf '%-16s %10s %10s %7s\n' part stored now ratio
more=() less=()
while read -r part now; do
    old=$(awk -v part="$part" '$1 == part { print $2 }' "$stored")
    if [ -z "$old" ]; then
        printf '%-16s %10s %10d\n' "$part" - "$now"
        more+=("$part")
        continue
    fi
    printf '%-16s %10d %10d %7s\n' "$part" "$old" "$now" \
        "$(awk -v old="$old" -v now="$now" 'BEGIN { printf "%.3f", now / old }')"
    if [ $((now * 100)) -gt $((old * (100 + tolerance))) ]; then more+=("$part"); fi
    if [ $((now * 100)) -lt $((old * (100 - tolerance))) ]; then less+=("$part"); fi
done <<<"$figures"

if [ "$(sed -n '2s/^# //p' "$stored")" != "$made_with" ]; then
    echo "not compared: the stored figures are of$(sed -n '2s/^#//p' "$stored"), these of $made_with"
    echo "store these with tests/bench/instructions.sh --update"
    exit 0
fi
if [ ${#less[@]} -gt 0 ]; then
    echo "fewer than stored: ${less[*]}. Store them with tests/bench/instructions.sh --update"
fi
if [ ${#more[@]} -gt 0 ]; then
    echo "over $tolerance % more than stored: ${more[*]}" >&2
    echo "if that is intended: tests/bench/instructions.sh --update" >&2
    exit 1
fi
