#!/usr/bin/env bash
# Leveret and an installed RabbitMQ, beside each other on this machine, under the same workloads in turns.
#
#   tests/benchmark/side_by_side.sh [--nodes 3] [--durability os] [options of `leveret-sim perf compare`, such as --rounds 5 --workload all]
#
# Both get free ports and data folders of their own below $TMPDIR, and are gone at the end. Both confirm persistent messages
# after they are on the disk, unless Leveret is told by --durability not to. With --nodes each is a cluster of so many processes, and
# clients use the first of them.
# While one is measured the other is stopped: an idle RabbitMQ wakes up and starts programs, which can double what the slowest of a
# hundred of our confirms takes.
# With LEVERET_BUILT=1 it takes the release binaries as they are; with LEVERET_PROFILE=dev, those of another profile, to see whether all
# of this works. Exits with 0 without a word on ratios if no RabbitMQ is installed, with 1 if LEVERET_REQUIRE_PEERS=1.
set -euo pipefail
cd "$(dirname "$0")/../.."

nodes=1 durability=fsync
while :; do
    case ${1:-} in
        --nodes) nodes=$2 ;;
        --durability) durability=$2 ;;
        *) break ;;
    esac
    shift 2
done

rabbitmq=$(ls -d /usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin 2> /dev/null | sort -V | tail -n 1 || true)
if [ -z "$rabbitmq" ]; then
    echo "SKIPPED: RabbitMQ is not installed" >&2
    [ "${LEVERET_REQUIRE_PEERS:-}" != 1 ] || exit 1
    exit 0
