//! A real browser and the person in front of it: looks, types, clicks, and is told of every error of the page. It is Chromium
//! (browser/chromium.rs), in a few tests Firefox (browser/firefox.rs).
//!
//! It looks into shadow roots as an eye does, and waits for what it looks for.

mod chromium;
mod firefox;

use std::sync::{Arc, Mutex};

use chromiumoxide::Page;
use chromiumoxide::browser::BrowserConfigBuilder;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use self::chromium::Chromium;
pub(crate) use self::chromium::press;
use self::firefox::Firefox;
use super::{eventually, is_installed};

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
    engine: Engine,
    log: Arc<Mutex<Log>>,
    /// Whom the page may speak to.
    origins: Vec<String>,
}

/// Who draws the page.
/// Which browser.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Within {
    Chromium,
    Firefox,
}

impl Within {
    /// Chromium always is: `scripts/test` sees to it. Firefox is where the long tests are run.
    pub(crate) fn is_installed(self) -> bool {
        self == Within::Chromium || is_installed(firefox::PROGRAM)
    }

    pub(crate) async fn opens(self, screen: Screen, url: &str) -> Browser {
        match self {
            Within::Chromium => Browser::open(screen, url).await,
            Within::Firefox => Browser::firefox(screen, url).await,
        }
    }
}

enum Engine {
    Chromium(Box<Chromium>),
    Firefox(Box<Firefox>),
}

/// Asks the one that it is.
macro_rules! engine {
    ($browser:expr, $call:ident($($given:expr),*)) => {
        match &$browser.engine {
            Engine::Chromium(it) => it.$call($($given),*).await,
            Engine::Firefox(it) => it.$call($($given),*).await,
        }
    };
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
        let log = Arc::new(Mutex::new(Log::default()));
        let chromium = Chromium::open(&log, how).await;
        Self::first(Engine::Chromium(Box::new(chromium)), log, screen, url).await
    }

    /// The same in Firefox, which takes no finger.
    async fn firefox(screen: Screen, url: &str) -> Self {
        let log = Arc::new(Mutex::new(Log::default()));
        let firefox = Firefox::open(&log, screen).await;
        Self::first(Engine::Firefox(Box::new(firefox)), log, screen, url).await
    }

    async fn first(engine: Engine, log: Arc<Mutex<Log>>, screen: Screen, url: &str) -> Self {
        let origin = reqwest::Url::parse(url).unwrap().origin().ascii_serialization();
        let browser = Self { engine, log, origins: vec![origin] };
        browser.sits_at(screen).await;
        browser.goes_to(url).await;
        browser
    }

    /// What only Chromium is asked for.
    fn chromium(&self) -> &Chromium {
        match &self.engine {
            Engine::Chromium(chromium) => chromium,
            Engine::Firefox(_) => panic!("for Chromium alone"),
        }
    }

    /// Changes the screen under the page.
    pub(crate) async fn sits_at(&self, screen: Screen) {
        engine!(self, sits_at(screen));
    }

    pub(crate) async fn goes_to(&self, url: &str) {
        engine!(self, goes_to(url));
    }

    pub(crate) async fn reloads(&self) {
        engine!(self, reloads());
    }

    /// The value of an expression, which may be a promise and may use the words of `DEEP`.
    pub(crate) async fn js<T: DeserializeOwned>(&self, expression: &str) -> T {
        let value = self.try_js(expression).await;
        let value = value.unwrap_or_else(|error| panic!("{expression}: {error}"));
        serde_json::from_value(value).unwrap()
    }

    async fn try_js(&self, expression: &str) -> Result<Value, String> {
        // As text, which both engines give back alike.
        let code =
            format!("(async () => {{ {DEEP}; return JSON.stringify((await ({expression})) ?? null); }})()");
        let text = engine!(self, evaluates(code))?;
        Ok(text.map_or(Value::Null, |text| serde_json::from_str(&text).unwrap()))
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
        engine!(self, clicks_at(point));
    }

    /// Types where the focus is, replacing what is there.
    pub(crate) async fn types(&self, text: &str) {
        self.js::<Value>("elements().find((e) => e.matches('input') && isSeen(e)).select()").await;
        engine!(self, inserts(text));
    }

    /// Pastes into the field that a selector finds, in place of what is there.
    pub(crate) async fn fills(&self, selector: &str, text: &str) {
        let field = format!("elements().find((e) => e.matches({}) && isSeen(e))", json!(selector));
        self.until(&format!("{field} !== undefined")).await;
        self.js::<Value>(&format!("(({field}).focus(), ({field}).select())")).await;
        engine!(self, inserts(text));
    }

    /// Presses a key: `Tab`, `Enter`, `Escape`, `ArrowDown`.
    pub(crate) async fn presses(&self, key: &str) {
        engine!(self, presses(key));
    }

    /// Goes from one thing to the next by Tab, until the focus is on this one.
    pub(crate) async fn tabs_to(&self, name: &str) {
        for _ in 0..40 {
            if self.focus().await == name {
                return;
            }
            self.presses("Tab").await;
        }
        panic!("Tab does not lead to {name}, but to {}", self.focus().await);
    }

    /// Another tab, as soon as it shows a page of this address.
    pub(crate) async fn tab(&self, address: &str) -> Page {
        self.chromium().tab(address).await
    }

    /// Ends the extension's background script.
    pub(crate) async fn ends_the_extensions_worker(&self) {
        self.chromium().ends_the_extensions_worker().await;
    }

    /// Opens another tab.
    pub(crate) async fn opens(&self, url: &str) -> Page {
        self.chromium().opens(url).await
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
        engine!(self, screenshot())
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
        match &mut self.engine {
            Engine::Chromium(it) => it.closes().await,
            Engine::Firefox(it) => it.closes().await,
        }
        let log = self.log.lock().unwrap();
        assert!(log.errors.is_empty(), "{:#?}", log.errors);
        let mut own = vec!["data:".to_owned(), "about:".to_owned()];
        own.extend(self.origins.iter().flat_map(|base| [base.clone(), base.replacen("http", "ws", 1)]));
        let strangers: Vec<_> =
            log.urls.iter().filter(|url| !own.iter().any(|own| url.starts_with(own))).collect();
        assert!(strangers.is_empty(), "{strangers:#?}");
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
