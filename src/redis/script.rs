//! The scripts, and what is asked of them: commands out, replies in.

use std::sync::LazyLock;

use redis::{Arg, Cmd, FromRedisValue, Script, Value};

use super::error::RedisError;

/// What a script is known by, and its text for a server that does not know it.
pub(super) struct Text {
    pub(super) source: &'static str,
    script: LazyLock<Script>,
}

/// A script behind the prelude that tells it the time.
macro_rules! with_clock {
    ($script:literal) => {
        concat!(include_str!("clock.lua"), "\n", include_str!($script))
    };
}

pub(super) static TAKE: Text = Text {
    source: with_clock!("take.lua"),
    script: LazyLock::new(|| script(&TAKE)),
};
pub(super) static REFUND: Text = Text {
    source: include_str!("refund.lua"),
    script: LazyLock::new(|| script(&REFUND)),
};
pub(super) static LEASE: Text = Text {
    source: with_clock!("lease/lease.lua"),
    script: LazyLock::new(|| script(&LEASE)),
};
pub(super) static PROBE: Text = Text {
    source: include_str!("probe.lua"),
    script: LazyLock::new(|| script(&PROBE)),
};
pub(super) static SETTINGS: Text = Text {
    source: include_str!("settings.lua"),
    script: LazyLock::new(|| script(&SETTINGS)),
};

fn script(text: &Text) -> Script {
    Script::new(text.source)
}

/// One call of a script on one key.
pub(super) struct Call<'a> {
    text: &'static Text,
    pub(super) key: &'a [u8],
    command: Cmd,
}

impl<'a> Call<'a> {
    pub(super) fn new(text: &'static Text, key: &'a [u8]) -> Call<'a> {
        let mut command = redis::cmd("EVALSHA");
        command.arg(text.script.get_hash()).arg(1).arg(key);
        Call { text, key, command }
    }

    pub(super) fn bytes(mut self, argument: &[u8]) -> Call<'a> {
        self.command.arg(argument);
        self
    }

    pub(super) fn number(mut self, argument: u64) -> Call<'a> {
        self.command.arg(argument);
        self
    }

    /// By the hash of the text: what is sent in the normal case.
    pub(super) fn by_hash(&self) -> &Cmd {
        &self.command
    }

    /// By the text, which the server then knows: after a restart, a failover or `SCRIPT FLUSH`. In
    /// a cluster this reaches the very server that did not know it, where `SCRIPT LOAD` would have
    /// to reach all.
    pub(super) fn by_text(&self) -> Cmd {
        let mut command = redis::cmd("EVAL");
        command.arg(self.text.source);
        // Behind the command's name and the hash.
        for argument in self.command.args_iter().skip(2) {
            if let Arg::Simple(bytes) = argument {
                command.arg(bytes);
            }
        }
        command
    }
}

/// What `take.lua` answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Taken {
    pub(super) taken: bool,
    pub(super) micros: u64,
    pub(super) spent: u64,
    pub(super) stamp: u64,
    pub(super) life: u64,
}

impl Taken {
    pub(super) fn read(reply: Value) -> Result<Taken, RedisError> {
        let (taken, micros, spent, stamp, life) =
            FromRedisValue::from_redis_value(reply).map_err(RedisError::reply)?;
        Ok(Taken {
            taken,
            micros,
            spent,
            stamp,
            life,
        })
    }
}

/// Reads any reply.
pub(super) fn read<T: FromRedisValue>(reply: Value) -> Result<T, RedisError> {
    T::from_redis_value(reply).map_err(RedisError::reply)
}
