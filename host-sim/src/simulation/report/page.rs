//! The page as HTML: headings, tables, and plots with their legends and values.

use super::mark::Marks;
use super::plot::{self, Drawing};
use crate::simulation::expectation::Verdict;
use crate::simulation::summary::{self, Row};
use plotters::style::RGBColor;
use serde_json::json;
use std::collections::HashMap;
use std::fmt::Write;

const STYLE: &str = include_str!("report.css");
const SCRIPT: &str = include_str!("report.js");

/// The most rows of a table that is not folded.
const MAX_ROWS: usize = 24;

/// The page as far as it is written.
pub(super) struct Page(String);

/// What the reader can look up at each time of a plot.
pub(super) struct Values {
    /// The times, in seconds.
    pub at: Vec<f64>,
    /// Names, colours, and the value at each time.
    pub lines: Vec<(String, Option<RGBColor>, Vec<String>)>,
}

impl Page {
    /// Begins a page of this name with the verdict.
    pub(super) fn new(name: &str, verdicts: &[Verdict]) -> Page {
        let good = verdicts.iter().all(|verdict| verdict.good);
        let (class, mark) = class_and_mark(good);
        let (name, outcome) = (escaped(name), summary::outcome(verdicts));
        Page(format!(
            "<!doctype html>\n<html lang=en>\n<meta charset=utf-8>\n\
             <meta name=viewport content='width=device-width, initial-scale=1'>\n\
             <title>{mark} {name}: {outcome}</title>\n<style>\n{STYLE}</style>\n<main>\n\
             <header>\n<p class='verdict {class}'>{mark} {outcome}</p>\n<h1>{name}</h1>\n</header>\n"
        ))
    }

    /// The page as HTML.
    pub(super) fn finish(mut self) -> String {
        let _ = write!(self.0, "</main>\n<script>\n{SCRIPT}</script>\n</html>\n");
        self.0
    }

    /// Paragraphs, with an empty line between them.
    pub(super) fn text(&mut self, text: &str) {
        for paragraph in text.split("\n\n").filter(|text| !text.is_empty()) {
            let _ = writeln!(self.0, "<p>{}</p>", escaped(paragraph));
        }
    }

    /// What was expected, and what was found.
    pub(super) fn verdicts(&mut self, verdicts: &[Verdict]) {
        if verdicts.is_empty() {
            return;
        }
        self.open_table("promises", "text", &[("promise", ""), ("found", "")]);
        for verdict in verdicts {
            let (class, mark) = class_and_mark(verdict.good);
            let (label, found) = (escaped(&verdict.label), escaped(&verdict.found));
            let _ = writeln!(
                self.0,
                "<tr><th scope=row class={class}>{mark} {label}<td>{found}"
            );
        }
        self.close_table();
    }

    /// Names with what they stand for.
    pub(super) fn list(&mut self, items: &[(&str, String)]) {
        self.0.push_str("<dl>\n");
        for (name, what) in items {
            let _ = writeln!(self.0, "<dt>{name}<dd>{}", escaped(what));
        }
        self.0.push_str("</dl>\n");
    }

    /// The measures of each row that has requests, and the names of those that have none.
    pub(super) fn measures(&mut self, title: &str, rows: &[Row]) {
        let (busy, idle): (Vec<_>, Vec<_>) = rows.iter().partition(|row| !row.is_idle());
        let fold = busy.len() > MAX_ROWS;
        if fold {
            let _ = writeln!(
                self.0,
                "<details><summary>{} {title}s</summary>",
                busy.len()
            );
        }
        if let Some(first) = busy.first() {
            let mut columns = vec![(title, "")];
            let measures = first.values.iter();
            columns.extend(measures.map(|(measure, _)| (measure.name(), measure.explained())));
            self.open_table(title, "", &columns);
            for row in &busy {
                let _ = write!(self.0, "<tr><th scope=row>{}", escaped(&row.name));
                for (measure, value) in &row.values {
                    let _ = write!(self.0, "<td>{}", summary::shown(*measure, *value));
                }
                self.0.push('\n');
            }
            self.close_table();
        }
        if fold {
            self.0.push_str("</details>\n");
        }
        if let Some(idle) = summary::idle(title, &idle) {
            let _ = writeln!(self.0, "<p class=note>{}</p>", escaped(&idle));
        }
    }

