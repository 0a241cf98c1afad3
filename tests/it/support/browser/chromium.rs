//! Chromium, driven over its DevTools protocol. What a person does with it is in ../browser.rs.

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
use chromiumoxide::{Browser, BrowserConfig, Page};
use futures::StreamExt as _;
use tempfile::TempDir;

use super::{Log, Screen};
use crate::support::{PATIENCE, soon};

/// A Chromium with one page.
pub(crate) struct Chromium {
    chromium: Browser,
    page: Page,
    _profile: TempDir,
}

impl Chromium {
    /// Opens an empty page on a fresh profile.
    pub(super) async fn open(
        log: &Arc<Mutex<Log>>,
        how: impl FnOnce(BrowserConfigBuilder) -> BrowserConfigBuilder,
    ) -> Self {
        let profile = tempfile::tempdir().unwrap();
        let config = how(BrowserConfig::builder())
            .chrome_executable("/usr/bin/chromium")
            .no_sandbox()
            .user_data_dir(profile.path())
            .viewport(None)
            .launch_timeout(PATIENCE)
            .request_timeout(PATIENCE)
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
        let (chromium, mut handler) = soon("Chromium", Browser::launch(config)).await.unwrap();
        tokio::spawn(async move { while handler.next().await.is_some() {} });
        let page = soon("a page", chromium.new_page("about:blank")).await.unwrap();
        listen(&page, log).await;
        Self { chromium, page, _profile: profile }
    }

    pub(super) async fn sits_at(&self, screen: Screen) {
        // A narrow screen is a phone's, with its fine pixels.
        let scale = if screen.width < 600 { 2.0 } else { 1.0 };
        let (width, height) = (i64::from(screen.width), i64::from(screen.height));
        let metrics = SetDeviceMetricsOverrideParams::new(width, height, scale, screen.touch);
        self.page.execute(metrics).await.unwrap();
        self.page.execute(SetTouchEmulationEnabledParams::new(screen.touch)).await.unwrap();
        let scheme = MediaFeature::new("prefers-color-scheme", if screen.dark { "dark" } else { "light" });
        self.page.execute(SetEmulatedMediaParams::builder().feature(scheme).build()).await.unwrap();
    }

    pub(super) async fn goes_to(&self, url: &str) {
        soon(url, self.page.goto(url)).await.unwrap();
    }

    pub(super) async fn reloads(&self) {
        soon("a reload", self.page.reload()).await.unwrap();
    }

    /// The text that a script gives back in the end.
    pub(super) async fn evaluates(&self, code: String) -> Result<Option<String>, String> {
        let evaluate =
            EvaluateParams::builder().expression(code).await_promise(true).return_by_value(true).build();
        let result = soon("the page", self.page.execute(evaluate.unwrap())).await;
        let result = result.map_err(|error| error.to_string())?.result;
        match result.exception_details {
            Some(details) => Err(format!("{details:?}")),
            None => Ok(result.result.value.as_ref().and_then(|text| text.as_str()).map(str::to_owned)),
        }
    }

    pub(super) async fn clicks_at(&self, [x, y]: [f64; 2]) {
        self.page.click(Point::new(x, y)).await.unwrap();
    }

    pub(super) async fn inserts(&self, text: &str) {
        self.page.execute(InsertTextParams::new(text)).await.unwrap();
    }

    pub(super) async fn presses(&self, key: &str) {
        press(&self.page, key).await;
    }

    pub(super) async fn screenshot(&self) -> Vec<u8> {
        let png = ScreenshotParams::builder().format(CaptureScreenshotFormat::Png).build();
        soon("a screenshot", self.page.screenshot(png)).await.unwrap()
    }

    pub(super) async fn tab(&self, address: &str) -> Page {
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

    pub(super) async fn ends_the_extensions_worker(&self) {
        let targets = self.chromium.execute(GetTargetsParams::default()).await.unwrap();
        let worker = targets.target_infos.iter().find(|target| target.r#type == "service_worker").unwrap();
        self.chromium.execute(CloseTargetParams::new(worker.target_id.clone())).await.unwrap();
    }

    pub(super) async fn opens(&self, url: &str) -> Page {
        soon(url, self.chromium.new_page(url)).await.unwrap()
    }

    pub(super) async fn closes(&mut self) {
        self.chromium.close().await.unwrap();
        soon("Chromium to end", self.chromium.wait()).await.unwrap();
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
