//! The records against a real server: limits, leases, who wins, what comes back.

use futures::StreamExt as _;
use serde_json::json;
use tokio::time::sleep;

use super::*;
use crate::cluster::redis::OnRedis;
use crate::cluster::{Cluster as _, Leases as _, News, Renewal, Replica, Viewers};
use crate::proxy::ProxyUrl;
use crate::records::OwnerRequest;
use crate::storage::redis::tests::{Cluster, Server, is_up, until};

const LEASE: Duration = Duration::from_millis(600);
const ROOM: SessionLimits = SessionLimits { all: 100, user: 100 };
const MOST: usize = 1000;
const NOW: Option<Duration> = Some(Duration::ZERO);
const KEPT: &(dyn Fn() -> bool + Sync) = &|| true;
const HELD: Renewal = Renewal::Kept { requested: false };

async fn records(server: &Server, name: &str) -> OnRedis {
    OnRedis::new(RedisRecords::new(server.connect().await, name, LEASE))
}

/// A replica has its records at hand.
impl std::ops::Deref for OnRedis {
    type Target = RedisRecords;

    fn deref(&self) -> &RedisRecords {
        &self.records
    }
}

fn record(user: &str) -> Record {
    let metadata = json!({ "a": [1, "ü"] });
    Record {
        session: SessionId::new(&user.parse().unwrap()),
        created: Time::now(),
        device_name: Some("Büro".into()),
        proxy: Some(ProxyUrl::new("http://a:b@127.0.0.1:1")),
        webhook: None,
        metadata: metadata.as_object().cloned(),
        epoch: 0,
        claimed: true,
        deleted: None,
    }
}

async fn create(records: &OnRedis, record: &Record) -> u64 {
    match records.create(record.clone(), ROOM, None).await.unwrap() {
        Created::New(epoch) => epoch,
        Created::Existing(other) => panic!("{other}"),
    }
}

async fn renewals(records: &OnRedis, held: &[(SessionId, u64)]) -> Vec<Renewal> {
    futures::future::join_all(held.iter().map(|(id, epoch)| records.renew(id, *epoch, KEPT))).await
}

fn of_data(keys: Vec<String>) -> Vec<String> {
    keys.into_iter().filter(|key| !key.contains("{data}")).collect()
}

#[tokio::test]
async fn a_record_reads_back_and_leaves_nothing() {
    let server = Server::start();
    let records = records(&server, "a").await;
    let record = record("ada");
    let epoch = create(&records, &record).await;
    let now = u64::try_from(Time::now().as_millis()).unwrap();
    assert!(epoch.abs_diff(now) < 5_000);
    let stored = Record { epoch, ..record.clone() };
    assert_eq!(records.all().await.unwrap(), std::slice::from_ref(&stored));
    let found = records.records.find(&record.session).await.unwrap().unwrap();
    assert_eq!(
        (found.record, found.owner.as_deref(), found.request, found.last),
        (stored, Some("a"), None, None)
    );
    records.delete(&record.session, Time::from_millis(5)).await.unwrap();
    records.delete(&record.session, Time::from_millis(6)).await.unwrap();
    assert_eq!(records.all().await.unwrap()[0].deleted, Some(Time::from_millis(5)));
    let again = records.claim(&record.session, ROOM).await.unwrap();
    assert!(again > epoch, "to log it out");
    records.release(&record.session, epoch).await.unwrap();
    assert!(records.all().await.unwrap()[0].claimed, "claimed again since");
    records.release(&record.session, again).await.unwrap();
    assert!(!records.all().await.unwrap()[0].claimed);
    records.remove(&record.session).await.unwrap();
    assert!(records.all().await.unwrap().is_empty());
    assert!(matches!(records.claim(&record.session, ROOM).await, Err(RecordsError::Unknown)));
    records.delete(&record.session, Time::now()).await.unwrap();
    assert_eq!(of_data(server.keys()), [""; 0]);
    records.check().await.unwrap();
    records.forget_keys().await.unwrap();
}

