#!/usr/bin/env bash
# Leveret and an installed RabbitMQ, beside each other on this machine, under the same workloads in turns.
#
#   tests/benchmark/side_by_side.sh [options of `leveret-sim perf compare`, such as --rounds 5 --workload all]
#
# Both get free ports and data folders of their own below $TMPDIR, and are gone at the end. Both confirm persistent messages
# after they are on the disk. With LEVERET_BUILT=1 it takes the release binaries as they are. Exits with 0 without a word on ratios if no RabbitMQ is installed.
set -euo pipefail
cd "$(dirname "$0")/../.."

rabbitmq=$(ls -d /usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin 2> /dev/null | sort -V | tail -n 1 || true)
if [ -z "$rabbitmq" ]; then
    echo "SKIPPED: RabbitMQ is not installed" >&2
    exit 0
fi
version=${rabbitmq%/sbin}
version=${version##*-}

[ -n "${LEVERET_BUILT:-}" ] || cargo build --quiet --release --package leveret-server --package leveret-sim
target=${CARGO_TARGET_DIR:-target}/release
dir=$(mktemp -d "${TMPDIR:-/tmp}/leveret-side-by-side.XXXXXX")
leveret_pid=
rabbitmq_pid=
finish() {
    [ -z "$leveret_pid" ] || kill "$leveret_pid" 2> /dev/null || true
    [ ! -s "$dir/pid" ] || kill -KILL "$(cat "$dir/pid")" 2> /dev/null || true
    [ -z "$rabbitmq_pid" ] || wait "$rabbitmq_pid" 2> /dev/null || true
    [ -z "${ERL_EPMD_PORT:-}" ] || epmd -port "$ERL_EPMD_PORT" -kill > /dev/null 2>&1 || true
    rm -rf "$dir"
}
trap finish EXIT

# Ports that nobody listens on.
free_port() {
    local port
    while :; do
        port=$((20000 + RANDOM % 10000))
        (exec 3<> "/dev/tcp/127.0.0.1/$port") 2> /dev/null || break
    done
    echo "$port"
}

"$target/leveret" --listen 127.0.0.1:0 --data-dir "$dir/leveret" --log warn > "$dir/ready" &
leveret_pid=$!

mkdir -p "$dir/home" "$dir/log"
(umask 077 && echo side-by-side > "$dir/home/.erlang.cookie")
chmod 400 "$dir/home/.erlang.cookie"
: > "$dir/env.conf"
echo '[].' > "$dir/enabled_plugins"
port=$(free_port)
ERL_EPMD_PORT=$(free_port)
export ERL_EPMD_PORT ERL_EPMD_ADDRESS=127.0.0.1
printf 'listeners.tcp.1 = 127.0.0.1:%s\nlog.file.level = warning\n' "$port" > "$dir/rabbitmq.conf"
HOME="$dir/home" RABBITMQ_NODENAME="beside$port@localhost" RABBITMQ_NODE_PORT=$port RABBITMQ_DIST_PORT=$(free_port) \
    RABBITMQ_MNESIA_BASE="$dir/mnesia" RABBITMQ_LOG_BASE="$dir/log" RABBITMQ_PID_FILE="$dir/pid" \
    RABBITMQ_CONFIG_FILE="$dir/rabbitmq.conf" RABBITMQ_CONF_ENV_FILE="$dir/env.conf" \
    RABBITMQ_ENABLED_PLUGINS_FILE="$dir/enabled_plugins" \
    RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS='-kernel inet_dist_use_interface {127,0,0,1}' \
    "$rabbitmq/rabbitmq-server" > "$dir/log/stdout" 2>&1 < /dev/null &
rabbitmq_pid=$!

# Both are ready when they answer a client: one message through each.
await() {
    for _ in $(seq 300); do
        "$target/leveret-sim" perf --uri "$1" -C 1 -a > /dev/null 2>&1 && return
        sleep 0.2
    done
    echo "the broker at $1 does not answer" >&2
    cat "$dir/log/stdout" >&2
    exit 1
}
for _ in $(seq 50); do [ -s "$dir/ready" ] && break || sleep 0.1; done
leveret=amqp://$(sed 's/.* //' "$dir/ready")
await "$leveret"
await "amqp://127.0.0.1:$port"

"$target/leveret-sim" perf compare "$leveret" "amqp://127.0.0.1:$port" --names leveret "rabbitmq-$version" "$@"
