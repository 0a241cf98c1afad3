//! A folder, a file or a disk that is not as it should be: one clear line, nothing overwritten, no yes that is not stored.

use std::path::Path;
use std::process::{Command, Output};

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::{Server, eventually, whatsapp};

/// Starts a server that must not come up; what it said.
fn refused(data_dir: &Path) -> String {
    let variables = [("DATA_DIR", data_dir.to_str().unwrap()), ("PORT", "0"), ("RUST_LOG", "off")];
    let Output { status, stderr, .. } =
        Command::new(env!("CARGO_BIN_EXE_qrcast")).env_clear().envs(variables).output().unwrap();
    let said = String::from_utf8(stderr).unwrap();
    assert_eq!(status.code(), Some(1), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    said
}

#[tokio::test]
async fn one_folder_has_one_process() {
    let whatsapp = whatsapp().await;
    let server = Server::builder(&whatsapp.url()).start().await;
    // It serves, so it holds the folder.
    assert_eq!(server.get("/livez").await.status(), StatusCode::OK);
    let said = refused(server.builder_again().folder());
    assert!(said.contains("is in use by another process"), "{said}");
}

/// What is removed, moved or replaced under a running server: it says so, and nobody else starts in its place.
#[cfg(unix)]
#[tokio::test]
async fn what_is_replaced_under_a_running_server_is_unhealthy() {
    use std::fs;
    let whatsapp = whatsapp().await;
    for what in ["lock", "database", "copy", "log", "folder", "moved"] {
        let builder = Server::builder(&whatsapp.url());
        let folder = builder.folder().join("data");
        let server = builder.variable("DATA_DIR", folder.to_str().unwrap()).start().await;
        assert_eq!(server.get("/health").await.status(), StatusCode::OK);
        let (database, aside) = (folder.join("qrcast.sqlite"), folder.with_extension("aside"));
        match what {
            "lock" => {
                fs::remove_file(folder.join("lock")).unwrap();
                assert!(refused(&folder).contains("is in use by another process"));
            }
            "database" => fs::remove_file(&database).unwrap(),
            "copy" => {
                fs::copy(&database, &aside).unwrap();
                fs::rename(&aside, &database).unwrap();
            }
            "log" => fs::remove_file(folder.join("qrcast.sqlite-wal")).unwrap(),
            "folder" => {
                fs::rename(&folder, &aside).unwrap();
                fs::create_dir(&folder).unwrap();
            }
            _ => fs::rename(&folder, &aside).unwrap(),
        }
        eventually(what, || async {
            let health = server.get("/health").await;
            health.status() == StatusCode::SERVICE_UNAVAILABLE
                && health.json::<Value>().await.unwrap()["status"] == "unhealthy"
        })
        .await;
        assert!(server.log().iter().any(|line| line.contains("was removed, or replaced")), "{what}");
    }
}

/// What a crash leaves in the log and a bad disk takes from it: every link that was completed is there.
#[tokio::test]
async fn a_damaged_log_costs_no_link() {
    let whatsapp = whatsapp().await;
    let server = Server::builder(&whatsapp.url()).start().await;
    let mut linked = Vec::new();
    for user in ["ada", "bob", "eve"] {
        let session = server.init(user).await;
        session.link(&whatsapp).await;
        linked.push(session.id);
    }
    // Stored like everything else, and so in the log.
    assert_eq!(server.get("/health").await.status(), StatusCode::OK);
    let crashed = server.crash().await;
    let log = std::fs::read(crashed.folder().join("qrcast.sqlite-wal")).unwrap();
    assert!(log.len() > 4096, "the log is empty: nothing can be shown by damaging it");
    let flipped = |at: usize| {
        let mut log = log.clone();
        log[at] ^= 1;
        Some(log)
    };
    let damages = [
        ("one byte", flipped(log.len() / 2)),
        ("the header's", flipped(0)),
        ("the header's salt", flipped(17)),
        ("the first frame's", flipped(32 + 24 + 100)),
        ("cut in half", Some(log[..log.len() / 2].to_vec())),
        ("empty", Some(Vec::new())),
        ("another file", Some(vec![0x5a; log.len()])),
        ("deleted", None),
    ];
    for (what, damage) in damages {
        let copy = tempfile::tempdir().unwrap();
        for entry in std::fs::read_dir(crashed.folder()).unwrap() {
            let entry = entry.unwrap();
            std::fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
        }
        let file = copy.path().join("qrcast.sqlite-wal");
        match damage {
            Some(damage) => std::fs::write(&file, damage).unwrap(),
            None => std::fs::remove_file(&file).unwrap(),
        }
        let folder = copy.path().to_str().unwrap();
        let server = crashed.clone().variable("DATA_DIR", folder).start().await;
        for id in &linked {
            let status = server.session(id).reaches("connected").await;
            assert!(status["me"].is_object(), "{what}: {status}");
        }
    }
}

/// An old copy of a linked device is no copy of it: a database that lacks a link, an unlink or a stop does not start in silence.
#[tokio::test]
async fn an_older_database_is_refused_until_it_is_accepted() {
    let whatsapp = whatsapp().await;
    let mut server = Server::builder(&whatsapp.url()).start().await;
    let builder = server.builder_again();
    server.init("ada").await.link(&whatsapp).await;
    assert_eq!(server.terminate().await, Some(0));
    let (folder, file) = (builder.folder(), builder.folder().join("qrcast.sqlite"));
    let copy = |name: &str| std::fs::copy(&file, folder.join(name)).map(drop).unwrap();
    copy("stopped");
    let check_store = |argument: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_qrcast"));
        command.arg("check-store").args(argument).env_clear().env("DATA_DIR", folder);
        let Output { status, stdout, stderr } = command.output().unwrap();
        (status.code(), String::from_utf8([stdout, stderr].concat()).unwrap())
    };

    // One more link, and a crash.
    let server = builder.clone().start().await;
    let id = server.init("bob").await.id;
    server.session(&id).link(&whatsapp).await;
    server.crash().await;
    copy("linked");
    for suffix in ["-wal", "-shm"] {
        std::fs::remove_file(folder.join(format!("qrcast.sqlite{suffix}"))).unwrap();
    }
    // An unlink.
    let server = builder.clone().start().await;
    server.session(&id).reaches("connected").await;
    assert_eq!(server.session(&id).delete().await, StatusCode::NO_CONTENT);
    server.crash().await;
    let newest = std::fs::read(&file).unwrap();
    for suffix in ["-wal", "-shm"] {
        std::fs::remove_file(folder.join(format!("qrcast.sqlite{suffix}"))).unwrap();
    }

    for older in ["stopped", "linked"] {
        std::fs::copy(folder.join(older), &file).unwrap();
        let said = refused(folder);
        assert!(said.contains("is older than what was noted") && said.contains("--accept"), "{said}");
        for argument in [&[][..], &["--quarantine"]] {
            let (code, said) = check_store(argument);
            assert!(code == Some(1) && said.contains("is older than what was noted"), "{said}");
        }
        assert!(
            std::fs::read(&file).unwrap() == std::fs::read(folder.join(older)).unwrap(),
            "it was changed"
        );
    }
    std::fs::remove_file(&file).unwrap();
    let said = refused(folder);
    assert!(said.contains("is gone, and sessions were kept in it"), "{said}");
    assert!(!file.exists(), "an empty one was made");
    let note = folder.join("milestone");
    let noted = std::fs::read_to_string(&note).unwrap();
    std::fs::write(&file, &newest).unwrap();
    std::fs::write(&note, "seven").unwrap();
    assert!(refused(folder).contains("is not a number"));
    std::fs::write(&note, noted).unwrap();
    // The newest is none of these.
    builder.clone().start().await.crash().await;

    std::fs::copy(folder.join("stopped"), &file).unwrap();
    for suffix in ["-wal", "-shm"] {
        let _ = std::fs::remove_file(folder.join(format!("qrcast.sqlite{suffix}")));
    }
    let (code, said) = check_store(&["--accept"]);
    assert_eq!(code, Some(0), "{said}");
    let server = builder.clone().start().await;
    assert_eq!(
        server.get("/api/sessions").await.json::<Value>().await.unwrap()["sessions"][0]["userId"],
        "ada"
    );
    server.crash().await;
    // Nothing at all is accepted, too.
    for suffix in ["", "-wal", "-shm"] {
        std::fs::remove_file(folder.join(format!("qrcast.sqlite{suffix}"))).unwrap();
    }
    assert_eq!(check_store(&["--accept"]).0, Some(0));
    let server = builder.start().await;
    assert_eq!(server.get("/api/sessions").await.json::<Value>().await.unwrap()["sessions"], json!([]));
}

