//! What a stream token can be exchanged for, and what it cannot do.

use super::*;
use crate::support::eventually;
use crate::support::redis::Redis;

#[tokio::test]
async fn a_token_is_renewed_for_the_same_or_less_and_not_for_ever() {
    let whatsapp = whatsapp().await;
    let server = Server::builder(&whatsapp.url())
        .variable("API_KEYS", "main:all-of-it")
        .variable("TOKEN_MAX_AGE_SECONDS", "60")
        .start()
        .await;
    let (id, first) = new_session(&server, "ada").await;
    let (_, read) = token(&server, &id, &first, &json!({ "scope": "read" })).await;
    let read = read["streamToken"].as_str().unwrap();
    let (status, error) = token(&server, &id, read, &json!({ "scope": "link" })).await;
    assert_eq!((status, &error["code"]), (403, &json!("FORBIDDEN")));
    let (_, again) = token(&server, &id, read, &json!({})).await;
    assert_eq!(again["scope"], "read");
    // Never past the age of the first, whoever renews it, and whatever is asked for.
    let until = |answer: &Value| answer["streamTokenExpiresAt"].as_str().unwrap().to_owned();
    let (_, renewed) = token(&server, &id, &first, &json!({ "ttlSeconds": 60 })).await;
    assert!(until(&renewed) <= until(&again), "{renewed} {again}");
    for (body, field) in [
        (json!({ "ttlSeconds": 0 }), "ttlSeconds"),
        (json!({ "ttlSeconds": 61 }), "ttlSeconds"),
        (json!({ "ttlSeconds": "9" }), "ttlSeconds"),
        (json!({ "scope": "write" }), "scope"),
    ] {
        let (status, error) = token(&server, &id, &first, &body).await;
        assert_eq!((status, &error["code"]), (400, &json!("INVALID_BODY")), "{body}");
        assert_eq!(error["details"]["field"], field);
    }
    // No body is no wish.
    let path = format!("/api/sessions/{id}/stream-token");
    assert_eq!(call(&server, Method::POST, &path, &Credential::Bearer(first)).await.0, 200);
}

