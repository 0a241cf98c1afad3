//! The modules of a QR. `qrcode` makes everything but the choice among the eight masks: it takes more than a millisecond to
//! score them, which is most of what a QR costs. Here the same rules read each line once.

use qrcode::canvas::{Canvas, MaskPattern};
use qrcode::{Color, EcLevel, QrResult, bits, ec};

/// Every text is shown with this much redundancy: 15 % of it may be unreadable.
const LEVEL: EcLevel = EcLevel::M;

/// In this order: of two that are equally good the first is taken.
const MASKS: [MaskPattern; 8] = [
    MaskPattern::Checkerboard,
    MaskPattern::HorizontalLines,
    MaskPattern::VerticalLines,
    MaskPattern::DiagonalLines,
    MaskPattern::LargeCheckerboard,
    MaskPattern::Fields,
    MaskPattern::Diamonds,
    MaskPattern::Meadow,
];

/// A square of dark and light modules, row by row, without a margin.
pub(super) struct Matrix {
    pub(super) width: usize,
    pub(super) modules: Vec<Color>,
}

impl Matrix {
    /// The QR of this text.
    ///
    /// # Errors
    /// When no QR can hold it.
    pub(super) fn of(text: &str) -> QrResult<Self> {
        let bits = bits::encode_auto(text.as_bytes(), LEVEL)?;
        let version = bits.version();
        let (data, redundancy) = ec::construct_codewords(&bits.into_bytes(), version, LEVEL)?;
        let mut canvas = Canvas::new(version, LEVEL);
        canvas.draw_all_functional_patterns();
        canvas.draw_data(&data, &redundancy);
        let masked = |mask| {
            let mut canvas = canvas.clone();
            canvas.apply_mask(mask);
            Self { width: usize::from(version.width().unsigned_abs()), modules: canvas.into_colors() }
        };
        let best = MASKS.into_iter().map(masked).min_by_key(Self::penalty);
        Ok(best.unwrap_or_else(|| unreachable!("there are eight")))
    }

    /// How hard it is to read, by the four rules of ISO 18004.
    fn penalty(&self) -> usize {
        let rows = self.modules.chunks_exact(self.width);
        let mut penalty = rows.map(|row| line_penalty(row.iter().copied())).sum::<usize>();
        for x in 0..self.width {
            penalty += line_penalty(self.modules[x..].iter().copied().step_by(self.width));
        }
        penalty + self.block_penalty() + self.balance_penalty()
    }

    /// Three for each square of two by two modules of one colour.
    fn block_penalty(&self) -> usize {
        let rows = self.modules.chunks_exact(self.width);
        let below = self.modules[self.width..].chunks_exact(self.width);
        let pairs = rows.zip(below).flat_map(|(row, next)| row.windows(2).zip(next.windows(2)));
        3 * pairs.filter(|(up, down)| up == down && up[0] == up[1]).count()
    }

    /// Two for each percent that the share of dark modules is away from one half.
    fn balance_penalty(&self) -> usize {
        let dark = self.modules.iter().filter(|module| **module == Color::Dark).count();
        (dark * 200 / self.modules.len()).abs_diff(100)
    }
}

/// The rules for one row or column: runs of five and more, and what looks like a finder pattern with a margin.
fn line_penalty(line: impl Iterator<Item = Color>) -> usize {
    const FINDER: u32 = 0b101_1101_0000;
    let (mut penalty, mut run, mut last) = (0, 0, None);
    // The last fifteen modules: four, the seven of a finder pattern, and four. Beyond the edge all is light.
    let mut window = 0_u32;
    let mut slide = |dark: bool| {
        window = (window << 1 | u32::from(dark)) & 0x7fff;
        let finder = window & 0x7f0 == FINDER;
        if finder && (window & 0xf == 0 || window >> 11 == 0) { 40 } else { 0 }
    };
    for module in line {
        penalty += slide(module == Color::Dark);
        if last == Some(module) {
            run += 1;
        } else {
            (run, last) = (1, Some(module));
        }
        // Three for the first five, one for each further one.
        penalty += match run {
            5 => 3,
            6.. => 1,
            _ => 0,
        };
    }
    penalty + (0..4).map(|_| slide(false)).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use qrcode::QrCode;

    use super::*;

    #[test]
    fn it_is_the_matrix_that_the_crate_would_choose() {
        for length in (1_u32..300).step_by(23) {
            let letters = (0..length).map(|at| b'!' + (at.wrapping_mul(0x9E37_79B9) >> 24) as u8 % 90);
            let text: String = letters.map(char::from).collect();
            let matrix = Matrix::of(&text).unwrap();
            let code = QrCode::with_error_correction_level(&text, LEVEL).unwrap();
            assert_eq!(matrix.width, code.width(), "{text}");
            assert!(matrix.modules == code.into_colors(), "{text}");
        }
    }
}
