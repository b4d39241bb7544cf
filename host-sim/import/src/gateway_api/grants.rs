//! `ReferenceGrant`: whether a route may name a backend of another namespace.

use crate::kubernetes::{Object, refuse_annotations};

/// All grants of the input.
#[derive(Debug, Default)]
pub(super) struct Grants(Vec<Grant>);

/// One pair of `from` and `to`.
#[derive(Debug)]
struct Grant {
    /// The kind and the namespace of the routes.
    from: (String, String),
    /// The namespace of the grant.
    namespace: String,
    /// The kind and the name of the backends; without a name all.
    to: (String, Option<String>),
}

impl Grants {
    /// Reads a grant.
    pub(super) fn add(&mut self, object: Object) {
        let Object {
            mut fields,
            namespace,
            annotations,
            ..
        } = object;
        refuse_annotations(annotations);
        let (mut from, mut to) = (Vec::new(), Vec::new());
        if let Some(mut spec) = fields.fields("spec") {
            for mut item in spec.items("from") {
                item.ignore("group");
                let kind = item.text("kind").unwrap_or_default();
                from.push((kind, item.text("namespace").unwrap_or_default()));
            }
            for mut item in spec.items("to") {
                item.ignore("group");
                to.push((item.text("kind").unwrap_or_default(), item.text("name")));
            }
        }
        for from in &from {
            self.0.extend(to.iter().map(|to| Grant {
                from: from.clone(),
                namespace: namespace.clone(),
                to: to.clone(),
            }));
        }
    }

    /// Whether a route may name the backend.
    pub(super) fn allow(&self, route: (&str, &str), backend: (&str, &str, &str)) -> bool {
        let (kind, namespace, name) = backend;
        self.0.iter().any(|grant| {
            (&*grant.from.0, &*grant.from.1) == route
                && grant.namespace == namespace
                && grant.to.0 == kind
                && grant.to.1.as_deref().is_none_or(|only| only == name)
        })
    }
}
