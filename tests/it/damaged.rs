//! Stored records that cannot be read: each is named once and stops nothing else, and `qrcast check-store` sets it aside.

use std::path::Path;
use std::process::{Command, Output};

use qrcast::event::{Cursor, Disconnected, Event, Kind, Reason, State, Time};
use qrcast::id::SessionId;
use reqwest::StatusCode;
use rusqlite::{Connection, params};
use serde_json::Value;

use crate::support::redis::Redis;
use crate::support::{PATIENCE, Server, eventually};

/// What the log says once of each.
const SKIPPED: &str = "a stored record is damaged and was skipped";

/// `qrcast check-store` with these arguments; its exit code, and what it said.
fn check_store(folder: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    check_store_of("DATA_DIR", folder.to_str().unwrap(), arguments)
}

fn check_store_of(variable: &str, value: &str, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_qrcast"));
    command.arg("check-store").args(arguments).env_clear().env(variable, value);
    let Output { status, stdout, stderr } = command.output().unwrap();
    (status.code(), String::from_utf8([stdout, stderr].concat()).unwrap())
}

fn id(number: usize) -> SessionId {
    SessionId::new(&format!("user{number}").parse().unwrap())
}

/// The log of a session that lost its connection: not linked, and it runs.
fn body(session: &SessionId, epoch: u64) -> String {
    let (now, at) = (Time::now(), Cursor { epoch, seq: 1 });
    let kind = Kind::Disconnected(Disconnected::new(Reason::ConnectionLost, None));
    Event::new(session.clone(), at, now, kind, State::initializing(now, None)).to_log()
}

/// Stores so many sessions in an empty database of the server's own making; their ids, and the epoch of all.
fn store(database: &mut Connection, count: usize) -> (Vec<SessionId>, i64) {
    let epoch = Time::now().as_millis();
    let all = database.transaction().unwrap();
    let ids: Vec<_> = (0..count).map(id).collect();
    for id in &ids {
        let row = "INSERT INTO session (id, user, created, epoch, claimed) VALUES (?1, ?2, ?3, ?3, 1)";
        all.execute(row, params![id.as_str(), id.user_id(), epoch]).unwrap();
        let row = "INSERT INTO event (session, epoch, seq, body) VALUES (?1, ?2, 1, ?3)";
        all.execute(row, params![id.as_str(), epoch, body(id, epoch.cast_unsigned())]).unwrap();
    }
    all.commit().unwrap();
    (ids, epoch)
}

/// Ten ways in which what is stored of a session may be damaged.
const WAYS: [&str; 10] = [
    "UPDATE session SET metadata = '[1, 2]' WHERE id = ?1",
    "UPDATE session SET metadata = '{\"a\": ' WHERE id = ?1",
    "UPDATE session SET id = 'nonsense' WHERE id = ?1",
    "UPDATE session SET id = CAST(x'73657373ff' AS TEXT) WHERE id = ?1",
    "UPDATE session SET epoch = 9223372036854775807 WHERE id = ?1",
    "UPDATE session SET created = -1, device_name = CAST(x'ff' AS TEXT) WHERE id = ?1",
    "UPDATE event SET body = '' WHERE session = ?1",
    "UPDATE event SET body = '{\"kind\": {\"type\": \"qr\", \"data\": {}}}', expires = 1 WHERE session = ?1",
    "UPDATE event SET body = CAST(x'7bff' AS TEXT), expires = 1 WHERE session = ?1",
    "INSERT INTO device (id, session, epoch) VALUES (70007, ?1, 1)",
];

fn count(database: &Connection, what: &str) -> i64 {
    database.query_row(&format!("SELECT count(*) FROM {what}"), [], |row| row.get(0)).unwrap()
}

/// Every session of the list.
async fn list(server: &Server) -> Vec<Value> {
    let (mut all, mut cursor) = (Vec::new(), String::new());
    loop {
        let answer = server.get(&format!("/api/sessions?limit=200{cursor}")).await;
        assert_eq!(answer.status(), StatusCode::OK);
        let page: Value = answer.json().await.unwrap();
        all.extend(page["sessions"].as_array().unwrap().iter().cloned());
        match page["nextCursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return all,
        }
    }
}

