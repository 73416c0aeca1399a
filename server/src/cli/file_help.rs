//! Help on the configuration file.

/// Keys of the file, each with an example.
pub(super) const FILE_HELP: &str = r#"The configuration file (TOML or JSON, by its file name extension) accepts all of the settings above and more.
An unknown key is an error.
  listen = "127.0.0.1:8000"
  capacity = 10                               # tokens
  refill_rate = 1.0                           # tokens per second; or refill instead:
  refill = { every = "1h", mode = "interval" }   # the whole capacity at once, an hour after the first request
  refill = { every = "1s", tokens = 5 }          # greedy: 5 tokens a second; tokens defaults to the capacity
  quota = "100/hour, capacity 20"             # instead of capacity and refill; or "10r/s burst 20", "1000/month", "10MB/s"
  tokens = 100                                # with time: an interval, as in the API-key system's settings file
  time = 3600                                 # seconds
  delay = "500ms"                             # how long a request waits for its tokens, as in nginx without nodelay; default 0; at most 60s
  max_delayed_per_client = 16                 # requests of a client that wait; with max_delayed reached, others are refused
  max_delayed = 1024                          # requests that wait
  trust_proxy = ["10.0.0.0/8"]
  client_address_header = "x-forwarded-for"   # or "forwarded", "x-real-ip"...: the only header of trusted proxies that counts
  admin_listen = "127.0.0.1:9000"             # the admin API, /metrics and /check there only; or "unix:/path/to/socket"
  admin_token = "..."
  check = "guarded"                           # POST /check needs a token; or "open": it does not
  check_token = "..."                         # token of POST /check; the admin token is accepted as well
  headers = "x"                               # X-RateLimit-*; or "draft": RateLimit, as in the IETF draft; "both", "x-epoch" or "none"
  state = "/run/tollgate"                     # directory that keeps the buckets over restarts, shared by processes of this machine
  state_copy = "/var/lib/tollgate"            # directory on a disk, with copies of it for a reboot
  redis = "redis://127.0.0.1/"                # or rediss://, redis+sentinel://, redis+cluster://
  redis_mode = "exact"                        # or "lease": memory speed, with up to lease_fraction beyond the capacity
  lease_fraction = 0.1                        # maximum fraction of the capacity on lease, over all instances
  redis_prefix = "tollgate"                   # instances with the same prefix share limits and rules
  redis_timeout = "50ms"                      # how long a call waits for the reply of Redis; at most 10s
  redis_clock_tolerance = "1s"                # buckets further ahead of Redis's clock are rebased to it; at most 60s
  on_redis_error = "local"                    # or "open" (allow all requests), or "closed" (503)
  local_share = 1.0                           # with "local": each instance's fraction of the quota
  client = "ip"                               # or { header = "X-API-Key" }, or "header:X-API-Key"
  api_keys = ["..."]                          # with a header: the only accepted keys
  ipv6_prefix = 64                            # bits of an IPv6 address that identify a client
  nat64_prefixes = ["64:ff9b:1:fffe::/96"]    # NAT64 translators whose clients are identified by their IPv4 address
  max_clients = 1000000                       # clients with a bucket of their own, 27 bytes each
  upstream = "http://127.0.0.1:9000"          # gateway: allowed requests are proxied there; or https://, or h2c://
  case_sensitive_paths = false                # true: upstreams tell /API from /api, and routes do as well
  allow = ["10.0.0.0/8"]                      # networks without limits; also { file = "allow.txt" }, a network in each line
  deny = ["203.0.113.0/24"]                   # networks that get 403; the longest prefix of both lists counts
  [[limits]]                                  # every limit that matches a request applies, all or nothing; see docs/policies.md
  name = "login"
  match = ["POST /login", "/users/{id}/*"]    # methods, paths or both; also "*.php", "GET,HEAD *"; default: all requests
  header = "X-Client: mobile"                 # or the name alone; of a list all have to be there
  key = "header:X-API-Key | ip"               # or ip/24,48, cookie:NAME, query:NAME, jwt:CLAIM, path, path:2, global; a list for all together
  quota = ["5/minute", "20/hour"]             # or one
  cost = { "POST *" = 5, "*" = 1 }            # or a number; 0 takes nothing
  delay = 0                                   # longest wait for tokens of this limit, such as "500ms", instead of 429
  ban = { after = 20, within = "10m", for = "1h" } # a key that is refused more often is refused for this time
  concurrency = 10                            # requests to upstreams at the same time, besides a quota or alone
  shadow = false                              # true: tried out, refuses nothing
  instead_of = ["default"]                    # names of limits that do not apply then
  refusal = { status = 503, text = "slow down, {retry_after} s" } # for all limits: [refusal]; also json, problem, html, headers
  missing = "401"                             # a request without the key; or "skip": the limit does not apply
  max_clients = 100000                        # of this limit
  ignore_case = true                          # default: the contrary of case_sensitive_paths
  [jwt]                                       # tokens whose claims are keys of limits, such as jwt:sub
  keys = "jwks.json"                          # or public keys in PEM
  algorithms = ["RS256", "ES256"]             # no others are accepted
  issuer = "https://id.example"               # iss of tokens, if given; or a list
  audience = "api"                            # aud of tokens, if given; or a list
  leeway = "60s"                              # difference of clocks; exp is required, and nbf counts
  cookie = "session"                          # default: Authorization: Bearer
  [[routes]]                                  # a cost, an exemption or a quota, for one method or for all
  method = "GET"
  path = "/api/data"                          # matches every spelling; or "/api/*": /api and all paths below; the longest wins
  cost = 2                                    # or exempt = true; at most the capacity of the bucket that is charged
  capacity = 100                              # a bucket for this route instead of the client's default; with refill_rate or
  refill_rate = 0.1                           # refill, or quota, or tokens and time
  name = "data"                               # of this limit in the IETF's headers; default: method and path
  max_clients = 100000                        # of this route
  [[rules]]                                   # a client's own quota, defined as that of a route
  client_id = "192.0.2.7"
  capacity = 50
  refill_rate = 10.0
  [[upstreams]]                               # by path; the longest prefix wins, and ends at a path segment
  prefix = "/api"
  url = "http://127.0.0.1:9001"
  [gateway]                                   # for each upstream
  connect_timeout = "5s"                      # on expiry 504; 502 when the upstream is unreachable
  response_timeout = "60s"                    # until the header of the response; on expiry 504
  idle_timeout = "60s"                        # between two chunks of the response; on expiry the response is aborted
  keep_alive = "30s"                          # how long an idle connection is kept
  max_idle = 256                              # idle connections
  max_requests = 1000                         # concurrent requests; further ones wait for connect_timeout, then get 503
  max_concurrent_per_client = 250             # default: a quarter of max_requests; further ones wait likewise, then get 429
  max_tunnels_per_client = 250                # how many of these may be WebSockets; further ones get 429
  tunnel_timeout = "1h"                       # a WebSocket without traffic is closed; also a silent event stream
  pass_headers = ["X_Trace", "Client-IP"]     # request headers that are otherwise removed
  own_prefix = "/_tollgate"                   # moves /health, /metrics, /config, /admin/ and /check below this path
  [connections]
  max = 10000                                 # at the limit, idle connections of the largest holder are closed, or new ones wait
  max_per_address = 100                       # or of an IPv6 /64, trusted proxies exempt; by default unlimited
  header_timeout = "10s"                      # for a whole header, and for the first request
  idle_timeout = "60s"                        # between requests
  body_timeout = "30s"                        # for a body; with an upstream, below 1000 bytes per second over this time
  stall_timeout = "30s"                       # for a response that the client takes at less than 1000 bytes per second
  shutdown_grace = "10s"                      # for the requests in flight at SIGINT or SIGTERM
  max_header_bytes = 16384
  max_body_bytes = 1048576                    # with an upstream 67108864: bodies are streamed, not buffered
  max_unread_bytes = 268435456                # memory of bodies that clients have not taken, of all connections
  max_unread_bytes_per_connection = 8388608
  [cors]                                      # pages of other origins may read the responses
  origins = ["https://app.example"]           # or ["*"]
  preflight = "answer"                        # or "pass", to the upstream; neither needs a key nor costs a token
  credentials = false                         # pages may send cookies
  max_age = "10m"                             # how long a browser may cache a preflight

