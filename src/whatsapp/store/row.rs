//! How values are made: JSON for the library's structs, fixed layouts for what is large or many.
//!
//! JSON and not a denser format, because the library adds fields with `#[serde(default)]` from version to
//! version and itself promises that older JSON stays readable; a format without field names would misread
//! those rows. A row that cannot be read is an error, never skipped: it may be a key. The error names its
//! table and not its content.

use bytes::{BufMut, Bytes, BytesMut};
use serde::Serialize;
use serde::de::DeserializeOwned;
use wacore::store::error::{Result, StoreError};

use super::engine::Table;

#[derive(Debug, thiserror::Error)]
#[error("a row of table {} cannot be read", .0.name())]
struct Unreadable(Table);

/// A row that does not have the form of its table.
pub(super) fn unreadable(table: Table) -> StoreError {
    StoreError::Serialization(Box::new(Unreadable(table)))
}

/// One of the library's structs as a value.
pub(super) fn encode<T: Serialize>(value: &T) -> Result<Bytes> {
    let json = serde_json::to_vec(value).map_err(|error| StoreError::Serialization(Box::new(error)))?;
    Ok(json.into())
}

/// The struct in a value of [`encode`].
pub(super) fn decode<T: DeserializeOwned>(table: Table, value: &[u8]) -> Result<T> {
    // The cause is dropped, because it may quote the content.
    serde_json::from_slice(value).map_err(|_| unreadable(table))
}

/// A value with a time in seconds before it: 8 bytes, big endian.
pub(super) fn stamped(time: i64, value: &[u8]) -> Bytes {
    let mut row = BytesMut::with_capacity(8 + value.len());
    row.put_i64(time);
    row.put_slice(value);
    row.freeze()
}

/// Time and value of a row of [`stamped`].
pub(super) fn unstamp(table: Table, row: &[u8]) -> Result<(i64, &[u8])> {
    let (time, value) = row.split_first_chunk::<8>().ok_or_else(|| unreadable(table))?;
    Ok((i64::from_be_bytes(*time), value))
}
