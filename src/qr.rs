//! A QR string as a picture: a matrix with the help of `qrcode`, an SVG of it, and a PNG from that SVG by `resvg`.
//!
//! An event of the kind `qr` is encoded with its picture, once for all viewers; `http/api/polling.rs` takes it from there.

mod matrix;

use std::fmt::Write as _;
use std::time::Instant;

use ::png::{BitDepth, ColorType, Encoder, EncodingError, Filter};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use qrcode::Color;
use resvg::tiny_skia::{Pixmap, Transform};
use resvg::usvg;

use self::matrix::Matrix;
use crate::telemetry::metrics::QR_RENDER_SECONDS;

/// Width of a module in pixels. A module is a whole number of pixels, so edges stay sharp.
const MODULE: usize = 4;

/// Width of the light margin that scanners need, in modules.
const QUIET: usize = 4;

/// What stands in front of a PNG in a data URL.
const PREFIX: &str = "data:image/png;base64,";

/// The QR as an SVG document, dark on white with the quiet zone that scanners need.
///
/// Empty when the text is longer than any QR can hold (2,331 bytes at this error correction): WhatsApp's are near 240.
pub fn svg(text: &str) -> String {
    Matrix::of(text).map(|matrix| document(&matrix)).unwrap_or_default()
}

/// The QR's rows, `true` where it is dark, with the quiet zone. Empty if [`svg`] is.
pub fn rows(text: &str) -> Vec<Vec<bool>> {
    let Ok(matrix) = Matrix::of(text) else { return Vec::new() };
    let (margin, side) = ([false; QUIET], matrix.width + 2 * QUIET);
    let row = |modules: &[Color]| {
        let dark = modules.iter().map(|module| *module == Color::Dark);
        margin.into_iter().chain(dark).chain(margin).collect::<Vec<_>>()
    };
    let blank = || std::iter::repeat_n(vec![false; side], QUIET);
    blank().chain(matrix.modules.chunks_exact(matrix.width).map(row)).chain(blank()).collect()
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
    format!("{PREFIX}{}", STANDARD.encode(png(text)))
}

/// The PNG that a URL of [`data_url`] holds. Empty for anything else.
pub(crate) fn png_of(data_url: &str) -> Vec<u8> {
    let encoded = data_url.strip_prefix(PREFIX).unwrap_or_default();
    STANDARD.decode(encoded).unwrap_or_default()
}

/// One rectangle for each run of dark modules: half as long to write, read and paint as one for each module.
fn document(matrix: &Matrix) -> String {
    let side = matrix.width + 2 * QUIET;
    let pixels = side * MODULE;
    let mut path = String::new();
    for (y, row) in matrix.modules.chunks_exact(matrix.width).enumerate() {
        let mut x = 0;
        for run in row.chunk_by(|one, next| one == next) {
            if run[0] == Color::Dark {
                let (left, top, length) = (x + QUIET, y + QUIET, run.len());
                // Writing to a `String` cannot fail.
                let _ = write!(path, "M{left} {top}h{length}v1h-{length}z");
            }
            x += run.len();
        }
    }
    format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" width="{pixels}" height="{pixels}" viewBox="0 0 {side} {side}" shape-rendering="crispEdges"><path fill="#ffffff" d="M0 0h{side}v{side}H0z"/><path fill="#000000" d="{path}"/></svg>"##
    )
}

fn render(svg: &str) -> Option<Vec<u8>> {
    let tree = usvg::Tree::from_str(svg, &usvg::Options::default()).ok()?;
    let size = tree.size().to_int_size();
    let mut pixmap = Pixmap::new(size.width(), size.height())?;
    resvg::render(&tree, Transform::identity(), &mut pixmap.as_mut());
    encode(&pixmap).ok()
}

/// A PNG of one bit a pixel. What resvg itself would write has 32, takes five times as long and is three times as large.
fn encode(pixmap: &Pixmap) -> Result<Vec<u8>, EncodingError> {
    let mut file = Vec::new();
    let mut encoder = Encoder::new(&mut file, pixmap.width(), pixmap.height());
    encoder.set_color(ColorType::Grayscale);
    encoder.set_depth(BitDepth::One);
    // With any other filter the rows of a module, which are the same, would no longer be.
    encoder.set_filter(Filter::NoFilter);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(&bits(pixmap))?;
    writer.finish()?;
    Ok(file)
}

/// White is 1. Each row begins with a byte of its own.
fn bits(pixmap: &Pixmap) -> Vec<u8> {
    let row = 4 * pixmap.width() as usize;
    let byte = |eight: &[u8]| {
        // The pixmap is RGBA, and grey: red tells all.
        let pixels = eight.chunks_exact(4).enumerate();
        pixels.fold(0, |byte, (index, pixel)| byte | (pixel[0] >> 7) << (7 - index))
    };
    pixmap.data().chunks_exact(row).flat_map(|row| row.chunks(8 * 4)).map(byte).collect()
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
    fn the_png_has_one_bit_a_pixel_and_whole_modules_with_a_margin() {
        let (png, matrix) = (png(TEXT), Matrix::of(TEXT).unwrap());
        let reader = ::png::Decoder::new(std::io::Cursor::new(&png)).read_info().unwrap();
        let info = reader.info();
        assert_eq!((info.color_type, info.bit_depth), (ColorType::Grayscale, BitDepth::One));
        let pixels = (matrix.width + 2 * QUIET) * MODULE;
        assert_eq!((info.width as usize, info.height as usize), (pixels, pixels));
        let pixmap = Pixmap::decode_png(&png).unwrap();
        let margin = QUIET * MODULE;
        for (index, pixel) in pixmap.pixels().iter().enumerate() {
            let (x, y) = (index % pixels, index / pixels);
            let inside = |at: usize| (margin..pixels - margin).contains(&at).then(|| (at - margin) / MODULE);
            let dark = inside(x)
                .zip(inside(y))
                .is_some_and(|(x, y)| matrix.modules[y * matrix.width + x] == Color::Dark);
            let grey = if dark { 0 } else { 255 };
            assert_eq!((pixel.red(), pixel.green(), pixel.blue(), pixel.alpha()), (grey, grey, grey, 255));
        }
    }

    #[test]
    fn the_png_reads_back_from_its_url() {
        assert_eq!(png_of(&data_url(TEXT)), png(TEXT));
        assert!(png_of("data:,").is_empty());
    }

    #[test]
    fn what_no_qr_can_hold_gives_nothing() {
        assert!(png(&"x".repeat(5000)).is_empty());
    }
}
