#!/bin/sh
# Requests a second through `tollgate --upstream`, beside nginx doing the same: proxying to one upstream over connections that are
# kept, with a limit for each client address (limit_req) that is never reached.
#
# The upstream is a bare hyper server (examples/bare_hyper.rs), the same for both. Upstream, both gateways and the load share the
# machine's processors; nginx has as many workers as there are processors, tollgate as many threads. wrk loads one after another
# for some seconds, round after round, so that what disturbs the machine disturbs both; a ratio is the median of the ratios of the
# rounds. The processor time that a gateway itself took for a request is shown too. Ends with code 1 when an answer is no 200,
# or comes without what a limit adds, 0 otherwise.
#
#   benches/gateway.sh [rounds] [seconds] [connections]
set -eu
cd "$(dirname "$0")/.."
rounds=${1:-7} seconds=${2:-3} connections=${3:-64} threads=${THREADS:-1}

command -v wrk >/dev/null || { echo "wrk is missing: apt-get install wrk" >&2; exit 2; }
command -v nginx >/dev/null || { echo "nginx is missing: apt-get install nginx" >&2; exit 2; }
command -v curl >/dev/null || { echo "curl is missing: apt-get install curl" >&2; exit 2; }
cargo build --release --quiet --features server --bin tollgate --example bare_hyper
target=${CARGO_TARGET_DIR:-target}/release

folder=$(mktemp -d)
pids=
stop() { [ -z "$pids" ] || kill $pids 2>/dev/null || true; wait; rm -rf "$folder"; }
trap stop EXIT
trap 'exit 130' INT TERM

# start NAME COMMAND...: leaves the server's address in $folder/NAME.url
start() {
    name=$1
    shift
    : >"$folder/$name.out"
    "$@" >"$folder/$name.out" 2>"$folder/$name.err" &
    pids="$pids $!"
    echo $! >"$folder/$name.pid"
    for _ in $(seq 100); do
        sed -n 's/^Listening on //p' "$folder/$name.out" >"$folder/$name.url"
        [ ! -s "$folder/$name.url" ] || return 0
        sleep 0.1
    done
    fails "$name"
}

fails() {
    echo "$1 does not start:" >&2
    cat "$folder/$1.err" >&2
    exit 1
}

start upstream "$target/examples/bare_hyper"
upstream=$(sed 's/^http:..//' "$folder/upstream.url")
start bare "$target/examples/bare_hyper"
start tollgate "$target/tollgate" --listen 127.0.0.1:0 --upstream "http://$upstream" --capacity 4000000000 --refill-rate 1000

# nginx cannot say which port it got: one after another is tried.
port=$((20000 + $$ % 20000))
for _ in $(seq 20); do
    port=$((port + 1))
    cat >"$folder/nginx.conf" <<CONFIG
daemon off;
pid $folder/nginx.own.pid;
error_log $folder/nginx.err;
worker_processes auto;
worker_rlimit_nofile 4096;
events { worker_connections 2048; }
http {
    access_log off;
    client_body_temp_path $folder/body;
    proxy_temp_path $folder/proxy;
    fastcgi_temp_path $folder/fastcgi;
    uwsgi_temp_path $folder/uwsgi;
    scgi_temp_path $folder/scgi;
    keepalive_requests 100000000;
    tcp_nodelay on;
    limit_req_zone \$binary_remote_addr zone=clients:10m rate=1000000r/s;
    upstream bare {
        server $upstream;
        keepalive 256;
        keepalive_requests 100000000;
    }
    server {
        listen 127.0.0.1:$port backlog=4096;
        location / {
            limit_req zone=clients burst=1000000 nodelay;
            limit_req_status 429;
            proxy_pass http://bare;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host \$host;
            proxy_set_header X-Forwarded-For \$proxy_add_x_forwarded_for;
            proxy_set_header X-Forwarded-Proto \$scheme;
            proxy_set_header X-Forwarded-Host \$host;
            proxy_set_header Forwarded "for=\$remote_addr;host=\"\$host\";proto=\$scheme";
        }
    }
}
CONFIG
    nginx -c "$folder/nginx.conf" >"$folder/nginx.out" 2>>"$folder/nginx.err" &
    nginx=$!
    for _ in $(seq 50); do
        kill -0 "$nginx" 2>/dev/null || continue 2
        ! curl --silent --output "$folder/answer" "http://127.0.0.1:$port/" || break
        sleep 0.1
    done
    pids="$pids $nginx"
    echo "http://127.0.0.1:$port" >"$folder/nginx.url"
    break