#[tokio::test]
async fn ten_of_a_thousand_are_damaged_and_the_others_run() {
    // Nobody is there: a session that waits runs as well as one that shows a QR, and takes less of the machine.
    let builder = Server::builder("ws://127.0.0.1:9/ws/chat").variable("CLEANUP_INTERVAL_SECONDS", "1");
    let mut server = builder.start().await;
    let builder = server.builder_again();
    assert_eq!(server.terminate().await, Some(0));
    let file = builder.folder().join("qrcast.sqlite");
    let mut database = Connection::open(&file).unwrap();
    let (ids, epoch) = store(&mut database, 1000);
    let stored = format!("{epoch}-");
    for (way, id) in WAYS.iter().zip(&ids) {
        assert_eq!(database.execute(way, [id.as_str()]).unwrap(), 1, "{way}");
    }
    // The device of the last, and that of one whose own name is gone.
    let key = "INSERT INTO device_row (device, tbl, key, value) VALUES (70007, 'device', CAST('device' AS BLOB), x'7b')";
    database.execute(key, []).unwrap();
    let lost = "INSERT INTO device (id, session, epoch) VALUES (70008, ?1, 1)";
    database.execute(lost, [ids[2].as_str()]).unwrap();
    drop(database);

    let server = builder.start().await;
    eventually("990 to run", || async {
        // The link task's own first word comes in an epoch of its own.
        let runs = |session: &&Value| !session["lastEventId"].as_str().unwrap().starts_with(&stored);
        list(&server).await.iter().filter(runs).count() == 990
    })
    .await;
    let listed = list(&server).await;
    assert_eq!(listed.len(), 990);
    let health: Value = server.get("/health").await.json().await.unwrap();
    let alert = health["alerts"].as_array().unwrap().iter().find(|alert| alert["name"] == "storage_damaged");
    assert_eq!((&health["status"], &alert.unwrap()["value"]), (&"healthy".into(), &10.into()));
    let metrics = server.get("/metrics").await.text().await.unwrap();
    assert!(metrics.contains("\nqrcast_damaged_records 10\n"), "{metrics}");

    // What no waiting mends is nothing to come back for.
    for path in ["/api/session-status/", "/api/qr-code/", "/api/sessions/"] {
        let path = format!("{path}{}{}", ids[0], if path.ends_with("sessions/") { "/events" } else { "" });
        let answer = server.get(&path).await;
        assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR, "{path}");
        assert!(answer.headers().get("retry-after").is_none(), "{path}");
        assert_eq!(answer.json::<Value>().await.unwrap()["code"], "STORE_DAMAGED", "{path}");
    }
    assert_eq!(server.session(ids[0].as_str()).delete().await, StatusCode::INTERNAL_SERVER_ERROR);
    // The janitor goes its rounds: what has expired elsewhere loses its string, and it clears nothing of them away.
    let said = |text: &str| server.log().iter().filter(|line| line.contains(text)).count();
    assert_eq!(said(SKIPPED), 10);
    let (code, listing) = check_store(server.folder(), &[]);
    assert_eq!((code, listing.lines().count()), (Some(1), 11), "{listing}");
    let (code, refusal) = check_store(server.folder(), &["--quarantine"]);
    assert!(code == Some(1) && refusal.contains("is in use by another process"), "{refusal}");
    assert_eq!((said(SKIPPED), said("clean-up failed")), (10, 0));
    let builder = server.crash().await;

    let database = Connection::open(&file).unwrap();
    let devices = ["device WHERE id IN (70007, 70008)", "device_row WHERE device = 70007"];
    assert_eq!(count(&database, "session"), 1000);
    assert_eq!(devices.map(|devices| count(&database, devices)), [2, 1], "nothing was cleared away");
    let (code, said) = check_store(builder.folder(), &["--quarantine", "--json"]);
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((code, &said["ok"], said["damaged"].as_array().unwrap().len()), (Some(0), &true.into(), 10));
    // Seven records and what hangs on them; three events alone.
    assert_eq!(count(&database, "session"), 1000 - 7);
    assert_eq!(devices.map(|devices| count(&database, devices)), [0, 0]);
    let kept = "quarantine WHERE (tbl = 'session' AND col = 'id') OR (tbl = 'device' AND col = 'session') \
        OR (tbl = 'device_row' AND col = 'value' AND value = x'7b')";
    assert_eq!(count(&database, kept), 7 + 2 + 1);
    let typed = "quarantine WHERE col = 'body' AND CAST(value AS BLOB) = x'7bff' AND typeof(value) = 'text'";
    assert_eq!(count(&database, typed), 1);
    drop(database);
    assert_eq!(check_store(builder.folder(), &[]).0, Some(0));
    let server = builder.start().await;
    let health: Value = server.get("/health").await.json().await.unwrap();
    assert_eq!(list(&server).await.len(), 993);
    assert!(!health["alerts"].to_string().contains("storage_damaged"), "{health}");
}

