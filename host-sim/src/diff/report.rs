//! The answer of `diff` as text for people, as Markdown for a pull request, and as JSON.

use super::log::LogCounts;
use super::{Change, Diff, Difference, Owner, SettingChange, command};
use crate::exchange::{ExchangeRequest, pairs_to_json, shown};
use crate::share::percent_of;
use anstyle::Style;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

/// How to print it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For a terminal.
    Text,
    /// One object.
    Json,
    /// For a pull request.
    Markdown,
}

/// What is printed.
pub struct Report<'r> {
    /// The differences.
    pub diff: &'r Diff,
    /// How many requests of a log fall into each.
    pub counts: Option<&'r LogCounts>,
    /// The old file and the new one.
    pub files: [&'r Path; 2],
    /// The style of what readers should see first.
    pub strong: Style,
    /// The style of details.
    pub faint: Style,
}

/// Differences of the same kind: so many routes change in the same way.
struct Group<'r> {
    changes: Vec<&'r Change>,
    members: Vec<(usize, &'r Difference)>,
}

/// The most lines of a summary for a pull request.
pub const MAX_LINES: usize = 60;

impl<'r> Report<'r> {
    /// The whole text.
    pub fn text(&self, format: Format) -> String {
        match format {
            Format::Text => self.for_people(),
            Format::Json => format!("{:#}\n", self.object()),
            Format::Markdown => self.markdown(),
        }
    }

