//! Lua scripts: calls and replies.

use std::sync::LazyLock;

use redis::{Arg, Cmd, FromRedisValue, Script, Value};

use super::error::RedisError;

/// Lua script: its source, and the hash by which a server that has loaded it knows it.
pub(super) struct LuaScript {
    pub(super) source: &'static str,
    script: LazyLock<Script>,
}

/// Prefixes a script with the prelude that reads the clock.
macro_rules! with_clock {
    ($script:literal) => {
        concat!(include_str!("clock.lua"), "\n", include_str!($script))
    };
}

pub(super) static TAKE: LuaScript = LuaScript {
    source: concat!(with_clock!("settle.lua"), "\n", include_str!("take.lua")),
    script: LazyLock::new(|| load(&TAKE)),
};
pub(super) static TAKE_ALL: LuaScript = LuaScript {
    source: concat!(
        "local function look(KEYS, ARGV)\n",
        with_clock!("settle.lua"),
        "\n",
        include_str!("look.lua"),
        "end\n",
        include_str!("take_all.lua")
    ),
    script: LazyLock::new(|| load(&TAKE_ALL)),
};
pub(super) static PAUSE: LuaScript = LuaScript {
    source: with_clock!("pause.lua"),
    script: LazyLock::new(|| load(&PAUSE)),
};
pub(super) static REFUND: LuaScript = LuaScript {
    source: include_str!("refund.lua"),
    script: LazyLock::new(|| load(&REFUND)),
};
pub(super) static LEASE: LuaScript = LuaScript {
    source: with_clock!("lease/lease.lua"),
    script: LazyLock::new(|| load(&LEASE)),
};
pub(super) static PROBE: LuaScript = LuaScript {
    source: include_str!("probe.lua"),
    script: LazyLock::new(|| load(&PROBE)),
};
pub(super) static RIGHTS: LuaScript = LuaScript {
    source: include_str!("rights.lua"),
    script: LazyLock::new(|| load(&RIGHTS)),
};
pub(super) static SETTINGS: LuaScript = LuaScript {
    source: include_str!("settings.lua"),
    script: LazyLock::new(|| load(&SETTINGS)),
};

fn load(script: &LuaScript) -> Script {
    Script::new(script.source)
}

/// Call of a script.
pub(super) struct Call {
    script: &'static LuaScript,
    /// The first key.
    pub(super) key: Vec<u8>,
    command: Cmd,
}

impl Call {
    /// Starts a call on one key.
    pub(super) fn new(script: &'static LuaScript, key: Vec<u8>) -> Call {
        Call::with_keys(script, key, &[])
    }

    /// Starts a call on several keys. A cluster needs them in one slot.
    pub(super) fn with_keys(script: &'static LuaScript, key: Vec<u8>, more: &[Vec<u8>]) -> Call {
        let mut command = redis::cmd("EVALSHA");
        command.arg(script.script.get_hash()).arg(1 + more.len());
        command.arg(&key).arg(more);
        Call {
            script,
            key,
            command,
        }
    }

    /// Appends an argument of any bytes.
    pub(super) fn bytes(mut self, argument: &[u8]) -> Call {
        self.command.arg(argument);
        self
    }

    /// Appends a number.
    pub(super) fn number(mut self, argument: u64) -> Call {
        self.command.arg(argument);
        self
    }

    /// `EVALSHA`: the usual case.
    pub(super) fn by_hash(&self) -> &Cmd {
        &self.command
    }

    /// `EVAL`, which also loads the script: needed after a restart, a failover or `SCRIPT FLUSH`.
    /// In a cluster it reaches exactly the server that lacks the script, whereas `SCRIPT LOAD`
    /// would have to reach all of them.
    pub(super) fn by_source(&self) -> Cmd {
        let mut command = redis::cmd("EVAL");
        command.arg(self.script.source);
        // Skips the command name and the hash.
        for argument in self.command.args_iter().skip(2) {
            if let Arg::Simple(bytes) = argument {
                command.arg(bytes);
            }
        }
        command
    }
}

/// Reply of `take.lua`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TakeReply {
    pub(super) taken: bool,
    /// Time of the decision in microseconds since the epoch of the scripts.
    pub(super) micros: u64,
    pub(super) spent: u64,
    pub(super) stamp: u64,
    pub(super) incarnation: u64,
    /// The stamp was ahead of the server's clock, and was rebased.
    pub(super) rebased: bool,
}

impl TakeReply {
    pub(super) fn read(reply: Value) -> Result<TakeReply, RedisError> {
        let (taken, micros, spent, stamp, incarnation, rebased) = read(reply)?;
        Ok(TakeReply {
            taken,
            micros,
            spent,
            stamp,
            incarnation,
            rebased,
        })
    }
}

/// Reply of `take_all.lua`: for each bucket, whether it refuses, and its state.
pub(super) struct TakeAllReply(pub(super) Vec<(bool, TakeReply)>);

impl TakeAllReply {
    /// Number of values of a bucket.
    const VALUES: usize = 6;

    pub(super) fn read(reply: Value) -> Result<TakeAllReply, RedisError> {
        let values: Vec<u64> = read(reply)?;
        let (taken, parts) = values.split_first().unwrap_or((&0, &[]));
        let parts = parts.chunks_exact(TakeAllReply::VALUES).map(|part| {
            let reply = TakeReply {
                taken: *taken == 1,
                micros: part[1],
                spent: part[2],
                stamp: part[3],
                incarnation: part[4],
                rebased: part[5] == 1,
            };
            (part[0] == 1, reply)
        });
        Ok(TakeAllReply(parts.collect()))
    }
}

/// Converts a reply.
pub(super) fn read<T: FromRedisValue>(reply: Value) -> Result<T, RedisError> {
    T::from_redis_value(reply).map_err(RedisError::from_parsing)
}