fn key(id: &SessionId, rest: &str) -> String {
    format!("qrcast:{{{id}}}{rest}")
}

fn index(id: &SessionId, name: &str) -> String {
    format!("qrcast:{{{}}}:{name}", id.as_str().chars().last().unwrap())
}

/// Stores so many sessions that nobody runs; their ids, and the epoch of all.
async fn store_in(redis: &Redis, count: usize) -> (Vec<SessionId>, i64) {
    let epoch = Time::now().as_millis();
    let ids: Vec<_> = (0..count).map(id).collect();
    let mut all = ::redis::pipe();
    for id in &ids {
        let (event, at) = (body(id, epoch.cast_unsigned()), format!("{epoch}-1"));
        let record = format!("{{\"created\":{epoch}}}");
        all.cmd("HSET").arg(key(id, "")).arg("record").arg(record).arg("epoch").arg(epoch).arg("runs").arg(1);
        all.arg("owner").arg("").arg("last").arg(&at).arg("event").arg(&event);
        all.cmd("XADD").arg(key(id, ":log")).arg(&at).arg("e").arg(&event);
        all.cmd("ZADD").arg(index(id, "sessions")).arg(0).arg(id.as_str());
        all.cmd("SADD").arg(index(id, "logs")).arg(id.as_str());
        all.cmd("ZADD").arg("qrcast:{all}:places").arg(1).arg(id.as_str());
        all.cmd("ZADD").arg(format!("qrcast:{{user:{}}}:places", id.user_id())).arg(1).arg(id.as_str());
    }
    let client = ::redis::Client::open(redis.url()).unwrap();
    let patient = ::redis::AsyncConnectionConfig::new().set_response_timeout(Some(PATIENCE));
    let mut connection = client.get_multiplexed_async_connection_with_config(&patient).await.unwrap();
    all.query_async::<()>(&mut connection).await.unwrap();
    (ids, epoch)
}

/// Ten ways, each on its own session, and two that cost nothing.
async fn damage(redis: &Redis, ids: &[SessionId]) {
    let tell = async |words: &[&str]| redis.tell::<::redis::Value>(words).await;
    tell(&["HSET", &key(&ids[0], ""), "record", "no json"]).await;
    tell(&["HSET", &key(&ids[1], ""), "record", "{\"created\": 1, \"metadata\": [1]}"]).await;
    tell(&["SET", &key(&ids[2], ""), "a string"]).await;
    tell(&["ZREM", &index(&ids[3], "sessions"), ids[3].as_str()]).await;
    tell(&["ZADD", &index(&ids[3], "sessions"), "0", "nonsense"]).await;
    tell(&["HSET", &key(&ids[4], ""), "epoch", "9223372036854775807"]).await;
    tell(&["HSET", &key(&ids[5], ""), "deleted", "soon"]).await;
    tell(&["SET", &key(&ids[6], ":log"), "a string"]).await;
    // With what the hash has of its end: that alone would do.
    tell(&["DEL", &key(&ids[7], ":log")]).await;
    tell(&["XADD", &key(&ids[7], ":log"), "7-1", "e", "[]", "more", "x"]).await;
    tell(&["HDEL", &key(&ids[7], ""), "last", "event"]).await;
    tell(&["SET", &key(&ids[8], ":dev:device"), "a string"]).await;
    tell(&["HSET", &key(&ids[9], ":dev:device"), "device", "{"]).await;
    // A wish and a QR: as good as none.
    tell(&["HSET", &key(&ids[10], ""), "wish", "{", "wished", "now"]).await;
    tell(&["RPUSH", &key(&ids[11], ":qr"), "x"]).await;
}

