//! What only our store promises: who may write, what a wipe takes, and what concurrent calls leave.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Mutex;
use wacore::store::error::StoreError;
use wacore::store::traits::{DeviceStore, LidPnMappingEntry, ProtocolStore, SignalStore};

use super::super::{Change, DeviceStorage, EngineError, Table};
use super::{Rig, fence, session};

fn is_fenced(error: &StoreError) -> bool {
    let StoreError::Database(cause) = error else { return false };
    matches!(cause.downcast_ref(), Some(EngineError::Fenced))
}

pub(super) async fn a_later_owner_fences_the_earlier(rig: Rig) {
    let session = session();
    let earlier = DeviceStorage::open(Arc::clone(&rig.engine), fence(&session, 1)).await.unwrap();
    earlier.put_session("a@s", b"one").await.unwrap();
    let later = DeviceStorage::open(Arc::clone(&rig.engine), fence(&session, 2)).await.unwrap();
    assert!(!earlier.is_fenced(), "it does not know yet");
    let error = earlier.put_session("a@s", b"two").await.unwrap_err();
    assert!(is_fenced(&error), "{error:?}");
    assert!(!error.is_database_busy_or_locked(), "the library must not wait and try again");
    tokio::time::timeout(Duration::from_secs(5), earlier.fenced()).await.unwrap();
    assert!(earlier.is_fenced() && !later.is_fenced());
    assert_eq!(later.get_session("a@s").await.unwrap().unwrap(), "one");
    later.put_session("a@s", b"three").await.unwrap();
}

pub(super) async fn an_earlier_owner_cannot_claim(rig: Rig) {
    let session = session();
    DeviceStorage::open(Arc::clone(&rig.engine), fence(&session, 5)).await.unwrap();
    let refused = DeviceStorage::open(Arc::clone(&rig.engine), fence(&session, 4)).await;
    assert!(matches!(refused, Err(EngineError::Fenced)));
    DeviceStorage::open(Arc::clone(&rig.engine), fence(&session, 5)).await.unwrap();
}

pub(super) async fn a_retired_storage_writes_nothing(rig: Rig) {
    let storage = rig.storage().await;
    storage.put_session("a@s", b"one").await.unwrap();
    storage.retire();
    storage.fenced().await;
    assert!(is_fenced(&storage.put_session("a@s", b"two").await.unwrap_err()));
    assert_eq!(storage.get_session("a@s").await.unwrap().unwrap(), "one");
}

pub(super) async fn a_wipe_takes_all_and_only_its_session(rig: Rig) {
    let (gone, stays) = (session(), session());
    let one = DeviceStorage::open(Arc::clone(&rig.engine), fence(&gone, 3)).await.unwrap();
    let other = DeviceStorage::open(Arc::clone(&rig.engine), fence(&stays, 3)).await.unwrap();
    for storage in [&one, &other] {
        storage.create().await.unwrap();
        storage.store_prekey(1, b"key", true).await.unwrap();
    }
    one.put_session("a@s", b"opensesame").await.unwrap();
    rig.engine.wipe(&gone).await.unwrap();
    if let Some((_, folder)) = &rig.sqlite {
        assert!(!folder.holds(b"opensesame"), "out of the file and its log");
    }
    assert_eq!(rig.engine.sessions().await.unwrap(), [stays]);
    for table in Table::ALL {
        assert!(rig.engine.scan(&gone, *table, Vec::new()).await.unwrap().is_empty());
    }
    assert!(
        is_fenced(&one.put_session("a@s", b"x").await.unwrap_err()),
        "a client still running cannot write"
    );
    assert!(other.exists().await.unwrap() && other.load_prekey(1).await.unwrap().is_some());
    let again = DeviceStorage::open(Arc::clone(&rig.engine), fence(&gone, 4)).await.unwrap();
    assert!(!again.exists().await.unwrap());
    again.create().await.unwrap();
}

pub(super) async fn a_commit_is_made_in_order(rig: Rig) {
    let session = session();
    rig.engine.claim(&fence(&session, 1)).await.unwrap();
    let put = |value: &'static str| Change::Put(Table::Group, b"k".to_vec(), Bytes::from(value));
    let delete = Change::Delete(Table::Group, b"k".to_vec());
    let clear = Change::Clear(Table::Group, b"k".to_vec());
    let lock = Arc::new(Mutex::new(()));
    for (changes, expected) in [
        (vec![put("1"), put("2")], Some("2")),
        (vec![put("3"), delete.clone()], None),
        (vec![delete, put("4")], Some("4")),
        (vec![put("5"), clear.clone()], None),
        (vec![clear, put("6")], Some("6")),
    ] {
        let lock = Arc::clone(&lock).lock_owned().await;
        rig.engine.commit(&fence(&session, 1), changes, lock).await.unwrap();
        let found =
            rig.engine.get(&session, Table::Group, vec![b"k".to_vec(), b"none".to_vec()]).await.unwrap();
        assert_eq!(found, [expected.map(Bytes::from), None]);
    }
}

