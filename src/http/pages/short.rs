//! A text file of `static/` as it is sent: without what only its readers here need. `pages` asks.

/// Leaves out lines that are comments alone, empty lines and indentation, a quarter of what a browser would load.
///
/// It knows lines and no syntax. A line within a template literal of JavaScript stays as it is, and the tests below look whether
/// all files are written so that no more than that is needed.
pub(super) fn shortened(body: &str) -> String {
    let mut short = String::with_capacity(body.len());
    let (mut is_comment, mut is_template) = (false, false);
    for line in body.lines() {
        let text = if is_template { line } else { line.trim_start() };
        if !is_template && (is_comment || text.starts_with("/*")) {
            is_comment = !text.ends_with("*/");
        } else if is_template || !(text.is_empty() || text.starts_with("//")) {
            short.push_str(text);
            short.push('\n');
            is_template ^= backticks(text) % 2 == 1;
        }
    }
    short
}

/// How many there are but for those that are escaped.
fn backticks(text: &str) -> usize {
    text.matches('`').count() - text.matches("\\`").count()
}

#[cfg(test)]
mod tests {
    use super::super::PAGES;
    use super::*;

    #[test]
    fn comments_and_indentation_go_and_templates_stay() {
        let body = "// A file.\n\n/** One\n *  two. */\nconst a = `\n  // text\n`;\n  f(\"//\"); // three\n/* four */\n";
        assert_eq!(shortened(body), "const a = `\n  // text\n`;\nf(\"//\"); // three\n");
    }

    #[test]
    fn no_file_needs_more_than_lines_tell() {
        for page in PAGES.iter().filter(|page| !page.path.ends_with(".svg")) {
            let comments = page.body.lines().map(str::trim).filter(|line| line.starts_with("/*"));
            for comment in comments.filter(|line| line.contains("*/")) {
                assert!(comment.ends_with("*/"), "{}: code behind a comment: {comment}", page.path);
            }
            let short = shortened(page.body);
            // A backtick in a string, or one that is not closed, would make code of text and text of code from there on.
            assert_eq!(backticks(&short) % 2, 0, "{}: a template literal does not end", page.path);
            let last = page.body.lines().last().unwrap_or_default().trim_start();
            assert!(short.ends_with(&format!("{last}\n")), "{} ends with {last}", page.path);
            assert!(!short.contains("\n/*") && !short.contains("\n//"), "{}: a comment is left", page.path);
        }
    }
}
