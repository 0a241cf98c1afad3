//! WhatsApp asks for a passkey: with the browser extension and by hand, in a real Chromium with a tab of a web.whatsapp.com
//! on loopback.

use chromiumoxide::Page;
use serde_json::{Value, json};
use simulator::{Authenticator, Config, Passkey, Scan, Simulator};
use tempfile::TempDir;

use crate::support::browser::{Browser, Screen, press};
use crate::support::passkey::{WhatsAppWeb, allowed_extension, gets_a_passkey};
use crate::support::{Server, Session, eventually, world};

const WHATSAPP_WEB: &str = "https://web.whatsapp.com/";
const PHONE: &str = "905551234567";

/// A browser that finds our web.whatsapp.com; with the extension, allowed on this machine's pages, if it is given.
async fn browser(url: &str, web: &WhatsAppWeb, extension: Option<&TempDir>) -> Browser {
    let arguments = web.arguments();
    Browser::open_as(Screen::WIDE, url, |config| {
        let arguments = arguments.each_ref().map(|(name, value)| (*name, value.as_str()));
        let config = config.new_headless_mode().args(arguments);
        match extension {
            Some(folder) => config.extension(folder.path().to_str().unwrap()),
            None => config,
        }
    })
    .await
}

/// The page of a session; it writes down which views it shows.
async fn opens(session: &Session<'_>, web: &WhatsAppWeb, extension: Option<&TempDir>) -> Browser {
    let browser = browser(&session.link_url(), web, extension).await;
    browser.sees("qr").await;
    let write = "globalThis.views = []; addEventListener('qrcast-view', ({ detail }) => views.push(detail.view.split(':')[0])); null";
    browser.js::<Value>(&format!("(() => {{ {write} }})()")).await;
    browser
}

/// The passkey of the account, which takes the answers of no other.
fn passkey_of(whatsapp: &Simulator) -> Authenticator {
    let passkey = Authenticator::new().unwrap();
    whatsapp.register_passkey(PHONE, &passkey.public_key()).unwrap();
    passkey
}

/// A phone scans, whose account has a passkey.
async fn scans(whatsapp: &Simulator, session: &Session<'_>, passkey: Passkey) -> String {
    scan(whatsapp, session, passkey).await.unwrap()
}

/// The same of a QR that may be over by then.
async fn scan(whatsapp: &Simulator, session: &Session<'_>, passkey: Passkey) -> Option<String> {
    let qr = session.qr_code().await.1["qrString"].as_str()?.to_owned();
    let scan = Scan { qr, phone: Some(PHONE.into()), push_name: Some("Ada Lovelace".into()) };
    whatsapp.scan_with_passkey(scan, passkey).ok()
}

/// The question of the extension stands in the tab of WhatsApp Web, and the person says yes by the keyboard.
async fn consents(browser: &Browser, passkey: &Authenticator) {
    let tab = browser.tab(WHATSAPP_WEB).await;
    gets_a_passkey(&tab, passkey).await;
    asked(&tab, true).await;
    press(&tab, "Tab").await;
    press(&tab, "Enter").await;
}

/// Waits until the question stands there and has the focus, or is gone.
async fn asked(tab: &Page, is_there: bool) {
    eventually("the question in the tab of WhatsApp Web", async || {
        let focus = tab.evaluate("document.activeElement?.localName === 'qrcast-passkey'").await;
        focus.is_ok_and(|focus| focus.into_value::<bool>().is_ok_and(|focus| focus == is_there))
    })
    .await;
}

/// Runs the text that the page offers in a tab of WhatsApp Web, as a console would; its answer.
async fn runs_the_snippet(browser: &Browser, tab: &Page) -> String {
    let snippet: String = browser.js("elements().find((e) => e.matches('.snippet')).value").await;
    tab.evaluate(snippet).await.unwrap().into_value().unwrap()
}

/// The code on the page, and the phone's.
async fn compares(whatsapp: &Simulator, browser: &Browser, jid: &str) {
    browser.sees("passkeyCode").await;
    let shown: String = browser
        .js("elements().find((e) => e.matches('.code')).innerText.replace(/\\s/g, '').replace(/^.{4}/, '$&-')")
        .await;
    let state = whatsapp.state();
    let phone = state.passkey.iter().find(|step| step.jid == jid).and_then(|step| step.code.clone());
    assert_eq!(Some(shown), phone);
}

