//! What the library expects of its store, one behaviour a function. Each is run against the library's own
//! store too, so the expectation is the library's.

use bytes::Bytes;
use wacore::appstate::hash::HashState;
use wacore::appstate::processor::AppStateMutationMAC;
use wacore::store::Device;
use wacore::store::traits::{
    AppStateSyncKey, Backend, DeviceInfo, DeviceListRecord, LidPnMappingEntry, MsgSecretEntry,
    PendingInboundKey, PendingInboundRow, TcTokenEntry,
};

fn sorted<T: Ord>(mut list: Vec<T>) -> Vec<T> {
    list.sort();
    list
}

pub(super) async fn identities(store: &dyn Backend) {
    assert_eq!(store.load_identity("a:1@s").await.unwrap(), None);
    store.put_identity("a:1@s", [1; 32]).await.unwrap();
    store.put_identities_batch(&[("a:1@s".into(), [2; 32]), ("b@s".into(), [3; 32])]).await.unwrap();
    store.put_identities_batch(&[]).await.unwrap();
    assert_eq!(store.load_identity("a:1@s").await.unwrap(), Some([2; 32]));
    assert_eq!(store.load_identity("b@s").await.unwrap(), Some([3; 32]));
    store.delete_identity("a:1@s").await.unwrap();
    store.delete_identity("nobody@s").await.unwrap();
    assert_eq!(store.load_identity("a:1@s").await.unwrap(), None);
}

pub(super) async fn sessions(store: &dyn Backend) {
    assert!(!store.has_session("a@s").await.unwrap());
    store.put_session("a@s", b"one").await.unwrap();
    store
        .put_sessions_batch(&[("a@s".into(), Bytes::from_static(b"two")), ("b@s".into(), Bytes::new())])
        .await
        .unwrap();
    assert!(store.has_session("a@s").await.unwrap());
    assert_eq!(store.get_session("a@s").await.unwrap().unwrap(), "two");
    assert_eq!(store.get_session("b@s").await.unwrap().unwrap(), "", "an empty record is a record");
    store.delete_session("a@s").await.unwrap();
    assert_eq!(store.get_session("a@s").await.unwrap(), None);
}

pub(super) async fn signal_state_of_a_user(store: &dyn Backend) {
    store.put_session("15:2@s", b"x").await.unwrap();
    store.put_identity("99@lid", [0; 32]).await.unwrap();
    for (user, expected) in
        [("15", true), ("99", true), ("1", false), ("155", false), ("9", false), ("", false)]
    {
        assert_eq!(store.has_signal_state_for_user(user).await.unwrap(), expected, "{user:?}");
    }
    store.delete_session("15:2@s").await.unwrap();
    assert!(!store.has_signal_state_for_user("15").await.unwrap());
}

pub(super) async fn prekeys(store: &dyn Backend) {
    assert_eq!(store.get_max_prekey_id().await.unwrap(), 0);
    store.store_prekey(7, b"seven", false).await.unwrap();
    store.store_prekey(300, b"", true).await.unwrap();
    assert_eq!(store.load_prekey(7).await.unwrap().unwrap(), "seven");
    assert_eq!(store.load_prekey(300).await.unwrap().unwrap(), "");
    assert_eq!(store.load_prekey(8).await.unwrap(), None);
    assert_eq!(store.get_max_prekey_id().await.unwrap(), 300, "by number, not by text or first byte");
    store.remove_prekey(300).await.unwrap();
    assert_eq!(store.get_max_prekey_id().await.unwrap(), 7);
}

pub(super) async fn prekeys_in_one_batch(store: &dyn Backend) {
    let keys: Vec<_> = (1..=812_u32).map(|id| (id, Bytes::from(format!("key {id}")))).collect();
    store.store_prekeys_batch(&keys, false).await.unwrap();
    assert_eq!(store.get_max_prekey_id().await.unwrap(), 812);
    let found = store.load_prekeys_batch(&[812, 9000, 1]).await.unwrap();
    assert_eq!(found, [(812, Bytes::from("key 812")), (1, Bytes::from("key 1"))], "only those that exist");
    assert!(store.load_prekeys_batch(&[]).await.unwrap().is_empty());
}

pub(super) async fn marking_never_resurrects(store: &dyn Backend) {
    store.store_prekeys_batch(&[(1, Bytes::from("one")), (2, Bytes::from("two"))], false).await.unwrap();
    store.remove_prekey(1).await.unwrap();
    store.mark_prekeys_uploaded(&[1, 2, 3]).await.unwrap();
    assert_eq!(store.load_prekeys_batch(&[1, 2, 3]).await.unwrap(), [(2, Bytes::from("two"))]);
    store.mark_prekeys_uploaded(&[]).await.unwrap();
}

