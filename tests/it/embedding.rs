//! In somebody else's page, on another site: the element with the server's script and streams, the QR as an image, and the
//! live page in a frame. In Chromium, which is the one that forbids it to everyone else.

use serde_json::{Value, json};
use simulator::{Scan, Simulator};

use crate::support::browser::{Browser, Screen};
use crate::support::proxy::Site;
use crate::support::{Server, Session, eventually, soon, whatsapp};

/// A server with keys that one site may use, and that site.
async fn world() -> (Simulator, Server, Site) {
    let (whatsapp, site) = (whatsapp().await, Site::start().await);
    let server = Server::builder(&whatsapp.url())
        .variable("API_KEYS", "main:all-of-it")
        .variable("ALLOWED_ORIGINS", &format!("https://elsewhere.example,{}", site.origin))
        .start()
        .await;
    (whatsapp, server.with_key("all-of-it"), site)
}

fn token<'a>(session: &'a Session<'_>) -> &'a str {
    session.answer["streamToken"].as_str().unwrap()
}

/// The element as docs and examples have it.
fn element(session: &Session<'_>) -> String {
    format!(
        "<script type=module src='{}/qrcast.js'></script><qrcast-link session='{}' token='{}'></qrcast-link>",
        session.server.base,
        session.id,
        token(session)
    )
}

/// The live page, where its address leads.
fn frame(session: &Session<'_>) -> String {
    let loaded = "document.title = 'loaded'";
    format!("<iframe src='{}' width=1100 height=700 onload=\"{loaded}\"></iframe>", session.link_url())
}

async fn scans(whatsapp: &Simulator, qr: String) {
    soon("a scan", whatsapp.scan(Scan { qr, push_name: Some("Ada Lovelace".into()), ..Scan::default() }))
        .await
        .unwrap();
}

#[tokio::test]
async fn an_allowed_site_has_the_element_with_every_transport() {
    let (whatsapp, server, site) = world().await;
    let session = server.init("ada").await;
    site.shows(&element(&session));
    let mut browser = Browser::open(Screen::WIDE, &site.origin).await;
    browser.knows(&server.base);
    browser.sees("qr").await;
    let base = json!(server.base);
    for transport in ["websocket", "sse", "polling"] {
        browser
            .js::<Value>(&format!(
                "(async () => {{
                   const {{ subscribe }} = await import({base} + '/qrcast.js');
                   globalThis.heard = [], globalThis.over = [];
                   subscribe('{}', {{
                     token: '{}', transports: ['{transport}'],
                     onEvent: ({{ event }}) => heard.push(event),
                     onState: ({{ phase, transport }}) => phase === 'open' && over.push(transport),
                   }});
                 }})()",
                session.id,
                token(&session)
            ))
            .await;
        browser.until("heard.includes('qr')").await;
        assert_eq!(browser.js::<Vec<String>>("over").await, [transport]);
    }
    // What a page makes of it without the script.
    browser
        .js::<Value>(&format!(
            "(() => {{
               const query = '?token={}';
               globalThis.source = new EventSource({base} + '/api/sessions/{id}/events' + query);
               source.addEventListener('qr', () => (globalThis.isTold = true));
               globalThis.image = new Image();
               image.src = {base} + '/api/qr-code/{id}.png' + query;
             }})()",
            token(&session),
            id = session.id
        ))
        .await;
    browser.until("globalThis.isTold === true && image.naturalWidth > 0").await;
    let qr = browser.qr_on_the_screen().await;
    eventually("the QR of the API on the screen", async || {
        let shown = browser.qr_on_the_screen().await;
        shown.is_some() && shown.as_deref() == session.qr_code().await.1["qrString"].as_str()
    })
    .await;
    scans(&whatsapp, qr.unwrap()).await;
    browser.reads("Ada Lovelace").await;
    browser.closes().await;
}

#[tokio::test]
async fn an_allowed_site_has_the_page_in_a_frame() {
    let (whatsapp, server, site) = world().await;
    let session = server.init("ada").await;
    site.shows(&frame(&session));
    let mut browser = Browser::open(Screen::WIDE, &site.origin).await;
    browser.knows(&server.base);
    // `X-Frame-Options: SAMEORIGIN` is sent, too, for browsers that know no frame-ancestors.
    let headers = server.get("/").await.headers().clone();
    assert_eq!(headers["x-frame-options"], "SAMEORIGIN");
    eventually("the QR on the screen", async || browser.qr_on_the_screen().await.is_some()).await;
    scans(&whatsapp, browser.qr_on_the_screen().await.unwrap()).await;
    session.reaches("connected").await;
    eventually("the QR to go", async || browser.qr_on_the_screen().await.is_none()).await;
    browser.closes().await;
}

#[tokio::test]
async fn any_other_site_has_nothing() {
    let (_whatsapp, server, _site) = world().await;
    let session = server.init("ada").await;
    session.reaches("scan_qr").await;
    let foreign = Site::start().await;
    foreign.shows(&element(&session));
    let mut browser = Browser::open(Screen::WIDE, &foreign.origin).await;
    browser.knows(&server.base);
    let (base, id) = (json!(server.base), &session.id);
    eventually("the script to be blocked", async || {
        browser.errors().iter().any(|error| error.contains("/qrcast.js") && error.contains("CORS"))
    })
    .await;
    assert!(browser.js::<bool>("customElements.get('qrcast-link') === undefined").await);
    let asked = format!(
        "fetch({base} + '/api/session-status/{id}', {{ headers: {{ Authorization: 'Bearer {token}' }} }})\
         .then(() => 'let in', () => 'refused')",
        token = token(&session)
    );
    assert_eq!(browser.js::<String>(&asked).await, "refused");
    let socket = format!(
        "new Promise((resolve) => {{
           const socket = new WebSocket({}, ['qrcast.v1', 'bearer.{}']);
           socket.onopen = () => resolve('let in');
           socket.onclose = ({{ code }}) => resolve(`refused with ${{code}}`);
         }})",
        json!(format!("{}/api/sessions/{id}/ws", server.base.replacen("http", "ws", 1))),
        token(&session)
    );
    assert_eq!(browser.js::<String>(&socket).await, "refused with 1006");
    let source = format!(
        "new Promise((resolve) => {{
           const source = new EventSource({base} + '/api/sessions/{id}/events?token={}');
           source.onopen = () => resolve('let in');
           source.onerror = () => resolve(source.readyState);
         }})",
        token(&session)
    );
    assert_eq!(browser.js::<u8>(&source).await, 2);

    foreign.shows(&frame(&session));
    browser.reloads().await;
    browser.until("document.title === 'loaded'").await;
    eventually("the frame to be blocked", async || {
        browser.errors().iter().any(|error| error.contains("frame-ancestors"))
    })
    .await;
    assert_eq!(browser.qr_on_the_screen().await, None);
    browser.forgives();
    browser.closes().await;
}