#[tokio::test]
async fn a_passkey_is_used_by_the_extension_and_the_code_is_the_phones() {
    let (whatsapp, server) = world().await;
    let passkey = passkey_of(&whatsapp);
    let (web, extension) = (WhatsAppWeb::start().await, allowed_extension());
    let session = server.init("ada").await;
    let browser = opens(&session, &web, Some(&extension)).await;
    let jid = scans(&whatsapp, &session, Passkey::Ask).await;
    browser.reads("WhatsApp asks for your passkey").await;
    browser.reads("Time left: ").await;
    browser.clicks("Use my passkey").await;
    consents(&browser, &passkey).await;
    compares(&whatsapp, &browser, &jid).await;
    browser.clicks("Yes, it is the same").await;
    browser.reads("Ada Lovelace").await;
    browser.reads("This account is linked").await;
    let views: Vec<String> = browser.js("views").await;
    let flicker = views.iter().find(|view| ["qr", "loading", "phone", "code"].contains(&view.as_str()));
    assert_eq!(flicker, None, "{views:?}");
    browser.closes().await;
}

#[tokio::test]
async fn without_the_extension_a_text_is_run_by_hand_and_its_answer_pasted() {
    let (whatsapp, server) = world().await;
    let passkey = passkey_of(&whatsapp);
    let web = WhatsAppWeb::start().await;
    let session = server.init("ada").await;
    let browser = opens(&session, &web, None).await;
    let jid = scans(&whatsapp, &session, Passkey::Ask).await;
    browser.reads("The easy way is the qrcast extension").await;
    browser.clicks("By hand, without the extension").await;
    browser.fills("#answer", "undefined").await;
    browser.clicks("Send the answer").await;
    browser.reads("That is not the answer").await;

    let tab = browser.opens(WHATSAPP_WEB).await;
    gets_a_passkey(&tab, &passkey).await;
    let answer = runs_the_snippet(&browser, &tab).await;
    browser.fills("#answer", &answer).await;
    browser.clicks("Send the answer").await;
    compares(&whatsapp, &browser, &jid).await;
    browser.clicks("Yes, it is the same").await;
    browser.reads("Ada Lovelace").await;
    browser.closes().await;
}

#[tokio::test]
async fn a_refused_passkey_is_said_in_words_and_a_new_code_is_shown() {
    let (whatsapp, server) = world().await;
    let passkey = passkey_of(&whatsapp);
    let (web, extension) = (WhatsAppWeb::start().await, allowed_extension());
    let session = server.init("ada").await;
    let browser = opens(&session, &web, Some(&extension)).await;
    // A passkey of another account's is in the same browser.
    scans(&whatsapp, &session, Passkey::Ask).await;
    browser.clicks("Use my passkey").await;
    consents(&browser, &Authenticator::new().unwrap()).await;
    browser.reads("WhatsApp did not accept the passkey").await;
    browser.sees("qr").await;
    browser.reads("WhatsApp did not accept the passkey").await;
    let jid = scans(&whatsapp, &session, Passkey::Ask).await;
    browser.clicks("Use my passkey").await;
    consents(&browser, &passkey).await;
    compares(&whatsapp, &browser, &jid).await;
    browser.clicks("Yes, it is the same").await;
    browser.reads("Ada Lovelace").await;
    browser.closes().await;
}

#[tokio::test]
async fn a_passkey_that_nobody_uses_is_over_in_words_and_without_a_flicker() {
    // Ten minutes are twenty seconds; so many QRs last for longer than it takes to scan one.
    let whatsapp = Simulator::start(Config { refs: 60, ..Config::default() }).await.unwrap();
    let server = Server::builder(&whatsapp.url()).variable("WHATSAPP_TIME_FACTOR", "30").start().await;
    let web = WhatsAppWeb::start().await;
    let session = server.init("ada").await;
    let browser = opens(&session, &web, None).await;
    eventually("a scan", async || scan(&whatsapp, &session, Passkey::Ask).await.is_some()).await;
    browser.reads("Time left: 0:1").await;
    browser.js::<Value>("(() => { views.length = 0; })()").await;
    browser.reads("The passkey was not used in time").await;
    browser.sees("qr").await;
    let views: Vec<String> = browser.js("views").await;
    assert!(["qr", "loading"].contains(&views[0].as_str()), "{views:?}");
    browser.closes().await;
}

#[tokio::test]
async fn another_code_on_the_phone_starts_over() {
    let (whatsapp, server) = world().await;
    let passkey = passkey_of(&whatsapp);
    let (web, extension) = (WhatsAppWeb::start().await, allowed_extension());
    let session = server.init("ada").await;
    let browser = opens(&session, &web, Some(&extension)).await;
    scans(&whatsapp, &session, Passkey::Ask).await;
    browser.clicks("Use my passkey").await;
    consents(&browser, &passkey).await;
    browser.clicks("No, start over").await;
    browser.sees("qr").await;
    browser.closes().await;
}

