# shellcheck shell=sh
# Sourced by the benches beside nginx, after benches/common.sh.

# start_nginx HTTP [LOCATION]: starts nginx as the server `nginx`, with one worker for each processor.
# HTTP: directives of the `http` block. LOCATION: directives of `location /`.
start_nginx() {
    need nginx curl
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
    $1
    server {
        listen 127.0.0.1:$port backlog=4096;
        location / {
            limit_req zone=clients burst=1000000 nodelay;
            limit_req_status 429;
            $2
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
}
