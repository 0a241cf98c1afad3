//! `qrcast.js` as a package: what `npm pack` would publish, what TypeScript, React and Vue know of it, and an app that is built
//! with it and links an account in Chromium. What the modules do is in `qrcast_js.rs`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use qrcast::event::Kind;
use qrcast::http::table;
use serde_json::Value;
use simulator::Scan;

use crate::support::browser::{Browser, Screen};
use crate::support::program::{npm_installs, runs};
use crate::support::proxy::free_port;
use crate::support::{Server, eventually, is_installed, soon, whatsapp};

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap()
}

fn manifest() -> Value {
    serde_json::from_str(&read("static/package.json")).unwrap()
}

#[test]
fn npm_packs_every_module_its_types_and_nothing_else() {
    if !is_installed("npm") {
        return;
    }
    let packed =
        Command::new("npm").args(["pack", "--dry-run", "--json"]).current_dir("static").output().unwrap();
    assert!(packed.status.success(), "{}", String::from_utf8_lossy(&packed.stderr));
    let packed: Value = serde_json::from_slice(&packed.stdout).unwrap();
    let files =
        packed[0]["files"].as_array().unwrap().iter().map(|file| file["path"].as_str().unwrap().to_owned());
    let mut expected: BTreeSet<_> =
        ["LICENSE", "README.md", "package.json", "qrcast.d.ts", "react.d.ts", "vue.d.ts"]
            .map(str::to_owned)
            .into();
    // The page and its own script stay here; what the server gives to other pages goes out.
    let served = table().into_iter().filter_map(|(_, path, _)| path.strip_prefix('/'));
    let is_for_all = |path: &&str| path.starts_with("qrcast") || path.starts_with("words/");
    expected.extend(served.filter(is_for_all).map(str::to_owned));
    assert_eq!(files.collect::<BTreeSet<_>>(), expected);
}

#[test]
fn the_manifest_is_ready_to_publish() {
    let manifest = manifest();
    assert_eq!(manifest["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!((manifest["license"].as_str(), read("static/LICENSE")), (Some("MIT"), read("LICENSE")));
    for none in ["private", "dependencies", "peerDependencies", "scripts"] {
        assert!(manifest.get(none).is_none(), "{none}");
    }
    for (name, export) in manifest["exports"].as_object().unwrap() {
        let targets = export.as_object().map_or(vec![export], |conditions| conditions.values().collect());
        for target in targets.into_iter().map(|target| target.as_str().unwrap()) {
            assert!(Path::new("static").join(target).exists(), "{name} leads to {target}");
        }
    }
    // A bundler may drop every other module of which nothing is used; this one defines the element.
    assert_eq!(manifest["sideEffects"], serde_json::json!(["./qrcast.js"]));
}

#[test]
fn the_types_have_every_export_and_every_event() {
    let (module, types) = (read("static/qrcast.js"), read("static/qrcast.d.ts"));
    let exports =
        module.split("\nexport {").skip(1).flat_map(|list| list.split('}').next().unwrap().split(','));
    let exports: BTreeSet<_> = exports.map(str::trim).collect();
    let typed = types.lines().filter_map(|line| {
        let line = line.strip_prefix("export ")?;
        let name = ["class ", "function ", "const "].iter().find_map(|kind| line.strip_prefix(kind))?;
        name.split(|char: char| !char.is_alphanumeric()).next()
    });
    assert_eq!(typed.collect::<BTreeSet<_>>(), exports);
    let events = types.split("interface SessionEvents {").nth(1).unwrap().split("\n}").next().unwrap();
    let events = events.lines().filter_map(|line| line.strip_prefix("  ")?.split_once(": Common"));
    let events: Vec<_> = events.map(|(name, _)| name).collect();
    assert_eq!(events, Kind::NAMES);
    let element = read("static/qrcast/link.js");
    for event in
        types.split("interface QrcastLinkEventMap {").nth(1).unwrap().split('}').next().unwrap().split('"')
    {
        assert!(!event.starts_with("qrcast-") || element.contains(&format!("\"{event}\"")), "{event}");
    }
}

/// The example and the package beside it, as `npm pack` made it, in a folder of their own.
fn unpack() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("package");
    let _ = std::fs::remove_dir_all(&folder);
    let app = folder.join("examples/react");
    std::fs::create_dir_all(app.parent().unwrap()).unwrap();
    let at = |path: &str| folder.join(path).to_str().unwrap().to_owned();
    runs(Path::new("static"), "npm", &["pack", "--silent", "--pack-destination", &at("")]);
    let archive = format!("qrcast-{}.tgz", env!("CARGO_PKG_VERSION"));
    runs(&folder, "tar", &["-xzf", &archive]);
    std::fs::rename(folder.join("package"), folder.join("static")).unwrap();
    runs(Path::new("."), "cp", &["-r", "examples/react", &at("examples/react")]);
    runs(Path::new("."), "cp", &["-r", "tests/js/types", &at("examples/react/types")]);
    app
}

#[tokio::test]
#[ignore = "installs React, Vite and Vue with npm: a minute"]
async fn the_app_in_react_is_type_checked_built_and_links_an_account() {
    if !npm_installs() {
        return;
    }
    let app = unpack();
    runs(&app, "npm", &["ci", "--no-audit", "--no-fund"]);
    runs(&app, "npm", &["run", "build"]);
    runs(&app, "npx", &["tsc", "--project", "types"]);
    runs(&app, "npm", &["install", "--no-save", "--no-audit", "--no-fund", "vue@~3.5.0", "vue-tsc@^3"]);
    runs(&app, "npx", &["vue-tsc", "--project", "types"]);

    let port = free_port();
    let mut files = tokio::process::Command::new("python3");
    files.args(["-m", "http.server", &port, "--bind", "127.0.0.1", "--directory"]).arg(app.join("dist"));
    let _files = files.kill_on_drop(true).spawn().unwrap();
    let origin = format!("http://127.0.0.1:{port}");
    eventually("the app's files", async || reqwest::get(&origin).await.is_ok()).await;
    let whatsapp = whatsapp().await;
    let server = Server::builder(&whatsapp.url())
        .variable("API_KEYS", "main:all-of-it")
        .variable("ALLOWED_ORIGINS", &origin)
        .start()
        .await
        .with_key("all-of-it");
    let session = server.init("ada").await;
    let token = session.answer["streamToken"].as_str().unwrap();
    let url = format!("{origin}/?server={}&session={}#token={token}", server.base, session.id);
    let mut browser = Browser::open(Screen::WIDE, &url).await;
    browser.knows(&server.base);
    browser.sees("qr").await;
    browser.reads("Status: scan_qr").await;
    let qr = session.qr_code().await.1["qrString"].as_str().unwrap().to_owned();
    let scan = Scan { qr, push_name: Some("Ada Lovelace".into()), ..Scan::default() };
    soon("a scan", whatsapp.scan(scan)).await.unwrap();
    browser.reads("Hello Ada Lovelace").await;
    browser.reads("Status: connected").await;
    browser.closes().await;
}
