//! Reads the faults of a scenario.

use super::{FaultKind, ScheduledFault};
use crate::keys::joined;
use crate::simulation::quantity::{number, time};
use pointsman_core::config::Config;
use pointsman_core::config::reader::{Names, Node, Report};

/// The keys of a fault.
pub(super) const KEYS: &[&str] = &joined::<{ KINDS.len() + 3 }>(&["at", "until", "target"], KINDS);
/// The keys of which a fault has exactly one.
const KINDS: &[&str] = &[
    "down",
    "hang",
    "slow",
    "fail",
    "lose_probes",
    "trap",
    "jump",
    "back",
    "reload",
];

/// Reads one fault. `reload` is the configuration that it reloads, if it does; `names` are those of
/// the targets. None: the problem is noted.
pub(super) fn fault(
    node: &Node<'_>,
    reload: Option<(serde_json::Value, Config)>,
    workers: usize,
    names: &Names<'_>,
    report: &mut Report,
) -> Option<ScheduledFault> {
    const WAYS: &[(&str, fn(usize) -> FaultKind)] = &[
        ("refused", FaultKind::Refused),
        ("silent", FaultKind::Silent),
    ];
    let map = node.map(report, KEYS)?;
    let at = map
        .need(report, "at", "a duration")
        .and_then(|node| time(&node, report));
    let until = map.get("until").and_then(|node| time(&node, report));
    let given = map.exactly_one(report, KINDS)?;
    let target = match given.key() {
        "trap" | "jump" | "back" | "reload" => {
            for key in ["target", "until"] {
                if let Some(node) = map.get(key) {
                    report.note(
                        &node,
                        &format!("stands beside {}", given.key()),
                        "neither target nor until",
                    );
                }
            }
            None
        }
        _ => {
            let node = map.need(report, "target", "a cluster or an endpoint");
            Some(node.and_then(|node| node.reference(report, names, "target"))?)
        }
    };
    let target = target.unwrap_or_default();
    let kind = match given.key() {
        "down" => given.choice(report, WAYS)?(target),
        "hang" => given.yes(report).map(|_| FaultKind::Hang(target))?,
        "slow" => FaultKind::Slow(target, number(&given, report, 0.001, 1e6)?),
        "lose_probes" => FaultKind::LoseProbes(target, number(&given, report, 0.0, 1.0)?),
        "fail" => {
            let map = given.map(report, &["status", "share"])?;
            let status = map
                .need(report, "status", "a status")
                .and_then(|node| node.whole(report, 200, 599))?;
            let share = map
                .get("share")
                .map_or(Some(1.0), |node| number(&node, report, 0.0, 1.0))?;
            FaultKind::Fail(target, status as u16, share)
        }
        "trap" => FaultKind::Trap(given.whole(report, 0, workers as u32 - 1)? as usize),
        "jump" => FaultKind::Jump(time(&given, report)?.get() as i64),
        "back" => FaultKind::Jump(-(time(&given, report)?.get() as i64)),
        _ => FaultKind::Reload(reload?.0.to_string().into_bytes()),
    };
    let name = map.get("target");
    let name = name.as_ref().and_then(|node| node.as_text());
    let label = label(&kind, name.unwrap_or_default(), given.as_text());
    Some(ScheduledFault {
        at: at?,
        until,
        kind,
        label,
    })
}

/// A fault of this target in words. `text` is what the file says of it: a time, or a file.
fn label(kind: &FaultKind, target: &str, text: Option<&str>) -> String {
    let time = text.unwrap_or_default();
    match kind {
        FaultKind::Refused(_) => format!("{target} refuses connections"),
        FaultKind::Silent(_) => format!("all packets of {target} are lost"),
        FaultKind::Hang(_) => format!("{target} hangs"),
        FaultKind::Slow(_, factor) => format!("{target} {factor} × slower"),
        FaultKind::Fail(_, status, 1.0) => format!("{target} answers {status}"),
        FaultKind::Fail(_, status, share) => {
            format!("{} of {target}'s answers: {status}", percent(*share))
        }
        FaultKind::LoseProbes(_, share) => format!("{} of {target}'s probes lost", percent(*share)),
        FaultKind::Trap(worker) => format!("worker {worker}'s VM traps"),
        FaultKind::Jump(nanoseconds) if *nanoseconds < 0 => format!("clock set back {time}"),
        FaultKind::Jump(_) => format!("clock set ahead {time}"),
        FaultKind::Reload(_) => match text {
            Some(file) => format!("configuration {file}"),
            None => "another configuration".to_owned(),
        },
    }
}

/// A share as a scenario writes it, without zeros that say nothing.
fn percent(share: f64) -> String {
    format!("{} %", (share * 1e6).round() / 1e4)
}