    /// Differences that are the same but for their routes, those with the most requests first.
    fn groups(&self) -> Vec<Group<'r>> {
        let mut groups: Vec<Group<'r>> = Vec::new();
        let mut by_changes: BTreeMap<Vec<&Change>, usize> = BTreeMap::new();
        for (at, difference) in self.diff.differences.iter().enumerate() {
            let is_renamed = difference.old_route != difference.new_route;
            let changes: Vec<&Change> = difference.changes.iter().collect();
            let next = groups.len();
            let place = match is_renamed {
                true => next,
                false => *by_changes.entry(changes.clone()).or_insert(next),
            };
            if place == next {
                groups.push(Group {
                    changes,
                    members: Vec::new(),
                });
            }
            groups[place].members.push((at, difference));
        }
        if self.counts.is_some() {
            groups.sort_by_key(|group| std::cmp::Reverse(self.requests(group)));
        }
        groups
    }

    fn requests(&self, group: &Group<'_>) -> u64 {
        let counts = self.counts.map(|counts| &counts.differences);
        let of = |(at, _): &(usize, &Difference)| counts.map_or(0, |counts| counts[*at]);
        group.members.iter().map(of).sum()
    }

    fn share(&self, requests: u64) -> Option<String> {
        let all = self.counts?.requests;
        let percent = percent_of(requests, all);
        Some(format!("{requests} of {all} requests ({percent})"))
    }

    fn headline(&self) -> String {
        let count = self.diff.differences.len();
        let mut parts = vec![match count {
            0 => "no request is treated differently by its route".to_owned(),
            1 => "1 kind of requests is treated differently".to_owned(),
            count => format!("{count} kinds of requests are treated differently"),
        }];
        if let Some(counts) = self.counts {
            let differing = counts.differences.iter().sum::<u64>() + counts.in_none;
            parts.extend(self.share(differing));
        }
        match self.diff.settings.len() {
            0 => {}
            1 => parts.push("1 setting outside of routes differs".to_owned()),
            count => parts.push(format!("{count} settings outside of routes differ")),
        }
        if !self.diff.not_complete.is_empty() {
            parts.push("NOT COMPLETE".to_owned());
        }
        parts.join("; ")
    }

    fn title(&self, group: &Group<'_>) -> String {
        let name = |name: &Option<String>| match name {
            Some(name) => format!("`{name}`"),
            None => "no route".to_owned(),
        };
        match &group.members[..] {
            [(_, one)] if one.old_route == one.new_route => name(&one.old_route),
            [(_, one), ..] if one.old_route != one.new_route => {
                format!("{} -> {}", name(&one.old_route), name(&one.new_route))
            }
            several => {
                const MAX_SHOWN: usize = 5;
                let names = several.iter().take(MAX_SHOWN);
                let names: Vec<_> = names.map(|(_, it)| name(&it.old_route)).collect();
                match several.len().saturating_sub(MAX_SHOWN) {
                    0 => names.join(", "),
                    more => format!("{} and {more} more", names.join(", ")),
                }
            }
        }
    }

    fn for_people(&self) -> String {
        let (strong, faint) = (self.strong, self.faint);
        let mut out = format!("{strong}{}{strong:#}\n", self.headline());
        for group in self.groups() {
            let _ = writeln!(out, "\n{strong}{}{strong:#}", self.title(&group));
            for change in &group.changes {
                if change.key != "route" {
                    let (old, new) = (given(&change.old), given(&change.new));
                    let _ = writeln!(out, "  {}: {old} -> {new}", change.key);
                }
            }
            if let Some(share) = self.share(self.requests(&group)) {
                let _ = writeln!(out, "  log: {share}");
            }
            let Some((_, first)) = group.members.first() else {
                continue;
            };
            let _ = writeln!(out, "  for example {}", request(&first.example));
            for file in self.files {
                let file = file.display().to_string();
                if let Some(command) = explains(&first.example, &file) {
                    let _ = writeln!(out, "    {faint}{command}{faint:#}");
                }
            }
        }
        if !self.diff.settings.is_empty() {
            let _ = writeln!(out, "\n{strong}outside of routes{strong:#}");
        }
        for (at, setting) in self.diff.settings.iter().enumerate() {
            let _ = writeln!(out, "  {}", sentence(setting));
            let count = self.counts.map(|counts| counts.settings[at]);
            if let Some(share) = count.filter(|it| *it > 0).and_then(|it| self.share(it)) {
                let _ = writeln!(out, "    log: {share}");
            }
            if let Some(example) = &setting.example {
                let _ = writeln!(out, "    {faint}for example {}{faint:#}", request(example));
            }
        }
        for line in self.footnotes() {
            let _ = writeln!(out, "\n{line}");
        }
        out
    }

    /// What has to be known beside.
    fn footnotes(&self) -> Vec<String> {
        let not_complete = self.diff.not_complete.iter();
        let mut all: Vec<_> = not_complete
            .map(|it| format!("not complete: {it}"))
            .collect();
        if let Some(counts) = self.counts {
            all.extend(counts.remarks());
        }
        all
    }

    fn markdown(&self) -> String {
        let mut lines = vec![format!("**Routing:** {}.", self.headline()), String::new()];
        let groups = self.groups();
        if !groups.is_empty() {
            let log = if self.counts.is_some() {
                " requests |"
            } else {
                ""
            };
            let rule = if self.counts.is_some() { "---:|" } else { "" };
            lines.push(format!("| route | what changes | for example |{log}"));
            lines.push(format!("|---|---|---|{rule}"));
        }
        let footnotes = self.footnotes();
        // The rows of both tables share what is left.
        let room = MAX_LINES - lines.len() - 8;
        let shown_groups = groups
            .len()
            .min(room.saturating_sub(self.diff.settings.len().min(15)));
        for group in &groups[..shown_groups] {
            let changes = group.changes.iter().filter(|change| change.key != "route");
            let changes: Vec<_> = changes
                .map(|change| {
                    let (old, new) = (given(&change.old), given(&change.new));
                    format!("{}: {old} -> {new}", change.key)
                })
                .collect();
            let changes = match changes.is_empty() {
                true => "its name only".to_owned(),
                false => changes.join("; "),
            };
            let first = group.members.first();
            let example = first
                .map(|(_, it)| request(&it.example))
                .unwrap_or_default();
            let count = match self.counts {
                Some(_) => format!(" {} |", self.requests(group)),
                None => String::new(),
            };
            lines.push(format!(
                "| {} | {} | `{}` |{count}",
                cell(&self.title(group)),
                cell(&changes),
                cell(&example)
            ));
        }
        if shown_groups < groups.len() {
            lines.push(String::new());
            lines.push(format!(
                "… and {} more differences.",
                groups.len() - shown_groups
            ));
        }
        if !self.diff.settings.is_empty() {
            lines.push(String::new());
        }
        let left = (MAX_LINES - 5).saturating_sub(lines.len());
        for setting in self.diff.settings.iter().take(left) {
            lines.push(format!("- {}", cell(&sentence(setting))));
        }
        if self.diff.settings.len() > left {
            lines.push(format!("- … and {} more", self.diff.settings.len() - left));
        }
        if !footnotes.is_empty() {
            lines.push(String::new());
            let left = MAX_LINES.saturating_sub(lines.len()).max(1);
            let count = footnotes.len();
            match count <= left {
                true => lines.extend(footnotes.iter().map(|it| format!("> {}", cell(it)))),
                false => lines.push(format!("> {count} remarks: see `--format text`")),
            }
        }
        lines.join("\n").trim_end().to_owned() + "\n"
    }

    /// One object: `differences`, `settings`, `complete`, `not_complete`, `log`.
    fn object(&self) -> Value {
        let example = |example: &ExchangeRequest| {
            json!({
                "method": shown(&example.method),
                "url": shown(&example.url()),
                "headers": pairs_to_json(&example.headers),
                "client_ip": example.client_ip.map(|address| address.to_string()),
                "sni": example.tls.sni,
                "peer": example.tls.peer,
                "commands": self.files.map(|file| explains(example, &file.display().to_string())),
            })
        };
        let changes = |changes: &[Change]| -> Value {
            let one = |it: &Change| json!({ "key": it.key, "old": it.old, "new": it.new });
            changes.iter().map(one).collect()
        };
        let differences = self.diff.differences.iter().enumerate().map(|(at, it)| {
            json!({
                "old_route": it.old_route,
                "new_route": it.new_route,
                "changes": changes(&it.changes),
                "example": example(&it.example),
                "requests": self.counts.map(|counts| counts.differences[at]),
            })
        });
        let settings = self.diff.settings.iter().enumerate().map(|(at, it)| {
            let (kind, name) = match &it.owner {
                Owner::Pool(name) => ("pool", Some(name)),
                Owner::Limit(name) => ("rate_limit", Some(name)),
                Owner::Whole => ("configuration", None),
            };
            json!({
                "of": kind,
                "name": name,
                "what": it.what,
                "follows": it.follows,
                "example": it.example.as_ref().map(example),
                "requests": self.counts.map(|counts| counts.settings[at]),
            })
        });
        json!({
            "differences": differences.collect::<Vec<_>>(),
            "settings": settings.collect::<Vec<_>>(),
            "complete": self.diff.not_complete.is_empty(),
            "not_complete": self.diff.not_complete,
            "log": self.counts.map(LogCounts::object),
        })
    }
}

