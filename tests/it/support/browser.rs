//! A real Chromium and the person in front of it: looks, types, clicks, and is told of every error of the page.
//!
//! Driven over its DevTools protocol. It looks into shadow roots as an eye does, and waits for what it looks for.

use std::sync::{Arc, Mutex};

use chromiumoxide::browser::BrowserConfigBuilder;
use chromiumoxide::cdp::browser_protocol::emulation::{
    MediaFeature, SetDeviceMetricsOverrideParams, SetEmulatedMediaParams, SetTouchEmulationEnabledParams,
};
use chromiumoxide::cdp::browser_protocol::input::{
    DispatchKeyEventParams, DispatchKeyEventType, InsertTextParams,
};
use chromiumoxide::cdp::browser_protocol::log::{EventEntryAdded, LogEntryLevel};
use chromiumoxide::cdp::browser_protocol::network::{
    EventRequestWillBeSent, EventWebSocketCreated, EventWebSocketWillSendHandshakeRequest,
};
use chromiumoxide::cdp::browser_protocol::page::CaptureScreenshotFormat;
use chromiumoxide::cdp::browser_protocol::target::{CloseTargetParams, GetTargetsParams};
use chromiumoxide::cdp::js_protocol::runtime::{
    ConsoleApiCalledType, EvaluateParams, EventConsoleApiCalled, EventExceptionThrown,
};
use chromiumoxide::layout::Point;
use chromiumoxide::page::ScreenshotParams;
use chromiumoxide::{Browser as Chromium, BrowserConfig, Page};
use futures::StreamExt as _;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{eventually, soon};

/// What the person sits in front of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Screen {
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) dark: bool,
    /// A finger instead of a mouse.
    pub(crate) touch: bool,
}

impl Screen {
    pub(crate) const WIDE: Screen = Screen { width: 1280, height: 800, dark: false, touch: false };
    pub(crate) const NARROW: Screen = Screen { width: 360, height: 740, dark: false, touch: false };
    pub(crate) const PHONE: Screen = Screen { touch: true, ..Screen::NARROW };

    pub(crate) fn dark(self) -> Self {
        Self { dark: true, ..self }
    }
}

/// What went wrong in the page, and whom it spoke to.
#[derive(Default)]
struct Log {
    errors: Vec<String>,
    urls: Vec<String>,
    /// The headers of each WebSocket's request.
    handshakes: Vec<String>,
}

/// A browser with one page. End it with [`Browser::closes`], which looks at its errors.
pub(crate) struct Browser {
    chromium: Chromium,
    page: Page,
    log: Arc<Mutex<Log>>,
    /// Whom the page may speak to.
    origins: Vec<String>,
    _profile: TempDir,
}

/// Finds elements through shadow roots.
const DEEP: &str = r#"
const all = (root) => [...root.querySelectorAll("*")].flatMap((e) => [e, ...(e.shadowRoot ? all(e.shadowRoot) : [])]);
const elements = () => all(document);
const isSeen = (e) => e.checkVisibility({ visibilityProperty: true }) && e.getClientRects().length > 0;
const words = (e) => (e.innerText ?? "").trim() || e.getAttribute("aria-label") || "";
const seen = () => [document.body, ...elements().filter((e) => e.shadowRoot).flatMap((e) => [...e.shadowRoot.children])]
  .filter((e) => !e.classList.contains("unseen")).map((e) => e.innerText).join("\n");
"#;

impl Browser {
    /// Opens a page on a fresh profile.
    pub(crate) async fn open(screen: Screen, url: &str) -> Self {
        Self::open_as(screen, url, |config| config).await
    }

