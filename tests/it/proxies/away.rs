//! A server that is away for a while. The EventSource of a browser gives up for good on any answer but 200, so the proxy must
//! not give it another one.

use serde_json::Value;

use super::client::Client;
use super::front::{Front, Kind, Plan};
use super::{KEY, builder, chromium};
use crate::event_source::{drains, follows, hears, ids, log_after, prepares};
use crate::support::browser::Browser;
use crate::support::proxy::{Site, free_port};
use crate::support::redis::Redis;
use crate::support::replicas::is_ready;
use crate::support::{Server, eventually, whatsapp};

/// Killed without a goodbye, and started again after the browser has asked in vain.
pub(super) async fn loses_no_event_source(kind: Kind) {
    let whatsapp = whatsapp().await;
    let server = builder(&whatsapp).variable("PORT", &free_port()).start().await.with_key(KEY);
    let front = Plan::of(kind).start(&server.base).await;
    let session = server.init("ada").await;
    let id = session.id.clone();
    session.link(&whatsapp).await;
    let browser = chromium(&front.base).await;
    prepares(&browser).await;
    follows(&browser, "first", &session, None).await;
    hears(&browser, "first", "ready", 1).await;
    let protocol = "performance.getEntriesByType('navigation')[0].nextHopProtocol";
    assert_eq!(browser.js::<String>(protocol).await, "h2", "{kind:?}");

    let again = server.crash().await;
    // The proxy's: the server had no time to say anything.
    hears(&browser, "first", "drain", 1).await;
    is_told_to_every_page(&front).await;
    let server = again.start().await.with_key(KEY);
    hears(&browser, "first", "status", 2).await;
    let session = server.session(&id);
    session.reaches("connected").await;
    eventually("the page to be there", async || {
        let last: Value = browser.js("first.heard.at(-1)").await;
        last["event"] == "ready" && last["id"] == session.status().await["lastEventId"]
    })
    .await;
    let ids = ids(&browser, "first").await;
    assert_eq!(ids, log_after(&session, &ids[0]).await, "{kind:?}");
    browser.closes().await;
    // A token is as good as a key for its session, and whoever reads logs has no business with it.
    let logs = front.logs();
    assert!(logs.contains("/api/sessions/"), "{kind:?}: {logs}");
    assert!(!logs.contains("token"), "{kind:?}: {logs}");
}

/// One of another site, too, to which an answer without this header is another end for good.
async fn is_told_to_every_page(front: &Front) {
    let client = Client::from("127.0.0.9", front).await;
    let answer = client.get("/api/events").await;
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()["content-type"]),
        (200, &"text/event-stream".parse().unwrap())
    );
    assert_eq!(answer.headers()["access-control-allow-origin"], "*");
    assert!(answer.text().await.unwrap().starts_with("retry: 2000\nevent: drain\ndata: {"));
    // Nobody else is told that all is well.
    assert!(client.get("/api/sessions").await.status().is_server_error());
}

/// The page of another site, which may read an answer only where a header says so; without it an EventSource ends as well.
pub(super) async fn a_page_of_another_site(may_read: bool) {
    let (whatsapp, site) = (whatsapp().await, Site::start().await);
    site.shows("");
    let server = builder(&whatsapp).variable("ALLOWED_ORIGINS", &site.origin).start().await.with_key(KEY);
    let plan = Plan::of(Kind::Nginx);
    let header = "add_header Access-Control-Allow-Origin *;";
    let front = if may_read { plan } else { plan.change(header, "") }.start(&server.base).await;
    let session = server.init("ada").await;
    let token = session.answer["streamToken"].as_str().unwrap();
    let mut browser = chromium(&site.origin).await;
    browser.knows(&front.base);
    let url = format!("{}/api/sessions/{}/events?token={token}", front.base, session.id);
    let source = format!(
        "(() => {{
           globalThis.heard = [];
           globalThis.source = new EventSource('{url}');
           for (const name of ['status', 'drain']) source.addEventListener(name, () => heard.push(name));
           return null;
         }})()"
    );
    browser.js::<Value>(&source).await;
    browser.until("heard.includes('status')").await;
    server.crash().await;
    if may_read {
        browser.until("heard.includes('drain')").await;
        assert_ne!(browser.js::<u8>("source.readyState").await, 2);
    } else {
        browser.until("source.readyState === 2").await;
        assert_eq!(browser.js::<Vec<String>>("heard").await, ["status"]);
    }
    browser.forgives();
    browser.closes().await;
}

