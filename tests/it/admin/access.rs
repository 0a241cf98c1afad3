//! What axe-core finds in the dashboard: in each state, wide and narrow, light and dark.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::{comes_in, locked, session_of, stands};
use crate::support::browser::{Browser, Screen};
use crate::support::is_installed;

/// The script of axe-core, which npm puts under `target/`.
pub(crate) fn axe() -> Option<String> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("axe");
    std::fs::create_dir_all(&folder).unwrap();
    let mut npm = Command::new("npm");
    npm.args(["install", "--no-save", "--no-audit", "--no-fund", "--prefix"]).arg(&folder).arg("axe-core@4");
    let installed = is_installed("npm") && npm.output().unwrap().status.success();
    installed.then(|| std::fs::read_to_string(folder.join("node_modules/axe-core/axe.min.js")).unwrap())
}

pub(crate) async fn is_clean(browser: &Browser, axe: &str, state: &str) {
    // What fades in has not its colours yet.
    let fading = "elements().flatMap((e) => e.getAnimations()).some((a) => a.animationName === 'appear' && a.playState === 'running')";
    browser.until(&format!("!{fading}")).await;
    browser.js::<Value>(&format!("void (0, eval)({})", json!(axe))).await;
    let found: Vec<String> = browser
        .js("axe.run().then((result) => result.violations.map((v) => `${v.id}: ${v.nodes.map((n) => n.html).join()}`))")
        .await;
    assert!(found.is_empty(), "{state}: {found:#?}");
}

#[tokio::test]
#[ignore = "long: fetches axe-core with npm"]
async fn axe_core_finds_nothing_in_any_state() {
    let Some(axe) = axe() else {
        eprintln!("NOT RUN: npm reaches no registry, or is not installed");
        return;
    };
    for screen in [Screen::WIDE, Screen::NARROW.dark()] {
        let (whatsapp, server) = locked().await;
        let browser = Browser::open(screen, &format!("{}/admin", server.base)).await;
        browser.presses("Enter").await;
        browser.reads("Enter a key first").await;
        is_clean(&browser, &axe, "the key").await;
        browser.closes().await;
        let browser = comes_in(&server, screen, super::KEY).await;
        browser.reads("No sessions yet").await;
        is_clean(&browser, &axe, "no sessions").await;
        browser.clicks("New session").await;
        browser.presses("Enter").await;
        browser.reads("Enter a user id first").await;
        is_clean(&browser, &axe, "a new session").await;
        browser.fills("#new-user", "ada").await;
        browser.presses("Enter").await;
        browser.sees("qr").await;
        is_clean(&browser, &axe, "a QR").await;
        browser.clicks("Make a link").await;
        browser.reads("Whoever opens this address").await;
        super::scans(&whatsapp, &session_of(&browser, &server).await).await;
        stands(&browser, "Connected").await;
        is_clean(&browser, &axe, "one session").await;
        browser.clicks("Log out").await;
        browser.reads("Log out and delete?").await;
        is_clean(&browser, &axe, "a question").await;
        browser.presses("Escape").await;
        browser.clicks("All sessions").await;
        browser.reads("Ada Lovelace").await;
        is_clean(&browser, &axe, "the list").await;
        browser.fills("#search", "zebra").await;
        browser.reads("No session matches").await;
        is_clean(&browser, &axe, "no match").await;
        let _folder = server.crash().await;
        browser.reads("Try now").await;
        is_clean(&browser, &axe, "a server that is gone").await;
        browser.closes().await;
    }
}