    /// The same, of a browser that is started in a way of its own.
    pub(crate) async fn open_as(
        screen: Screen,
        url: &str,
        how: impl FnOnce(BrowserConfigBuilder) -> BrowserConfigBuilder,
    ) -> Self {
        let profile = tempfile::tempdir().unwrap();
        let config = how(BrowserConfig::builder())
            .chrome_executable("/usr/bin/chromium")
            .no_sandbox()
            .user_data_dir(profile.path())
            .viewport(None)
            .launch_timeout(super::PATIENCE)
            .request_timeout(super::PATIENCE)
            .args([
                "--disable-gpu",
                "--disable-quic",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
                "--hide-scrollbars",
            ])
            .build()
            .unwrap();
        let (chromium, mut handler) = soon("Chromium", Chromium::launch(config)).await.unwrap();
        tokio::spawn(async move { while handler.next().await.is_some() {} });
        let page = soon("a page", chromium.new_page("about:blank")).await.unwrap();
        let log = Arc::new(Mutex::new(Log::default()));
        listen(&page, &log).await;
        let origin = reqwest::Url::parse(url).unwrap().origin().ascii_serialization();
        let browser = Self { chromium, page, log, origins: vec![origin], _profile: profile };
        browser.sits_at(screen).await;
        browser.goes_to(url).await;
        browser
    }

    /// Changes the screen under the page.
    pub(crate) async fn sits_at(&self, screen: Screen) {
        // A narrow screen is a phone's, with its fine pixels.
        let scale = if screen.width < 600 { 2.0 } else { 1.0 };
        let (width, height) = (i64::from(screen.width), i64::from(screen.height));
        let metrics = SetDeviceMetricsOverrideParams::new(width, height, scale, screen.touch);
        self.page.execute(metrics).await.unwrap();
        self.page.execute(SetTouchEmulationEnabledParams::new(screen.touch)).await.unwrap();
        let scheme = MediaFeature::new("prefers-color-scheme", if screen.dark { "dark" } else { "light" });
        self.page.execute(SetEmulatedMediaParams::builder().feature(scheme).build()).await.unwrap();
    }

    pub(crate) async fn goes_to(&self, url: &str) {
        soon(url, self.page.goto(url)).await.unwrap();
    }

    pub(crate) async fn reloads(&self) {
        soon("a reload", self.page.reload()).await.unwrap();
    }

    /// The value of an expression, which may be a promise and may use the words of `DEEP`.
    pub(crate) async fn js<T: DeserializeOwned>(&self, expression: &str) -> T {
        let value = self.try_js(expression).await;
        let value = value.unwrap_or_else(|error| panic!("{expression}: {error}"));
        serde_json::from_value(value).unwrap()
    }

    async fn try_js(&self, expression: &str) -> Result<Value, String> {
        let code = format!("(async () => {{ {DEEP}; return ({expression}) ?? null; }})()");
        let evaluate =
            EvaluateParams::builder().expression(code).await_promise(true).return_by_value(true).build();
        let result = soon("the page", self.page.execute(evaluate.unwrap())).await;
        let result = result.map_err(|error| error.to_string())?.result;
        match result.exception_details {
            Some(details) => Err(format!("{details:?}")),
            None => Ok(result.result.value.unwrap_or_default()),
        }
    }

    /// Waits until an expression is true. A page that is being replaced answers nothing for a moment.
    pub(crate) async fn until(&self, expression: &str) {
        let asked = eventually(expression, async || self.try_js(expression).await == Ok(json!(true)));
        // A failure says what was on the screen instead.
        tokio::select! {
            () = asked => {}
            () = tokio::time::sleep(super::PATIENCE - std::time::Duration::from_secs(1)) => {
                let text = self.try_js("seen()").await;
                panic!("never true: {expression}\non the screen: {text:?}\nerrors: {:?}", self.log.lock().unwrap().errors);
            }
        }
    }

    /// Waits until these words can be read on the page.
    pub(crate) async fn reads(&self, text: &str) {
        self.until(&format!("seen().includes({})", json!(text))).await;
    }

    /// Waits until the element shows this view.
    pub(crate) async fn sees(&self, view: &str) {
        self.until(&format!(
            "String(document.querySelector('qrcast-link').view).split(':')[0] === {view}",
            view = json!(view)
        ))
        .await;
    }