#[tokio::test]
async fn limits_hold_over_replicas_and_places_come_back() {
    let server = Server::start();
    let (a, b) = (records(&server, "a").await, records(&server, "b").await);
    let limits = SessionLimits { all: 3, user: 2 };
    let (one, two, other) = (record("ada"), record("ada"), record("bob"));
    a.create(one.clone(), limits, None).await.unwrap();
    b.create(two.clone(), limits, None).await.unwrap();
    assert!(matches!(a.create(record("ada"), limits, None).await, Err(RecordsError::UserLimit(2))));
    let epoch = match a.create(other.clone(), limits, None).await.unwrap() {
        Created::New(epoch) => epoch,
        made => panic!("{made:?}"),
    };
    assert!(matches!(b.create(record("bob"), limits, None).await, Err(RecordsError::Limit(3))));
    assert!(matches!(b.create(record("ada"), limits, None).await, Err(RecordsError::UserLimit(2))));
    a.release(&other.session, epoch).await.unwrap();
    b.create(record("cat"), limits, None).await.unwrap();
    assert!(matches!(a.claim(&other.session, limits).await, Err(RecordsError::Limit(3))));
    a.claim(&one.session, limits).await.unwrap();
    b.remove(&two.session).await.unwrap();
    a.claim(&other.session, limits).await.unwrap();
}

#[tokio::test]
async fn of_many_creations_at_once_no_more_than_allowed_are_made() {
    let server = Server::start();
    let (a, b) = (records(&server, "a").await, records(&server, "b").await);
    let limits = SessionLimits { all: 7, user: 5 };
    let create = |at: usize| {
        let records = if at.is_multiple_of(2) { &a } else { &b };
        records.create(record(if at.is_multiple_of(3) { "ada" } else { "bob" }), limits, None)
    };
    // As many at a time as a busy machine answers within the store's second.
    let made: Vec<_> = futures::stream::iter((0..60).map(create)).buffer_unordered(12).collect().await;
    let made = made.into_iter().filter(Result::is_ok).count();
    // A user's refusal may hold a place among all for a moment, so fewer is possible.
    assert!((5..=7).contains(&made), "{made}");
    assert_eq!(a.all().await.unwrap().len(), made);
    assert_eq!(a.sweep().await.unwrap(), 0);
    let bob = a.all().await.unwrap().iter().filter(|r| r.session.user_id() == "bob").count();
    assert!(bob <= 5);
}

