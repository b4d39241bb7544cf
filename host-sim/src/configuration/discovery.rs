//! Filters that an Envoy configuration leaves to another file (`config_discovery`, ECDS by file):
//! each is put where Envoy puts it, so that whoever looks at the configuration sees a whole one.

use super::type_url::WASM;
use super::{LoadError, ParsedText, field, one_problem};
use pointsman_core::config::value::Value;
use std::path::{Path, PathBuf};
use std::{fs, io};

/// Where the files are that a configuration names.
#[derive(Clone, Copy)]
pub(super) enum Files<'f> {
    /// Where Envoy looks, from the working directory, and then beside this file, which is the one
    /// that the configuration was read from, or in a directory beside it.
    Beside(&'f Path),
    /// Among these names and texts, the files of `ConfigMap`s. There may be others that are not
    /// known here: what is not found is no error.
    Among(&'f [(&'f str, &'f str)]),
}

impl Files<'_> {
    /// The text of a file. None: it is not known.
    fn read(self, path: &str) -> Option<io::Result<String>> {
        match self {
            Files::Beside(file) => {
                let found = places(path, file).into_iter().find(|path| path.is_file());
                let text = found.map(fs::read_to_string);
                Some(text.unwrap_or_else(|| fs::read_to_string(path)))
            }
            Files::Among(texts) => {
                let name = Path::new(path).file_name()?;
                let mut texts = texts.iter();
                let (_, text) = texts.find(|(own, _)| name == Path::new(own))?;
                Some(Ok((*text).to_owned()))
            }
        }
    }
}

/// Puts filters in that `tree` names files for.
pub(super) fn fill(tree: &mut Value, files: Files<'_>) -> Result<(), LoadError> {
    match tree {
        Value::Map(map) => {
            let discovered = discovered(map, files)?;
            if let Some(filter) = discovered {
                map.push(("typed_config".to_owned(), filter));
            }
            map.iter_mut().try_for_each(|(_, value)| fill(value, files))
        }
        Value::List(list) => list.iter_mut().try_for_each(|value| fill(value, files)),
        _ => Ok(()),
    }
}

/// The filter that belongs to this extension. None: it is another one's, or does not come from a
/// file.
fn discovered(extension: &[(String, Value)], files: Files<'_>) -> Result<Option<Value>, LoadError> {
    let of = |key: &str| {
        let mut entries = extension.iter();
        entries
            .find(|(name, _)| name == key)
            .map(|(_, value)| value)
    };
    let (Some(discovery), None) = (of("config_discovery"), of("typed_config")) else {
        return Ok(None);
    };
    let is_wasm = |kind: &Value| matches!(kind, Value::Text(kind) if kind == WASM);
    let kinds = field(discovery, "type_urls");
    let source = field(discovery, "config_source").and_then(|it| field(it, "path_config_source"));
    let path = source.and_then(|source| field(source, "path"));
    let (Some(Value::List(kinds)), Some(Value::Text(path))) = (kinds, path) else {
        return Ok(None);
    };
    if !kinds.iter().any(is_wasm) {
        return Ok(None);
    }
    let wrong = |found: String| {
        let expected = "the file with the filter, as it is called where Envoy is started";
        LoadError::Problems(one_problem("config_discovery", &found, expected))
    };
    let Some(text) = files.read(path) else {
        return Ok(None);
    };
    let text = text.map_err(|error| wrong(format!("`{path}`: {error}")))?;
    let tree = ParsedText::new(&text).whole().map_err(|mut problems| {
        for problem in &mut problems.0 {
            problem.place = format!("{path}: {}", problem.place);
        }
        problems
    })?;
    let resources = match field(&tree, "resources") {
        Some(Value::List(resources)) => &resources[..],
        _ => &[],
    };
    let named = |resource: &&Value| field(resource, "name") == of("name");
    let filter = resources.iter().find(named);
    let filter = filter.and_then(|resource| field(resource, "typed_config"));
    match filter {
        Some(filter) => Ok(Some(filter.clone())),
        None => Err(wrong(format!(
            "`{path}`, whose `resources` have no `typed_config` of this name"
        ))),
    }
}

/// Where a file may be that is called so in the configuration `file`.
fn places(path: &str, file: &Path) -> Vec<PathBuf> {
    let path = Path::new(path);
    let beside = file.parent().into_iter();
    let beside = beside.flat_map(|directory| {
        let parent = path.parent().and_then(Path::file_name);
        let in_parent = parent.zip(path.file_name());
        let in_parent = in_parent.map(|(parent, name)| Path::new(parent).join(name));
        let names = [
            Some(path.to_owned()),
            in_parent,
            path.file_name().map(PathBuf::from),
        ];
        let names = names.into_iter().flatten();
        names.map(|name| directory.join(name)).collect::<Vec<_>>()
    });
    [path.to_owned()].into_iter().chain(beside).collect()
}

#[cfg(test)]
mod tests {
    use super::super::{envoy_tree, read_parts};
    use super::*;
    use crate::check;
    use crate::module;

    fn shipped() -> PathBuf {
        let repository = module::repository().unwrap();
        repository.join("envoy-config/envoy-ecds.yaml")
    }

    /// The edge is looked at as a whole, wherever the filter stands.
    #[test]
    fn a_filter_in_a_file_of_its_own_is_checked_with_the_proxy_around_it() {
        let file = shipped();
        let part = |file: &Path| read_parts(file).unwrap().remove(0).tree;
        assert_eq!(part(&file), part(&file.with_file_name("envoy.yaml")));
        assert_eq!(part(&file), part(&file.with_file_name("ecds.yaml")));
        let text = fs::read_to_string(&file).unwrap();
        let kinds = |text: &str| {
            let warnings = check::file_warnings(text, &file, false);
            let kinds = warnings.iter().map(|warning| warning.kind);
            kinds.collect::<Vec<_>>()
        };
        assert_eq!(kinds(&text), Vec::<&str>::new());
        let bare = text.replace("merge_slashes: true", "merge_slashes: false");
        assert_eq!(kinds(&bare), ["path_as_it_came"]);
        let other = text.replace("cluster_header: x-pointsman-cluster", "cluster: web-blue");
        assert!(!kinds(&other).is_empty());
    }

    #[test]
    fn a_file_that_is_missing_or_has_another_filter_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("envoy.yaml");
        let text = fs::read_to_string(shipped()).unwrap();
        let text = text.replace("envoy-config/ecds.yaml", "no-such-file.yaml");
        fs::write(&file, &text).unwrap();
        let error = read_parts(&file).unwrap_err().to_string();
        assert!(error.contains("`no-such-file.yaml`"), "{error}");
        assert!(envoy_tree(&text, &file).is_some());
        let beside = directory.path().join("no-such-file.yaml");
        fs::write(&beside, "resources: [{ name: other, typed_config: {} }]").unwrap();
        let error = read_parts(&file).unwrap_err().to_string();
        assert!(error.contains("of this name"), "{error}");
    }
}
