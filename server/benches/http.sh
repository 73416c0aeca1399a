#!/bin/sh
# Requests per second of `tollgate`, beside a bare hyper server with the same response and no limits
# (server/benches/bare_hyper.rs).
#
# Three servers run at the same time: the bare one, tollgate with a quota that is never exhausted, and
# tollgate with one that always is. Method: benches/common.sh. Exits with 1 when a server responds with
# an unexpected status, 0 otherwise.
#
#   server/benches/http.sh [rounds] [seconds] [connections] [path]
set -eu
cd "$(dirname "$0")/../.."
. benches/common.sh
# Two builds: examples enable features of dependencies for tests, such as the test clock of tokio.
cargo build --release --quiet --package tollgate-server --bin tollgate
cargo build --release --quiet --package tollgate-server --example bare_hyper

start bare "$target/examples/bare_hyper"
start allowed "$target/tollgate" --listen 127.0.0.1:0 --capacity 4000000000 --refill-rate 1000
start refused "$target/tollgate" --listen 127.0.0.1:0 --capacity 1 --refill-rate 0.0001
compare bare allowed refused

allowed=$(ratio allowed bare)
cat <<TABLE

GET $path, $(conditions)

| server | requests/s | of bare hyper | target | verdict | processor µs a request |
| --- | --- | --- | --- | --- | --- |
| bare hyper | $(speed bare) | 1 | | | $(cost bare) |
| tollgate, all allowed | $(speed allowed) | $allowed | 0.93 | $(verdict "$allowed" 0.93) | $(cost allowed) |
| tollgate, all refused | $(speed refused) | $(ratio refused bare) | | | $(cost refused) |
TABLE
