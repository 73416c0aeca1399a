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
. server/benches/nginx.sh
# Two builds: examples enable features of dependencies for tests, such as the test clock of tokio.
cargo build --release --quiet --package tollgate-server --bin tollgate
cargo build --release --quiet --package tollgate-server --example bare_hyper

start upstream "$target/examples/bare_hyper"
upstream=$(url upstream | sed 's/^http:..//')
start bare "$target/examples/bare_hyper"
start tollgate "$target/tollgate" --listen 127.0.0.1:0 --upstream "http://$upstream" --capacity 4000000000 --refill-rate 1000

start_nginx "
    upstream bare {
        server $upstream;
        keepalive 256;
        keepalive_requests 100000000;
    }" '
            proxy_pass http://bare;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $host;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_set_header X-Forwarded-Proto $scheme;
            proxy_set_header X-Forwarded-Host $host;
            proxy_set_header Forwarded "for=$remote_addr;host=\"$host\";proto=$scheme";'

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