#[tokio::test]
async fn a_request_that_comes_twice_is_done_once() {
    let server = Server::start();
    let (a, b) = (records(&server, "a").await, records(&server, "b").await);
    let once = |body: u8| Some(IdempotencyKey { key: "{k} ü".into(), body: [body; 32] });
    let none = SessionLimits { all: 0, user: 0 };
    assert!(matches!(a.create(record("ada"), none, once(1)).await, Err(RecordsError::UserLimit(0))));
    let first = record("ada");
    assert!(matches!(a.create(first.clone(), ROOM, once(1)).await, Ok(Created::New(_))));
    let second = b.create(record("ada"), ROOM, once(1)).await.unwrap();
    assert_eq!(second, Created::Existing(first.session));
    assert!(matches!(b.create(record("ada"), ROOM, once(2)).await, Err(RecordsError::KeyReused)));
    // Begun by a replica that died.
    let begun = IdempotencyKey { key: "other".into(), body: [1; 32] };
    assert_eq!(a.begin(&begun, &record("x").session).await.unwrap(), None);
    let running = b.create(record("ada"), ROOM, Some(begun)).await;
    assert!(matches!(running, Err(RecordsError::KeyRunning)));
    assert_eq!(a.all().await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_key_goes_with_its_session() {
    let server = Server::start();
    let (a, b) = (records(&server, "a").await, records(&server, "b").await);
    let once = |body: u8| Some(IdempotencyKey { key: "k".into(), body: [body; 32] });
    let made = async |records: &OnRedis, body| {
        let record = record("ada");
        match records.create(record.clone(), ROOM, once(body)).await.unwrap() {
            Created::New(_) => (true, record.session),
            Created::Existing(session) => (false, session),
        }
    };
    let (_, first) = made(&a, 1).await;
    assert_eq!(made(&b, 1).await, (false, first.clone()));
    b.delete(&first, Time::now()).await.unwrap();
    let (is_new, second) = made(&a, 1).await;
    assert!(is_new && second != first);
    assert_eq!(made(&b, 1).await, (false, second.clone()));
    a.remove(&second).await.unwrap();
    // Another body as well.
    let (is_new, third) = made(&b, 2).await;
    assert!(is_new);
    assert!(matches!(a.create(record("ada"), ROOM, once(1)).await, Err(RecordsError::KeyReused)));
    // Of many at once one makes it; the others wait, or are told of it.
    b.delete(&third, Time::now()).await.unwrap();
    let at_once = (0..20).map(|n| {
        let records = if n % 2 == 0 { &a } else { &b };
        records.create(record("ada"), ROOM, once(3))
    });
    let all = futures::future::join_all(at_once).await;
    assert_eq!(all.iter().filter(|made| matches!(made, Ok(Created::New(_)))).count(), 1, "{all:?}");
    let waits = |made: &Result<_, _>| {
        matches!(made, Ok(Created::New(_) | Created::Existing(_)) | Err(RecordsError::KeyRunning))
    };
    assert!(all.iter().all(waits), "{all:?}");
    // One that still runs has no session yet, and is not gone.
    let begun = IdempotencyKey { key: "other".into(), body: [1; 32] };
    assert_eq!(a.begin(&begun, &record("x").session).await.unwrap(), None);
    assert!(matches!(b.create(record("x"), ROOM, Some(begun.clone())).await, Err(RecordsError::KeyRunning)));
    let other = IdempotencyKey { body: [2; 32], ..begun };
    assert!(matches!(b.create(record("x"), ROOM, Some(other)).await, Err(RecordsError::KeyReused)));
}

#[tokio::test]
async fn a_lease_lasts_until_it_lapses_and_the_first_to_claim_has_it() {
    let server = Server::start();
    let (a, b, c) = (records(&server, "a").await, records(&server, "b").await, records(&server, "c").await);
    let record = record("ada");
    let id = &record.session;
    let mut epoch = create(&a, &record).await;
    for _ in 0..4 {
        sleep(LEASE / 2).await;
        assert_eq!(a.renew(id, epoch, KEPT).await, HELD);
        assert!(b.lapsed(NOW, MOST).await.unwrap().is_empty());
        assert!(matches!(b.claim(id, ROOM).await, Err(RecordsError::OwnedElsewhere)));
    }
    for _ in 0..10 {
        sleep(LEASE + Duration::from_millis(50)).await;
        assert_eq!(b.lapsed(NOW, MOST).await.unwrap(), std::slice::from_ref(id));
        let (one, other) = tokio::join!(b.claim(id, ROOM), c.claim(id, ROOM));
        let won = match (one, other) {
            (Ok(won), Err(RecordsError::OwnedElsewhere)) | (Err(RecordsError::OwnedElsewhere), Ok(won)) => {
                won
            }
            both => panic!("{both:?}"),
        };
        assert!(won > epoch);
        assert_eq!(a.renew(id, epoch, KEPT).await, Renewal::Lost);
        a.release(id, epoch).await.unwrap();
        a.release(id, won).await.unwrap();
        assert!(a.lapsed(NOW, MOST).await.unwrap().is_empty(), "not a's to release");
        epoch = won;
    }
}

#[tokio::test]
async fn the_owner_may_renew_a_lapsed_lease_that_nobody_claimed() {
    let server = Server::start();
    let (a, b) = (records(&server, "a").await, records(&server, "b").await);
    let record = record("ada");
    let epoch = create(&a, &record).await;
    sleep(LEASE * 2).await;
    assert!(b.lapsed(Some(LEASE * 3), MOST).await.unwrap().is_empty(), "in the time of grace");
    assert_eq!(a.renew(&record.session, epoch, KEPT).await, HELD);
    assert!(matches!(b.claim(&record.session, ROOM).await, Err(RecordsError::OwnedElsewhere)));
    assert_eq!(a.renew(&record.session, epoch - 1, KEPT).await, Renewal::Lost);
    assert_eq!(a.renew(&record.session, epoch + 1, KEPT).await, Renewal::Missing, "Redis has lost its end");
    let unknown = super::tests::record("bob").session;
    assert_eq!(a.renew(&unknown, 1, KEPT).await, Renewal::Missing);
}

#[tokio::test]
async fn a_session_that_is_handed_over_is_free_at_once() {
    let server = Server::start();
    let (a, b) = (records(&server, "a").await, records(&server, "b").await);
    let record = record("ada");
    let epoch = create(&a, &record).await;
    let mut news = b.news();
    assert_eq!(
        (news.next().await, news.next().await),
        (Some(News::Missed), Some(News::Missed)),
        "two channels"
    );
    a.hand_over(&record.session, epoch).await.unwrap();
    assert_eq!(news.next().await, Some(News::Released(record.session.clone())));
    assert_eq!(b.lapsed(None, MOST).await.unwrap(), std::slice::from_ref(&record.session), "no grace for it");
    let later = b.claim(&record.session, ROOM).await.unwrap();
    assert!(later > epoch);
    a.hand_over(&record.session, epoch).await.unwrap();
    assert!(a.lapsed(NOW, MOST).await.unwrap().is_empty());
    b.release(&record.session, later).await.unwrap();
    assert!(b.lapsed(NOW, MOST).await.unwrap().is_empty(), "it is not to run");
}

#[tokio::test]
async fn an_owner_writes_again_what_redis_lost() {
    let mut server = Server::start();
    let (a, b) = (records(&server, "a").await, records(&server, "b").await);
    let record = record("ada");
    let epoch = create(&a, &record).await;
    let mine = Record { epoch, ..record };
    assert!(a.reassert(&mine).await.unwrap(), "nothing lost");
    server.forget();
    assert_eq!(a.renew(&mine.session, epoch, KEPT).await, Renewal::Unknown);
    until(&a.redis, |state| !is_up(state)).await;
    server.launch();
    let back = until(&a.redis, is_up).await;
    until(&b.redis, |state| *state == back).await;
    assert_eq!(a.renew(&mine.session, epoch, KEPT).await, Renewal::Missing);
    assert!(a.reassert(&mine).await.unwrap());
    assert_eq!(b.all().await.unwrap(), std::slice::from_ref(&mine));
    assert!(matches!(b.claim(&mine.session, ROOM).await, Err(RecordsError::OwnedElsewhere)));
    assert!(matches!(
        b.create(super::tests::record("ada"), SessionLimits { all: 9, user: 1 }, None).await,
        Err(RecordsError::UserLimit(1))
    ));
    sleep(LEASE + Duration::from_millis(50)).await;
    let later = b.claim(&mine.session, ROOM).await.unwrap();
    assert!(later > epoch && !a.reassert(&mine).await.unwrap());
}

#[tokio::test]
async fn a_sweep_gives_back_what_a_crash_left() {
    let server = Server::start();
    let a = records(&server, "a").await;
    let (lives, crashed) = (record("ada"), record("ada"));
    create(&a, &lives).await;
    a.take_place(&crashed.session, ROOM).await.unwrap();
    assert_eq!(a.sweep().await.unwrap(), 0, "it may be under way");
    for places in ["test:{all}:places", "test:{user:ada}:places"] {
        server.tell(&["ZADD", places, "5", crashed.session.as_str()]);
        server.tell(&["ZREM", places, lives.session.as_str()]);
    }
    assert_eq!(a.sweep().await.unwrap(), 1);
    let left = server.tell(&["ZRANGE", "test:{user:ada}:places", "0", "-1"]);
    assert_eq!(redis::from_redis_value::<Vec<String>>(left).unwrap(), [lives.session.to_string()]);
}

#[tokio::test]
async fn replicas_that_beat_live() {
    let server = Server::start();
    let (a, b) = (records(&server, "a").await, records(&server, "b").await);
    let names = |living: &[Replica]| living.iter().map(|replica| replica.name.clone()).collect::<Vec<_>>();
    let beats = async |replica: &OnRedis, viewers| {
        replica.beat(&viewers).await.unwrap();
        replica.living()
    };
    let session = record("ada").session;
    let watched = |viewers| Viewers::from([(session.clone(), viewers)]);
    assert_eq!(names(&beats(&a, watched(2)).await), ["a"]);
    sleep(LEASE / 2).await;
    assert_eq!(names(&beats(&b, watched(3)).await), ["a", "b"]);
    assert_eq!(a.viewers(Viewers::new()).await.unwrap(), watched(5));
    sleep(LEASE * 2 / 3).await;
    let living = beats(&b, watched(3)).await;
    assert!(living[0].age >= LEASE / 2);
    assert_eq!(names(&living), ["b"]);
    assert_eq!(a.viewers(Viewers::new()).await.unwrap(), watched(3));
    b.leave().await;
    assert_eq!(names(&b.living()), [""; 0]);
    assert_eq!(names(&beats(&a, Viewers::new()).await), ["a"]);
    assert!(a.viewers(Viewers::new()).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_wish_reaches_the_owner_and_stands_for_the_next_one() {
    let server = Server::start();
    let (a, b) = (records(&server, "a").await, records(&server, "b").await);
    let record = record("ada");
    let (id, epoch) = (&record.session, create(&a, &record).await);
    let mut news = a.news();
    assert_eq!((news.next().await, news.next().await), (Some(News::Missed), Some(News::Missed)));
    let restart = OwnerRequest::Restart { epoch };
    assert!(b.ask_owner(id, &restart).await.unwrap());
    assert_eq!(news.next().await, Some(News::Requested(id.clone())));
    assert_eq!(a.renew(id, epoch, KEPT).await, Renewal::Kept { requested: true });
    assert_eq!(a.records.find(id).await.unwrap().unwrap().request.unwrap().1, restart);
    sleep(LEASE * 2).await;
    assert!(b.records.find(id).await.unwrap().unwrap().owner.is_none());
    let code = OwnerRequest::Code { phone_number: "905551234567".into() };
    assert!(!b.ask_owner(id, &code).await.unwrap(), "nobody to tell");
    assert_eq!(b.records.find(id).await.unwrap().unwrap().request.unwrap().1, code);
    // Asked for so long ago that nobody waits for it any more.
    server.tell(&["HINCRBY", &format!("test:{{{id}}}"), "wished", "-30000"]);
    assert!(b.records.find(id).await.unwrap().unwrap().request.is_none());
    let unknown = super::tests::record("bob").session;
    assert!(matches!(b.ask_owner(&unknown, &restart).await, Err(RecordsError::Unknown)));
}

#[tokio::test]
async fn a_deletion_is_claimed_in_the_same_call() {
    let server = Server::start();
    let (a, b) = (records(&server, "a").await, records(&server, "b").await);
    let (mine, ended) = (record("ada"), record("bob"));
    let (_, epoch) = (create(&a, &mine).await, create(&a, &ended).await);
    a.release(&ended.session, epoch).await.unwrap();
    let mut news = a.news();
    assert_eq!((news.next().await, news.next().await), (Some(News::Missed), Some(News::Missed)));
    b.delete(&mine.session, Time::now()).await.unwrap();
    assert_eq!(news.next().await, Some(News::Requested(mine.session.clone())));
    assert!(b.lapsed(NOW, MOST).await.unwrap().is_empty());
    b.delete(&ended.session, Time::now()).await.unwrap();
    assert_eq!(b.lapsed(None, MOST).await.unwrap(), [ended.session]);
}

#[tokio::test]
async fn on_a_cluster_it_is_the_same() {
    let cluster = Cluster::start();
    let replica_of =
        async |name: &'static str| OnRedis::new(RedisRecords::new(cluster.connect().await, name, LEASE));
    let (a, b) = (replica_of("a").await, replica_of("b").await);
    let records: Vec<_> = (0..12).map(|at| record(["ada", "bob", "cat"][at % 3])).collect();
    let mut held = Vec::new();
    for record in &records {
        let once = IdempotencyKey { key: record.session.to_string(), body: [0; 32] };
        let made = a.create(record.clone(), ROOM, Some(once)).await.unwrap();
        let Created::New(epoch) = made else { panic!("{made:?}") };
        held.push((record.session.clone(), epoch));
    }
    assert_eq!(b.all().await.unwrap().len(), 12);
    assert_eq!(renewals(&a, &held).await, [HELD; 12]);
    a.hand_over(&held[0].0, held[0].1).await.unwrap();
    assert_eq!(b.lapsed(NOW, MOST).await.unwrap(), [held[0].0.clone()]);
    sleep(LEASE * 2).await;
    assert_eq!(b.lapsed(NOW, MOST).await.unwrap().len(), 12);
    for (session, _) in &held {
        b.claim(session, ROOM).await.unwrap();
    }
    assert_eq!(renewals(&a, &held).await, [Renewal::Lost; 12]);
    a.beat(&Viewers::new()).await.unwrap();
    b.beat(&Viewers::new()).await.unwrap();
    assert_eq!(b.living().len(), 2);
    assert_eq!(b.sweep().await.unwrap(), 0);
    for (session, _) in &held {
        b.remove(session).await.unwrap();
    }
    assert!(a.all().await.unwrap().is_empty());
    let left: Vec<_> = cluster.nodes.iter().flat_map(|node| of_data(node.keys())).collect();
    assert!(left.iter().all(|key| key.contains("{idem:") || key.contains("{replicas}")), "{left:?}");
}

#[tokio::test]
async fn the_first_secret_is_everyones_and_is_written_again_when_it_is_lost() {
    let server = Server::start();
    let (one, other) = (records(&server, "a").await, records(&server, "b").await);
    assert_eq!(one.token_secret("first").await.unwrap(), "first");
    assert_eq!(other.token_secret("second").await.unwrap(), "first");
    assert_eq!(one.token_secret("third").await.unwrap(), "first");
    server.tell(&["FLUSHALL"]);
    assert_eq!(other.token_secret("first").await.unwrap(), "first");
    assert_eq!(one.token_secret("second").await.unwrap(), "first");
}

#[tokio::test]
async fn a_renewal_that_is_overtaken_by_a_release_does_not_hide_the_session() {
    let server = Server::start();
    let a = records(&server, "a").await;
    let record = record("ada");
    let epoch = create(&a, &record).await;
    let index = a.index(&record.session);
    let put_off =
        || server.tell(&["ZSCORE", &index, record.session.as_str()]) != redis::Value::BulkString(b"0".into());
    // What a release does last, while the answer to a renewal is on its way.
    a.note(&record.session, "0").await.unwrap();
    assert_eq!(a.renew(&record.session, epoch, &|| false).await, HELD);
    assert!(!put_off(), "nobody would find it for a whole lease");
    assert_eq!(a.renew(&record.session, epoch, KEPT).await, HELD);
    assert!(put_off());
}

#[tokio::test]
async fn after_a_loss_of_the_data_nothing_is_unknown_until_owners_had_the_time_to_write_it_again() {
    const LONG: Duration = Duration::from_secs(6);
    let server = Server::start();
    let long = async |name| OnRedis::new(RedisRecords::new(server.connect().await, name, LONG));
    let (a, b) = (long("a").await, long("b").await);
    let (mine, unknown) = (record("ada"), record("bob").session);
    let epoch = create(&a, &mine).await;
    assert!(b.records.find(&unknown).await.unwrap().is_none());
    server.tell(&["FLUSHALL"]);
    let lost = std::time::Instant::now();
    let in_doubt = async |records: &OnRedis, session: &SessionId| {
        let restart = OwnerRequest::Restart { epoch };
        let answers = [
            records.records.find(session).await.err(),
            records.records.sessions().await.err(),
            records.claim(session, ROOM).await.err(),
            records.ask_owner(session, &restart).await.err(),
            records.delete(session, Time::now()).await.err(),
        ];
        answers.iter().all(|error| error.as_ref().is_some_and(RecordsError::is_away))
    };
    assert!(in_doubt(&b, &mine.session).await && in_doubt(&b, &unknown).await);
    // Each looks at the data once a second.
    until(&b.redis, |state| matches!(state, crate::storage::redis::ConnectionState::Up(_))).await;
    sleep(Duration::from_millis(1500)).await;
    assert!(in_doubt(&b, &mine.session).await, "also when it knows the new data");
    // One that starts now knows nothing of the old data.
    let new = long("c").await;
    assert!(in_doubt(&new, &mine.session).await);
    assert!(a.reassert(&Record { epoch, ..mine.clone() }).await.unwrap());
    for records in [&b, &new] {
        assert_eq!(records.records.find(&mine.session).await.unwrap().unwrap().owner.as_deref(), Some("a"));
    }
    assert!(lost.elapsed() < LONG, "the machine is too slow for this test");
    sleep(LONG).await;
    for records in [&b, &new] {
        assert!(records.records.find(&unknown).await.unwrap().is_none());
        assert_eq!(records.records.sessions().await.unwrap(), std::slice::from_ref(&mine.session));
        assert!(matches!(
            records.ask_owner(&unknown, &OwnerRequest::ConfirmPasskey).await,
            Err(RecordsError::Unknown)
        ));
        records.delete(&unknown, Time::now()).await.unwrap();
    }
}

/// A node of a cluster that came back empty, while the others have all that they had.
#[tokio::test]
async fn a_session_that_is_lost_alone_is_not_unknown_while_its_owner_may_live() {
    let server = Server::start();
    let (a, b) = (records(&server, "a").await, records(&server, "b").await);
    let (mine, ended) = (record("ada"), record("bob"));
    let epoch = create(&a, &mine).await;
    let last = create(&a, &ended).await;
    a.release(&ended.session, last).await.unwrap();
    for session in [&mine.session, &ended.session] {
        server.tell(&["DEL", &a.redis.keys().session(session)]);
    }
    assert!(b.records.find(&mine.session).await.is_err_and(|error| error.is_away()));
    assert!(
        b.records.find(&ended.session).await.unwrap().is_none(),
        "nobody runs it: nobody can write it again"
    );
    assert_eq!(a.renew(&mine.session, epoch, KEPT).await, Renewal::Missing);
    assert!(a.reassert(&Record { epoch, ..mine.clone() }).await.unwrap());
    assert_eq!(b.records.find(&mine.session).await.unwrap().unwrap().owner.as_deref(), Some("a"));
    // Once more, and its owner has died.
    server.tell(&["DEL", &a.redis.keys().session(&mine.session)]);
    assert!(b.records.find(&mine.session).await.is_err_and(|error| error.is_away()));
    let end = std::time::Instant::now() + Duration::from_secs(20);
    while b.records.find(&mine.session).await.is_err() {
        assert!(std::time::Instant::now() < end);
        sleep(Duration::from_millis(20)).await;
    }
    assert!(b.records.find(&mine.session).await.unwrap().is_none());
}

#[tokio::test]
async fn a_key_of_the_deployment_of_another_kind_is_named_until_it_is_mended() {
    let server = Server::start();
    let a = records(&server, "a").await;
    let one = record("ada");
    create(&a, &one).await;
    let keys = a.redis.keys();
    let index = a.index(&one.session);
    let two = || std::iter::repeat_with(|| record("ada")).find(|two| a.index(&two.session) == index).unwrap();
    let ask = async || {
        let created = a.create(two(), ROOM, None).await.is_ok();
        let (beats, secret) = (a.beat(&Viewers::new()).await.is_ok(), a.token_secret("s").await.is_ok());
        let named: Vec<_> = a.redis.damage().list().into_iter().map(|damaged| damaged.table).collect();
        (created, beats, secret, named)
    };
    assert_eq!(ask().await, (true, true, true, vec![]));
    for (key, created, beats, secret) in [
        (keys.places(), false, true, true),
        (keys.user_places("ada"), false, true, true),
        (index.clone(), false, true, true),
        (keys.life(), true, false, true),
        (keys.since(), true, false, true),
        (keys.token_secret(), true, true, false),
    ] {
        server.tell(&["RENAME", &key, "kept"]);
        server.tell(&["RPUSH", &key, "x"]);
        assert_eq!(ask().await, (created, beats, secret, vec![key.clone()]));
        server.tell(&["DEL", &key]);
        server.tell(&["RENAME", "kept", &key]);
        assert_eq!(ask().await, (true, true, true, vec![]), "{key}");
    }
    // The next one takes the place of each of these.
    for key in [keys.beat(), keys.lost()] {
        server.tell(&["RPUSH", &key, "x"]);
        a.check().await.unwrap();
        assert_eq!(ask().await, (true, true, true, vec![]), "{key}");
        assert!(a.records.find(&record("bob").session).await.unwrap().is_none());
    }
}

#[tokio::test]
async fn the_places_of_one_user_that_are_damaged_keep_nobody_elses_from_being_restored() {
    let server = Server::start();
    let a = records(&server, "a").await;
    let (one, other) = (record("ada"), record("bob"));
    create(&a, &one).await;
    create(&a, &other).await;
    let keys = a.redis.keys();
    server.tell(&["DEL", &keys.user_places("ada"), &keys.user_places("bob")]);
    server.tell(&["RPUSH", &keys.user_places("ada"), "x"]);
    assert_eq!(a.sweep().await.unwrap(), 0);
    assert_eq!(server.tell(&["ZCARD", &keys.user_places("bob")]), redis::Value::Int(1));
    server.tell(&["DEL", &keys.user_places("ada")]);
    assert_eq!(a.sweep().await.unwrap(), 0);
    assert_eq!(server.tell(&["ZCARD", &keys.user_places("ada")]), redis::Value::Int(1));
}
