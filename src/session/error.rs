//! Why something asked of a session was not done, as far as those who serve browsers may know.

use crate::records::RecordsError;

/// Not done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// There is no such session.
    #[error("no such session")]
    NotFound,
    /// It was deleted.
    #[error("the session is deleted")]
    Deleted,
    /// The user has as many sessions as it may have.
    #[error("this user has {0} sessions already")]
    UserLimit(u32),
    /// There are as many sessions as there may be.
    #[error("there are {0} sessions already")]
    Limit(u32),
    /// The `Idempotency-Key` was used for another request.
    #[error("this Idempotency-Key was used with another body")]
    KeyReused,
    /// The first request with this `Idempotency-Key` is still running: ask again in a moment.
    #[error("the first request with this Idempotency-Key is still running")]
    KeyRunning,
    /// The metadata would come out of the store as something else, or not at all.
    #[error("the metadata cannot be stored as it is")]
    Metadata,
    /// The replica that runs it does not answer; it, or the next one, will still do what was asked.
    #[error("the session's owner does not answer")]
    OwnerSilent,
    /// What is stored of it cannot be read. The log says so where it was read.
    #[error("what is stored of the session cannot be read")]
    Damaged,
    /// The store cannot be used at the moment: ask again. The log says so once.
    #[error("the store is away")]
    Away,
    /// The store, or the WhatsApp client, failed in a way that no waiting mends.
    #[error(transparent)]
    Failed(Box<dyn std::error::Error + Send + Sync>),
}

impl From<RecordsError> for Error {
    fn from(error: RecordsError) -> Self {
        match error {
            RecordsError::Unknown => Self::NotFound,
            RecordsError::UserLimit(limit) => Self::UserLimit(limit),
            RecordsError::Limit(limit) => Self::Limit(limit),
            RecordsError::KeyReused => Self::KeyReused,
            RecordsError::KeyRunning => Self::KeyRunning,
            RecordsError::Unreadable => Self::Metadata,
            // The owner can do it; who asks again is led to it.
            RecordsError::OwnedElsewhere => Self::Away,
            error if error.is_away() => Self::Away,
            error if error.is_damage() => Self::Damaged,
            RecordsError::Storage(error) => Self::Failed(error.into()),
        }
    }
}