#[test]
fn a_folder_that_cannot_be_written_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "not a folder").unwrap();
    let said = refused(&file.join("data"));
    assert!(said.contains("cannot write to") && said.contains("file/data"), "{said}");
}

#[test]
fn a_file_that_is_no_database_of_ours_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("qrcast.sqlite");
    std::fs::write(&file, "a shopping list, by accident under this name").unwrap();
    assert!(refused(folder.path()).contains("is not a database of qrcast"));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "a shopping list, by accident under this name");
}

#[tokio::test]
async fn a_damaged_database_is_refused_and_left_alone() {
    let whatsapp = whatsapp().await;
    let mut server = Server::builder(&whatsapp.url()).start().await;
    server.init("ada").await.link(&whatsapp).await;
    let folder = server.builder_again();
    assert_eq!(server.terminate().await, Some(0));
    let file = folder.folder().join("qrcast.sqlite");
    let whole = std::fs::read(&file).unwrap();
    let mut garbled = whole.clone();
    let middle = garbled.len() / 2;
    garbled[middle..middle + 4096].fill(0x5a);
    for damaged in [whole[..whole.len() - 5000].to_vec(), Vec::new(), garbled] {
        std::fs::write(&file, &damaged).unwrap();
        let said = refused(folder.folder());
        assert!(said.contains("is damaged"), "{said}");
        assert!(std::fs::read(&file).unwrap() == damaged, "it was changed");
    }
    // A newer program's.
    std::fs::write(&file, &whole).unwrap();
    let database = rusqlite::Connection::open(&file).unwrap();
    database.pragma_update(None, "user_version", 999).unwrap();
    drop(database);
    assert!(refused(folder.folder()).contains("schema 999, written by a newer version"));
}