pub(super) async fn prefixes_are_exact(rig: Rig) {
    let session = session();
    rig.engine.claim(&fence(&session, 1)).await.unwrap();
    let keys: [&[u8]; 7] = [b"", b"a", b"a\0", b"a\xff", b"a\xff\xff", b"b", b"\xff\xff"];
    let put = |table| keys.iter().map(move |key| Change::Put(table, key.to_vec(), Bytes::new()));
    let commit = async |changes| {
        let lock = Arc::new(Mutex::new(())).lock_owned().await;
        rig.engine.commit(&fence(&session, 1), changes, lock).await.unwrap();
    };
    let found = async |table, prefix: &[u8]| {
        let rows = rig.engine.scan(&session, table, prefix.to_vec()).await.unwrap();
        let mut keys: Vec<_> = rows.into_iter().map(|(key, _)| key).collect();
        keys.sort();
        keys
    };
    commit(put(Table::Lid).chain(put(Table::Last)).collect()).await;
    for prefix in [&b""[..], b"a", b"a\xff", b"\xff", b"\xff\xff", b"c"] {
        let mut expected: Vec<_> =
            keys.iter().filter(|key| key.starts_with(prefix)).map(|key| key.to_vec()).collect();
        expected.sort();
        assert_eq!(found(Table::Lid, prefix).await, expected, "{prefix:?}");
        commit(vec![Change::Clear(Table::Lid, prefix.to_vec())]).await;
        assert_eq!(found(Table::Lid, b"").await.len(), keys.len() - expected.len(), "{prefix:?}");
        commit(put(Table::Lid).collect()).await;
    }
    assert_eq!(found(Table::Last, b"").await.len(), keys.len(), "the table beside it");
}

pub(super) async fn everything_is_there_for_the_next_owner(rig: Rig) {
    let session = session();
    let first = DeviceStorage::open(Arc::clone(&rig.engine), fence(&session, 1)).await.unwrap();
    first.create().await.unwrap();
    first.store_sent_message("c", "m", b"one").await.unwrap();
    let id = first.load().await.unwrap().unwrap().registration_id;
    let next = DeviceStorage::open(Arc::clone(&rig.engine), fence(&session, 2)).await.unwrap();
    assert_eq!(next.load().await.unwrap().unwrap().registration_id, id);
    assert_eq!(
        next.delete_expired_sent_messages(i64::MAX).await.unwrap(),
        1,
        "a sweep finds what another left"
    );
}

/// Here the library's own store in memory forgets the number altogether, against what its trait says.
pub(super) async fn a_number_that_moved_on_stays(rig: Rig) {
    let storage = rig.storage().await;
    for (lid, phone_number) in [("L1", "P"), ("L2", "P"), ("L1", "Q")] {
        let (lid, phone_number) = (lid.to_owned(), phone_number.to_owned());
        let learning_source = String::new();
        let entry = LidPnMappingEntry { lid, phone_number, created_at: 0, updated_at: 0, learning_source };
        storage.put_lid_mapping(&entry).await.unwrap();
    }
    assert_eq!(storage.get_pn_mapping("P").await.unwrap().unwrap().lid, "L2");
    assert_eq!(storage.get_pn_mapping("Q").await.unwrap().unwrap().lid, "L1");
}

pub(super) async fn one_of_many_takers_gets_a_message(rig: Rig) {
    let storage = rig.storage().await;
    storage.store_sent_message("c", "m", b"one").await.unwrap();
    let take = || storage.take_sent_message("c", "m");
    let (a, b, c, d) = tokio::join!(take(), take(), take(), take());
    assert_eq!([a, b, c, d].into_iter().filter_map(Result::unwrap).count(), 1);
}

pub(super) async fn concurrent_halves_of_a_token_both_stay(rig: Rig) {
    let storage = rig.storage().await;
    let (one, two) = tokio::join!(
        storage.touch_tc_token_sender_timestamp("a", 9),
        storage.store_received_tc_token("a", b"t", 5)
    );
    one.and(two).unwrap();
    let entry = storage.get_tc_token("a").await.unwrap().unwrap();
    assert_eq!((entry.token, entry.sender_timestamp), (b"t".to_vec(), Some(9)));
}

/// A call that is dropped while its commit is under way: what comes next must see it.
pub(super) async fn a_dropped_call_keeps_its_turn(rig: Rig) {
    let storage = rig.storage().await;
    storage.store_prekey(1, b"key", false).await.unwrap();
    let (let_go, held) = std::sync::mpsc::channel::<()>();
    if let Some((sqlite, _)) = &rig.sqlite {
        // Holds the writer, so that the removal waits in its queue.
        let sqlite = sqlite.clone();
        let blocked = async move { sqlite.write(move |_| Ok(held.recv())).await };
        assert!(tokio::time::timeout(Duration::ZERO, blocked).await.is_err());
    }
    rig.pause_redis(true);
    let removal = storage.remove_prekey(1);
    let _ = tokio::time::timeout(Duration::ZERO, removal).await;
    let mark = storage.mark_prekeys_uploaded(&[1]);
    tokio::pin!(mark);
    let early = tokio::time::timeout(Duration::ZERO, &mut mark).await;
    assert_eq!(early.is_err(), rig.is_elsewhere(), "waits for the removal");
    drop(let_go);
    rig.pause_redis(false);
    if early.is_err() {
        mark.await.unwrap();
    }
    assert_eq!(storage.load_prekey(1).await.unwrap(), None, "not resurrected");
}

pub(super) async fn keys_are_not_in_debug(rig: Rig) {
    let storage = rig.storage().await;
    storage.put_session("a@s", b"sesame").await.unwrap();
    let shown = format!("{storage:?}");
    assert!(shown.starts_with("DeviceStorage") && !shown.contains("sesame"), "{shown}");
    assert!(size_of::<DeviceStorage>() < 256, "{}", size_of::<DeviceStorage>());
}
