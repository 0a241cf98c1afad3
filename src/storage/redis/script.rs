//! A Lua script: sent by its hash, and whole where the server does not know it yet (again).
//!
//! Each stands behind the names of the fields and the fence, which are part of what is hashed: replicas of two versions load
//! their own.

use redis::{ErrorKind, FromRedisValue, ServerErrorKind, ToRedisArgs};

use super::{Redis, schema};
use crate::storage::StorageError;

/// A script. Make each one once.
pub(crate) struct Script {
    source: String,
    hash: String,
}

impl Script {
    /// From what it alone does.
    pub(crate) fn new(body: &str) -> Self {
        let source = [schema::LUA, include_str!("fence.lua"), body].concat();
        let hash = redis::Script::new(&source).get_hash().to_owned();
        Self { source, hash }
    }

    /// The whole script as a command, for a connection that is not yet a [`Redis`].
    pub(super) fn whole(&self) -> redis::Cmd {
        let mut command = redis::cmd("EVAL");
        command.arg(&self.source);
        command
    }
}

/// A script with its keys and arguments. All keys must have the same hash tag.
pub(crate) struct Call {
    redis: Redis,
    script: &'static Script,
    keys: Vec<String>,
    args: Vec<Vec<u8>>,
}

impl Call {
    pub(super) fn new(redis: &Redis, script: &'static Script) -> Self {
        Self { redis: redis.clone(), script, keys: Vec::new(), args: Vec::new() }
    }

    /// Adds the next of `KEYS`.
    #[must_use]
    pub(crate) fn key(mut self, key: impl Into<String>) -> Self {
        self.keys.push(key.into());
        self
    }

    /// Adds the next of `ARGV`, or several.
    #[must_use]
    pub(crate) fn arg(mut self, arg: impl ToRedisArgs) -> Self {
        self.args.extend(arg.to_redis_args());
        self
    }

    /// Runs the script.
    ///
    /// # Errors
    /// See [`Redis::query`].
    pub(crate) async fn run<T: FromRedisValue>(&self) -> Result<T, StorageError> {
        let answer = self.redis.ask(&self.command("EVALSHA", &self.script.hash)).await?;
        let unknown = |error: &redis::RedisError| {
            error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) || error.code() == Some("NOSCRIPT")
        };
        match answer {
            Err(error) if unknown(&error) => {
                self.redis.query(&self.command("EVAL", &self.script.source)).await
            }
            answer => self.redis.explained(answer),
        }
    }

    fn command(&self, name: &str, script: &str) -> redis::Cmd {
        let mut command = redis::cmd(name);
        command.arg(script).arg(self.keys.len()).arg(&self.keys).arg(&self.args);
        command
    }
}
