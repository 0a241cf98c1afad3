//! The figures as tables of Markdown, for the terminal and for docs/benchmarks.md.

use std::fmt;

/// One table under a title.
pub(crate) struct Section {
    title: String,
    rows: Vec<Vec<String>>,
}

impl Section {
    pub(crate) fn new(title: &str, columns: &[&str]) -> Self {
        let columns: Vec<_> = columns.iter().map(|column| (*column).to_owned()).collect();
        let rule = columns.iter().map(|_| "---".to_owned()).collect();
        Self { title: title.to_owned(), rows: vec![columns, rule] }
    }

    pub(crate) fn add(&mut self, row: Vec<String>) {
        self.rows.push(row);
    }
}

impl fmt::Display for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "## {}\n", self.title)?;
        self.rows.iter().try_for_each(|row| writeln!(f, "| {} |", row.join(" | ")))
    }
}

/// A row of anything that can be shown.
macro_rules! row {
    ($($cell:expr),+ $(,)?) => { vec![$($cell.to_string()),+] };
}
pub(crate) use row;

/// The median, and between what all of them lie.
pub(crate) struct Spread(Vec<f64>);

impl Spread {
    pub(crate) fn of(figures: impl Iterator<Item = f64>) -> Self {
        let mut figures: Vec<_> = figures.collect();
        figures.sort_by(f64::total_cmp);
        Self(figures)
    }

    pub(crate) fn median(&self) -> f64 {
        self.0[self.0.len() / 2]
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [first, .., last] = self.0.as_slice() else {
            return self.0.iter().try_for_each(|one| write!(f, "{one:.2}"));
        };
        let median = self.median();
        // Thousands have no use for hundredths.
        let places = if median < 1000.0 { 2 } else { 0 };
        write!(f, "{median:.places$} ({first:.places$} to {last:.places$})")
    }
}
