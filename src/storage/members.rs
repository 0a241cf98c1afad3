//! Session ids out of sets of Redis, where one that is none must not hide the others.
//!
//! Not an index itself: `storage::redis::index` writes them. Whatever is no session id, and a set that is none, is noted
//! and left out.

use super::StorageError;
use super::damage::Damage;
use super::redis::Redis;
use super::redis::index::shards;
use crate::id::SessionId;

/// The sessions that this command reads out of the key `place`.
///
/// # Errors
/// See [`Redis::query`].
pub async fn of(
    redis: &Redis,
    place: &str,
    command: &::redis::Cmd,
    damage: &Damage,
) -> Result<Vec<SessionId>, StorageError> {
    // Bytes: a member may hold any.
    let names: Vec<Vec<u8>> = match redis.query(command).await {
        Ok(names) => names,
        Err(error) if error.is_damage() => {
            damage.note(place, "", None, "it is of another kind");
            return Ok(Vec::new());
        }
        Err(error) => return Err(error),
    };
    damage.is_whole(place, "");
    let (mut ids, mut bad) = (Vec::with_capacity(names.len()), Vec::new());
    for name in names {
        match std::str::from_utf8(&name).ok().and_then(|name| name.parse().ok()) {
            Some(id) => ids.push(id),
            None => bad.push(String::from_utf8_lossy(&name).into_owned()),
        }
    }
    for name in &bad {
        damage.note(place, name, None, "its member is no session id");
    }
    Ok(ids)
}

/// Every session that the index of this name has; it begins with a colon.
///
/// # Errors
/// See [`Redis::query`].
pub async fn of_index(redis: &Redis, name: &str, damage: &Damage) -> Result<Vec<SessionId>, StorageError> {
    let mut all = Vec::new();
    for shard in shards() {
        let key = redis.key(shard, name);
        let mut members = ::redis::cmd("SMEMBERS");
        members.arg(&key);
        all.extend(of(redis, &key, &members, damage).await?);
    }
    Ok(all)
}
