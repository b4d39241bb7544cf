//! `parentRefs`: which gateway a route is for. One configuration is one gateway's.

use crate::fields::{Fields, Report};
use std::collections::BTreeMap;

/// The gateways that routes are attached to.
#[derive(Debug)]
pub(super) struct Parents<'p> {
    /// The one that is imported: its namespace, if that was said, and its name.
    only: Option<(Option<&'p str>, &'p str)>,
    /// All that were met, each with a place where it is named.
    met: BTreeMap<String, String>,
    /// Routes that were left out, as they are for other gateways only.
    left_out: Vec<String>,
}

/// Where a route is attached.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Attached(Vec<(String, Option<String>, Option<i64>)>);

impl<'p> Parents<'p> {
    /// `gateway`: `name` or `namespace/name`, the one whose routes are imported.
    pub(super) fn new(gateway: Option<&'p str>) -> Parents<'p> {
        let only = gateway.map(|gateway| match gateway.split_once('/') {
            Some((namespace, name)) => (Some(namespace), name),
            None => (None, gateway),
        });
        Parents {
            only,
            met: BTreeMap::new(),
            left_out: Vec::new(),
        }
    }

    /// Reads the `parentRefs` of a route. None: it is for other gateways.
    pub(super) fn read(
        &mut self,
        spec: &mut Fields,
        title: &str,
        namespace: &str,
    ) -> Option<Attached> {
        let mut attached = Attached::default();
        let mut refs = 0;
        spec.refuse(
            "useDefaultGateways",
            "which gateways are the default ones is not known here; the route is carried over",
        );
        for mut parent in spec.items("parentRefs") {
            refs += 1;
            parent.ignore("group");
            let kind = parent.text("kind").unwrap_or_else(|| "Gateway".into());
            let of = parent.text("namespace").unwrap_or_else(|| namespace.into());
            let name = parent.text("name").unwrap_or_default();
            let is_wanted = self.only.is_none_or(|(namespace, only)| {
                kind == "Gateway" && only == name && namespace.is_none_or(|only| only == of)
            });
            if !is_wanted {
                for key in parent.keys() {
                    parent.ignore(&key);
                }
                continue;
            }
            if kind != "Gateway" {
                let why = format!("{kind} is no gateway; the route is carried over");
                parent.not_carried("kind", why);
                for key in parent.keys() {
                    parent.ignore(&key);
                }
                continue;
            }
            let gateway = format!("{of}/{name}");
            let place = parent.place().to_owned();
            const LISTENER: &str = "a configuration is for all listeners of the gateway: put the \
                                    filter into those that the route is for, and give the route \
                                    their host names";
            let section = parent.text("sectionName");
            if section.is_some() {
                parent.not_carried("sectionName", LISTENER);
            }
            let port = parent.whole("port");
            if port.is_some() {
                parent.not_carried("port", LISTENER);
            }
            self.met.entry(gateway.clone()).or_insert(place);
            attached.0.push((gateway, section, port));
        }
        if self.only.is_some() && attached.0.is_empty() && refs > 0 {
            self.left_out.push(title.to_owned());
            return None;
        }
        attached.0.sort();
        Some(attached)
    }

    /// Names the gateways where there are several.
    pub(super) fn report(&self, report: &Report) {
        if self.met.len() > 1 {
            for (gateway, place) in &self.met {
                report.add(
                    place,
                    format!(
                        "the routes of {} gateways are in one configuration; `--gateway {gateway}` \
                         imports those of this one",
                        self.met.len()
                    ),
                );
            }
        }
    }

    /// What the configuration's reader should know.
    pub(super) fn notes(&self) -> Vec<String> {
        let mut notes: Vec<String> = Vec::new();
        for gateway in self.met.keys() {
            notes.push(format!("For the gateway {gateway}."));
        }
        if !self.left_out.is_empty() {
            notes.push(format!(
                "Left out, as they are for other gateways: {}.",
                self.left_out.join(", ")
            ));
        }
        notes
    }
}
