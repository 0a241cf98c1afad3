//! Accounts with a history, collections that are refused, phones that are off, devices that are taken back, and hosted
//! accounts: what the real client makes of them.

use std::time::{Duration, Instant};

use serde_json::json;
use simulator::{Account, AccountError, Config, KeyShare, LinkError, Removal, Scan, Simulator};
use wacore::types::events::Event;

use crate::client::{Client, Store};
use crate::eventually;
use crate::http::post;

pub(crate) const PHONE: &str = "4915001234567";

/// A simulator with one account that is as `account` says.
pub(crate) async fn with_account(account: Account) -> Simulator {
    let simulator = Simulator::start(Config::default()).await.unwrap();
    simulator.account(Account { phone: PHONE.to_owned(), ..account }).await.unwrap();
    simulator
}

/// That account's phone links the client; the JID.
pub(crate) async fn link(simulator: &Simulator, client: &mut Client) -> String {
    let qr = client.shows_qr().await;
    simulator.scan(Scan { qr, phone: Some(PHONE.to_owned()), push_name: None }).await.unwrap()
}

/// Changes the account.
pub(crate) async fn change(simulator: &Simulator, account: Account) {
    simulator.account(Account { phone: PHONE.to_owned(), ..account }).await.unwrap();
}

#[tokio::test]
async fn a_device_of_an_account_with_a_history_is_connected_within_seconds() {
    for contacts in [50, 2000] {
        let simulator = with_account(Account { contacts: Some(contacts), ..Account::default() }).await;
        let store = Store::new();
        let mut client = Client::start(&simulator, &store).await;
        let started = Instant::now();
        link(&simulator, &mut client).await;
        client.expects("Connected").await;
        assert!(started.elapsed().as_secs() < 5, "{:?}", started.elapsed());
        assert_eq!(client.inner.push_name(), "Ada");
        assert_eq!(store.version("critical_unblock_low").await, contacts as u64);
        client.stop().await;
        assert_eq!(simulator.complaints(), Vec::<String>::new());
    }
}

#[tokio::test]
async fn the_regular_collections_come_after_it() {
    let simulator = with_account(Account { contacts: Some(50), ..Account::default() }).await;
    let store = Store::new();
    let mut client = Client::start(&simulator, &store).await;
    link(&simulator, &mut client).await;
    client.expects("Connected").await;
    assert_eq!((store.version("critical_block").await, store.version("critical_unblock_low").await), (2, 50));
    for (collection, version) in [("regular_low", 4), ("regular_high", 5), ("regular", 1)] {
        store.reaches(collection, version).await;
    }
    client.stop().await;
    assert_eq!(simulator.complaints(), Vec::<String>::new());
}

#[tokio::test]
async fn every_account_may_have_a_history() {
    let simulator = Simulator::start(Config { contacts: 7, ..Config::default() }).await.unwrap();
    let store = Store::new();
    let (client, _) = Client::linked(&simulator, &store).await;
    assert_eq!(store.version("critical_unblock_low").await, 7);
    assert!(simulator.media_requests() >= 2);
    client.stop().await;
}

#[tokio::test]
async fn a_linked_device_follows_when_contacts_come_and_go() {
    let simulator = Simulator::start(Config::default()).await.unwrap();
    let store = Store::new();
    let mut client = Client::start(&simulator, &store).await;
    link(&simulator, &mut client).await;
    client.expects("Connected").await;
    // From an empty address book, by a patch with a blob, by a patch that takes away.
    for (contacts, version) in [(50, 50), (300, 51), (20, 52)] {
        change(&simulator, Account { contacts: Some(contacts), ..Account::default() }).await;
        store.reaches("critical_unblock_low", version).await;
    }
    let other = Store::new();
    let mut second = Client::start(&simulator, &other).await;
    link(&simulator, &mut second).await;
    second.expects("Connected").await;
    assert_eq!(other.version("critical_unblock_low").await, 52);
    second.stop().await;
    client.stop().await;
    assert_eq!(simulator.complaints(), Vec::<String>::new());
}