    /// Clicks what has these words on it.
    pub(crate) async fn clicks(&self, text: &str) {
        let found = format!(
            "elements().filter((e) => e.matches('button, a, input, label, summary') && isSeen(e) && words(e).includes({}))",
            json!(text)
        );
        self.until(&format!("{found}.length > 0")).await;
        let point: [f64; 2] = self
            .js(&format!(
                "(() => {{ const e = {found}[0]; e.scrollIntoView({{ block: 'center', behavior: 'instant' }});
                 const r = e.getBoundingClientRect(); return [r.x + r.width / 2, r.y + r.height / 2]; }})()"
            ))
            .await;
        self.page.click(Point::new(point[0], point[1])).await.unwrap();
    }

    /// Types where the focus is, replacing what is there.
    pub(crate) async fn types(&self, text: &str) {
        self.js::<Value>("elements().find((e) => e.matches('input') && isSeen(e)).select()").await;
        self.page.execute(InsertTextParams::new(text)).await.unwrap();
    }

    /// Pastes into the field that a selector finds, in place of what is there.
    pub(crate) async fn fills(&self, selector: &str, text: &str) {
        let field = format!("elements().find((e) => e.matches({}) && isSeen(e))", json!(selector));
        self.until(&format!("{field} !== undefined")).await;
        self.js::<Value>(&format!("(({field}).focus(), ({field}).select())")).await;
        self.page.execute(InsertTextParams::new(text)).await.unwrap();
    }

    /// Presses a key: `Tab`, `Enter`, `Escape`, `ArrowDown`.
    pub(crate) async fn presses(&self, key: &str) {
        press(&self.page, key).await;
    }

    /// Another tab, as soon as it shows a page of this address.
    pub(crate) async fn tab(&self, address: &str) -> Page {
        soon(address, async {
            loop {
                for page in self.chromium.pages().await.unwrap() {
                    if page.url().await.ok().flatten().is_some_and(|url| url.starts_with(address)) {
                        return page;
                    }
                }
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        })
        .await
    }

    /// Ends the extension's background script.
    pub(crate) async fn ends_the_extensions_worker(&self) {
        let targets = self.chromium.execute(GetTargetsParams::default()).await.unwrap();
        let worker = targets.target_infos.iter().find(|target| target.r#type == "service_worker").unwrap();
        self.chromium.execute(CloseTargetParams::new(worker.target_id.clone())).await.unwrap();
    }

    /// Opens another tab.
    pub(crate) async fn opens(&self, url: &str) -> Page {
        soon(url, self.chromium.new_page(url)).await.unwrap()
    }

    /// The words on what has the focus.
    pub(crate) async fn focus(&self) -> String {
        self.js(
            "(() => { let e = document.activeElement; while (e.shadowRoot?.activeElement) e = e.shadowRoot.activeElement;
             return words(e) || e.id; })()",
        )
        .await
    }

    pub(crate) async fn screenshot(&self) -> Vec<u8> {
        let png = ScreenshotParams::builder().format(CaptureScreenshotFormat::Png).build();
        soon("a screenshot", self.page.screenshot(png)).await.unwrap()
    }

    /// What a phone reads when it is held in front of the screen.
    pub(crate) async fn qr_on_the_screen(&self) -> Option<String> {
        reads_qr(&self.screenshot().await)
    }

    /// The page may speak to this server, too.
    pub(crate) fn knows(&mut self, base: &str) {
        self.origins.push(base.to_owned());
    }

    /// Every address that was asked for, and the headers of each WebSocket's request.
    pub(crate) fn asked(&self) -> (Vec<String>, Vec<String>) {
        let log = self.log.lock().unwrap();
        (log.urls.clone(), log.handshakes.clone())
    }

    /// What went wrong up to now.
    pub(crate) fn errors(&self) -> Vec<String> {
        self.log.lock().unwrap().errors.clone()
    }

    /// What went wrong was the point.
    pub(crate) fn forgives(&self) {
        self.log.lock().unwrap().errors.clear();
    }

    /// Closes it. Nothing may have gone wrong, but for Chromium's own lines about connections that failed and answers
    /// that refused, and nobody may have been spoken to but the page's own server and whom it knows.
    pub(crate) async fn closes(mut self) {
        // An answer to this comes after everything that happened before.
        self.js::<Value>("null").await;
        tokio::task::yield_now().await;
        self.chromium.close().await.unwrap();
        soon("Chromium to end", self.chromium.wait()).await.unwrap();
        let log = self.log.lock().unwrap();
        assert!(log.errors.is_empty(), "{:#?}", log.errors);
        let mut own = vec!["data:".to_owned(), "about:".to_owned()];
        own.extend(self.origins.iter().flat_map(|base| [base.clone(), base.replacen("http", "ws", 1)]));
        let strangers: Vec<_> =
            log.urls.iter().filter(|url| !own.iter().any(|own| url.starts_with(own))).collect();
        assert!(strangers.is_empty(), "{strangers:#?}");
    }
}

