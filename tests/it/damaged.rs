//! Stored records that cannot be read: each is named once and stops nothing else, and `qrcast check-store` sets it aside.

use std::path::Path;
use std::process::{Command, Output};

use qrcast::event::{Cursor, Disconnected, Event, Kind, Reason, State, Time};
use qrcast::id::SessionId;
use reqwest::StatusCode;
use rusqlite::{Connection, params};
use serde_json::Value;

use crate::support::{Server, eventually};

/// What the log says once of each.
const SKIPPED: &str = "a stored record is damaged and was skipped";

/// `qrcast check-store` with these arguments; its exit code, and what it said.
fn check_store(folder: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_qrcast"));
    command.arg("check-store").args(arguments).env_clear().env("DATA_DIR", folder);
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
