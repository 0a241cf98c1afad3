//! Phone numbers as people write them: the one rule for `init-session`, `pairing-code` and the live page, which sends what
//! was typed.
//!
//! A number that is read as another one makes a code for a stranger, so what has no plain meaning is refused.

use crate::http::error::ApiError;

/// What is refused is told this.
const ALLOWED: &str =
    "an international phone number, 7 to 15 digits with the country code, such as +905551234567";

/// Where each script's ten decimal digits begin (Unicode 16, general category Nd), in order.
const ZEROS: [u32; 74] = [
    0x0030, 0x0660, 0x06f0, 0x07c0, 0x0966, 0x09e6, 0x0a66, 0x0ae6, 0x0b66, 0x0be6, 0x0c66, 0x0ce6, 0x0d66,
    0x0de6, 0x0e50, 0x0ed0, 0x0f20, 0x1040, 0x1090, 0x17e0, 0x1810, 0x1946, 0x19d0, 0x1a80, 0x1a90, 0x1b50,
    0x1bb0, 0x1c40, 0x1c50, 0xa620, 0xa8d0, 0xa900, 0xa9d0, 0xa9f0, 0xaa50, 0xabf0, 0xff10, 0x104a0, 0x10d30,
    0x10d40, 0x11066, 0x110f0, 0x11136, 0x111d0, 0x112f0, 0x11450, 0x114d0, 0x11650, 0x116c0, 0x116d0,
    0x116da, 0x11730, 0x118e0, 0x11950, 0x11bf0, 0x11c50, 0x11d50, 0x11da0, 0x16130, 0x16a60, 0x16ac0,
    0x16b50, 0x16d70, 0x1ccf0, 0x1d7ce, 0x1d7d8, 0x1d7e2, 0x1d7ec, 0x1d7f6, 0x1e140, 0x1e2f0, 0x1e5f1,
    0x1e950, 0x1fbf0,
];

/// What separates digits for the eye (Unicode 16, general category Pd, and the minus sign), in order.
const DASHES: [char; 28] = [
    '\u{002d}',
    '\u{058a}',
    '\u{05be}',
    '\u{1400}',
    '\u{1806}',
    '\u{2010}',
    '\u{2011}',
    '\u{2012}',
    '\u{2013}',
    '\u{2014}',
    '\u{2015}',
    '\u{2212}',
    '\u{2e17}',
    '\u{2e1a}',
    '\u{2e3a}',
    '\u{2e3b}',
    '\u{2e40}',
    '\u{2e5d}',
    '\u{301c}',
    '\u{3030}',
    '\u{30a0}',
    '\u{fe31}',
    '\u{fe32}',
    '\u{fe58}',
    '\u{fe63}',
    '\u{ff0d}',
    '\u{10d6e}',
    '\u{10ead}',
];

/// What is there and not seen (Unicode 16, general category Cf), first and last.
const INVISIBLE: [(char, char); 21] = [
    ('\u{00ad}', '\u{00ad}'),
    ('\u{0600}', '\u{0605}'),
    ('\u{061c}', '\u{061c}'),
    ('\u{06dd}', '\u{06dd}'),
    ('\u{070f}', '\u{070f}'),
    ('\u{0890}', '\u{0891}'),
    ('\u{08e2}', '\u{08e2}'),
    ('\u{180e}', '\u{180e}'),
    ('\u{200b}', '\u{200f}'),
    ('\u{202a}', '\u{202e}'),
    ('\u{2060}', '\u{2064}'),
    ('\u{2066}', '\u{206f}'),
    ('\u{feff}', '\u{feff}'),
    ('\u{fff9}', '\u{fffb}'),
    ('\u{110bd}', '\u{110bd}'),
    ('\u{110cd}', '\u{110cd}'),
    ('\u{13430}', '\u{13438}'),
    ('\u{1bca0}', '\u{1bca3}'),
    ('\u{1d173}', '\u{1d17a}'),
    ('\u{e0001}', '\u{e0001}'),
    ('\u{e0020}', '\u{e007f}'),
];

/// The digits of an international phone number. E.164 allows at most 15; WhatsApp takes none with fewer than 7.
pub(super) fn phone_number(text: &str) -> Result<String, ApiError> {
    digits(text).ok_or_else(|| ApiError::invalid_body("phoneNumber", ALLOWED))
}

fn digits(text: &str) -> Option<String> {
    // With every script's digits, plus sign and brackets as ASCII has them, and without what separates.
    let plain = text.chars().filter(|c| !separates(*c)).map(plain).collect::<Option<String>>()?;
    let plain = plain.strip_prefix("tel:").unwrap_or(&plain);
    let after_plus = plain.strip_prefix('+').unwrap_or(plain);
    let international = after_plus.strip_prefix("00").unwrap_or(after_plus);
    let number = without_trunk_zero(international)?;
    let digits: String = number.chars().filter(|c| !matches!(c, '(' | ')')).collect();
    let is_whole = (7..=15).contains(&digits.len()) && !digits.starts_with('0');
    (is_whole && digits.bytes().all(|b| b.is_ascii_digit())).then_some(digits)
}

