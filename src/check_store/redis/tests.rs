//! Keys of the whole deployment that are of another kind, on a real server.

use super::*;
use crate::cluster::{Leases as _, Viewers};
use crate::records::{Created, Record, SessionLimits};
use crate::storage::redis::index::shard_of;
use crate::storage::redis::tests::Server;

const LEASE: Duration = Duration::from_millis(600);
const QUARANTINE: Wanted = Wanted { quarantine: true, accept: false };

async fn create(records: &RedisRecords, user: &str) -> SessionId {
    let session = SessionId::new(&user.parse().unwrap());
    let record = Record {
        session: session.clone(),
        created: Time::now(),
        device_name: None,
        proxy: None,
        webhook: None,
        metadata: None,
        epoch: 0,
        claimed: true,
        deleted: None,
    };
    let made = records.create(record, SessionLimits { all: 9, user: 9 }, None).await.unwrap();
    assert!(matches!(made, Created::New(_)));
    session
}

fn damage(server: &Server, keys: &[String]) {
    for key in keys {
        server.tell(&["DEL", key]);
        server.tell(&["RPUSH", key, "x"]);
    }
}

fn places(report: &StoreReport) -> BTreeSet<String> {
    report.damaged.iter().map(|damaged| damaged.table.clone()).collect()
}

#[tokio::test]
async fn every_key_of_the_deployment_is_looked_at_and_made_anew() {
    let server = Server::start();
    let redis = server.connect().await;
    let replica = RedisRecords::new(redis.clone(), "a", LEASE);
    let mut sessions = BTreeSet::new();
    for user in ["ada", "ada", "bob"] {
        sessions.insert(create(&replica, user).await);
    }
    let keys = redis.keys();
    let mut all: Vec<_> = keys.of_the_deployment().into_iter().map(|(key, _)| key).collect();
    // Nobody can connect without that one.
    all.retain(|key| *key != keys.word());
    all.extend([keys.user_places("ada"), keys.user_places("nobody")]);
    damage(&server, &all);
    let store = || async { Store::new(&server.connect().await, LEASE, 9) };

    let report = store().await.report(Wanted::default()).await.unwrap();
    assert_eq!((report.is_ok(), places(&report)), (false, all.iter().cloned().collect()));
    let report = store().await.report(QUARANTINE).await.unwrap();
    assert!(report.is_ok() && report.set_aside, "{report}");
    let aside = server.keys().into_iter().filter(|key| key.contains("}:quarantine:")).count();
    assert_eq!(aside, all.len());

    let report = store().await.report(Wanted::default()).await.unwrap();
    assert_eq!((report.damaged.len(), report.sessions), (0, 3), "{report}");
    let listed: BTreeSet<_> = replica.sessions().await.unwrap().into_iter().collect();
    assert_eq!((listed, OnRedis::new(replica.clone()).claimed().await.unwrap()), (sessions.clone(), 3));
    let of_ada = redis.query::<usize>(redis::cmd("ZCARD").arg(keys.user_places("ada"))).await.unwrap();
    assert_eq!((of_ada, replica.token_secret("new").await.unwrap()), (2, "new".to_owned()));
    // What is left of a log or a device is found by these two.
    for session in &sessions {
        for index in [keys.logs(shard_of(session)), keys.devices(shard_of(session))] {
            assert!(
                redis.query::<bool>(redis::cmd("SISMEMBER").arg(index).arg(session.as_str())).await.unwrap()
            );
        }
    }
    // Somebody has to run them, as soon as their owner is seen to be gone.
    tokio::time::sleep(LEASE).await;
    let another = OnRedis::new(RedisRecords::new(server.connect().await, "b", LEASE));
    assert_eq!(another.lapsed(Some(Duration::ZERO), 9).await.unwrap().len(), 3);
}

#[tokio::test]
async fn a_replica_that_runs_is_seen_although_the_keys_that_say_so_are_damaged() {
    let server = Server::start();
    let redis = server.connect().await;
    let (keys, replica) = (redis.keys(), OnRedis::new(RedisRecords::new(redis.clone(), "a", LEASE)));
    damage(&server, &[keys.life(), keys.since(), keys.places()]);
    let beats = async {
        loop {
            let _ = replica.beat(&Viewers::new()).await;
            tokio::time::sleep(LEASE / 3).await;
        }
    };
    let store = Store::new(&redis, LEASE, 9);
    let refused = tokio::select! {
        report = store.report(QUARANTINE) => report.map(|report| report.set_aside),
        () = beats => unreachable!(),
    };
    assert!(matches!(refused, Err(CheckError::Living(1))), "{refused:?}");
    assert_eq!(server.tell(&["LLEN", &keys.places()]), redis::Value::Int(1), "it is there still");
}