fi
version=${rabbitmq%/sbin}
version=${version##*-}

profile=${LEVERET_PROFILE:-release}
[ -n "${LEVERET_BUILT:-}" ] || cargo build --quiet --profile "$profile" --package leveret-server --package leveret-sim
target=${CARGO_TARGET_DIR:-target}/${profile/#dev/debug}
dir=$(mktemp -d "${TMPDIR:-/tmp}/leveret-side-by-side.XXXXXX")
pids=()
finish() {
    for pidfile in "$dir"/rabbitmq*/pid; do
        [ ! -s "$pidfile" ] || kill -KILL "$(cat "$pidfile")" 2> /dev/null || true
    done
    for pid in "${pids[@]}"; do
        # It may be the one that is not measured just now.
        kill -CONT "$pid" 2> /dev/null || true
        kill "$pid" 2> /dev/null || true
        wait "$pid" 2> /dev/null || true
    done
    if [ -n "${ERL_EPMD_PORT:-}" ]; then
        # It does not go as long as it knows of a node, and hears a moment late that one is gone.
        for _ in $(seq 30); do
            epmd -port "$ERL_EPMD_PORT" -kill 2> /dev/null | grep -q '^Killed' && break
            sleep 0.1
        done
    fi
    rm -rf "$dir"
}
trap finish EXIT

# Ports that nobody listens on, each once.
free_port() {
    local port
    while :; do
        port=$((20000 + RANDOM % 10000))
        if (exec 3<> "/dev/tcp/127.0.0.1/$port") 2> /dev/null || [ -e "$dir/port-$port" ]; then continue; fi
        : > "$dir/port-$port"
        break
    done
    echo "$port"
}

echo "durability = $durability" > "$dir/leveret.conf"
if [ "$nodes" -gt 1 ]; then
    for node in $(seq "$nodes"); do
        printf 'cluster_formation.classic_config.nodes.%s = leveret@%s\n' "$node" "$node" >> "$dir/leveret.conf"
        printf 'cluster.addresses.leveret@%s = 127.0.0.1:%s\n' "$node" "$(free_port)" >> "$dir/leveret.conf"
    done
    echo "cluster.secret = $RANDOM-side-by-side-$RANDOM" >> "$dir/leveret.conf"
fi
for node in $(seq "$nodes"); do
    "$target/leveret" --node-name "leveret@$node" --config "$dir/leveret.conf" --listen 127.0.0.1:0 --data-dir "$dir/leveret$node" --log warn \
        > "$dir/ready$node" 2> "$dir/leveret$node.log" &
    pids+=($!)
done

mkdir -p "$dir/home"
(umask 077 && echo side-by-side > "$dir/home/.erlang.cookie")
chmod 400 "$dir/home/.erlang.cookie"
ERL_EPMD_PORT=$(free_port)
export ERL_EPMD_PORT ERL_EPMD_ADDRESS=127.0.0.1
port=$(free_port)

# A command of RabbitMQ's, for a node by its number.
rabbitmq() (
    node=$1 command=$2 here=$dir/rabbitmq$1
    shift 2
    exec env HOME="$dir/home" ERL_CRASH_DUMP="$dir/erl_crash.dump" RABBITMQ_NODENAME="beside$node-$port@localhost" \
        RABBITMQ_MNESIA_BASE="$here/mnesia" RABBITMQ_LOG_BASE="$here/log" RABBITMQ_PID_FILE="$here/pid" \
        RABBITMQ_CONFIG_FILE="$here/rabbitmq.conf" RABBITMQ_CONF_ENV_FILE="$here/env.conf" \
        RABBITMQ_ENABLED_PLUGINS_FILE="$here/enabled_plugins" \
        RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS='-kernel inet_dist_use_interface {127,0,0,1}' \
        "$rabbitmq/$command" "$@"
)

for node in $(seq "$nodes"); do
    here=$dir/rabbitmq$node
    mkdir -p "$here/log"
    : > "$here/env.conf"
    echo '[].' > "$here/enabled_plugins"
    node_port=$port
    [ "$node" = 1 ] || node_port=$(free_port)
    printf 'listeners.tcp.1 = 127.0.0.1:%s\nlog.file.level = warning\n' "$node_port" > "$here/rabbitmq.conf"
    RABBITMQ_NODE_PORT=$node_port RABBITMQ_DIST_PORT=$(free_port) \
        rabbitmq "$node" rabbitmq-server > "$here/log/stdout" 2>&1 < /dev/null &
    pids+=($!)
    # The first one starts the daemon that all of them need; two at once would each start one.
    [ "$nodes" = 1 ] || rabbitmq "$node" rabbitmqctl --quiet wait --timeout 120 "$here/pid" > /dev/null
done
for node in $(seq 2 "$nodes"); do
    for step in stop_app "join_cluster beside1-$port@localhost" start_app; do
        # shellcheck disable=SC2086
        rabbitmq "$node" rabbitmqctl --quiet $step > /dev/null
    done
done

# Both are ready when they answer a client: one message through each.
await() {
    for _ in $(seq 300); do
        "$target/leveret-sim" perf --uri "$1" -C 1 -a > /dev/null 2>&1 && return
        sleep 0.2
    done
    echo "the broker at $1 does not answer" >&2
    cat "$dir"/leveret*.log "$dir"/rabbitmq*/log/stdout >&2
    exit 1
}
for node in $(seq "$nodes"); do
    for _ in $(seq 100); do [ -s "$dir/ready$node" ] && break || sleep 0.1; done
    if [ ! -s "$dir/ready$node" ]; then
        echo "node $node of leveret does not start" >&2
        cat "$dir/leveret$node.log" >&2
        exit 1
    fi
done
leveret=amqp://$(sed 's/.* //' "$dir/ready1")
await "$leveret"
await "amqp://127.0.0.1:$port"

processes=$(IFS=, && echo "${pids[*]:0:nodes}") others=$(awk 1 "$dir"/rabbitmq*/pid | paste -sd,)
"$target/leveret-sim" perf compare "$leveret" "amqp://127.0.0.1:$port" --names leveret "rabbitmq-$version" \
    --alone "$processes" "$others" "$@"