/// Presses a key in a page.
pub(crate) async fn press(page: &Page, key: &str) {
    let code = match key {
        "Tab" => 9,
        "Enter" => 13,
        "Escape" => 27,
        "ArrowDown" => 40,
        other => panic!("no such key here: {other}"),
    };
    for kind in [DispatchKeyEventType::KeyDown, DispatchKeyEventType::KeyUp] {
        let press = DispatchKeyEventParams::builder()
            .r#type(kind)
            .key(key)
            .code(key)
            .windows_virtual_key_code(code)
            .text(if key == "Enter" { "\r" } else { "" });
        page.execute(press.build().unwrap()).await.unwrap();
    }
}

/// What a phone reads in a PNG.
pub(crate) fn reads_qr(png: &[u8]) -> Option<String> {
    let picture = image::load_from_memory(png).unwrap().to_luma8();
    let (width, height) = (picture.width() as usize, picture.height() as usize);
    reads_grey(width, height, |x, y| {
        picture.get_pixel(u32::try_from(x).unwrap(), u32::try_from(y).unwrap()).0[0]
    })
}

/// The same of pixels from 0, black, to 255.
pub(crate) fn reads_grey(width: usize, height: usize, pixel: impl Fn(usize, usize) -> u8) -> Option<String> {
    let mut picture = rqrr::PreparedImage::prepare_from_greyscale(width, height, pixel);
    picture.detect_grids().first().and_then(|grid| grid.decode().ok()).map(|(_, text)| text)
}

/// Writes down what goes wrong and whom the page speaks to.
async fn listen(page: &Page, log: &Arc<Mutex<Log>>) {
    page.enable_log().await.unwrap();
    page.enable_runtime().await.unwrap();
    macro_rules! on {
        ($event:ty, $hear:expr) => {
            let mut events = page.event_listener::<$event>().await.unwrap();
            let log = log.clone();
            tokio::spawn(async move {
                while let Some(event) = events.next().await {
                    let hear: fn(&$event, &mut Log) = $hear;
                    hear(&event, &mut log.lock().unwrap());
                }
            });
        };
    }
    on!(EventExceptionThrown, |thrown, log| log.errors.push(format!("{:?}", thrown.exception_details)));
    on!(EventConsoleApiCalled, |called, log| {
        if matches!(called.r#type, ConsoleApiCalledType::Error | ConsoleApiCalledType::Assert) {
            log.errors.push(format!("{:?}", called.args));
        }
    });
    on!(EventEntryAdded, |added, log| {
        let entry = &added.entry;
        let url = entry.url.as_deref().unwrap_or_default();
        if entry.level == LogEntryLevel::Error && !is_chromiums_own(&entry.text, url) {
            log.errors.push(format!("{} ({url})", entry.text));
        }
    });
    on!(EventRequestWillBeSent, |sent, log| log.urls.push(sent.request.url.clone()));
    on!(EventWebSocketCreated, |created, log| log.urls.push(created.url.clone()));
    on!(EventWebSocketWillSendHandshakeRequest, |sent, log| {
        log.handshakes.push(format!("{:?}", sent.request.headers));
    });
}

/// What Chromium itself says of a connection that failed, or of an answer that refused: a 4xx, or the 502 with which a
/// refusal of WhatsApp's may come. A page cannot keep it quiet.
fn is_chromiums_own(line: &str, url: &str) -> bool {
    let status = line.strip_prefix("Failed to load resource: the server responded with a status of ");
    let refused = status.is_some_and(|status| {
        status.starts_with('4') || (status.starts_with("502") && url.ends_with("/pairing-code"))
    });
    let failed = line.starts_with("Failed to load resource: net::ERR_");
    refused || failed || line.starts_with("WebSocket connection to ")
}