#[tokio::test]
async fn ten_of_a_thousand_in_redis_are_damaged_and_the_others_run() {
    let redis = Redis::start().await;
    let (ids, epoch) = store_in(&redis, 1000).await;
    damage(&redis, &ids).await;
    let server = Server::builder("ws://127.0.0.1:9/ws/chat")
        .variable("CLEANUP_INTERVAL_SECONDS", "1")
        .variable("REDIS_URL", &redis.url())
        .variable("LEASE_TTL_MS", "10000")
        .variable("MAX_SESSIONS", "2000")
        .start()
        .await;
    eventually("Redis to be reached", || async { server.get("/readyz").await.status() == StatusCode::OK })
        .await;
    eventually("990 to run", || async {
        let metrics = server.get("/metrics").await.text().await.unwrap();
        let owned = metrics.lines().filter(|line| line.starts_with("qrcast_sessions{"));
        let owned = owned.map(|line| line.rsplit_once(' ').unwrap().1.parse::<usize>().unwrap());
        owned.sum::<usize>() == 990
    })
    .await;
    let said = |text: &str| server.log().iter().filter(|line| line.contains(text)).count();
    eventually("ten to be named", || async { said(SKIPPED) == 10 }).await;
    let (listed, stored) = (list(&server).await, format!("{epoch}-"));
    // Of the last four the record can be read, and says that nobody runs them.
    assert!(listed.iter().all(|session| ids[..6].iter().all(|id| session["sessionId"] != id.as_str())));
    let own = |session: &&Value| !session["lastEventId"].as_str().unwrap_or(&stored).starts_with(&stored);
    assert_eq!((listed.len(), listed.iter().filter(own).count()), (994, 990));
    let health: Value = server.get("/health").await.json().await.unwrap();
    let alert = health["alerts"].as_array().unwrap().iter().find(|alert| alert["name"] == "storage_damaged");
    assert_eq!((&health["status"], &alert.unwrap()["value"]), (&"healthy".into(), &10.into()));
    for id in [&ids[0], &ids[2], &ids[6]] {
        let answer = server.get(&format!("/api/session-status/{id}")).await;
        assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR, "{id}");
        assert!(answer.headers().get("retry-after").is_none());
        assert_eq!(answer.json::<Value>().await.unwrap()["code"], "STORE_DAMAGED");
    }
    // A key of the wrong kind for a request that is to be done once: it is done.
    let once = "qrcast:{idem:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae}";
    redis.tell::<()>(&["SET", once, "a string"]).await;
    let mut made = Vec::new();
    for _ in 0..2 {
        let request =
            server.request(reqwest::Method::POST, "/api/init-session").header("Idempotency-Key", "foo");
        let answer = request.json(&serde_json::json!({ "userId": "late" })).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        made.push(answer.json::<Value>().await.unwrap()["sessionId"].clone());
    }
    assert_eq!((&made[0], said("was replaced")), (&made[1], 1));
    // Nor is a link task begun that would try for ever.
    let restart = server.session(ids[9].as_str()).restart().await;
    assert_eq!(restart.status(), StatusCode::INTERNAL_SERVER_ERROR);

    let (code, listing) = check_store_of("REDIS_URL", &redis.url(), &[]);
    assert_eq!((code, listing.lines().count()), (Some(1), 11), "{listing}");
    let (code, refusal) = check_store_of("REDIS_URL", &redis.url(), &["--quarantine"]);
    assert!(code == Some(1) && refusal.contains("1 replicas run on this Redis"), "{refusal}");
    assert_eq!((said(SKIPPED), said("clean-up failed"), said("session error")), (10, 0, 0));
    server.crash().await;
    eventually("its lease to lapse", || async {
        let (code, _) = check_store_of("REDIS_URL", &redis.url(), &["--quarantine"]);
        code == Some(0)
    })
    .await;
    let (code, listing) = check_store_of("REDIS_URL", &redis.url(), &[]);
    assert_eq!(code, Some(0), "{listing}");
    let aside: Vec<String> =
        redis.keys().await.into_iter().filter(|key| key.contains("}:quarantine:")).collect();
    for (at, what) in [(0, ":session"), (2, ":session"), (6, ":log"), (7, ":log"), (8, ":dev:device")] {
        let of = format!("qrcast:{{{}}}:quarantine:", ids[at]);
        assert!(
            aside.iter().any(|key| key.starts_with(&of) && key.ends_with(what)),
            "{at} {what}: {aside:?}"
        );
    }
    assert!(redis.mentions("nonsense").await.iter().all(|key| key.contains("}:quarantine:")));
}