#[tokio::test]
async fn a_phone_is_told_to_go_on_on_a_computer() {
    let (whatsapp, server) = world().await;
    let web = WhatsAppWeb::start().await;
    let session = server.init("ada").await;
    let browser = opens(&session, &web, None).await;
    browser.sits_at(Screen::PHONE).await;
    scans(&whatsapp, &session, Passkey::Ask).await;
    browser.reads("Go on on a computer").await;
    browser.clicks("This is a computer").await;
    browser.reads("By hand, without the extension").await;
    browser.closes().await;
}

#[tokio::test]
async fn the_extension_carries_a_request_of_an_allowed_page_and_its_answer_and_nothing_else() {
    let (_whatsapp, server) = world().await;
    let passkey = Authenticator::new().unwrap();
    let (web, extension) = (WhatsAppWeb::start().await, allowed_extension());
    let browser = browser(&server.base, &web, Some(&extension)).await;
    browser
        .js::<Value>(
            "import('/qrcast.js').then(({ Extension }) => new Promise((here) => {
               globalThis.extension = new Extension({ onChange: () => here(null) });
               globalThis.ask = (options) => extension.ask(options).then(
                 (credential) => (globalThis.answer = { credential }),
                 (error) => (globalThis.answer = { error: error.code }));
             }))",
        )
        .await;
    for options in [
        json!({ "challenge": "AAEC", "rpId": "example.com" }),
        json!({ "challenge": "AAEC" }),
        json!({ "challenge": "AAEC", "rpId": "web.whatsapp.com" }),
        json!({ "rpId": "whatsapp.com" }),
    ] {
        let answer: Value = browser.js(&format!("ask({options}).then(() => answer)")).await;
        assert_eq!(answer, json!({ "error": "bad_options" }), "{options}");
    }

    let options = json!({
        "challenge": "AAEC-_8", "rpId": "whatsapp.com", "timeout": 600_000, "allowCredentials": [],
        "userVerification": "required", "extensions": { "uvm": true },
    });
    browser.js::<Value>(&format!("(ask({options}), null)")).await;
    asked(&browser.tab(WHATSAPP_WEB).await, true).await;
    // As browsers do when nothing has happened for half a minute.
    browser.ends_the_extensions_worker().await;
    consents(&browser, &passkey).await;
    browser.until("globalThis.answer?.credential !== undefined").await;
    let credential: Value = browser.js("answer.credential").await;
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&credential), ["id", "rawId", "response", "type"]);
    assert_eq!(
        keys(&credential["response"]),
        ["authenticatorData", "clientDataJSON", "signature", "userHandle"]
    );
    let made: Value = browser
        .js("JSON.parse(atob(answer.credential.response.clientDataJSON.replace(/-/g, '+').replace(/_/g, '/')))")
        .await;
    assert_eq!(made["origin"], "https://web.whatsapp.com");
    assert_eq!(made["challenge"], "AAEC-_8");
    browser.closes().await;
}

#[tokio::test]
async fn a_tab_that_is_closed_and_a_question_that_is_taken_back_are_told() {
    let (_whatsapp, server) = world().await;
    let (web, extension) = (WhatsAppWeb::start().await, allowed_extension());
    let browser = browser(&server.base, &web, Some(&extension)).await;
    let options = json!({ "challenge": "AAEC", "rpId": "whatsapp.com" });
    browser
        .js::<Value>(&format!(
            "import('/qrcast.js').then(({{ Extension }}) => new Promise((here) => {{
               globalThis.extension = new Extension({{ onChange: () => here(null) }});
               globalThis.stop = new AbortController();
               globalThis.ask = () => extension.ask({options}, {{ signal: stop.signal }})
                 .catch((error) => (globalThis.answer = error.name === 'ExtensionError' ? error.code : error.name));
             }}))"
        ))
        .await;
    browser.js::<Value>("(ask(), null)").await;
    let tab = browser.tab(WHATSAPP_WEB).await;
    asked(&tab, true).await;
    tab.close().await.unwrap();
    browser.until("globalThis.answer === 'tab_closed'").await;

    // In a tab of the person's own, which stays.
    let tab = browser.opens(WHATSAPP_WEB).await;
    browser.js::<Value>("(ask(), null)").await;
    asked(&tab, true).await;
    browser.js::<Value>("(stop.abort(), null)").await;
    browser.until("globalThis.answer === 'AbortError'").await;
    asked(&tab, false).await;
    browser.closes().await;
}