#[tokio::test]
async fn without_a_refused_collection_the_client_says_that_it_is_connected() {
    let refuse = Some(vec!["critical_unblock_low:404".to_owned()]);
    let simulator = with_account(Account { contacts: Some(5), refuse, ..Account::default() }).await;
    let store = Store::new();
    let mut client = Client::start(&simulator, &store).await;
    link(&simulator, &mut client).await;
    client.expects("Connected").await;
    match &*client.expects("AppStateSyncFailed").await {
        Event::AppStateSyncFailed(failed) => {
            assert_eq!(
                (failed.fatal.as_slice(), failed.connected),
                (&["critical_unblock_low".to_owned()][..], true)
            );
        }
        _ => unreachable!(),
    }
    change(&simulator, Account { refuse: Some(Vec::new()), ..Account::default() }).await;
    client.inner.reconnect_immediately().await;
    store.reaches("critical_unblock_low", 5).await;
    client.stop().await;
}

#[tokio::test]
async fn a_collection_that_fails_for_now_keeps_the_client_from_being_connected() {
    let refuse = Some(vec!["critical_block:500".to_owned()]);
    let simulator = with_account(Account { contacts: Some(5), refuse, ..Account::default() }).await;
    let store = Store::new();
    let mut client = Client::start(&simulator, &store).await;
    link(&simulator, &mut client).await;
    let before = client.until("AppStateSyncFailed").await;
    assert!(!before.contains(&"Connected".to_owned()), "{before:?}");
    change(&simulator, Account { refuse: Some(Vec::new()), ..Account::default() }).await;
    client.inner.reconnect_immediately().await;
    client.expects("Connected").await;
    client.stop().await;
}

#[tokio::test]
async fn a_client_that_was_started_again_with_a_name_says_that_it_is_connected_with_an_address_book_missing()
{
    let refuse = Some(vec!["critical_unblock_low:500".to_owned()]);
    let simulator = with_account(Account { contacts: Some(5), refuse, ..Account::default() }).await;
    let store = Store::new();
    let mut client = Client::start(&simulator, &store).await;
    link(&simulator, &mut client).await;
    let before = client.until("AppStateSyncFailed").await;
    assert!(!before.contains(&"Connected".to_owned()), "{before:?}");
    client.stop().await;
    let mut client = Client::start(&simulator, &store).await;
    let before = client.until("Connected").await;
    assert!(!before.contains(&"AppStateSyncFailed".to_owned()), "{before:?}");
    assert_eq!((store.version("critical_block").await, store.version("critical_unblock_low").await), (2, 0));
    client.stop().await;
}

#[tokio::test]
async fn a_phone_that_is_off_answers_its_devices_when_it_is_back() {
    let late = Account { contacts: Some(5), key_share: Some(KeyShare::Late), ..Account::default() };
    let simulator = with_account(late).await;
    let store = Store::new();
    // Its grace of 10 s for the key takes a second.
    let mut client = Client::start_hasty(&simulator, &store, 10).await;
    let jid = link(&simulator, &mut client).await;
    eventually("the device asks for the key", || simulator.key_requests(&jid) > 0).await;
    assert!(!client.leftover().contains(&"Connected".to_owned()));
    assert_eq!(store.version("critical_block").await, 0);
    change(&simulator, Account { key_share: Some(KeyShare::Now), ..Account::default() }).await;
    client.expects("Connected").await;
    client.stop().await;
    assert_eq!(simulator.complaints(), Vec::<String>::new());
}

#[tokio::test]
async fn without_a_key_a_client_is_never_connected_and_does_not_say_why() {
    let never = Account { contacts: Some(5), key_share: Some(KeyShare::Never), ..Account::default() };
    let simulator = with_account(never).await;
    let store = Store::new();
    let mut client = Client::start_hasty(&simulator, &store, 10).await;
    let jid = link(&simulator, &mut client).await;
    for _ in 0..2 {
        let asked = simulator.key_requests(&jid);
        eventually("the device asks for the key", || simulator.key_requests(&jid) > asked).await;
        client.inner.reconnect_immediately().await;
    }
    let events = client.leftover();
    assert!(!events.iter().any(|it| it == "Connected" || it == "AppStateSyncFailed"), "{events:?}");
    change(&simulator, Account { key_share: Some(KeyShare::Now), ..Account::default() }).await;
    client.expects("Connected").await;
    client.stop().await;
}