/// A damaged event alone is set aside: its session runs from what is left of its log.
#[tokio::test]
async fn a_damaged_event_in_redis_is_set_aside_alone() {
    let redis = Redis::start().await;
    let (ids, epoch) = store_in(&redis, 3).await;
    let tell = async |words: &[&str]| redis.tell::<::redis::Value>(words).await;
    let at = |seq: u32| format!("{epoch}-{seq}");
    let good = body(&ids[0], epoch.cast_unsigned());
    // In the middle; at the end, where the hash has it once more; in the hash alone.
    for (id, bodies) in [(&ids[0], ["[]", &good]), (&ids[1], [&good, ""])] {
        for (seq, body) in [(2, bodies[0]), (3, bodies[1])] {
            tell(&["XADD", &key(id, ":log"), &at(seq), "e", body]).await;
        }
        tell(&["HSET", &key(id, ""), "last", &at(3), "event", &good]).await;
    }
    tell(&["HSET", &key(&ids[2], ""), "event", "{"]).await;
    tell(&["SADD", &index(&ids[2], "logs"), "nonsense"]).await;

    let (code, said) = check_store_of("REDIS_URL", &redis.url(), &["--json"]);
    let said: Value = serde_json::from_str(&said).unwrap();
    let mut named: Vec<_> =
        said["damaged"].as_array().unwrap().iter().map(|one| one["key"].as_str().unwrap()).collect();
    named.sort_unstable();
    assert_eq!((code, &named[..2]), (Some(1), &[&*at(2), &at(3)][..]), "{said}");
    assert_eq!(named[2..], ["event", "nonsense"]);
    assert!(!said.to_string().contains("secret"));
    let (code, said) = check_store_of("REDIS_URL", &redis.url(), &["--quarantine"]);
    assert_eq!(code, Some(0), "{said}");
    let log = async |id: &SessionId| -> Vec<String> {
        let entries: Vec<(String, Vec<String>)> = redis.tell(&["XRANGE", &key(id, ":log"), "-", "+"]).await;
        entries.into_iter().map(|(id, _)| id).collect()
    };
    assert_eq!(log(&ids[0]).await, [at(1), at(3)]);
    assert_eq!(log(&ids[1]).await, [at(1), at(2), at(3)]);
    let (code, said) = check_store_of("REDIS_URL", &redis.url(), &[]);
    assert_eq!(code, Some(0), "{said}");
    let end: String = redis.tell(&["HGET", &key(&ids[2], ""), "event"]).await;
    assert!(end.contains("connection_lost"), "{end}");
    // What was there is there still.
    let aside =
        redis.keys().await.into_iter().filter(|key| key.contains("}:quarantine:")).collect::<Vec<_>>();
    assert!(aside.iter().filter(|key| key.ends_with(":log")).count() >= 2, "{aside:?}");
}
