//! What only a start can change.

use super::Settings;

impl Settings {
    /// Takes over from the settings in force what cannot change under them. Returns the keys that
    /// say otherwise.
    pub(crate) fn keep(&mut self, old: &Settings) -> Vec<&'static str> {
        let mut left = Vec::new();
        let mut keep = |key, differs: bool| {
            if differs {
                left.push(key);
            }
            differs
        };
        if keep("listen", self.listen != old.listen) {
            self.listen = old.listen;
        }
        // A number between two starts means the same client.
        if keep("client", self.client != old.client)
            | keep("ipv6_prefix", self.ipv6_prefix != old.ipv6_prefix)
        {
            (self.client, self.ipv6_prefix) = (old.client.clone(), old.ipv6_prefix);
            // They are about clients of the other kind.
            (self.api_keys, self.rules) = (old.api_keys.clone(), old.rules.clone());
        }
        if keep("max_clients", self.max_clients != old.max_clients) {
            self.max_clients = old.max_clients;
        }
        if keep("redis", self.redis != old.redis) {
            self.redis = old.redis.clone();
        }
        // Connections with and without an upstream are of two kinds.
        let other_kind = keep("upstream", self.gateway.is_some() != old.gateway.is_some());
        if other_kind {
            self.gateway = old.gateway.clone();
        }
        // Their defaults go with it.
        if other_kind || keep("connections", self.bounds != old.bounds) {
            self.bounds = old.bounds;
        }
        // Where instances share a limit it is not one's file that says what it is, but the
        // administrator.
        if self.redis.is_some()
            && keep(
                "capacity and refill (shared: POST /config changes them)",
                self.quota != old.quota,
            )
        {
            self.quota = old.quota;
        }
        left
    }
}