pub(super) async fn signed_prekeys(store: &dyn Backend) {
    store.store_signed_prekey(1, b"old").await.unwrap();
    store.store_signed_prekey(2, b"new").await.unwrap();
    assert_eq!(store.load_signed_prekey(1).await.unwrap().unwrap(), b"old");
    let all = sorted(store.load_all_signed_prekeys().await.unwrap());
    assert_eq!(all, [(1, b"old".to_vec()), (2, b"new".to_vec())]);
    store.remove_signed_prekey(1).await.unwrap();
    assert_eq!(store.load_signed_prekey(1).await.unwrap(), None);
}

pub(super) async fn sender_keys(store: &dyn Backend) {
    store.put_sender_key("g:a", b"one").await.unwrap();
    store
        .put_sender_keys_batch(&[("g:a".into(), Bytes::from("two")), ("g:b".into(), Bytes::from("b"))])
        .await
        .unwrap();
    assert_eq!(store.get_sender_key("g:a").await.unwrap().unwrap(), b"two");
    store.delete_sender_key("g:a").await.unwrap();
    assert_eq!(store.get_sender_key("g:a").await.unwrap(), None);
    assert_eq!(store.get_sender_key("g:b").await.unwrap().unwrap(), b"b");
}

pub(super) async fn sync_keys(store: &dyn Backend) {
    let key = |timestamp| AppStateSyncKey { key_data: vec![1, 2], fingerprint: vec![3], timestamp };
    assert_eq!(store.get_latest_sync_key_id().await.unwrap(), None);
    store.set_sync_key(b"z", key(5)).await.unwrap();
    store.set_sync_key(b"a", key(1)).await.unwrap();
    assert_eq!(
        store.get_latest_sync_key_id().await.unwrap().unwrap(),
        b"a",
        "stored last, whatever its time or name"
    );
    let found = store.get_sync_key(b"z").await.unwrap().unwrap();
    assert_eq!((found.key_data, found.fingerprint, found.timestamp), (vec![1, 2], vec![3], 5));
    store.set_sync_key(b"z", key(6)).await.unwrap();
    assert_eq!(store.get_latest_sync_key_id().await.unwrap().unwrap(), b"z", "an update counts");
    assert!(store.get_sync_key(b"y").await.unwrap().is_none());
}

pub(super) async fn versions(store: &dyn Backend) {
    let fresh = store.get_version("regular").await.unwrap();
    assert_eq!((fresh.version, fresh.hash), (0, [0; 128]));
    let mut state =
        HashState { version: 9, hash: [7; 128], mac_mismatch_fatal: true, ..HashState::default() };
    state.index_value_map.insert("i".into(), vec![1]);
    store.set_version("regular", state).await.unwrap();
    let found = store.get_version("regular").await.unwrap();
    assert_eq!((found.version, found.hash, found.mac_mismatch_fatal), (9, [7; 128], true));
    assert_eq!(found.index_value_map["i"], [1]);
    assert_eq!(store.get_version("critical").await.unwrap().version, 0);
}

pub(super) async fn mutation_macs(store: &dyn Backend) {
    let mac = |index: [u8; 32], value: &[u8]| AppStateMutationMAC {
        index_mac: index.to_vec(),
        value_mac: value.to_vec(),
    };
    store.put_mutation_macs("regular", 1, &[mac([1; 32], b"a"), mac([2; 32], b"b")]).await.unwrap();
    store.put_mutation_macs("regular", 2, &[mac([1; 32], b"c"), mac([0xff; 32], b"f")]).await.unwrap();
    store.put_mutation_macs("regular_high", 1, &[mac([1; 32], b"h")]).await.unwrap();
    assert_eq!(store.get_mutation_mac("regular", &[1; 32]).await.unwrap().unwrap(), b"c");
    let found = store.get_mutation_macs("regular", &[[1; 32], [9; 32], [0xff; 32]]).await.unwrap();
    assert_eq!(found.len(), 2);
    assert_eq!((found[&[1; 32]].as_slice(), found[&[0xff; 32]].as_slice()), (&b"c"[..], &b"f"[..]));
    store.delete_mutation_macs("regular", &[vec![2; 32], vec![9; 32]]).await.unwrap();
    assert_eq!(store.get_mutation_mac("regular", &[2; 32]).await.unwrap(), None);
    store.clear_mutation_macs("regular").await.unwrap();
    assert!(store.get_mutation_macs("regular", &[[1; 32], [0xff; 32]]).await.unwrap().is_empty());
    assert_eq!(
        store.get_mutation_mac("regular_high", &[1; 32]).await.unwrap().unwrap(),
        b"h",
        "another collection"
    );
}

