//! The pictures in the documents: taken from the pages, and held against the pages, so that they cannot show what is no more.
//! `scripts/pictures` takes them anew.

use std::path::Path;

use image::{GenericImageView as _, RgbImage};
use serde_json::Value;
use simulator::{Network, Simulator};

use crate::support::browser::{Browser, Screen};
use crate::support::{Session, eventually, world};

/// Set by `scripts/pictures`: the pictures are written instead of compared.
const TAKE: &str = "QRCAST_TAKE_PICTURES";

const LINK: Screen = Screen { width: 960, height: 640, ..Screen::WIDE };
const DASHBOARD: Screen = Screen { height: 620, ..Screen::WIDE };

/// How long the animation shows each step of a link, in milliseconds.
const STEPS: [u16; 3] = [2_500, 1_500, 3_000];

/// Two pictures are compared by squares of so many pixels a side, which is more than a letter and less than a button.
const SQUARE: u32 = 20;

/// From which difference on, of 255, a square looks another way.
const SEEN: u64 = 24;

/// How many squares in a thousand may look another way: a time, a number, another machine's letters.
const MAY_DIFFER: usize = 30;

const SCHEMES: [(&str, bool); 2] = [("light", false), ("dark", true)];

/// What is on the screen, and where in it a QR stands, which is another one each time: left, top, width, height.
struct Picture {
    pixels: RgbImage,
    qr: Option<[u32; 4]>,
}

#[tokio::test]
async fn the_documents_show_the_pages_as_they_are() {
    for (scheme, dark) in SCHEMES {
        let (_whatsapp, server) = world().await;
        let session = server.init("ada").await;
        let browser = opens(&session, Screen { dark, ..LINK }).await;
        shows(&format!("scan-{scheme}"), &[looks(&browser).await]);
        browser.closes().await;
        shows(&format!("dashboard-{scheme}"), &[the_dashboard(Screen { dark, ..DASHBOARD }).await]);
    }
}

#[tokio::test]
#[ignore = "long: waits for a slow WhatsApp"]
async fn the_moving_picture_shows_a_link_as_it_is() {
    for (scheme, dark) in SCHEMES {
        let (whatsapp, server) = world().await;
        let session = server.init("ada").await;
        let browser = opens(&session, Screen { dark, ..LINK }).await;
        let scan = looks(&browser).await;
        // Time for the picture of what lasts a moment.
        delays(&whatsapp, 2_000);
        let scanned = async {
            browser.reads("Scanned").await;
            let scanned = looks(&browser).await;
            delays(&whatsapp, 0);
            scanned
        };
        let (_, scanned) = tokio::join!(session.is_scanned(&whatsapp, "Ada Lovelace"), scanned);
        browser.reads("You can close this page").await;
        shows(&format!("link-{scheme}"), &[scan, scanned, looks(&browser).await]);
        browser.closes().await;
    }
}

/// The live page with a QR.
async fn opens(session: &Session<'_>, screen: Screen) -> Browser {
    let browser = Browser::open(screen, &session.link_url()).await;
    eventually("the QR on the screen", async || browser.qr_on_the_screen().await.is_some()).await;
    browser
}

/// The dashboard with two linked accounts and one that waits for its phone. Its charts have nothing to show yet.
async fn the_dashboard(screen: Screen) -> Picture {
    let (whatsapp, server) = world().await;
    for (user, name) in [("ada", "Ada Lovelace"), ("alan", "Alan Turing")] {
        let session = server.init(user).await;
        session.reaches("scan_qr").await;
        session.is_scanned(&whatsapp, name).await;
        session.reaches("connected").await;
    }
    server.init("grace").await.reaches("scan_qr").await;
    let browser = Browser::open(screen, &format!("{}/admin", server.base)).await;
    for text in ["Ada Lovelace", "Alan Turing", "grace", "Live"] {
        browser.reads(text).await;
    }
    browser.clicks("Healthy").await;
    browser.until("!seen().includes('No alerts')").await;
    let picture = looks(&browser).await;
    browser.closes().await;
    picture
}

fn delays(whatsapp: &Simulator, milliseconds: u64) {
    whatsapp.network(Network { delay_ms: Some(milliseconds), ..Network::default() }).unwrap();
}