done
[ -s "$folder/nginx.url" ] || fails nginx
echo "$nginx" >"$folder/nginx.pid"

curl --silent --include "$(cat "$folder/tollgate.url")/" | grep -qi '^x-ratelimit-remaining' || { echo "tollgate does not limit" >&2; exit 1; }
for name in tollgate nginx; do
    curl --silent --fail "$(cat "$folder/$name.url")/" | grep -q granted || { echo "$name does not proxy" >&2; exit 1; }
done

# Processor time a server and its workers have taken, in clock ticks.
ticks() {
    pid=$(cat "$folder/$1.pid")
    for each in "$pid" $(cat "/proc/$pid/task/$pid/children"); do
        sed 's/.*) //' "/proc/$each/stat" 2>/dev/null
    done | awk '{ sum += $12 + $13 } END { print sum }'
}

# load NAME SECONDS: appends requests a second to $folder/NAME, and microseconds of processor time a request to $folder/NAME.cpu
load() {
    before=$(ticks "$1")
    wrk -t "$threads" -c "$connections" -d "${2}s" "$(cat "$folder/$1.url")/" >"$folder/wrk"
    others=$(sed -n 's/.*Non-2xx or 3xx responses: //p' "$folder/wrk")
    errors=$(sed -n 's/.*Socket errors: //p' "$folder/wrk")
    all=$(sed -n 's/ *\([0-9]*\) requests in.*/\1/p' "$folder/wrk")
    [ -z "$others$errors" ] || { echo "$1: of $all: ${others:-0} not 200, socket errors: ${errors:-none}" >&2; exit 1; }
    sed -n 's/^Requests\/sec: *//p' "$folder/wrk" >>"$folder/$1"
    awk -v ticks="$(($(ticks "$1") - before))" -v hertz="$(getconf CLK_TCK)" -v all="$all" \
        'BEGIN { printf "%.2f\n", ticks / hertz / all * 1e6 }' >>"$folder/$1.cpu"
}

for name in bare tollgate nginx; do
    load "$name" 1
    rm "$folder/$name" "$folder/$name.cpu"
done
for round in $(seq "$rounds"); do
    # The order turns, so that nobody is always first.
    case $((round % 3)) in
        0) order="bare tollgate nginx" ;;
        1) order="tollgate nginx bare" ;;
        2) order="nginx bare tollgate" ;;
    esac
    for name in $order; do
        load "$name" "$seconds"
    done
    printf 'round %s: bare %s/s, nginx %s/s, tollgate %s/s\n' "$round" "$(tail -n1 "$folder/bare")" \
        "$(tail -n1 "$folder/nginx")" "$(tail -n1 "$folder/tollgate")"
done

median() { sort -g | awk '{ n[NR] = $1 } END { print n[int((NR + 1) / 2)] }'; }
ratio() { paste "$folder/$1" "$folder/nginx" | awk '{ printf "%.3f\n", $1 / $2 }' | median; }
verdict() { awk -v is="$1" 'BEGIN { print (is >= 0.85 ? "reached" : "MISSED") }'; }

tollgate=$(ratio tollgate)
cat <<TABLE

GET / through a gateway with a limit for each address, $connections connections, $threads wrk thread(s), $rounds rounds of $seconds s,
medians; $(nginx -v 2>&1 | sed 's/.*: //')

| server | requests/s | of nginx | target | verdict | processor µs a request |
| --- | --- | --- | --- | --- | --- |
| bare hyper, no gateway | $(median <"$folder/bare") | $(ratio bare) | | | $(median <"$folder/bare.cpu") |
| nginx, limit_req | $(median <"$folder/nginx") | 1 | | | $(median <"$folder/nginx.cpu") |
| tollgate --upstream | $(median <"$folder/tollgate") | $tollgate | 0.85 | $(verdict "$tollgate") | $(median <"$folder/tollgate.cpu") |
TABLE