#[tokio::test]
async fn a_token_restarts_what_is_not_linked_only() {
    let (whatsapp, server) = locked().await;
    let (id, token) = new_session(&server, "ada").await;
    let key = Credential::Bearer("all-of-it".into());
    let restart = format!("/api/sessions/{id}/restart");
    let credential = Credential::Bearer(token);
    assert_eq!(call(&server, Method::POST, &restart, &credential).await.0, 202);
    has_qr(&server, &id).await;
    let request = server.request(Method::GET, &format!("/api/qr-code/{id}")).bearer_auth("all-of-it");
    let qr: Value = request.send().await.unwrap().json().await.unwrap();
    let qr = qr["qrString"].as_str().unwrap().to_owned();
    soon("a scan", whatsapp.scan(simulator::Scan { qr, ..Default::default() })).await.unwrap();
    let path = format!("/api/session-status/{id}");
    soon("the link", async {
        loop {
            let request = server.request(Method::GET, &path).bearer_auth("all-of-it");
            let status: Value = request.send().await.unwrap().json().await.unwrap();
            if status["status"] == "connected" {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    })
    .await;
    assert_eq!(call(&server, Method::POST, &restart, &credential).await, (403, "FORBIDDEN".into()));
    assert_eq!(call(&server, Method::POST, &restart, &key).await.0, 202);
}

#[tokio::test]
async fn every_replica_reads_a_token_also_after_redis_has_lost_the_secret() {
    let (whatsapp, redis) = (whatsapp().await, Redis::start().await);
    let replica = || {
        Server::builder(&whatsapp.url())
            .variable("REDIS_URL", &redis.url())
            .variable("LEASE_TTL_MS", "3000")
            .variable("API_KEYS", "main:all-of-it")
    };
    let (one, other) = (replica().start().await, replica().start().await);
    for server in [&one, &other] {
        eventually("both to be ready", async || server.get("/readyz").await.status() == 200).await;
    }
    let (id, first) = new_session(&one, "ada").await;
    let path = format!("/api/session-status/{id}");
    let reads = async |server: &Server, token: &str| {
        call(server, Method::GET, &path, &Credential::Bearer(token.to_owned())).await.0 == 200
    };
    assert!(reads(&one, &first).await && reads(&other, &first).await);
    redis.tell::<()>(&["FLUSHALL"]).await;
    // Whichever replica is asked gives tokens that the other reads, and the old one is still good.
    for (giver, reader) in [(&one, &other), (&other, &one)] {
        eventually("a token that both read", async || {
            let (status, answer) = token(giver, &id, "all-of-it", &json!({})).await;
            status == 200
                && reads(reader, answer["streamToken"].as_str().unwrap()).await
                && reads(reader, &first).await
        })
        .await;
    }
    // One that comes later finds it again.
    let is_stored = async || redis.keys().await.iter().any(|key| key.ends_with("token-secret"));
    eventually("the secret to be stored again", is_stored).await;
    let third = replica().start().await;
    eventually("a third to read it", async || reads(&third, &first).await).await;
}

#[tokio::test]
async fn what_a_proxy_asks_a_browser_for_is_not_ours() {
    let (_whatsapp, server) = locked().await;
    let (id, token) = new_session(&server, "ada").await;
    let get = async |path: &str, headers: &[(&str, &str)]| {
        let mut request = server.request(Method::GET, path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        soon(path, request.send()).await.unwrap().status().as_u16()
    };
    let status = format!("/api/session-status/{id}");
    let escaped = token.replace('.', "%2E").replace('-', "%2d");
    for other in ["Basic dXNlcjpwYXNz", "Negotiate YII=", "Digest username=\"ada\""] {
        let other = ("Authorization", other);
        assert_eq!(get(&format!("{status}?token={token}"), &[other]).await, 200, "{other:?}");
        assert_eq!(get(&status, &[other, ("X-Api-Key", "all-of-it")]).await, 200, "{other:?}");
        assert_eq!(
            get(&status, &[other, ("Authorization", &format!("Bearer {token}"))]).await,
            200,
            "{other:?}"
        );
        assert_eq!(get(&status, &[other]).await, 401, "{other:?}");
    }
    assert_eq!(get(&format!("{status}?token={escaped}"), &[]).await, 200);
    // A wrong answer to our own question stays one.
    assert_eq!(get(&format!("{status}?token={token}"), &[("Authorization", "Bearer nonsense")]).await, 401);
    // A WebSocket of a browser behind such a proxy.
    let mut request = format!("{}/api/sessions/{id}/ws", server.base.replacen("http", "ws", 1))
        .into_client_request()
        .unwrap();
    for (name, value) in [
        ("authorization", "Basic dXNlcjpwYXNz".to_owned()),
        ("sec-websocket-protocol", format!("qrcast.v1, bearer.{token}")),
    ] {
        request.headers_mut().insert(name, value.parse().unwrap());
    }
    let (_socket, response) = soon("an upgrade", tokio_tungstenite::connect_async(request)).await.unwrap();
    assert_eq!(response.headers()["sec-websocket-protocol"], "qrcast.v1");
}

#[tokio::test]
async fn a_secret_in_the_store_that_can_be_guessed_is_refused() {
    let (whatsapp, redis) = (whatsapp().await, Redis::start().await);
    let replica = || Server::builder(&whatsapp.url()).variable("REDIS_URL", &redis.url());
    let replica = || replica().variable("API_KEYS", "main:all-of-it");
    let key = "qrcast:{data}:token-secret";
    for (secret, length) in [("", 0), ("short", 5), (&"x".repeat(31), 31), (&" ".repeat(8), 8)] {
        redis.tell::<()>(&["SET", key, secret]).await;
        let mut server = replica().start().await;
        assert_eq!(server.ends().await, Some(1), "{secret:?}");
        let said = server.log().pop().unwrap();
        assert!(said.contains("TOKEN_SECRET") && said.contains(&format!(" {length} bytes")), "{said}");
    }
    redis.tell::<()>(&["DEL", key]).await;
    let server = replica().start().await;
    eventually("it to be ready", async || server.get("/readyz").await.status() == 200).await;
    let (id, first) = new_session(&server, "ada").await;
    // While it runs what was good goes on to be, and nothing is signed with what is not.
    for secret in ["", "short"] {
        redis.tell::<()>(&["SET", key, secret]).await;
        eventually("a line", async || {
            server.log().iter().any(|line| line.contains("the token secret is not taken"))
        })
        .await;
        let path = format!("/api/session-status/{id}");
        assert_eq!(call(&server, Method::GET, &path, &Credential::Bearer(first.clone())).await.0, 200);
    }
}

#[tokio::test]
async fn a_secret_in_the_file_that_can_be_guessed_is_refused() {
    let whatsapp = whatsapp().await;
    let mut server = Server::builder(&whatsapp.url()).start().await;
    assert_eq!(server.terminate().await, Some(0));
    let folder = server.builder_again();
    for secret in ["", "short"] {
        let file = rusqlite::Connection::open(folder.folder().join("qrcast.sqlite")).unwrap();
        file.execute("UPDATE token_secret SET secret = ?1", [secret]).unwrap();
        drop(file);
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_qrcast"));
        let output = command.env_clear().env("DATA_DIR", folder.folder()).env("PORT", "0").output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("TOKEN_SECRET") && !said.contains("listening"), "{said}");
    }
}
