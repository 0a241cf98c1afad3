//! What a phone lists a linked device as.

use crate::support::{Server, whatsapp};

#[tokio::test]
async fn new_links_say_what_they_are_told_to_and_linked_devices_keep_theirs() {
    let whatsapp = whatsapp().await;
    let server = Server::builder(&whatsapp.url()).start().await;
    let kinds = || {
        let devices = whatsapp.state().devices;
        let mut kinds: Vec<_> = devices.into_iter().map(|device| (device.platform, device.name)).collect();
        kinds.sort();
        kinds
    };
    server.init("ada").await.link(&whatsapp).await;
    let chrome = ("CHROME".to_owned(), "qrcast".to_owned());
    assert_eq!(kinds(), std::slice::from_ref(&chrome));

    let again = server.crash().await.variable("WA_PLATFORM", "desktop").variable("WA_DEVICE_NAME", "Shop");
    let server = again.start().await;
    server.init("bob").await.link(&whatsapp).await;
    assert_eq!(kinds(), [chrome, ("DESKTOP".to_owned(), "Shop".to_owned())]);
}