While the server runs: GET /config shows the effective configuration. POST /config {"capacity": 15, "refill_rate": 5} changes
the default quota (either field may stand alone; a rate replaces an interval) and refills all buckets. POST /admin/update-rule
{"client_id": "192.0.2.7", "capacity": 50, "refill_rate": 10.0} sets a client's own quota; DELETE /admin/rule/192.0.2.7 removes it.
All of this applies to the default buckets: routes with a quota of their own keep that of the file.
PUT /admin/limits/login {"quota": "5/minute"} sets the quota of a limit; its second one is login-2.

Other services call POST /check {"key": "alice", "cost": 4} (cost defaults to 1; a list of up to 100 gets a list) and receive
{"allowed": true, "limit": 10, "remaining": 6, "retry_after": null, "reset_after": 4.0}. When clients are identified by API key, the
key is one of those; "limits": "login", or a list, asks these limits, whose own key it is, all or nothing; else keys are separate from clients, and check:alice is the client_id of the key's rule. nginx (auth_request),
Traefik and Caddy (forward-auth) call /auth, which responds with 200 or 429 as the request itself would get: when the peer is in
trust_proxy, X-Original-URI or X-Forwarded-Uri gives the request's path, and X-Original-Method or X-Forwarded-Method its method.
A gateway proxies /check and /auth to its upstreams; it serves /check itself on admin_listen and below own_prefix.

A wrong token or an unknown API key costs one of 10 failures a minute of a client address; more get 429. Correct ones are always accepted.

GET /metrics, with the same access as the admin API, reports to Prometheus the decisions by route and reason, their latency, and
the occupancy of the table. It names no client.

SIGHUP reloads the file: limits, lists of networks, keys of tokens, rules, routes, upstreams, keys, tokens, headers, trusted proxies with their header, and CORS
settings change for the next request.
Buckets keep their tokens unless the default quota changed, or that of the route. Changes by an administrator stay unless the file
changes the same rule. An invalid file changes nothing, and the log says why. listen, admin_listen, client, ipv6_prefix, nat64_prefixes,
max_clients, connections, the presence of an upstream, state, state_copy and the Redis settings need a restart. The default quota shared in Redis changes by
POST /config only.

TOLLGATE_LOG (or RUST_LOG) sets the log level on standard error: info, debug (a line for each request), or a filter."#;
