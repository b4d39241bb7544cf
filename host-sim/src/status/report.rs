//! A status as text for people: what is wrong first, then pools and limits as tables that fit the
//! width.

use super::{FilterStatus, LimitStatus, PoolStatus, Status, TargetStatus, named};
use crate::share;
use anstyle::{AnsiColor, Style};
use comfy_table::{CellAlignment, Table, presets};
use std::fmt::Write;

const GOOD: Style = AnsiColor::Green.on_default();
const BAD: Style = AnsiColor::Red.on_default().bold();
const STRONG: Style = Style::new().bold();
const FAINT: Style = Style::new().dimmed();

/// Below this width, in characters, the columns are left out that can be.
const NARROW: usize = 80;
/// A name keeps so many characters, however narrow it is.
const LEAST_NAME: usize = 8;

/// The text, in lines of at most `width` characters wherever names allow it.
pub fn text(status: &Status, width: usize) -> String {
    let mut out = String::new();
    // Nothing that is written to a string fails.
    let _ = write(&mut out, status, width);
    out
}

fn write(out: &mut String, status: &Status, width: usize) -> std::fmt::Result {
    let proxy = &status.proxy;
    let workers = match proxy.workers {
        Some(1) => ", 1 worker".to_owned(),
        Some(workers) => format!(", {workers} workers"),
        None => String::new(),
    };
    let (version, address) = (&proxy.version, &proxy.address);
    let uptime = time(proxy.uptime);
    let state = proxy.state.to_lowercase();
    let head = format!("Envoy {version} at {address}: {state} for {uptime}{workers}");
    paragraph(out, STRONG, "", &head, width)?;
    match status.findings.is_empty() {
        true => paragraph(out, GOOD, "✓ ", "all is well", width)?,
        false => {
            for finding in &status.findings {
                paragraph(out, BAD, "✗ ", &finding.text, width)?;
            }
        }
    }
    for filter in &status.filters {
        writeln!(out)?;
        write_filter(out, filter, width)?;
    }
    Ok(())
}

fn write_filter(out: &mut String, filter: &FilterStatus, width: usize) -> std::fmt::Result {
    let mut head = match &filter.configuration {
        Some(hash) => named(hash, filter.version.as_deref()),
        None => "no configuration is live yet, or the module tells none".to_owned(),
    };
    if let Some(plugin) = &filter.plugin {
        head.push_str(&format!(" of {plugin}"));
    }
    if let Some(scope) = &filter.scope {
        head.push_str(&format!(", scope {scope}"));
    }
    match filter.routes {
        Some(routes) => head.push_str(&format!(
            ": {}, {}, {}",
            several(routes, "route"),
            several(filter.pools.len(), "pool"),
            several(filter.limits.len(), "limit")
        )),
        None if filter.configuration.is_some() => {
            head.push_str(", which is not in Envoy's dump: weights are not known");
        }
        None => {}
    }
    paragraph(out, STRONG, "", &head, width)?;
    let mut facts = Vec::new();
    if let Some([median, most]) = filter.decision_us {
        facts.push(format!(
            "decisions take {median:.0} µs, 99 of 100 at most {most:.0} µs"
        ));
    }
    facts.push(format!(
        "no route matched {} requests",
        number(filter.no_route)
    ));
    paragraph(out, FAINT, "", &facts.join("; "), width)?;
    for pool in &filter.pools {
        writeln!(out)?;
        write_pool(out, pool, width)?;
    }
    if !filter.limits.is_empty() {
        writeln!(out)?;
        write_limits(out, &filter.limits, width)?;
    }
    Ok(())
}

fn write_pool(out: &mut String, pool: &PoolStatus, width: usize) -> std::fmt::Result {
    let mut facts = Vec::new();
    if let Some(healthy) = pool.healthy {
        facts.push(format!("{healthy} healthy"));
    }
    for (what, count) in [
        ("failover", pool.failover),
        ("full", pool.full),
        ("all unhealthy", pool.use_all),
        ("no target (503)", pool.no_target),
    ] {
        if count > 0 {
            facts.push(format!("{what} {}", number(count)));
        }
    }
    let facts = match facts.is_empty() {
        true => String::new(),
        false => format!(": {}", facts.join(", ")),
    };
    let name = shortened(&pool.name, width.saturating_sub(5 + facts.chars().count()));
    paragraph(out, STRONG, "", &format!("pool {name}{facts}"), width)?;
    let is_watched = pool
        .targets
        .iter()
        .any(|it| it.requests_per_second.is_some());
    let columns = Columns {
        due: width >= NARROW || !is_watched,
        requests: width >= NARROW,
    };
    let rows: Vec<_> = pool
        .targets
        .iter()
        .map(|it| target_row(it, columns))
        .collect();
    let mut header = vec!["target", "health", "share"];
    header.extend(columns.due.then_some("due"));
    header.extend(columns.requests.then_some("requests"));
    header.extend(is_watched.then_some("per s"));
    header.extend(["in flight", "failed"]);
    write_table(out, &header, rows, width)
}