    /// What happened, and when.
    pub(super) fn marks(&mut self, marks: &Marks) {
        if marks.all().is_empty() {
            return;
        }
        let columns = [("what happened", ""), ("from", ""), ("until", "")];
        self.open_table("what happened", "text", &columns);
        for mark in marks.all() {
            let until = mark.until.map(|until| format!("{until} s"));
            let _ = writeln!(
                self.0,
                "<tr><th scope=row>{}<td>{} s<td>{}",
                escaped(&mark.label),
                mark.from,
                until.unwrap_or_default()
            );
        }
        self.close_table();
    }

    /// Begins the plots.
    pub(super) fn open_plots(&mut self) {
        self.0.push_str("<div class=plots>\n");
    }

    /// Ends the plots.
    pub(super) fn close_plots(&mut self) {
        self.0.push_str("</div>\n");
    }

    /// A heading with a caption instead of a plot.
    pub(super) fn no_plot(&mut self, title: &str, caption: &str) {
        let _ = writeln!(
            self.0,
            "<figure><h2 data-title='{title}'>{title}</h2><figcaption>{}</figcaption></figure>",
            escaped(caption)
        );
    }

    /// A plot with its legend. `most` describes it for those who do not see it.
    pub(super) fn plot(
        &mut self,
        (title, caption): (&str, &str),
        keys: &[(&str, RGBColor)],
        drawing: &Drawing,
        seconds: f64,
        values: &Values,
        most: &str,
    ) {
        let caption = escaped(caption);
        let _ = write!(
            self.0,
            "<figure><h2 data-title='{title}'>{title}</h2><figcaption>{caption}<br>"
        );
        for (name, color) in keys {
            let _ = write!(
                self.0,
                "<span class=key style='--c:{}'>{}</span> ",
                plot::css(*color),
                escaped(name)
            );
        }
        let label = format!("{title}, {caption}. {}", escaped(most));
        let svg = drawing.svg.replacen(
            "<svg ",
            &format!("<svg role=\"img\" aria-label=\"{label}\" "),
            1,
        );
        let _ = writeln!(
            self.0,
            "</figcaption><div class=plot tabindex=0 role=group aria-label=\"Values of {title}: \
             arrow keys\" data-values=\"{}\">{svg}<div class=cursor hidden></div>\
             <div class=values role=status hidden></div></div></figure>",
            escaped(&values.json(drawing.axis, seconds))
        );
    }

    fn open_table(&mut self, name: &str, class: &str, columns: &[(&str, &str)]) {
        let name = escaped(name);
        let _ = write!(
            self.0,
            "<div class=wide role=region aria-label=\"{name}\" tabindex=0><table class='{class}'>\
             <thead><tr>"
        );
        for (column, explained) in columns {
            let _ = match explained.is_empty() {
                true => write!(self.0, "<th scope=col>{column}"),
                false => write!(self.0, "<th scope=col title=\"{explained}\">{column}"),
            };
        }
        self.0.push_str("<tbody>\n");
    }

    fn close_table(&mut self) {
        self.0.push_str("</table></div>\n");
    }
}

impl Values {
    /// For the script: places in percent of the width, and every text once.
    fn json(&self, (from, until): (f64, f64), seconds: f64) -> String {
        let mut numbers: HashMap<&str, usize> = HashMap::new();
        let mut words: Vec<&str> = Vec::new();
        let mut lines = Vec::new();
        for (name, color, values) in &self.lines {
            let values = values.iter().map(|word| {
                *numbers.entry(word).or_insert_with(|| {
                    words.push(word);
                    words.len() - 1
                })
            });
            lines.push(json!({
                "name": name,
                "color": color.map_or("transparent".to_owned(), plot::css),
                "values": values.collect::<Vec<_>>(),
            }));
        }
        let place = |at: &f64| 100.0 * (from + (until - from) * at / seconds);
        let places = self.at.iter().map(|at| (place(at) * 100.0).round() / 100.0);
        let times = self.at.iter().map(|at| format!("{at:.1} s"));
        json!({
            "places": places.collect::<Vec<_>>(),
            "times": times.collect::<Vec<_>>(),
            "words": words,
            "lines": lines,
        })
        .to_string()
    }
}

fn class_and_mark(good: bool) -> (&'static str, char) {
    match good {
        true => ("good", '✓'),
        false => ("bad", '✗'),
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}