/// What is on the screen, as soon as nothing fades into its place any more. A spinner turns for ever, and the bar of a countdown
/// moves each second.
async fn looks(browser: &Browser) -> Picture {
    browser.js::<Value>("document.fonts.ready.then(() => null)").await;
    let moves = "elements().flatMap((e) => e.getAnimations()).some((one) => one instanceof CSSAnimation && one.effect.getComputedTiming().iterations === 1)";
    browser.until(&format!("!{moves}")).await;
    let pixels = image::load_from_memory(&browser.screenshot().await).unwrap().to_rgb8();
    let qr = "[...elements().filter((e) => e.matches('[part=qr]') && isSeen(e)).map((e) => e.getBoundingClientRect())]
        .map(({ x, y, width, height }) => [x, y, width, height].map(Math.floor))[0]";
    Picture { pixels, qr: browser.js(qr).await }
}

/// Writes a picture, or compares each of its steps with what is committed.
#[expect(clippy::disallowed_methods, reason = "a word of scripts/pictures to this test, no setting")]
fn shows(name: &str, steps: &[Picture]) {
    let path = Path::new("docs/pictures").join(name).with_extension("png");
    if std::env::var(TAKE).is_ok() {
        std::fs::write(&path, encoded(steps)).unwrap();
        return;
    }
    for (number, (Picture { pixels, qr }, committed)) in steps.iter().zip(decoded(&path)).enumerate() {
        assert_eq!(committed.dimensions(), pixels.dimensions(), "{}", path.display());
        let (committed, now) = (squares(&committed, *qr), squares(pixels, *qr));
        let differing = committed.iter().zip(&now).filter(|(a, b)| differ(a, b)).count();
        assert!(
            differing * 1000 <= now.len() * MAY_DIFFER,
            "step {number} of {} shows a page that has changed: {differing} of {} squares differ; run scripts/pictures",
            path.display(),
            now.len()
        );
    }
}

/// The mean colour of each square without a QR.
fn squares(picture: &RgbImage, qr: Option<[u32; 4]>) -> Vec<[u64; 3]> {
    let corners = |side: u32| (0..side / SQUARE).map(|number| number * SQUARE);
    let all = corners(picture.height()).flat_map(|y| corners(picture.width()).map(move |x| (x, y)));
    let is_qr = |(x, y): (u32, u32)| {
        let reaches = |from: u32, start: u32, length: u32| from + SQUARE > start && from < start + length;
        qr.is_some_and(|[left, top, width, height]| reaches(x, left, width) && reaches(y, top, height))
    };
    let mean = |(x, y)| {
        let mut sum = [0; 3];
        for pixel in image::imageops::crop_imm(picture, x, y, SQUARE, SQUARE).pixels() {
            sum.iter_mut().zip(pixel.2.0).for_each(|(sum, part)| *sum += u64::from(part));
        }
        sum.map(|sum| sum / u64::from(SQUARE * SQUARE))
    };
    all.filter(|corner| !is_qr(*corner)).map(mean).collect()
}

fn differ(a: &[u64; 3], b: &[u64; 3]) -> bool {
    a.iter().zip(b).any(|(a, b)| a.abs_diff(*b) > SEEN)
}

/// The steps of a committed picture.
fn decoded(path: &Path) -> Vec<RgbImage> {
    let file = std::fs::File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut reader = png::Decoder::new(std::io::BufReader::new(file)).read_info().unwrap();
    let (width, height) = reader.info().size();
    let steps = reader.info().animation_control().map_or(1, |moving| moving.num_frames);
    let mut next = || {
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        reader.next_frame(&mut pixels).unwrap();
        RgbImage::from_raw(width, height, pixels).unwrap()
    };
    (0..steps).map(|_| next()).collect()
}

/// One step as a PNG, several as one that moves.
fn encoded(steps: &[Picture]) -> Vec<u8> {
    let mut file = Vec::new();
    let (width, height) = steps[0].pixels.dimensions();
    let mut encoder = png::Encoder::new(&mut file, width, height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_compression(png::Compression::High);
    if steps.len() > 1 {
        encoder.set_animated(u32::try_from(steps.len()).unwrap(), 0).unwrap();
    }
    let mut writer = encoder.write_header().unwrap();
    for (step, milliseconds) in steps.iter().zip(STEPS) {
        if steps.len() > 1 {
            writer.set_frame_delay(milliseconds, 1_000).unwrap();
        }
        writer.write_image_data(&step.pixels).unwrap();
    }
    writer.finish().unwrap();
    file
}
