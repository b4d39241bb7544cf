//! Objects of Kubernetes: what all kinds have in common.

use crate::Document;
use crate::fields::{Fields, Report};
use serde_json::Value;

/// An object of Kubernetes.
#[derive(Debug)]
pub(crate) struct Object {
    /// `HTTPRoute`.
    pub kind: String,
    /// The group of its `apiVersion`, empty for the core.
    pub group: String,
    /// Its namespace; `default` where the file says none.
    pub namespace: String,
    pub name: String,
    /// When it was made, in RFC 3339; empty where the file does not say so.
    pub created: String,
    /// All that is left of it besides `metadata`.
    pub fields: Fields,
    /// Its annotations.
    pub annotations: Option<Fields>,
}

impl Object {
    /// `HTTPRoute shop/web`, as comments and paths have it.
    pub(crate) fn title(&self) -> String {
        format!("{} {}/{}", self.kind, self.namespace, self.name)
    }
}

/// Names every annotation.
pub(crate) fn refuse_annotations(annotations: Option<Fields>) {
    if let Some(mut annotations) = annotations {
        for key in annotations.keys() {
            annotations.refuse(&key, "an annotation for another program");
        }
    }
}

/// The fields of `metadata` that say nothing about where requests go.
pub(crate) const BOOKKEEPING: &[&str] = &[
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "finalizers",
    "generateName",
    "generation",
    "labels",
    "managedFields",
    "ownerReferences",
    "resourceVersion",
    "selfLink",
    "uid",
];

/// What `kubectl apply` writes for itself: the object once more.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// The objects of the documents, those of lists one by one.
pub(crate) fn objects(documents: Vec<Document>, report: &Report) -> Vec<Object> {
    let mut objects = Vec::new();
    for Document { place, value } in documents {
        add(&place, value, report, &mut objects);
    }
    objects
}

fn add(place: &str, value: Value, report: &Report, objects: &mut Vec<Object>) {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let kind = text(&value["kind"]).unwrap_or_default();
    if kind.ends_with("List") && value["items"].is_array() {
        let Some(mut list) = Fields::of(format!("{place}: "), value, report) else {
            return;
        };
        for key in ["apiVersion", "kind", "metadata"] {
            list.ignore(key);
        }
        for (place, item) in list.list("items") {
            add(&place, item, report, objects);
        }
        return;
    }
    let Some(name) = text(&value["metadata"]["name"]) else {
        report.add(place, "no object of Kubernetes: it has no metadata.name");
        return;
    };
    let namespace = text(&value["metadata"]["namespace"]).unwrap_or_else(|| "default".into());
    let Some(mut fields) = Fields::of(format!("{kind} {namespace}/{name}: "), value, report) else {
        return;
    };
    fields.ignore("kind");
    fields.ignore("status");
    let version = fields.text("apiVersion").unwrap_or_default();
    let group = version.split_once('/').map_or("", |(group, _)| group);
    let mut created = String::new();
    let mut annotations = None;
    if let Some(mut metadata) = fields.fields("metadata") {
        metadata.ignore("name");
        metadata.ignore("namespace");
        created = metadata.text("creationTimestamp").unwrap_or_default();
        for key in BOOKKEEPING {
            metadata.ignore(key);
        }
        annotations = metadata.fields("annotations");
        if let Some(annotations) = &mut annotations {
            annotations.ignore(LAST_APPLIED);
        }
    }
    objects.push(Object {
        kind,
        group: group.to_owned(),
        namespace,
        name,
        created,
        fields,
        annotations,
    });
}