pub(super) async fn sender_key_devices(store: &dyn Backend) {
    let of = async |group: &str| sorted(store.get_sender_key_devices(group).await.unwrap());
    store.set_sender_key_status("g1", &[("a:1@s", true), ("b@s", false)]).await.unwrap();
    store.set_sender_key_status("g1", &[("b@s", true)]).await.unwrap();
    store.set_sender_key_status("g11", &[("a:1@s", false), ("c@s", true)]).await.unwrap();
    assert_eq!(of("g1").await, [("a:1@s".to_owned(), true), ("b@s".to_owned(), true)]);
    assert!(of("g").await.is_empty());
    store.delete_sender_key_device_rows(&["a:1@s", "nobody@s"]).await.unwrap();
    store.delete_sender_key_device_rows(&[]).await.unwrap();
    assert_eq!(of("g1").await, [("b@s".to_owned(), true)]);
    assert_eq!(of("g11").await, [("c@s".to_owned(), true)], "across groups");
    store.clear_sender_key_devices("g1").await.unwrap();
    assert!(of("g1").await.is_empty());
    assert_eq!(of("g11").await.len(), 1);
    store.set_sender_key_status("g1", &[("a:1@s", true)]).await.unwrap();
    store.clear_all_sender_key_devices().await.unwrap();
    assert!(of("g1").await.is_empty() && of("g11").await.is_empty());
}

fn mapping(lid: &str, phone: &str) -> LidPnMappingEntry {
    LidPnMappingEntry {
        lid: lid.into(),
        phone_number: phone.into(),
        created_at: 1,
        updated_at: 2,
        learning_source: "usync".into(),
    }
}

async fn lid_of(store: &dyn Backend, phone: &str) -> Option<String> {
    store.get_pn_mapping(phone).await.unwrap().map(|entry| entry.lid)
}

pub(super) async fn lid_mappings(store: &dyn Backend) {
    store.put_lid_mapping(&mapping("L1", "P1")).await.unwrap();
    let found = store.get_lid_mapping("L1").await.unwrap().unwrap();
    assert_eq!((found.phone_number, found.created_at, found.updated_at), ("P1".to_owned(), 1, 2));
    assert_eq!(found.learning_source, "usync");
    assert_eq!(lid_of(store, "P1").await.unwrap(), "L1");
    store.put_lid_mapping(&mapping("L1", "P2")).await.unwrap();
    assert_eq!(lid_of(store, "P1").await, None, "the old number leads nowhere");
    assert_eq!(lid_of(store, "P2").await.unwrap(), "L1");
    store.put_lid_mapping(&mapping("L2", "P2")).await.unwrap();
    assert_eq!(lid_of(store, "P2").await.unwrap(), "L2", "the last one stored");
    assert_eq!(store.get_lid_mapping("L1").await.unwrap().unwrap().phone_number, "P2");
    assert!(store.get_lid_mapping("L3").await.unwrap().is_none());
}

pub(super) async fn lids_in_one_batch(store: &dyn Backend) {
    store.put_lid_mapping(&mapping("L1", "P1")).await.unwrap();
    store
        .put_lid_mappings(&[
            mapping("L1", "P2"),
            mapping("L2", "P1"),
            mapping("L3", "P3"),
            mapping("L3", "P4"),
        ])
        .await
        .unwrap();
    store.put_lid_mappings(&[]).await.unwrap();
    assert_eq!(lid_of(store, "P1").await.unwrap(), "L2", "free for L2 by then");
    assert_eq!(lid_of(store, "P2").await.unwrap(), "L1");
    assert_eq!(lid_of(store, "P3").await, None, "changed within the batch");
    assert_eq!(lid_of(store, "P4").await.unwrap(), "L3");
    let all = store.get_all_lid_mappings().await.unwrap();
    let all = sorted(all.into_iter().map(|entry| (entry.lid, entry.phone_number)).collect());
    let expected =
        [("L1", "P2"), ("L2", "P1"), ("L3", "P4")].map(|(lid, phone)| (lid.to_owned(), phone.to_owned()));
    assert_eq!(all, expected);
}