/// A disk of 3 MB, full: the file system is one of memory, mounted in a name space of the server's own.
#[tokio::test]
async fn a_full_disk_is_unhealthy_and_nothing_is_promised() {
    let whatsapp = whatsapp().await;
    let builder = Server::builder(&whatsapp.url());
    let Some(disk) = builder.small_disk() else {
        // Neither root nor user name spaces: there is no small disk to be had, and nothing was shown.
        eprintln!("not run: no name space for a small disk");
        return;
    };
    let server = disk.start().await;
    let session = server.init("ada").await;
    session.link(&whatsapp).await;
    let linked = session.id.clone();
    let filler = json!({ "note": "x".repeat(15_000) });
    let mut made = Vec::new();
    let refusal: Value = loop {
        let body = json!({ "userId": format!("u{}", made.len()), "metadata": filler });
        let response = server.post("/api/init-session", &body).await;
        if response.status() != StatusCode::OK {
            assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
            break response.json().await.unwrap();
        }
        made.push(response.json::<Value>().await.unwrap()["sessionId"].as_str().unwrap().to_owned());
        assert!(made.len() < 1000, "the disk never filled");
    };
    assert_eq!(refusal["code"], "INIT_ERROR");
    eventually("health to say so", || async {
        let response = server.get("/health").await;
        let status = response.status();
        status == StatusCode::SERVICE_UNAVAILABLE
            && response.json::<Value>().await.unwrap()["status"] == "unhealthy"
    })
    .await;
    // What could not be started again is not stopped.
    let session = server.session(&linked);
    assert_eq!(session.restart().await.status(), StatusCode::SERVICE_UNAVAILABLE);
    let status = session.status().await;
    assert_eq!((&status["status"], &status["clientActive"]), (&json!("connected"), &json!(true)));
    let said = |words: &str| server.log().iter().filter(|line| line.contains(words)).count();
    assert_eq!((said("the store takes no writes"), said("the store takes writes again")), (1, 0));
    // Whoever got a yes is there.
    for id in &made {
        assert_eq!(server.session(id).status().await["sessionId"], *id);
    }
}
