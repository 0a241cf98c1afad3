//! `DeviceStore`: the device itself, one row of JSON with all its private keys.
//!
//! The library calls it: at the start, after a pairing, and whenever a counter of the device changes.

use async_trait::async_trait;
use bytes::Bytes;
use wacore::stats::StorageResourceReport;
use wacore::store::Device;
use wacore::store::error::Result;
use wacore::store::traits::DeviceStore;

use super::engine::Change::Put;
use super::engine::{Engine, EngineError, Table};
use super::{DeviceStorage, failed, key, row};
use crate::id::SessionId;

/// The key of the one row.
const DEVICE: &str = "device";

/// Whether the device of a session, if it has one, can be read; a damaged one is noted. Without its keys no login is
/// possible, and a link task would try without end.
///
/// # Errors
/// See [`EngineError`].
pub(crate) async fn is_whole(
    engine: &dyn Engine,
    session: &SessionId,
) -> std::result::Result<bool, EngineError> {
    let stored = match stored(engine, session).await {
        Err(EngineError::Storage(error)) if error.is_damage() => {
            engine.tell(session, Table::Device, Some("it is of another type"));
            return Ok(false);
        }
        stored => stored?,
    };
    let whole = read(stored).is_ok();
    engine.tell(session, Table::Device, (!whole).then_some("it is not a device"));
    Ok(whole)
}

impl DeviceStorage {
    /// The device as it is stored.
    pub(super) async fn stored_device(&self) -> Result<Option<Device>> {
        read(self.get(Table::Device, key::text(DEVICE)).await?)
    }
}

/// Whether a phone has linked the device of a session, regardless of the session's owner.
pub(crate) async fn is_linked(
    engine: &dyn Engine,
    session: &SessionId,
) -> std::result::Result<bool, EngineError> {
    let device = read(stored(engine, session).await?).map_err(failed)?;
    Ok(device.is_some_and(|device| device.pn.is_some()))
}

async fn stored(engine: &dyn Engine, session: &SessionId) -> std::result::Result<Option<Bytes>, EngineError> {
    Ok(engine.get(session, Table::Device, vec![key::text(DEVICE)]).await?.pop().flatten())
}

fn read(stored: Option<Bytes>) -> Result<Option<Device>> {
    stored.map(|device| row::decode(Table::Device, &device)).transpose()
}

#[async_trait]
impl DeviceStore for DeviceStorage {
    async fn save(&self, device: &Device) -> Result<()> {
        if device.push_name.is_empty()
            && let Some(name) = self.hidden_name.get()
        {
            let named = Device { push_name: name.clone(), ..device.clone() };
            return self.apply(vec![Put(Table::Device, key::text(DEVICE), row::encode(&named)?)]).await;
        }
        self.apply(vec![Put(Table::Device, key::text(DEVICE), row::encode(device)?)]).await
    }

    async fn load(&self) -> Result<Option<Device>> {
        let mut device = self.stored_device().await?;
        if let Some(device) = &mut device
            && self.hidden_name.get().is_some()
        {
            device.push_name.clear();
        }
        Ok(device)
    }

    async fn exists(&self) -> Result<bool> {
        Ok(self.get(Table::Device, key::text(DEVICE)).await?.is_some())
    }

    /// A storage holds one device, which always has the number 1. An existing one is kept.
    async fn create(&self) -> Result<i32> {
        let lock = self.lock().await;
        if !self.exists().await? {
            self.commit(lock, vec![Put(Table::Device, key::text(DEVICE), row::encode(&Device::new())?)])
                .await?;
        }
        Ok(1)
    }

    /// Does nothing: a second copy of the keys would outlive their deletion.
    async fn snapshot_db(&self, _name: &str, _extra_content: Option<&[u8]>) -> Result<()> {
        Ok(())
    }

    /// It has no memory of its own to report, because all sessions share the engine.
    async fn resource_report(&self) -> StorageResourceReport {
        StorageResourceReport { memory_bytes: Some(0), ..StorageResourceReport::default() }
    }
}