pub(super) async fn base_keys(store: &dyn Backend) {
    assert!(!store.has_same_base_key("a@s", "m", b"k").await.unwrap());
    store.save_base_key("a@s", "m", b"k").await.unwrap();
    assert!(store.has_same_base_key("a@s", "m", b"k").await.unwrap());
    assert!(!store.has_same_base_key("a@s", "m", b"other").await.unwrap());
    assert!(!store.has_same_base_key("a@", "sm", b"k").await.unwrap(), "the parts of the key are kept apart");
    store.delete_base_key("a@s", "m").await.unwrap();
    assert!(!store.has_same_base_key("a@s", "m", b"k").await.unwrap());
}

pub(super) async fn device_lists(store: &dyn Backend) {
    let record = |user: &str, raw_id| DeviceListRecord {
        user: user.into(),
        devices: vec![DeviceInfo::new(0, None), DeviceInfo::new(3, Some(7)).with_hosting(true)],
        timestamp: 5,
        phash: Some("2:x".into()),
        raw_id,
    };
    store.update_device_list(record("a", None)).await.unwrap();
    store.update_device_lists(vec![record("a", Some(9)), record("b", None)]).await.unwrap();
    let found = store.get_devices("a").await.unwrap().unwrap();
    assert_eq!(
        (found.user.as_str(), found.timestamp, found.phash.as_deref(), found.raw_id),
        ("a", 5, Some("2:x"), Some(9))
    );
    let devices: Vec<_> = found.devices.iter().map(|it| (it.device_id, it.key_index, it.is_hosted)).collect();
    assert_eq!(devices, [(0, None, false), (3, Some(7), true)]);
    assert_eq!(store.get_devices("b").await.unwrap().unwrap().raw_id, None);
    store.delete_devices("a").await.unwrap();
    assert!(store.get_devices("a").await.unwrap().is_none());
}

pub(super) async fn group_metadata(store: &dyn Backend) {
    assert_eq!(store.get_group_metadata("g").await.unwrap(), None);
    store.put_group_metadata("g", b"one").await.unwrap();
    store.put_group_metadata("g", b"two").await.unwrap();
    assert_eq!(store.get_group_metadata("g").await.unwrap().unwrap(), b"two");
    store.delete_group_metadata("g").await.unwrap();
    assert_eq!(store.get_group_metadata("g").await.unwrap(), None);
}

fn token(bytes: &[u8], at: i64, given: Option<i64>) -> TcTokenEntry {
    TcTokenEntry { token: bytes.to_vec(), token_timestamp: at, sender_timestamp: given }
}

async fn token_of(store: &dyn Backend, jid: &str) -> Option<(Vec<u8>, i64, Option<i64>)> {
    let entry = store.get_tc_token(jid).await.unwrap();
    entry.map(|entry| (entry.token, entry.token_timestamp, entry.sender_timestamp))
}

pub(super) async fn tokens(store: &dyn Backend) {
    store.put_tc_token("a@lid", &token(b"t", 5, Some(4))).await.unwrap();
    store.put_tc_token("a@lid", &token(b"u", 3, None)).await.unwrap();
    store.put_tc_token("b@lid", &token(b"v", 1, None)).await.unwrap();
    assert_eq!(token_of(store, "a@lid").await, Some((b"u".to_vec(), 3, None)), "a put replaces all");
    assert_eq!(sorted(store.get_all_tc_token_jids().await.unwrap()), ["a@lid", "b@lid"]);
    store.delete_tc_token("a@lid").await.unwrap();
    assert_eq!(token_of(store, "a@lid").await, None);
}

pub(super) async fn token_halves(store: &dyn Backend) {
    store.touch_tc_token_sender_timestamp("a", 50).await.unwrap();
    assert_eq!(token_of(store, "a").await, Some((vec![], 50, Some(50))));
    store.store_received_tc_token("a", b"first", 40).await.unwrap();
    assert_eq!(
        token_of(store, "a").await,
        Some((b"first".to_vec(), 40, Some(50))),
        "a placeholder stops no token"
    );
    store.store_received_tc_token("a", b"stale", 39).await.unwrap();
    store.touch_tc_token_sender_timestamp("a", 49).await.unwrap();
    assert_eq!(token_of(store, "a").await, Some((b"first".to_vec(), 40, Some(50))), "neither half goes back");
    store.store_received_tc_token("a", b"same time", 40).await.unwrap();
    store.touch_tc_token_sender_timestamp("a", 51).await.unwrap();
    assert_eq!(token_of(store, "a").await, Some((b"same time".to_vec(), 40, Some(51))));
    store.store_received_tc_token("b", b"new", 1).await.unwrap();
    assert_eq!(token_of(store, "b").await, Some((b"new".to_vec(), 1, None)));
}

