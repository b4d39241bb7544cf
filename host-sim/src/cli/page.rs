//! Pages of the repository that show what a command printed last. The command writes them, so that
//! nobody copies tables by hand.

use anyhow::{Context, Result};
use host_sim::module;
use serde::Serialize;
use std::fmt::Display;
use std::fs;
use std::io::Write;

/// Prints a report: the text that a page shows, or one JSON object.
pub(super) fn print(report: &(impl Display + Serialize), json: bool) -> Result<()> {
    let mut out = std::io::stdout().lock();
    match json {
        true => serde_json::to_writer_pretty(&mut out, report)?,
        false => write!(out, "{report}")?,
    }
    writeln!(out)?;
    Ok(())
}

/// Puts `text` between the marks `<!-- NAME -->` and `<!-- /NAME -->` of a page of the repository.
/// Error: there is no such page, or it does not have both marks once; it is then left as it is.
pub(super) fn write(page: &str, name: &str, text: &str) -> Result<()> {
    let path = module::repository()?.join(page);
    let before = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let after = replaced(&before, name, text)
        .with_context(|| format!("{page} has not one `<!-- {name} -->` and its end after it"))?;
    fs::write(&path, after).with_context(|| path.display().to_string())
}

/// What stands between the marks. Error: as for [`write`].
pub(super) fn read(page: &str, name: &str) -> Result<String> {
    let path = module::repository()?.join(page);
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let (start, end) = (format!("<!-- {name} -->\n"), format!("<!-- /{name} -->\n"));
    let rest = text.split_once(&start).map(|(_, rest)| rest);
    let found = rest.and_then(|rest| rest.split_once(&end));
    let (between, _) = found.with_context(|| format!("{page} has no `<!-- {name} -->`"))?;
    Ok(between.to_owned())
}

/// The page with `text` in the place of what stands between the marks.
fn replaced(page: &str, name: &str, text: &str) -> Option<String> {
    let (start, end) = (format!("<!-- {name} -->\n"), format!("<!-- /{name} -->\n"));
    let (before, rest) = page.split_once(&start)?;
    let (_, after) = rest.split_once(&end)?;
    if after.contains(&start) || after.contains(&end) {
        return None;
    }
    let text = text.trim_end();
    Some([before, &start, text, "\n", &end, after].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_between_the_marks_is_replaced_and_nothing_else() {
        let page = "a\n<!-- x -->\nold\nolder\n<!-- /x -->\nb\n<!-- y -->\n<!-- /y -->\n";
        let expected = "a\n<!-- x -->\nnew\n<!-- /x -->\nb\n<!-- y -->\n<!-- /y -->\n";
        assert_eq!(replaced(page, "x", "new\n\n").as_deref(), Some(expected));
        // Again gives the same.
        assert_eq!(replaced(expected, "x", "new").as_deref(), Some(expected));
    }

    #[test]
    fn a_page_without_both_marks_once_is_not_written() {
        for page in [
            "",
            "<!-- x -->\n",
            "<!-- /x -->\n<!-- x -->\n",
            "<!-- x -->\n<!-- /x -->\n<!-- x -->\n<!-- /x -->\n",
        ] {
            assert_eq!(replaced(page, "x", "new"), None, "{page}");
        }
    }

    #[test]
    fn the_pages_that_commands_write_have_their_marks() {
        for (page, name) in [
            super::super::bench::PAGE,
            super::super::bench::INSTRUCTIONS_PAGE,
            super::super::bench::DEAR_PAGE,
            super::super::faults::PAGE,
            super::super::faults::FLEET_PAGE,
        ] {
            let path = module::repository().unwrap().join(page);
            let text = fs::read_to_string(path).unwrap();
            assert!(replaced(&text, name, "new").is_some(), "{page}");
        }
    }
}