/// What the lines for it are there for.
pub(super) async fn without_an_answer_of_its_own_the_proxy_ends_it() {
    let whatsapp = whatsapp().await;
    let server: Server = builder(&whatsapp).start().await.with_key(KEY);
    let plan = Plan::of(Kind::Nginx).change("error_page 502 503 504 = @qrcast_away;", "");
    let front = plan.start(&server.base).await;
    let session = server.init("ada").await;
    let browser: Browser = chromium(&front.base).await;
    prepares(&browser).await;
    follows(&browser, "first", &session, None).await;
    hears(&browser, "first", "status", 1).await;
    server.crash().await;
    browser.until("first.source.readyState === 2").await;
    browser.forgives();
    browser.closes().await;
}

/// One of two is killed: the proxy sends its viewers to the other one, and none of them is told to wait.
pub(super) async fn another_replica_takes_its_viewers(kind: Kind) {
    let (whatsapp, redis) = (whatsapp().await, Redis::start().await);
    let replica = async || {
        let builder = builder(&whatsapp).variable("REDIS_URL", &redis.url()).variable("LEASE_TTL_MS", "3000");
        let server = builder.start().await.with_key(KEY);
        is_ready(&server).await;
        server
    };
    let (first, second) = (replica().await, replica().await);
    let front = with_another(kind, &second).start(&first.base).await;
    let session = first.init("ada").await;
    session.link(&whatsapp).await;
    let browser = chromium(&front.base).await;
    prepares(&browser).await;
    let sources = ["one", "two", "three", "four"];
    for name in sources {
        follows(&browser, name, &session, None).await;
        hears(&browser, name, "ready", 1).await;
    }
    drop(session);
    first.crash().await;
    for name in sources {
        // The other one has the session now.
        hears(&browser, name, "ready", 2).await;
        assert_eq!(drains(&browser, name).await, [""; 0], "{kind:?}");
        ids(&browser, name).await;
    }
    browser.closes().await;
}

/// As docs/behind-a-proxy.md, "More replicas" says it.
fn with_another(kind: Kind, second: &Server) -> Plan {
    let plan = Plan::of(kind);
    let second = second.base.strip_prefix("http://").unwrap();
    match kind {
        Kind::Nginx => {
            let line = "server 127.0.0.1:3000;";
            plan.change(line, &format!("{line}\nserver {second};"))
        }
        Kind::Apache => {
            let line = "ProxyPass / http://127.0.0.1:3000/ upgrade=websocket retry=0 connectiontimeout=3";
            let member = |address| {
                format!("BalancerMember http://{address} upgrade=websocket retry=1 connectiontimeout=3")
            };
            let members = format!("{}\n{}", member("127.0.0.1:3000"), member(second));
            let modules = ["lbmethod_byrequests", "proxy_balancer", "slotmem_shm"];
            let load = modules
                .map(|name| format!("LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n"));
            plan.around(&load.concat()).change(
                line,
                &format!("<Proxy balancer://qrcast>\n{members}\n</Proxy>\nProxyPass / balancer://qrcast/"),
            )
        }
        Kind::Caddy => {
            let line = "reverse_proxy 127.0.0.1:3000";
            plan.change(line, &format!("{line} {second}"))
        }
        Kind::Haproxy => {
            let line = "server one 127.0.0.1:3000 check inter 1s fall 2 rise 1";
            let other = line.replace("one 127.0.0.1:3000", &format!("two {second}"));
            plan.change(line, &format!("{line}\n    {other}"))
        }
    }
}
