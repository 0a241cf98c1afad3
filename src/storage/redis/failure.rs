//! What an error of Redis means to a caller.
//!
//! Redis quotes arguments in some of its errors, and ours are keys of devices: only its code goes on, and its words only
//! where they are about a script.

use redis::{ErrorKind, RedisError, ServerErrorKind};

use crate::storage::StorageError;

/// The connection broke, or nothing came back in time.
pub(super) fn is_unanswered(error: &RedisError) -> bool {
    matches!(error.kind(), ErrorKind::Io | ErrorKind::ClusterConnectionNotFound)
}

/// A refusal as an error of the storage.
pub(super) fn explain(error: &RedisError) -> StorageError {
    match error.kind() {
        ErrorKind::Io | ErrorKind::ClusterConnectionNotFound => return StorageError::Away,
        ErrorKind::Server(
            ServerErrorKind::BusyLoading
            | ServerErrorKind::TryAgain
            | ServerErrorKind::ClusterDown
            | ServerErrorKind::MasterDown
            | ServerErrorKind::ReadOnly
            | ServerErrorKind::Moved
            | ServerErrorKind::Ask,
        ) => return StorageError::Away,
        _ => {}
    }
    let said = error.detail().unwrap_or_default();
    match code(error, said) {
        "OOM" | "MISCONF" => StorageError::Full,
        "BUSY" | "NOREPLICAS" => StorageError::Away,
        code => {
            let about_script = said.contains("script:") && !said.contains("args beginning");
            let words = if about_script { said } else { "" };
            StorageError::failed(format!("Redis: {} {code} {words}", error.category()))
        }
    }
}

/// An error inside a script comes as `ERR` with the inner code first in its words.
fn code<'a>(error: &'a RedisError, said: &'a str) -> &'a str {
    let inner = said.split(' ').next().unwrap_or_default();
    if ["OOM", "MISCONF", "BUSY", "NOREPLICAS"].contains(&inner) {
        return inner;
    }
    error.code().unwrap_or_default()
}

/// Who we are is not accepted: trying again does not help.
pub(super) fn is_refusal(error: &RedisError) -> bool {
    matches!(error.kind(), ErrorKind::AuthenticationFailed | ErrorKind::Server(ServerErrorKind::NoPerm))
        || matches!(error.code(), Some("WRONGPASS" | "NOAUTH"))
}
