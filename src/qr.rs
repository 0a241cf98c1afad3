//! A QR string as a picture: SVG by `qrcode`, PNG from that SVG by `resvg`.

use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use qrcode::render::svg;
use qrcode::{EcLevel, QrCode};
use resvg::tiny_skia::{Pixmap, Transform};
use resvg::usvg;

use crate::telemetry::metrics::QR_RENDER_SECONDS;

/// Width of a module in pixels. A module is a whole number of pixels, so edges stay sharp.
const MODULE: u32 = 4;

/// The QR as an SVG document, dark on white with the quiet zone that scanners need.
///
/// Empty when the text is longer than any QR can hold (2,331 bytes at this error correction): WhatsApp's are near 240.
pub fn svg(text: &str) -> String {
    match QrCode::with_error_correction_level(text, EcLevel::M) {
        Ok(code) => code
            .render::<svg::Color<'_>>()
            .module_dimensions(MODULE, MODULE)
            .dark_color(svg::Color("#000000"))
            .light_color(svg::Color("#ffffff"))
            .build(),
        Err(_) => String::new(),
    }
}

/// The QR as a PNG file. Empty if [`svg`] is.
pub fn png(text: &str) -> Vec<u8> {
    let begun = Instant::now();
    let png = render(&svg(text)).unwrap_or_default();
    metrics::histogram!(QR_RENDER_SECONDS).record(begun.elapsed());
    png
}

/// The PNG as a `data:` URL.
pub fn data_url(text: &str) -> String {
    format!("data:image/png;base64,{}", STANDARD.encode(png(text)))
}

fn render(svg: &str) -> Option<Vec<u8>> {
    let tree = usvg::Tree::from_str(svg, &usvg::Options::default()).ok()?;
    let size = tree.size().to_int_size();
    let mut pixmap = Pixmap::new(size.width(), size.height())?;
    resvg::render(&tree, Transform::identity(), &mut pixmap.as_mut());
    pixmap.encode_png().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str =
        "2@AbCdEf,q83vASNFZ4mrze8BI0VniQ==,q83vASNFZ4mrze8BI0VniQ==,q83vASNFZ4mrze8BI0VniQ==,1";

    #[test]
    fn a_decoder_reads_the_png() {
        let pixmap = Pixmap::decode_png(&png(TEXT)).unwrap();
        let (width, height) = (pixmap.width() as usize, pixmap.height() as usize);
        let mut image = rqrr::PreparedImage::prepare_from_greyscale(width, height, |x, y| {
            pixmap.data()[(y * width + x) * 4]
        });
        let grids = image.detect_grids();
        assert_eq!(grids.len(), 1);
        assert_eq!(grids[0].decode().unwrap().1, TEXT);
    }

    #[test]
    fn what_no_qr_can_hold_gives_nothing() {
        assert!(png(&"x".repeat(5000)).is_empty());
    }
}