pub(super) async fn tokens_expire(store: &dyn Backend) {
    for (jid, entry) in [
        ("old token, old given", token(b"t", 9, Some(19))),
        ("old token, never given", token(b"t", 9, None)),
        ("no token, old given", token(b"", 500, Some(19))),
        ("live token", token(b"t", 10, None)),
        ("live given", token(b"", 0, Some(20))),
    ] {
        store.put_tc_token(jid, &entry).await.unwrap();
    }
    assert_eq!(store.delete_expired_tc_tokens(10, 20).await.unwrap(), 3);
    assert_eq!(sorted(store.get_all_tc_token_jids().await.unwrap()), ["live given", "live token"]);
    assert_eq!(store.delete_expired_tc_tokens(10, 20).await.unwrap(), 0);
}

pub(super) async fn sent_messages(store: &dyn Backend) {
    store.store_sent_message("c", "m1", b"one").await.unwrap();
    store.store_sent_message("c", "m1", b"two").await.unwrap();
    assert_eq!(store.take_sent_message("c", "m1").await.unwrap().unwrap(), b"two");
    assert_eq!(store.take_sent_message("c", "m1").await.unwrap(), None, "once");
    let now = wacore::time::now_secs();
    assert_eq!(store.delete_expired_sent_messages(now + 60).await.unwrap(), 0);
    store.store_sent_message("c", "m2", b"").await.unwrap();
    assert_eq!(
        store.delete_expired_sent_messages(now).await.unwrap(),
        0,
        "as old as the cutoff is not older"
    );
    assert_eq!(store.delete_expired_sent_messages(now + 60).await.unwrap(), 1);
    assert_eq!(store.take_sent_message("c", "m2").await.unwrap(), None);
    store.store_sent_message("c", "m3", b"three").await.unwrap();
    assert_eq!(
        store.delete_expired_sent_messages(now + 60).await.unwrap(),
        1,
        "a sweep sees what came after the last"
    );
}

pub(super) async fn sent_messages_are_bounded(store: &dyn Backend) {
    for number in 0..6000 {
        store.store_sent_message("c", &number.to_string(), b"x").await.unwrap();
    }
    assert_eq!(store.take_sent_message("c", "5999").await.unwrap().unwrap(), b"x", "the newest stays");
    let left = store.delete_expired_sent_messages(i64::MAX).await.unwrap();
    assert!((3000..=4096 + 1024).contains(&left), "{left}");
}

pub(super) async fn pending_inbound(store: &dyn Backend) {
    store.store_pending_inbound("c", "s", "1", b"one").await.unwrap();
    let row = |id, message| PendingInboundRow { chat: "c", sender: "s", id, message };
    store
        .store_pending_inbound_batch(&[row("2", b"two"), row("3", b"three"), row("1", b"uno")])
        .await
        .unwrap();
    store.store_pending_inbound_batch(&[]).await.unwrap();
    assert_eq!(store.get_pending_inbound("c", "s", "1").await.unwrap().unwrap(), b"uno");
    assert_eq!(
        store.get_pending_inbound("c", "s", "1").await.unwrap().unwrap(),
        b"uno",
        "reading takes nothing away"
    );
    assert_eq!(store.get_pending_inbound("cs", "", "1").await.unwrap(), None);
    store.delete_pending_inbound("c", "s", "1").await.unwrap();
    let key = |id| PendingInboundKey { chat: "c", sender: "s", id };
    store.delete_pending_inbound_batch(&[key("2"), key("none")]).await.unwrap();
    assert_eq!(store.get_pending_inbound("c", "s", "2").await.unwrap(), None);
    let now = wacore::time::now_secs();
    assert_eq!(store.delete_expired_pending_inbound(now - 60).await.unwrap(), 0);
    assert_eq!(store.delete_expired_pending_inbound(now + 60).await.unwrap(), 1);
    assert_eq!(store.get_pending_inbound("c", "s", "3").await.unwrap(), None);
}

fn secret(id: &str, byte: u8, expires_at: i64, message_ts: i64) -> MsgSecretEntry {
    MsgSecretEntry {
        chat: "c".into(),
        sender: "s".into(),
        msg_id: id.into(),
        secret: [byte; 32],
        expires_at,
        message_ts,
    }
}