/// `+44 (0)20 …` is `+44 20 …`: the zero is for callers within the country. It stands right behind a country code, which has
/// one to three digits, or it is not understood. A bare zero there belongs to the number, as in Italy.
fn without_trunk_zero(number: &str) -> Option<String> {
    let Some((country, rest)) = number.split_once("(0)") else { return Some(number.to_owned()) };
    let digits = country.bytes().filter(u8::is_ascii_digit).count();
    ((1..=3).contains(&digits) && !rest.contains("(0)")).then(|| format!("{country}{rest}"))
}

fn separates(c: char) -> bool {
    c.is_whitespace()
        || matches!(c, '.' | '/')
        || DASHES.binary_search(&c).is_ok()
        || INVISIBLE.iter().any(|(first, last)| (*first..=*last).contains(&c))
}

/// A character of a number as ASCII has it; `None`: it is of no number.
fn plain(c: char) -> Option<char> {
    match c {
        '(' | '\u{ff08}' => Some('('),
        ')' | '\u{ff09}' => Some(')'),
        '+' | '\u{ff0b}' | '\u{fe62}' => Some('+'),
        // `tel:`
        ':' => Some(':'),
        c if c.is_ascii_alphabetic() => Some(c.to_ascii_lowercase()),
        c => {
            let before = ZEROS.partition_point(|zero| *zero <= u32::from(c)).checked_sub(1)?;
            char::from_digit(u32::from(c) - ZEROS[before], 10)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_taken_as_people_write_them() {
        for (text, number) in [
            ("905551234567", "905551234567"),
            ("+90 555 123 45 67", "905551234567"),
            ("+1 (555) 123-4567", "15551234567"),
            ("+44 (0)20 7946 0958", "442079460958"),
            ("+49 (0) 170 1234567", "491701234567"),
            ("0049 ( 0 ) 170/123.45.67", "491701234567"),
            ("44(0)2079460958", "442079460958"),
            ("+44 \u{ff08}\u{ff10}\u{ff09}20 7946 0958", "442079460958"),
            ("0090 555 123 45 67", "905551234567"),
            ("+0090 555 123 45 67", "905551234567"),
            // Italy's numbers keep their zero, in brackets or not.
            ("+39 06 1234567", "39061234567"),
            ("+39 (06) 1234567", "39061234567"),
            ("tel:+90-555-123-45-67", "905551234567"),
            ("TEL: +90 555 123 45 67", "905551234567"),
            // As copied from a contact: marks of direction, a space that does not break, dashes of print.
            ("\u{202a}+90\u{a0}555\u{2011}123\u{2013}45\u{2212}67\u{202c}", "905551234567"),
            ("\u{feff}+90\u{200b}555\u{ad}1234567\u{2069}\t\n", "905551234567"),
            ("٩٠٥٥٥١٢٣٤٥٦٧", "905551234567"),
            ("+۹۰ ۵۵۵ ۱۲۳ ۴۵ ۶۷", "905551234567"),
            ("＋９０５５５１２３４５６７", "905551234567"),
            ("९०५५५१२३४५६७", "905551234567"),
            ("\u{1d7d7}\u{1d7ce}5551234567", "905551234567"),
        ] {
            assert_eq!(digits(text).as_deref(), Some(number), "{text:?}");
        }
    }

    #[test]
    fn what_may_be_another_number_is_refused() {
        for text in [
            "",
            "123456",
            "0555 123 45 67",
            "(0)555 123 45 67",
            "+(0)44 20 7946 0958",
            "000905551234567",
            "+90 x",
            "+90 555 123 45 67 ext 8",
            "1-800-FLOWERS",
            "1234567890123456",
            "+1 555 123 (0) 4567",
            "+44 (0)20 (0)7946 0958",
            "+90 555 123 45 67, +90 555 123 45 68",
            "+1 5551234 +1 555",
            "++905551234567",
            "90+5551234567",
            "905551234567+",
            "tel:tel:+905551234567",
            "+90555123456\u{b2}",
            "+90 555 \u{2460} 123 45 67",
            "+90 [0] 555 123 45 67",
            "twelve",
        ] {
            assert_eq!(digits(text), None, "{text:?}");
        }
    }

    #[test]
    fn the_tables_are_in_order() {
        assert!(ZEROS.is_sorted() && DASHES.is_sorted() && INVISIBLE.is_sorted());
    }
}
