//! A server that is one folder of a site: the page, its files, the calls and the streams are all in there.

use reqwest::Method;

use super::client::Client;
use super::front::{Kind, Plan};
use super::{builder, chromium};
use crate::support::{soon, whatsapp};

pub(super) async fn works(kind: Kind) {
    let plan = Plan::of(kind).in_a_folder();
    let public = format!("{}/wa", plan.origin());
    let whatsapp = whatsapp().await;
    let server = builder(&whatsapp).variable("API_KEYS", "").variable("PUBLIC_URL", &public).start().await;
    let front = plan.start(&server.base).await;
    // Without the slash, as people type it.
    let browser = chromium(&public).await;
    browser.reads("Whose account is it?").await;
    assert_eq!(browser.js::<String>("location.pathname").await, "/wa/", "{kind:?}");
    browser.types("ada").await;
    browser.presses("Enter").await;
    browser.sees("qr").await;
    // The page follows by WebSocket; an EventSource gets there as well.
    let stream =
        "new EventSource('/wa/api/sessions/' + new URL(location).searchParams.get('session') + '/events')";
    let heard = "new Promise((heard) => source.addEventListener('qr', (event) => heard(event.lastEventId)))";
    let id: String = browser.js(&format!("(() => {{ const source = {stream}; return {heard}; }})()")).await;
    assert!(id.contains('-'), "{kind:?}: {id}");
    let (asked, _) = browser.asked();
    let inside = format!("{public}/");
    let socket = format!("{}/api/sessions/", public.replacen("https", "wss", 1));
    assert!(asked.iter().any(|url| url.starts_with(&socket)), "{kind:?}: {asked:#?}");
    let is_inside = |url: &String| {
        *url == public
            || url.starts_with(&inside)
            || url.starts_with(&socket)
            || url.starts_with("data:")
            || url.starts_with("about:")
    };
    assert!(asked.iter().all(is_inside), "{kind:?}: {asked:#?}");
    browser.closes().await;

    // What is not in there is the site's own.
    let client = Client::from("127.0.0.9", &front).await;
    for path in ["/api/sessions", "/health", "/qrcast.js"] {
        assert!(!client.get(path).await.status().is_success(), "{kind:?} {path}");
    }
    assert!(client.get("/wa/health").await.status().is_success(), "{kind:?}");
    server.crash().await;
    let answer = soon("an answer", client.request(Method::GET, "/wa/api/events").send()).await.unwrap();
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()["content-type"]),
        (200, &"text/event-stream".parse().unwrap())
    );
}