pub(super) async fn message_secrets(store: &dyn Backend) {
    store.put_msg_secret("c", "s", "m", &[1; 32]).await.unwrap();
    assert_eq!(store.get_msg_secret("c", "s", "m").await.unwrap().unwrap(), [1; 32]);
    assert_eq!(store.get_msg_secret_with_ts("c", "s", "m").await.unwrap().unwrap(), (vec![1; 32], 0));
    assert_eq!(store.get_msg_secret("cs", "", "m").await.unwrap(), None);
    let stored =
        store.put_msg_secrets(vec![secret("m", 2, 0, 0), secret("n", 3, 9, 8), secret("m", 4, 0, 7)]).await;
    assert_eq!(stored.unwrap(), 3);
    assert_eq!(store.get_msg_secret_with_ts("c", "s", "m").await.unwrap().unwrap(), (vec![4; 32], 7));
    assert_eq!(store.get_msg_secret_with_ts("c", "s", "n").await.unwrap().unwrap(), (vec![3; 32], 8));
    assert_eq!(store.put_msg_secrets(vec![]).await.unwrap(), 0);
}

pub(super) async fn message_secrets_merge(store: &dyn Backend) {
    // The later deadline stays, none at all is the latest; the same within a batch.
    store
        .put_msg_secrets(vec![secret("a", 1, 100, 50), secret("b", 1, 100, 0), secret("c", 1, 100, 0)])
        .await
        .unwrap();
    store
        .put_msg_secrets(vec![secret("a", 2, 60, 0), secret("b", 2, 0, 0), secret("b", 3, 70, 5)])
        .await
        .unwrap();
    assert_eq!(store.get_msg_secret_with_ts("c", "s", "a").await.unwrap().unwrap(), (vec![2; 32], 50));
    assert_eq!(store.delete_expired_msg_secrets(99).await.unwrap(), 0);
    assert_eq!(store.delete_expired_msg_secrets(100).await.unwrap(), 2, "at the deadline");
    assert_eq!(store.get_msg_secret_with_ts("c", "s", "b").await.unwrap().unwrap(), (vec![3; 32], 5));
}

pub(super) async fn message_secrets_expire(store: &dyn Backend) {
    store
        .put_msg_secrets(vec![secret("a", 1, 10, 0), secret("b", 1, 20, 0), secret("never", 1, 0, 0)])
        .await
        .unwrap();
    assert_eq!(store.delete_expired_msg_secrets(9).await.unwrap(), 0);
    assert_eq!(store.delete_expired_msg_secrets(15).await.unwrap(), 1);
    assert_eq!(store.delete_expired_msg_secrets(15).await.unwrap(), 0);
    store.put_msg_secrets(vec![secret("late", 1, 14, 0)]).await.unwrap();
    assert_eq!(
        store.delete_expired_msg_secrets(15).await.unwrap(),
        1,
        "put after a sweep, due before the others"
    );
    assert_eq!(store.delete_expired_msg_secrets(i64::MAX - 1).await.unwrap(), 1);
    assert!(store.get_msg_secret("c", "s", "never").await.unwrap().is_some());
}

pub(super) async fn the_device(store: &dyn Backend) {
    assert!(!store.exists().await.unwrap());
    assert!(store.load().await.unwrap().is_none());
    assert!(store.create().await.unwrap() >= 1);
    assert!(store.exists().await.unwrap());
    let made = store.load().await.unwrap().unwrap();
    store.create().await.unwrap();
    let same = store.load().await.unwrap().unwrap();
    assert_eq!(same.registration_id, made.registration_id, "creating again replaces nothing");

    let mut device = Device::new();
    device.pn = Some("4917:3@s.whatsapp.net".parse().unwrap());
    device.push_name = "Ada \u{1f98a}".into();
    device.edge_routing_info = Some(vec![1, 2]);
    device.next_pre_key_id = 813;
    device.account = Some(std::sync::Arc::default());
    store.save(&device).await.unwrap();
    let found = store.load().await.unwrap().unwrap();
    // All that is serialised, the private keys too.
    assert_eq!(serde_json::to_value(&found).unwrap(), serde_json::to_value(&device).unwrap());
    store.snapshot_db("after a failure", Some(b"x")).await.unwrap();
    assert!(store.resource_report().await.total_bytes() < 1024, "no memory that grows with the session");
}
