//! The search through all documents: sections in which words begin as each of the query's, the best first. `docs.rs` asks.

use std::sync::OnceLock;

use super::library::Document;
use super::markdown::{self, Section};
use super::navigation;

/// Of a query, in characters.
pub(super) const MAX_QUERY: usize = 100;
/// Found sections that are shown.
const MAX_HITS: usize = 30;
/// Around the first word that was found, in characters.
const BEFORE: usize = 60;
const EXCERPT: usize = 220;

/// A section as it is searched.
struct Indexed {
    document: Document,
    section: Section,
    /// In small letters and without accents; one character for one, so that a place in it is a place in the text.
    heading: String,
    text: String,
}

/// A section that has every word.
pub(super) struct Hit {
    pub(super) document: Document,
    pub(super) heading: &'static str,
    pub(super) id: &'static str,
    pub(super) excerpt: Vec<Piece>,
}

/// A part of an excerpt.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) text: String,
    pub(super) is_found: bool,
}

static INDEX: OnceLock<Vec<Indexed>> = OnceLock::new();

pub(super) fn is_ready() -> bool {
    INDEX.get().is_some()
}

/// Made once, when somebody searches for the first time.
pub(super) fn prepare() {
    index();
}

fn index() -> &'static [Indexed] {
    INDEX.get_or_init(|| {
        let sections = navigation::in_order().into_iter().flat_map(|document| {
            markdown::render(document, "").sections.into_iter().map(move |section| {
                let (heading, text) = (folded(&section.heading), folded(&section.text));
                Indexed { document, section, heading, text }
            })
        });
        sections.collect()
    })
}

/// The sections that have all words of the query, the best first, and how many there are.
pub(super) fn search(query: &str) -> (Vec<Hit>, usize) {
    let folded = folded(query);
    let words: Vec<_> = folded.split_whitespace().collect();
    if words.is_empty() {
        return (Vec::new(), 0);
    }
    let scored = index().iter().filter_map(|indexed| Some((score(indexed, &words)?, indexed)));
    let mut found: Vec<_> = scored.collect();
    // A stable sort: what is equally good stays in the order of the navigation.
    found.sort_by_key(|(score, _)| std::cmp::Reverse(*score));
    let shown = found.iter().take(MAX_HITS).map(|(_, indexed)| {
        let Indexed { document, section, .. } = indexed;
        let excerpt = excerpt(indexed, &words);
        Hit { document: *document, heading: &section.heading, id: &section.id, excerpt }
    });
    (shown.collect(), found.len())
}

/// A word in a heading counts for more than many in the text. `None` where a word is missing.
fn score(indexed: &Indexed, words: &[&str]) -> Option<usize> {
    let mut score = 0;
    for word in words {
        let in_heading = beginnings(&indexed.heading, word).take(1).count();
        let in_text = beginnings(&indexed.text, word).take(5).count();
        let worth = 20 * in_heading + in_text;
        if worth == 0 {
            return None;
        }
        // The heading of a whole document counts for more than one within it.
        score += worth + if indexed.section.level == 1 { 10 * in_heading } else { 0 };
    }
    Some(score)
}

/// Where a word of the text begins so: `lease` is in `LEASE_TTL_MS` and not in `release`.
fn beginnings<'a>(text: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let is_beginning = |at: &usize| !text[..*at].chars().next_back().is_some_and(char::is_alphanumeric);
    text.match_indices(word).map(|(at, _)| at).filter(is_beginning)
}

/// The text around the first word that is in it, with every word marked.
fn excerpt(indexed: &Indexed, words: &[&str]) -> Vec<Piece> {
    let chars: Vec<char> = indexed.section.text.chars().collect();
    let folded: Vec<char> = indexed.text.chars().collect();
    let words: Vec<Vec<char>> = words.iter().map(|word| word.chars().collect()).collect();
    let word_at = |at: usize| {
        if at > 0 && folded[at - 1].is_alphanumeric() {
            return None;
        }
        let found = words.iter().filter(|word| folded[at..].starts_with(word.as_slice()));
        found.map(Vec::len).max()
    };
    let first = (0..folded.len()).find(|at| word_at(*at).is_some()).unwrap_or(0);
    let mut begin = first.saturating_sub(BEFORE);
    while begin > 0 && begin < first && !chars[begin - 1].is_whitespace() {
        begin += 1;
    }
    let end = chars.len().min(begin + EXCERPT);
    let mut pieces = Vec::new();
    let mut plain = String::from(if begin > 0 { "… " } else { "" });
    let mut at = begin;
    while at < end {
        match word_at(at) {
            Some(length) => {
                let text = std::mem::take(&mut plain);
                pieces.push(Piece { text, is_found: false });
                pieces.push(Piece { text: chars[at..at + length].iter().collect(), is_found: true });
                at += length;
            }
            None => {
                plain.push(chars[at]);
                at += 1;
            }
        }
    }
    plain.push_str(if end < chars.len() { " …" } else { "" });
    pieces.push(Piece { text: plain, is_found: false });
    pieces
}

/// In small letters and without the accents of Europe's languages, one character for one.
fn folded(text: &str) -> String {
    let fold = |char: char| match char.to_lowercase().next().unwrap_or(char) {
        'à' | 'á' | 'â' | 'ã' | 'ä' | 'å' => 'a',
        'ç' => 'c',
        'è' | 'é' | 'ê' | 'ë' => 'e',
        'ğ' => 'g',
        'ì' | 'í' | 'î' | 'ï' | 'ı' => 'i',
        'ñ' => 'n',
        'ò' | 'ó' | 'ô' | 'õ' | 'ö' => 'o',
        'ş' => 's',
        'ù' | 'ú' | 'û' | 'ü' => 'u',
        char => char,
    };
    text.chars().map(fold).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn best(query: &str) -> (&'static str, &'static str) {
        let (hits, found) = search(query);
        assert!(found > 0, "{query}");
        (hits[0].document.entry.name, hits[0].id)
    }

    #[test]
    fn the_section_that_is_called_so_comes_first() {
        assert_eq!(best("production checklist"), ("deploy", "production-checklist"));
        assert_eq!(best("PRODÜCTION"), ("deploy", "production-checklist"));
        assert_eq!(best("glossary"), ("glossary", "glossary"));
        assert!(
            search("lease").0.iter().all(|hit| hit.document.entry.name != "releases"),
            "it is in the middle"
        );
        assert_eq!(search("zebra-crossing").1, 0);
        assert_eq!(search("  ").1, 0);
    }

    #[test]
    fn every_word_is_there_and_marked() {
        let (hits, found) = search("Redis lease");
        assert!(found > 1 && hits.len() <= MAX_HITS, "{found}");
        for hit in hits {
            let whole: String = hit.excerpt.iter().map(|piece| piece.text.as_str()).collect();
            let heading = folded(hit.heading);
            let marked = hit.excerpt.iter().any(|piece| piece.is_found);
            assert!(marked || heading.contains("redis") || heading.contains("lease"), "{whole}");
        }
    }
}
