#!/usr/bin/env bash
# The table of what Leveret is to be against RabbitMQ, measured here: medians of five runs in turns, ratios, and whether each goal is met.
#
#   tests/benchmark/table.sh [options of `leveret-sim perf compare`, such as --rounds 3]
#
# Takes about an hour and a half, with nothing else running. Exits with 0 only if all goals are met, and at once if no RabbitMQ is
# installed. With LEVERET_BUILT=1 it takes the release binaries as they are.
set -uo pipefail
cd "$(dirname "$0")"

[ -n "${LEVERET_BUILT:-}" ] || cargo build --quiet --release --package leveret-server --package leveret-sim || exit 1
export LEVERET_BUILT=1

# What is to be at least (rates) or at most (latencies, memory) so many times as much as RabbitMQ's.
single=(
    transient-16=16 transient-1k=10 durable-1k=10 quorum-1k=8 fanout-10=8 topic-1000=15 transient-1k-4x4=8 durable-1k-4x4=10
    one-at-a-time=1.6 backlog=15 transient-1k-paced-busy=0.33 transient-1k-paced-10k-busy=0.33 declarations-16=30
    transient-1k-paced transient-1k-paced-10k
    declarations declarations-64 queue-churn connection-churn channel-churn durable-1k-paced durable-1k-paced-10k
    idle-connections-1k=0.063 idle-connections-10k=0.063
)
os=(one-at-a-time=4 durable-1k-paced-busy=0.33 durable-1k-paced-10k-busy=0.33 durable-1k-paced durable-1k-paced-10k durable-1k durable-1k-4x4)
cluster=(quorum-1k=6 quorum-1k-paced=0.33)

# Some workloads as options.
chosen() { printf -- '--workload\n%s\n' "$@"; }

status=0
echo "== one node, confirms after fsync"
mapfile -t workloads < <(chosen "${single[@]}")
./side_by_side.sh --rounds 5 "${workloads[@]}" "$@" || status=$?
echo "== one node, durability = os; RabbitMQ as it is"
mapfile -t workloads < <(chosen "${os[@]}")
./side_by_side.sh --durability os --rounds 5 "${workloads[@]}" "$@" || status=$?
echo "== three nodes"
mapfile -t workloads < <(chosen "${cluster[@]}")
./side_by_side.sh --nodes 3 --rounds 5 --rest 12 "${workloads[@]}" "$@" || status=$?
exit "$status"