/// Which columns there is room for.
#[derive(Clone, Copy)]
struct Columns {
    due: bool,
    requests: bool,
}

/// A row, and how it is shown.
type Row = (Style, Vec<String>);

fn target_row(target: &TargetStatus, columns: Columns) -> Row {
    let (health, style) = match (target.healthy, target.state) {
        (_, Some("draining")) => ("draining", FAINT),
        (_, Some("down")) => ("down", FAINT),
        (Some(false), _) => ("OUT", BAD),
        (Some(true), _) => ("ok", Style::new()),
        (None, _) => ("–", Style::new()),
    };
    let share = |it: Option<f64>| it.map_or("–".to_owned(), percent);
    let mut row = vec![target.name.clone(), health.to_owned(), share(target.share)];
    row.extend(columns.due.then(|| share(target.due)));
    row.extend(columns.requests.then(|| number(target.requests)));
    row.extend(target.requests_per_second.map(share::per_second));
    row.push(number(target.in_flight));
    row.push(target.failed.map_or("–".to_owned(), number));
    (style, row)
}

fn write_limits(out: &mut String, limits: &[LimitStatus], width: usize) -> std::fmt::Result {
    let is_watched = limits.iter().any(|it| it.refused_per_second.is_some());
    let mut header = vec!["limit", "admitted", "refused"];
    header.extend(is_watched.then_some("per s"));
    header.push("shadow");
    header.extend(
        (width >= NARROW)
            .then_some(["overflow", "contended"])
            .into_iter()
            .flatten(),
    );
    let rows = limits.iter().map(|limit| {
        let mut row = vec![
            limit.name.clone(),
            limit.admitted.map_or("–".to_owned(), number),
            number(limit.refused),
        ];
        row.extend(limit.refused_per_second.map(share::per_second));
        row.push(number(limit.shadow));
        if width >= NARROW {
            row.extend([number(limit.overflow), number(limit.contended)]);
        }
        (Style::new(), row)
    });
    write_table(out, &header, rows.collect(), width)
}

/// A table whose first column, of names, gives way.
fn write_table(
    out: &mut String,
    header: &[&str],
    mut rows: Vec<Row>,
    width: usize,
) -> std::fmt::Result {
    let cells = |at: usize| {
        let cells = rows.iter().filter_map(move |(_, row)| row.get(at));
        cells.map(|it| it.chars().count()).max().unwrap_or_default()
    };
    let others = header.iter().enumerate().skip(1);
    let others: usize = others
        .map(|(at, title)| cells(at).max(title.chars().count()) + 2)
        .sum();
    let room = width.saturating_sub(others + 3).max(LEAST_NAME);
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(header);
    for (_, row) in &mut rows {
        if let Some(name) = row.first_mut() {
            *name = shortened(name, room);
        }
        table.add_row(row.iter());
    }
    for column in table
        .column_iter_mut()
        .skip(2 - usize::from(header[0] == "limit"))
    {
        column.set_cell_alignment(CellAlignment::Right);
    }
    let styles = std::iter::once(FAINT).chain(rows.iter().map(|(style, _)| *style));
    for (line, style) in table.lines().zip(styles) {
        writeln!(out, " {style}{}{style:#}", line.trim_end())?;
    }
    Ok(())
}

/// Text that is broken at blanks.
fn paragraph(
    out: &mut String,
    style: Style,
    mark: &str,
    text: &str,
    width: usize,
) -> std::fmt::Result {
    let indent = " ".repeat(mark.chars().count());
    let mut line = mark.to_owned();
    let mut is_empty = true;
    for word in text.split(' ') {
        let long = line.chars().count() + 1 + word.chars().count() > width;
        if long && !is_empty {
            writeln!(out, "{style}{line}{style:#}")?;
            line = indent.clone();
            is_empty = true;
        }
        if !is_empty {
            line.push(' ');
        }
        line.push_str(word);
        is_empty = false;
    }
    writeln!(out, "{style}{line}{style:#}")
}

/// At most so many characters of a name.
fn shortened(name: &str, most: usize) -> String {
    let most = most.max(LEAST_NAME);
    match name.chars().count() > most {
        true => name.chars().take(most - 1).chain(['…']).collect(),
        false => name.to_owned(),
    }
}

fn several(count: usize, what: &str) -> String {
    match count {
        1 => format!("1 {what}"),
        _ => format!("{} {what}s", number(count as u64)),
    }
}

fn percent(share: f64) -> String {
    share::percent(share, 1)
}

/// `1,802`; from ten million on `12.3 M`.
fn number(number: u64) -> String {
    const MILLION: u64 = 1_000_000;
    if number >= 10 * MILLION {
        return format!("{:.1} M", number as f64 / MILLION as f64);
    }
    let digits = number.to_string();
    let mut grouped = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// `45 s`, `12 min`, `3 h 12 min`, `5 d 3 h`
fn time(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min"),
        (0, _, _) => format!("{hours} h {} min", minutes % 60),
        _ => format!("{days} d {} h", hours % 24),
    }
}
