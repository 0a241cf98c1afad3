//! `qrcast backup`: a copy of a running server's database, and a restore of it.

use std::path::Path;
use std::process::Output;

use tokio::process::Command;

use crate::support::{Server, soon, whatsapp};

async fn backup(folder: &Path, file: &Path, more: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_qrcast"));
    command.arg("backup").arg(file).env_clear().env("DATA_DIR", folder).envs(more.iter().copied());
    soon("the copy", command.kill_on_drop(true).output()).await.unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8([output.stdout.clone(), output.stderr.clone()].concat()).unwrap()
}

fn names_in(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_running_server_is_copied_and_restored_after_a_loss() {
    let (whatsapp, elsewhere) = (whatsapp().await, tempfile::tempdir().unwrap());
    let server = Server::builder(&whatsapp.url()).start().await;
    let builder = server.builder_again();
    let ada = server.init("ada").await;
    let jid = ada.link(&whatsapp).await;
    let seen = ada.sse().await.until("ready").await;
    server.init("bob").await;
    let copy = elsewhere.path().join("copy.sqlite");

    let output = backup(builder.folder(), &copy, &[]).await;
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(said(&output).contains("nothing is damaged; 2 sessions can be read"), "{}", said(&output));
    assert_eq!(names_in(elsewhere.path()), ["copy.sqlite"], "it is one file");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(std::fs::metadata(&copy).unwrap().permissions().mode() & 0o777, 0o600);
    }
    // The server goes on as if nothing had been.
    assert_eq!(ada.status().await["status"], "connected");
    let id = ada.id.clone();

    // The folder is lost; the newest copy is put into an empty one.
    server.crash().await;
    for name in names_in(builder.folder()) {
        std::fs::remove_file(builder.folder().join(name)).unwrap();
    }
    std::fs::copy(&copy, builder.folder().join("qrcast.sqlite")).unwrap();
    let server = builder.start().await;
    let ada = server.session(&id);
    assert_eq!(ada.reaches("connected").await["me"]["id"], jid);
    let device = whatsapp.state().devices.into_iter().find(|device| device.jid == jid).unwrap();
    assert_eq!(device.concurrent, 1);
    // A page that was open meanwhile goes on where it was.
    let last = seen.last().unwrap().id.clone().unwrap();
    ada.sse_after(Some(&last)).await.until("ready").await;
}

#[tokio::test]
async fn what_cannot_be_copied_is_said_and_nothing_is_left_behind() {
    let (whatsapp, elsewhere) = (whatsapp().await, tempfile::tempdir().unwrap());
    let server = Server::builder(&whatsapp.url()).start().await;
    server.init("ada").await;
    let (folder, none) = (server.folder(), elsewhere.path().join("none"));
    let (copy, taken) = (elsewhere.path().join("copy.sqlite"), elsewhere.path().join("taken"));
    std::fs::write(&taken, "somebody's").unwrap();
    let redis = [("REDIS_URL", "redis://127.0.0.1:1")];
    for (folder, file, more, word) in [
        (folder, &taken, &[][..], "is already there; a copy never replaces a file"),
        (folder, &none.join("copy.sqlite"), &[], "cannot write"),
        (&*none, &copy, &[], "has no database: there is nothing to copy"),
        (folder, &copy, &redis, "REDIS_URL is set"),
    ] {
        let output = backup(folder, file, more).await;
        assert_eq!(output.status.code(), Some(1), "{}", said(&output));
        assert!(said(&output).contains(word), "{}", said(&output));
    }
    assert_eq!(names_in(elsewhere.path()), ["taken"]);
    assert_eq!(std::fs::read(&taken).unwrap(), b"somebody's");
}
