#!/bin/sh
# Requests per second through `tollgate --upstream`, beside nginx with the same job: proxying to one
# upstream over kept-alive connections, with a limit per client address (limit_req) that is never
# reached.
#
# The upstream is a bare hyper server (server/benches/bare_hyper.rs), the same for both. nginx has one
# worker per processor, tollgate one thread. Method: benches/common.sh. Exits with 1 when a response is
# not 200 or lacks the limit headers, 0 otherwise.
#
#   server/benches/gateway.sh [rounds] [seconds] [connections]
set -eu
cd "$(dirname "$0")/../.."
. benches/common.sh
need nginx curl
cargo build --release --quiet --package tollgate-server --bin tollgate --example bare_hyper

start upstream "$target/examples/bare_hyper"
upstream=$(url upstream | sed 's/^http:..//')
start bare "$target/examples/bare_hyper"
start tollgate "$target/tollgate" --listen 127.0.0.1:0 --upstream "http://$upstream" --capacity 4000000000 --refill-rate 1000

# nginx does not report the port it got: ports are tried in turn.
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
[ -s "$folder/nginx.url" ] || fail "nginx does not start: $(cat "$folder/nginx.err")"
echo "$nginx" >"$folder/nginx.pid"

curl --silent --include "$(url tollgate)/" | grep -qi '^x-ratelimit-remaining' || fail "tollgate does not limit"
for name in tollgate nginx; do
    curl --silent --fail "$(url "$name")/" | grep -q granted || fail "$name does not proxy"
done
compare bare nginx tollgate

tollgate=$(ratio tollgate nginx)
cat <<TABLE

GET / through a gateway with a limit for each address, $(conditions); $(nginx -v 2>&1 | sed 's/.*: //')

| server | requests/s | of nginx | target | verdict | processor µs a request |
| --- | --- | --- | --- | --- | --- |
| bare hyper, no gateway | $(speed bare) | $(ratio bare nginx) | | | $(cost bare) |
| nginx, limit_req | $(speed nginx) | 1 | | | $(cost nginx) |
| tollgate --upstream | $(speed tollgate) | $tollgate | 0.85 | $(verdict "$tollgate" 0.85) | $(cost tollgate) |
TABLE
