#!/usr/bin/env bash
# How many instructions of the processor one message takes on parts of its way through the engine, as valgrind counts them.
#
#   tests/benchmark/instructions.sh [cases of `leveret-sim perf micro`]
#
# Each case runs with some messages and with twice as many: the difference is theirs, without the start. The figures are the same in every
# run of one binary, whatever else the machine does. A copy of many bytes counts as one instruction per byte here, and takes far less time.
# With LEVERET_BUILT=1 it takes the release binary as it is.
set -euo pipefail
cd "$(dirname "$0")/../.."

command -v valgrind > /dev/null || { echo "valgrind is not installed; Debian's package is called so" >&2; exit 1; }
[ -n "${LEVERET_BUILT:-}" ] || cargo build --quiet --release --package leveret-sim
sim=${CARGO_TARGET_DIR:-target}/release/leveret-sim
cases=("$@")
[ "$#" -gt 0 ] || cases=(decode route topic deliver-16 deliver-1k enqueue durable)
messages=20000

counted() {
    valgrind --tool=cachegrind --cache-sim=no --cachegrind-out-file=/dev/null "$sim" perf micro "$1" -C "$2" 2>&1 |
        sed -n 's/^==.*I *refs: *//p' | tr -d ,
}

for case in "${cases[@]}"; do
    once=$(counted "$case" "$messages")
    twice=$(counted "$case" $((2 * messages)))
    [ -n "$once" ] && [ -n "$twice" ] || { echo "$case: nothing was counted" >&2; exit 1; }
    printf '%-12s %6d instructions each\n' "$case" $(((twice - once) / messages))
done