#[tokio::test]
async fn a_fresh_device_is_taken_back_before_its_first_login() {
    let remove = Some(Removal::After(Duration::ZERO));
    let simulator = with_account(Account { remove, ..Account::default() }).await;
    let store = Store::new();
    let mut client = Client::start(&simulator, &store).await;
    link(&simulator, &mut client).await;
    match &*client.expects("LoggedOut").await {
        Event::LoggedOut(ended) => assert!(ended.on_connect),
        _ => unreachable!(),
    }
    client.ends().await;
    assert!(!simulator.state().devices[0].linked);
    change(&simulator, Account { remove: Some(Removal::Never), ..Account::default() }).await;
    let store = Store::new();
    let mut client = Client::start(&simulator, &store).await;
    link(&simulator, &mut client).await;
    client.expects("Connected").await;
    client.stop().await;
}

#[tokio::test]
async fn a_fresh_device_is_taken_back_while_it_is_online() {
    let remove = Some(Removal::After(Duration::from_secs(2)));
    let simulator = with_account(Account { remove, ..Account::default() }).await;
    let store = Store::new();
    let mut client = Client::start(&simulator, &store).await;
    link(&simulator, &mut client).await;
    client.expects("LoggedOut").await;
    client.ends().await;
    assert!(!simulator.state().devices[0].linked);
}

#[tokio::test]
async fn a_hosted_account_cannot_link_the_client_of_0_7_0() {
    let simulator = with_account(Account { hosted: Some(true), ..Account::default() }).await;
    let store = Store::new();
    let mut client = Client::start(&simulator, &store).await;
    let qr = client.shows_qr().await;
    let scan = || Scan { qr: qr.clone(), phone: Some(PHONE.to_owned()), push_name: None };
    let mismatch = LinkError::Refused { code: "401".into(), text: "signature-mismatch".into() };
    assert_eq!(simulator.scan(scan()).await, Err(mismatch));
    client.expects("PairError").await;
    change(&simulator, Account { hosted: Some(false), ..Account::default() }).await;
    simulator.scan(scan()).await.unwrap();
    client.expects("Connected").await;
    client.stop().await;
}

#[tokio::test]
async fn an_account_is_told_what_is_wrong_with_it() {
    let simulator = Simulator::start(Config::default()).await.unwrap();
    let account = Account { phone: "0".to_owned(), ..Account::default() };
    assert_eq!(simulator.account(account).await, Err(AccountError::Number));
    for (body, word) in [
        (json!({}), "phone"),
        (json!({ "phone": "x" }), "phone"),
        (json!({ "phone": PHONE, "contacts": -1 }), "contacts"),
        (json!({ "phone": PHONE, "contacts": 1_000_000 }), "contacts"),
        (json!({ "phone": PHONE, "blobs": "gone" }), "badSnapshot"),
        (json!({ "phone": PHONE, "refuse": "regular" }), "refuse"),
        (json!({ "phone": PHONE, "refuse": ["nothing"] }), "nothing"),
        (json!({ "phone": PHONE, "refuse": ["regular:7"] }), "regular:7"),
        (json!({ "phone": PHONE, "keyShare": "soon" }), "keyShare"),
        (json!({ "phone": PHONE, "hosted": 1 }), "hosted"),
        (json!({ "phone": PHONE, "removeAfterMs": true }), "removeAfterMs"),
    ] {
        let (status, answer) = post(&simulator, "/control/account", body.clone()).await;
        assert_eq!((status, answer["code"].as_str()), (400, Some("bad_request")), "{body} {answer}");
        assert!(answer["error"].as_str().unwrap().contains(word), "{body} {answer}");
    }
    let all = json!({
        "phone": PHONE, "contacts": 5, "blobs": "ok", "refuse": ["regular:404"], "keyShare": "now", "hosted": false,
        "removeAfterMs": false,
    });
    assert_eq!(post(&simulator, "/control/account", all).await, (200, json!({})));
    let nothing = json!({
        "phone": PHONE, "contacts": null, "blobs": null, "refuse": null, "keyShare": null, "hosted": null,
        "removeAfterMs": null,
    });
    assert_eq!(post(&simulator, "/control/account", nothing).await, (200, json!({})));
    let store = Store::new();
    let mut client = Client::start(&simulator, &store).await;
    link(&simulator, &mut client).await;
    client.expects("Connected").await;
    assert_eq!(store.version("critical_unblock_low").await, 5);
    client.stop().await;
}
