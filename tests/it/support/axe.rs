//! axe-core, which finds what people with a screen reader, a keyboard or tired eyes stumble over: for the tests of both pages.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::browser::Browser;
use super::is_installed;

/// The script, which npm puts under `target/`; `None`, and said, where npm cannot.
pub(crate) fn axe() -> Option<String> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("axe");
    std::fs::create_dir_all(&folder).unwrap();
    let mut npm = Command::new("npm");
    npm.args(["install", "--no-save", "--no-audit", "--no-fund", "--prefix"]).arg(&folder).arg("axe-core@4");
    let installed = is_installed("npm") && npm.output().unwrap().status.success();
    if !installed {
        eprintln!("NOT RUN: npm reaches no registry, or is not installed");
    }
    installed.then(|| std::fs::read_to_string(folder.join("node_modules/axe-core/axe.min.js")).unwrap())
}

/// What it finds, and in what.
const FOUND: &str = "axe.run().then(({ violations }) =>
    violations.map((v) => `${v.id}: ${v.nodes.map((n) => `${n.html} (${n.failureSummary})`).join()}`))";

/// It finds nothing in the page as it is now.
pub(crate) async fn is_clean(browser: &Browser, axe: &str, state: &str) {
    // What fades in has not its colours yet. A countdown takes longer, and a spinner never ends.
    let fading = "elements().flatMap((e) => e.getAnimations())
        .some((a) => a instanceof CSSAnimation && a.playState === 'running' && a.effect.getComputedTiming().endTime < 2_000)";
    browser.js::<Value>(&format!("void (globalThis.axe ?? (0, eval)({}))", json!(axe))).await;
    let mut found = Vec::new();
    // A view that comes in the middle of it fades in, too: then it is looked at again.
    for _ in 0..3 {
        browser.until(&format!("!{fading}")).await;
        found = browser.js::<Vec<String>>(FOUND).await;
        if found.is_empty() {
            return;
        }
    }
    panic!("{state}: {found:#?}");
}
