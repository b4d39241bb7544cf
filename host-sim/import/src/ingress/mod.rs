//! `import ingress`: Kubernetes' `Ingress` of networking.k8s.io/v1 with the annotations of
//! ingress-nginx, as its last release reads them.
//!
//! nginx chooses a server by the host and never looks at another, then a location by an exact path
//! or the longest prefix. Where one path of the host is a pattern, all are, and the first one by
//! their lengths is it. [`servers`] makes an order of that.

mod annotations;
mod backend;
mod networks;
mod pattern;
mod redirect;
mod routes;
mod servers;

use crate::fields::{Fields, Report};
use crate::kubernetes::Object;
use crate::output::Configuration;
use crate::pools::{Names, Pools};
use crate::{Document, Options, Output, kubernetes};
use annotations::Settings;
use backend::Service;
use serde_json::Value;
use std::collections::BTreeMap;

/// An `Ingress`.
#[derive(Clone, Debug)]
struct Ingress {
    namespace: String,
    name: String,
    created: String,
    /// Where `spec` stands.
    place: String,
    settings: Settings,
    default_backend: Option<Service>,
    tls_hosts: Vec<String>,
    paths: Vec<HostPath>,
}

/// A path of a rule.
#[derive(Clone, Debug)]
struct HostPath {
    /// Empty: every host that no other rule names.
    host: String,
    path: String,
    kind: PathType,
    /// None: it is none, which is reported.
    backend: Option<Service>,
    place: String,
    /// `0/1`: the rule and the path in it.
    number: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum PathType {
    Exact,
    Prefix,
    ImplementationSpecific,
}

/// Imports Ingresses.
pub fn import(documents: Vec<Document>, options: &Options) -> Output {
    let report = Report::default();
    let mut classes = BTreeMap::new();
    let mut ingresses = Vec::new();
    for object in kubernetes::objects(documents, &report) {
        if (&*object.group, &*object.kind) == ("networking.k8s.io", "Ingress") {
            ingresses.extend(read(object, &mut classes));
        } else {
            let mut fields = object.fields;
            for key in fields.keys() {
                fields.ignore(&key);
            }
            let whole = fields.place().trim_end_matches(": ").to_owned();
            kubernetes::refuse_annotations(object.annotations);
            report.add(
                whole,
                "no Ingress of networking.k8s.io: nothing of it was read",
            );
        }
    }
    if classes.len() > 1 {
        for (class, place) in &classes {
            report.add(
                place,
                format!(
                    "the Ingresses of {} classes are in one configuration: `{class}` is one",
                    classes.len()
                ),
            );
        }
    }
    ingresses.sort_by(|one, other| {
        let age = |it: &Ingress| {
            let Ingress {
                created,
                namespace,
                name,
                ..
            } = it;
            (
                created.is_empty(),
                created.clone(),
                namespace.clone(),
                name.clone(),
            )
        };
        age(one).cmp(&age(other))
    });
    let mut made = Made {
        options,
        report: &report,
        pools: Pools::default(),
        names: Names::default(),
        limit_names: Names::default(),
        limits: Vec::new(),
        routes: Vec::new(),
    };
    servers::add(&ingresses, &mut made);
    let Made {
        pools,
        limits,
        routes,
        ..
    } = made;
    let mut output = Output {
        configuration: Configuration {
            notes: vec![
                format!(
                    "Imported from Ingresses. Clusters are called {}.",
                    options.cluster_template
                ),
                "Where a proxy stands before this one, `client_ip` says which address is the \
                 client's."
                    .into(),
            ],
            pools: pools.into_entries(),
            rate_limits: limits,
            routes,
            ..Configuration::default()
        },
        not_carried: report.take(),
    };
    output.drop_unused();
    output
}

/// What is made of the Ingresses.
struct Made<'m> {
    options: &'m Options,
    report: &'m Report,
    pools: Pools,
    names: Names,
    limit_names: Names,
    limits: Vec<crate::output::Entry>,
    routes: Vec<crate::output::Entry>,
}

/// Reads an Ingress. None: it has no `spec` that can be read.
fn read(object: Object, classes: &mut BTreeMap<String, String>) -> Option<Ingress> {
    let Object {
        namespace,
        name,
        created,
        mut fields,
        annotations,
        ..
    } = object;
    let report = fields.report().clone();
    let mut annotations = annotations.or_else(|| {
        let path = format!("{}metadata.annotations", fields.place());
        Fields::of(path, Value::Null, &report)
    })?;
    let mut class = |class: Option<String>, place: String| {
        if let Some(class) = class {
            classes.entry(class).or_insert(place);
        }
    };
    const CLASS: &str = "kubernetes.io/ingress.class";
    class(annotations.text(CLASS), annotations.path(CLASS));
    let mut spec = fields.fields("spec")?;
    class(spec.text("ingressClassName"), spec.path("ingressClassName"));
    let settings = annotations::read(&mut annotations);
    let default_backend = spec
        .fields("defaultBackend")
        .and_then(|mut it| backend::read(&mut it));
    let mut tls_hosts = Vec::new();
    for mut tls in spec.items("tls") {
        tls_hosts.extend(tls.texts("hosts"));
        tls.refuse("secretName", "certificates are the proxy's own");
    }
    let mut paths = Vec::new();
    for (number, mut rule) in spec.items("rules").into_iter().enumerate() {
        let host = rule.text("host").unwrap_or_default().to_ascii_lowercase();
        let mut http = rule.fields("http");
        let items = http.as_mut().map(|http| http.items("paths"));
        if items.is_none() {
            // As the controller has it: the default backend takes all of the host.
            paths.extend(default_backend.clone().map(|backend| HostPath {
                host: host.clone(),
                path: "/".into(),
                kind: PathType::Prefix,
                backend: Some(backend),
                place: rule.place().to_owned(),
                number: number.to_string(),
            }));
        }
        for (at, mut item) in items.into_iter().flatten().enumerate() {
            const TYPES: &[&str] = &["Exact", "Prefix", "ImplementationSpecific"];
            let kind = item.word("pathType", TYPES, "ImplementationSpecific");
            let path = item.text("path").unwrap_or_else(|| "/".into());
            let backend = item
                .needed("backend")
                .and_then(|mut it| backend::read(&mut it));
            if !path.starts_with('/') {
                item.not_carried("path", "no path: it has to start with `/`");
                continue;
            }
            let Some(kind) = kind else { continue };
            paths.push(HostPath {
                host: host.clone(),
                path,
                kind: match kind {
                    "Exact" => PathType::Exact,
                    "Prefix" => PathType::Prefix,
                    _ => PathType::ImplementationSpecific,
                },
                backend,
                place: item.place().to_owned(),
                number: format!("{number}/{at}"),
            });
        }
    }
    Some(Ingress {
        namespace,
        name,
        created,
        place: spec.place().to_owned(),
        settings,
        default_backend,
        tls_hosts,
        paths,
    })
}

#[cfg(test)]
mod tests;