/// A request in one line.
fn request(request: &ExchangeRequest) -> String {
    let mut line = format!("{} {}", shown(&request.method), shown(&request.url()));
    for (name, value) in &request.headers {
        line += &format!(" -H '{}: {}'", shown(name), shown(value));
    }
    if let Some(address) = request.client_ip {
        line += &format!(" from {address}");
    }
    for (name, value) in [("sni", &request.tls.sni), ("peer", &request.tls.peer)] {
        if let Some(value) = value {
            line += &format!(" {name} {value}");
        }
    }
    line
}

/// The command that explains a request. None: it cannot be typed.
fn explains(request: &ExchangeRequest, file: &str) -> Option<String> {
    crate::check::example::can_be_typed(request).then(|| command(request, file))
}

fn sentence(setting: &SettingChange) -> String {
    let owner = match &setting.owner {
        Owner::Pool(name) => format!("pool {name}: "),
        Owner::Limit(name) => format!("limit {name}: "),
        Owner::Whole => String::new(),
    };
    match &setting.follows {
        Some(follows) => format!("{owner}{}; {follows}", setting.what),
        None => format!("{owner}{}", setting.what),
    }
}

fn given(words: &str) -> &str {
    if words.is_empty() { "none" } else { words }
}

/// Text that stays within a cell, in one line.
fn cell(text: &str) -> String {
    /// More is for the terminal.
    const MAX: usize = 300;
    let mut text: String = text.replace('|', "\\|").replace(['\n', '\r'], " ");
    if let Some((at, _)) = text.char_indices().nth(MAX) {
        text.truncate(at);
        text.push('…');
    }
    text
}
