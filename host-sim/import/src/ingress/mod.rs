//! `import ingress`.

use crate::fields::Report;
use crate::{Document, Options, Output};

/// Imports Ingresses.
pub fn import(documents: Vec<Document>, _: &Options) -> Output {
    let report = Report::default();
    for Document { place, .. } in documents {
        report.add(place, "this kind is not imported yet");
    }
    Output {
        not_carried: report.take(),
        ..Output::default()
    }
}
