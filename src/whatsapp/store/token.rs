//! Privacy tokens of contacts: one row holds what we got from the contact and when we last gave ours.
//!
//! A part of `ProtocolStore`, which calls it. The two halves have two independent writers in the library: each changes
//! its own half under the storage's lock, and never to an earlier time.

use wacore::store::error::Result;
use wacore::store::traits::TcTokenEntry;

use super::engine::Change::{Delete, Put};
use super::engine::Table::Token;
use super::{DeviceStorage, key, row};

impl DeviceStorage {
    pub(super) async fn token(&self, jid: &str) -> Result<Option<TcTokenEntry>> {
        self.get(Token, key::text(jid)).await?.map(|entry| row::decode(Token, &entry)).transpose()
    }

    pub(super) async fn put_token(&self, jid: &str, entry: &TcTokenEntry) -> Result<()> {
        self.apply(vec![Put(Token, key::text(jid), row::encode(entry)?)]).await
    }

    pub(super) async fn drop_token(&self, jid: &str) -> Result<()> {
        self.apply(vec![Delete(Token, key::text(jid))]).await
    }

    pub(super) async fn token_jids(&self) -> Result<Vec<String>> {
        let rows = self.scan(Token, Vec::new()).await?;
        rows.into_iter().map(|(jid, _)| String::from_utf8(jid).map_err(|_| row::unreadable(Token))).collect()
    }

    pub(super) async fn token_given(&self, jid: &str, at: i64) -> Result<()> {
        let lock = self.lock().await;
        let mut entry = self.token(jid).await?.unwrap_or_else(|| TcTokenEntry {
            token: Vec::new(),
            token_timestamp: at,
            sender_timestamp: None,
        });
        entry.sender_timestamp = entry.sender_timestamp.max(Some(at));
        self.commit(lock, vec![Put(Token, key::text(jid), row::encode(&entry)?)]).await
    }

    pub(super) async fn token_received(&self, jid: &str, token: &[u8], at: i64) -> Result<()> {
        let lock = self.lock().await;
        let old = self.token(jid).await?;
        // An entry without bytes says only when ours was given; its time is not that of a token.
        if old.as_ref().is_some_and(|old| !old.token.is_empty() && at < old.token_timestamp) {
            return Ok(());
        }
        let sender_timestamp = old.and_then(|old| old.sender_timestamp);
        let entry = TcTokenEntry { token: token.to_vec(), token_timestamp: at, sender_timestamp };
        self.commit(lock, vec![Put(Token, key::text(jid), row::encode(&entry)?)]).await
    }

    pub(super) async fn sweep_tokens(&self, token_cutoff: i64, sender_cutoff: i64) -> Result<u32> {
        let lock = self.lock().await;
        let mut old = Vec::new();
        for (jid, value) in self.scan(Token, Vec::new()).await? {
            let entry: TcTokenEntry = row::decode(Token, &value)?;
            let token_lives = !entry.token.is_empty() && entry.token_timestamp >= token_cutoff;
            let sender_lives = entry.sender_timestamp.is_some_and(|at| at >= sender_cutoff);
            if !token_lives && !sender_lives {
                old.push(Delete(Token, jid));
            }
        }
        let count = u32::try_from(old.len()).unwrap_or(u32::MAX);
        self.commit(lock, old).await?;
        Ok(count)
    }
}
