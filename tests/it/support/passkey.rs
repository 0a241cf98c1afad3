//! What a passkey needs: web.whatsapp.com on loopback with TLS, a passkey of WhatsApp's in the browser, and the extension
//! as it is after the person has allowed the page. No test can click the extension's own window.

use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chromiumoxide::Page;
use chromiumoxide::cdp::browser_protocol::web_authn::{
    AddCredentialParams, AddVirtualAuthenticatorParams, AuthenticatorProtocol, AuthenticatorTransport,
    Credential, EnableParams, VirtualAuthenticatorOptions,
};
use rcgen::PublicKeyData as _;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use simulator::Authenticator;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

/// Its page lets no script or style in but its own, as the real one does, and talks to nobody.
const PAGE: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\n\
    Content-Security-Policy: default-src 'none'; require-trusted-types-for 'script'\r\nConnection: close\r\n\r\n\
    <!doctype html><title>WhatsApp Web</title><h1>WhatsApp Web</h1>";

/// A web.whatsapp.com for one browser.
pub(crate) struct WhatsAppWeb {
    port: u16,
    /// The hash of its key, by which the browser knows it.
    key: String,
}

impl WhatsAppWeb {
    pub(crate) async fn start() -> Self {
        let own = rcgen::generate_simple_self_signed(["web.whatsapp.com".to_owned()]).unwrap();
        let key = STANDARD.encode(Sha256::digest(own.signing_key.subject_public_key_info()));
        let secret = PrivateKeyDer::try_from(own.signing_key.serialize_der()).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![own.cert.der().clone()], secret)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    // A browser opens more connections than it uses.
                    let Ok(mut stream) = acceptor.accept(socket).await else { return };
                    if stream.read(&mut [0; 8192]).await.is_ok_and(|read| read > 0) {
                        let _ = stream.write_all(PAGE.as_bytes()).await;
                        let _ = stream.shutdown().await;
                    }
                });
            }
        });
        Self { port, key }
    }

    /// What a browser is started with, so that it finds this one in place of the real one.
    pub(crate) fn arguments(&self) -> [(&str, String); 2] {
        [
            ("host-resolver-rules", format!("MAP web.whatsapp.com:443 127.0.0.1:{}", self.port)),
            ("ignore-certificate-errors-spki-list", self.key.clone()),
        ]
    }
}

/// The browser has this passkey of WhatsApp's, and whoever sits there proves to be its owner at once.
pub(crate) async fn gets_a_passkey(page: &Page, of: &Authenticator) {
    page.execute(EnableParams::default()).await.unwrap();
    let authenticator = VirtualAuthenticatorOptions::builder()
        .protocol(AuthenticatorProtocol::Ctap2)
        .transport(AuthenticatorTransport::Internal)
        .has_resident_key(true)
        .has_user_verification(true)
        .is_user_verified(true)
        .build()
        .unwrap();
    let added = page.execute(AddVirtualAuthenticatorParams::new(authenticator)).await.unwrap();
    let mut passkey = Credential::new(STANDARD.encode(of.credential_id()), true, of.private_key(), 0);
    passkey.rp_id = Some("whatsapp.com".to_owned());
    passkey.user_handle = Some(STANDARD.encode("ada").into());
    page.execute(AddCredentialParams::new(added.authenticator_id.clone(), passkey)).await.unwrap();
}

/// A copy of the extension that may act on the pages of this machine.
pub(crate) fn allowed_extension() -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    copy_folder(Path::new("extension"), copy.path());
    let file = copy.path().join("manifest.json");
    let mut manifest: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    assert_eq!(manifest["host_permissions"], json!(["https://web.whatsapp.com/*"]), "more than it needs");
    manifest["host_permissions"].as_array_mut().unwrap().push(json!("http://127.0.0.1/*"));
    std::fs::write(file, manifest.to_string()).unwrap();
    copy
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}
