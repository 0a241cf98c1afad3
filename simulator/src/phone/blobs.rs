//! What an account keeps on the media host: encrypted files that its app state refers to. They stay as long as the account,
//! so that a device may fetch one as often as it likes. `server::media` serves them.
//!
//! Source: `wacore` 0.7.0 `upload.rs` (`encrypt_media`) and `download.rs` (what the client checks, and its URLs).

use std::collections::HashMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rand::RngExt as _;
use wacore::download::MediaType;
use wacore::upload::encrypt_media;
use waproto::whatsapp::ExternalBlobReference;

use super::PhoneError;

/// Where the paths of the media host begin. The account's number and a name follow.
pub(crate) const BLOB_PATH: &str = "/v/app-state";

/// One encrypted file.
#[derive(Clone)]
pub(crate) struct Blob {
    pub(crate) bytes: Arc<[u8]>,
    /// What a device shows to be given the file.
    pub(crate) token: String,
}

/// The files of one account, by name.
#[derive(Default)]
pub(crate) struct Blobs(HashMap<String, Blob>);

impl Blobs {
    /// Encrypts and keeps a file; the reference that stands in its place.
    pub(super) fn keep(&mut self, number: &str, plain: &[u8]) -> Result<ExternalBlobReference, PhoneError> {
        let sealed =
            encrypt_media(plain, MediaType::AppState).map_err(|error| PhoneError::Blob(error.to_string()))?;
        let name = format!("{:032x}", rand::rng().random::<u128>());
        let reference = ExternalBlobReference {
            media_key: Some(sealed.media_key.to_vec()),
            direct_path: Some(format!("{BLOB_PATH}/{number}/{name}")),
            handle: Some(name.clone()),
            file_size_bytes: Some(plain.len() as u64),
            file_sha256: Some(sealed.file_sha256.to_vec()),
            file_enc_sha256: Some(sealed.file_enc_sha256.to_vec()),
        };
        let token = URL_SAFE_NO_PAD.encode(sealed.file_enc_sha256);
        self.0.insert(name, Blob { bytes: sealed.data_to_upload.into(), token });
        Ok(reference)
    }

    pub(super) fn get(&self, name: &str) -> Option<Blob> {
        self.0.get(name).cloned()
    }

    pub(super) fn adopt(&mut self, others: Self) {
        self.0.extend(others.0);
    }
}
