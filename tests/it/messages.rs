//! A linked account receives its owner's messages: taken in, receipted, not handed on, and not kept without bound.

use simulator::{Network, Simulator, Write};

use crate::support::{Server, soon, whatsapp};

async fn server(whatsapp: &Simulator) -> Server {
    Server::builder(&whatsapp.url()).start().await
}

fn write(jid: &str, count: usize) -> Write {
    Write { jid: jid.to_owned(), text: None, count: Some(count) }
}

fn rows(server: &Server) -> i64 {
    let file = server.builder_again().folder().join("qrcast.sqlite");
    let database = rusqlite::Connection::open(file).unwrap();
    database.query_row("SELECT count(*) FROM device_row", [], |row| row.get(0)).unwrap()
}

/// The bound that docs/decisions.md states: what a message leaves behind does not grow with their number.
#[tokio::test]
async fn ten_thousand_messages_leave_a_bounded_store() {
    let whatsapp = whatsapp().await;
    let server = server(&whatsapp).await;
    let session = server.init("ada").await;
    let jid = session.link(&whatsapp).await;
    soon("the first", whatsapp.write(write(&jid, 500))).await.unwrap();
    let after_some = rows(&server);
    for _ in 0..19 {
        let written = soon("messages", whatsapp.write(write(&jid, 500))).await.unwrap();
        assert_eq!((written.acknowledged, written.retries), (500, 0), "{written:?}");
    }
    let after_all = rows(&server);
    assert!(after_all <= after_some + 50, "{after_some} rows became {after_all}");
    assert_eq!(session.status().await["status"], "connected");
}

#[tokio::test]
async fn messages_during_and_after_a_crash_all_decrypt() {
    let whatsapp = std::sync::Arc::new(whatsapp().await);
    let mut server = server(&whatsapp).await;
    let session = server.init("ada").await;
    let jid = session.link(&whatsapp).await;
    let id = session.id.clone();
    for _ in 0..3 {
        let (sender, receiver) = (whatsapp.clone(), jid.clone());
        let sending = tokio::spawn(async move { sender.write(write(&receiver, 300)).await });
        // Into the middle of them, wherever that is.
        tokio::time::sleep(std::time::Duration::from_millis(150)).await;
        server = server.crash_and_restart().await;
        server.session(&id).reaches("connected").await;
        let written = soon("the messages of the crash", sending).await.unwrap().unwrap();
        assert_eq!((written.acknowledged, written.retries), (300, 0), "{written:?}");
        let written = soon("the messages after it", whatsapp.write(write(&jid, 100))).await.unwrap();
        assert_eq!((written.acknowledged, written.retries), (100, 0), "{written:?}");
    }
}

/// The library stores what a message did to its Signal session some milliseconds after it has acknowledged the message. A
/// friend's phone goes on opening the session until the device writes to it, so a crash in between costs no message.
#[tokio::test]
async fn a_crash_right_after_a_friends_first_message_costs_no_other() {
    let whatsapp = whatsapp().await;
    let mut server = server(&whatsapp).await;
    let session = server.init("ada").await;
    let jid = session.link(&whatsapp).await;
    let id = session.id.clone();
    // The acknowledgement comes at once, so that the crash is in between.
    whatsapp.network(Network { delay_ms: Some(0), ..Network::default() }).unwrap();
    let first = soon("the first", whatsapp.write(write(&jid, 1))).await.unwrap();
    server = server.crash_and_restart().await;
    assert_eq!((first.acknowledged, first.retries), (1, 0), "{first:?}");
    server.session(&id).reaches("connected").await;
    let written = soon("the next ones", whatsapp.write(write(&jid, 100))).await.unwrap();
    assert_eq!((written.acknowledged, written.retries), (100, 0), "{written:?}");
}
