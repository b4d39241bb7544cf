//! What the filter's crates may name, and what their module may ask of a proxy.
//!
//! Clippy denies the panics that it knows, and the names in `filter/clippy.toml`. This denies what
//! it does not know, and what would make a decision depend on anything but its arguments.

use host_sim::module;
use pointsman_tests::sources::rust_files;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use wasmparser::{Parser, Payload, TypeRef};

/// The largest module in bytes: each worker of a proxy compiles it.
const LARGEST: u64 = 1024 * 1024;

/// Names that no code of the filter has, with the reason. `filter/clippy.toml` bans types, methods
/// and macros; these are keywords, and whole modules.
const NOWHERE: &[(&str, &str)] = &[
    ("std::time", "the time is an argument"),
    ("std::thread", "a VM has one thread"),
    (
        "std::sync",
        "a VM has one thread, and its state hangs off the root context",
    ),
    (
        "static",
        "one for each VM in the proxy, one for each process natively",
    ),
    (
        "std::env",
        "a native host has another environment than its proxy",
    ),
    ("std::fs", "a proxy has no files for us"),
    ("std::io", "a proxy has no files for us"),
    ("std::process", "a proxy's worker must not end"),
];

/// Names that the core does not have: it knows values. (Its `Cargo.toml` does not let it know the
/// proxy, nor the shell.)
const NOT_IN_THE_CORE: &[(&str, &str)] = &[(
    "RefCell",
    "a decision's state is borrowed by whoever asks for it",
)];

/// Names that only the layer of host calls has.
const ONLY_IN_HOST_CALLS: &[(&str, &str)] = &[
    ("extern", "host calls are made in one file"),
    ("unsafe", "only a host call needs it"),
];

/// What the filter calls.
const CALLED: &[&str] = &[
    "env.proxy_add_header_map_value",
    "env.proxy_continue_stream",
    "env.proxy_define_metric",
    "env.proxy_get_buffer_bytes",
    "env.proxy_get_current_time_nanoseconds",
    "env.proxy_get_header_map_pairs",
    "env.proxy_get_header_map_value",
    "env.proxy_get_property",
    "env.proxy_get_shared_data",
    "env.proxy_get_metric",
    "env.proxy_grpc_call",
    "env.proxy_http_call",
    "env.proxy_increment_metric",
    "env.proxy_log",
    "env.proxy_record_metric",
    "env.proxy_remove_header_map_value",
    "env.proxy_replace_header_map_value",
    "env.proxy_send_local_response",
    // The SDK's dispatcher, for answers to calls.
    "env.proxy_set_effective_context",
    "env.proxy_set_property",
    "env.proxy_set_shared_data",
    "env.proxy_set_tick_period_milliseconds",
    "wasi_snapshot_preview1.environ_get",
    "wasi_snapshot_preview1.environ_sizes_get",
    "wasi_snapshot_preview1.random_get",
];

/// What the SDK brings along and nothing calls: the default methods of its traits, which stand in the
/// tables of `dyn HttpContext` and `dyn RootContext`, make host calls.
/// `filter/clippy.toml` keeps us from calling them.
const BROUGHT_BY_THE_SDK: &[&str] = &[
    "env.proxy_call_foreign_function",
    "env.proxy_close_stream",
    "env.proxy_dequeue_shared_queue",
    "env.proxy_done",
    "env.proxy_enqueue_shared_queue",
    "env.proxy_get_status",
    "env.proxy_grpc_cancel",
    "env.proxy_grpc_close",
    "env.proxy_grpc_send",
    "env.proxy_grpc_stream",
    "env.proxy_register_shared_queue",
    "env.proxy_resolve_shared_queue",
    "env.proxy_set_buffer_bytes",
    "env.proxy_set_header_map_pairs",
];

/// What the standard library brings along to write a panic to stderr, and to end. Envoy has all of
/// them.
const BROUGHT_BY_STD: &[&str] = &[
    "wasi_snapshot_preview1.fd_write",
    "wasi_snapshot_preview1.proc_exit",
];

/// The lint whose exceptions stand beside them, each with its reason.
const WITH_REASONS: &str = "clippy::cast_possible_truncation";

/// The lints that the workspace denies to whatever runs in a proxy: a panic kills a worker's VM.
const DENIED: [&str; 9] = [
    WITH_REASONS,
    "clippy::unwrap_used",
    "clippy::expect_used",
    "clippy::panic",
    "clippy::unreachable",
    "clippy::todo",
    "clippy::unimplemented",
    "clippy::indexing_slicing",
    "clippy::string_slice",
];

/// The source files below a directory, without those of tests.
fn sources(directory: &Path) -> Vec<PathBuf> {
    let mut found = rust_files(directory);
    let is_test =
        |path: &Path| path.ends_with("tests.rs") || path.iter().any(|part| part == "tests");
    found.retain(|path| !is_test(path.strip_prefix(directory).unwrap()));
    found
}

/// The lines of a file with their numbers, without comments and without its tests, which stand at
/// its end.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines = text.lines().take_while(|line| *line != "#[cfg(test)]");
    (1..)
        .zip(lines)
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
        .map(|(at, line)| (at, line.split("// ").next().unwrap_or_default()))
}

/// Whether a line has the name as a word of its own. A lifetime (`'static`) is no name.
fn has_name(line: &str, name: &str) -> bool {
    let is_part = |character: char| character.is_alphanumeric() || character == '_';
    line.match_indices(name).any(|(at, _)| {
        let (before, after) = (&line[..at], &line[at + name.len()..]);
        !before.ends_with(|last| is_part(last) || last == '\'') && !after.starts_with(is_part)
    })
}

fn named(files: &[PathBuf], names: &[(&str, &str)]) -> Vec<String> {
    let mut found = Vec::new();
    for file in files {
        let text = fs::read_to_string(file).unwrap();
        for (at, line) in code(&text) {
            for (name, reason) in names {
                if has_name(line, name) {
                    found.push(format!("{}:{at}: {name}: {reason}", file.display()));
                }
            }
        }
    }
    found
}

fn filter() -> PathBuf {
    module::repository().unwrap().join("filter")
}

fn assert_none(found: Vec<String>) {
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn a_name_is_found_as_a_word_of_its_own() {
    for (line, name, expected) in [
        ("static A: u32 = 1;", "static", true),
        ("pub static mut A: u32 = 1;", "static", true),
        ("fn a() -> &'static str {", "static", false),
        ("let ecstatic = 1;", "static", false),
        ("use std::time::Instant;", "std::time", true),
        ("use std::timer;", "std::time", false),
        ("a.split_at(1)", "split_at", true),
        ("a.split_at_checked(1)", "split_at", false),
    ] {
        assert_eq!(has_name(line, name), expected, "{line}");
    }
    let text = "a\n// static\n/// static\nb // static\nc\n#[cfg(test)]\nstatic";
    assert_eq!(
        code(text).collect::<Vec<_>>(),
        [(1, "a"), (4, "b "), (5, "c")]
    );
}

#[test]
fn the_core_knows_values_and_nothing_else() {
    let files = sources(&filter().join("core/src"));
    assert!(files.len() > 20, "{} files", files.len());
    let banned = [NOWHERE, NOT_IN_THE_CORE, ONLY_IN_HOST_CALLS].concat();
    assert_none(named(&files, &banned));
}

#[test]
fn every_test_of_the_core_runs_as_wasm_too() {
    let files = rust_files(&filter().join("core/src"));
    let mut some = 0;
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        if text.contains("#[test]") {
            some += 1;
            let imported = text.contains("use wasm_bindgen_test::wasm_bindgen_test as test;");
            assert!(imported, "{}: its tests run natively only", file.display());
        }
    }
    assert!(some > 15, "{some} files with tests");
}

/// A name that two types share is one that every reader has to look up. The commands' `Arguments`
/// are named by their modules, as the `clap` crate's users do.
#[test]
fn no_two_public_types_of_host_sim_share_a_name() {
    let root = module::repository().unwrap().join("host-sim/src");
    let mut types: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for file in sources(&root) {
        let text = fs::read_to_string(&file).unwrap();
        for (_, line) in code(&text) {
            let mut words = line.split_whitespace();
            let is_public = words.next().is_some_and(|word| word.starts_with("pub"));
            let is_type = ["struct", "enum", "trait", "type"];
            if !is_public || !words.next().is_some_and(|word| is_type.contains(&word)) {
                continue;
            }
            let name = words.next().unwrap_or_default();
            let name = name.split(|char: char| !char.is_alphanumeric()).next();
            let place = file.strip_prefix(&root).unwrap().display().to_string();
            let name = name.unwrap_or_default().to_owned();
            types.entry(name).or_default().push(place);
        }
    }
    types.remove("Arguments");
    assert!(types.len() > 100, "{} types", types.len());
    types.retain(|_, files| files.len() > 1);
    assert!(types.is_empty(), "{types:#?}");
}

#[test]
fn maps_of_the_core_have_a_hasher_that_is_the_same_everywhere() {
    for file in sources(&filter().join("core/src")) {
        for (at, line) in code(&fs::read_to_string(&file).unwrap()) {
            assert!(
                !line.contains("HashMap<")
                    || line.contains("Fnv")
                    || line.contains("BuildHasherDefault<"),
                "{}:{at}: its usual hasher is RandomState",
                file.display()
            );
        }
    }
}

/// The type that a line defines for other modules.
fn public_type(line: &str) -> Option<&str> {
    let rest = line.trim_start();
    let rest = rest
        .strip_prefix("pub ")
        .or(rest.strip_prefix("pub(crate) "))?;
    let kinds = ["struct ", "enum ", "trait ", "type "];
    let name = kinds.iter().find_map(|kind| rest.strip_prefix(kind))?;
    name.split(|letter: char| !letter.is_alphanumeric()).next()
}

#[test]
fn no_two_types_of_the_filter_share_a_name() {
    let mut defined: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for krate in ["core/src", "shell/src"] {
        for file in sources(&filter().join(krate)) {
            let text = fs::read_to_string(&file).unwrap();
            for name in code(&text).filter_map(|(_, line)| public_type(line)) {
                let place = file.display().to_string();
                defined.entry(name.to_owned()).or_default().push(place);
            }
        }
    }
    assert!(defined.len() > 80, "{} types", defined.len());
    defined.retain(|_, places| places.len() > 1);
    assert!(defined.is_empty(), "{defined:#?}");
}

#[test]
fn host_calls_are_made_in_one_file() {
    let mut files = sources(&filter().join("shell/src"));
    files.extend(sources(&filter().join("src")));
    let mut found = named(&files, NOWHERE);
    // A global allocator has to be one.
    let is_allocator =
        |found: &String| found.contains("src/allocator.rs") && found.contains(": static:");
    assert_eq!(found.iter().filter(|found| is_allocator(found)).count(), 1);
    found.retain(|found| !is_allocator(found));
    assert_none(found);
    let before = files.len();
    files.retain(|file| !file.ends_with("shell/src/host.rs"));
    assert_eq!(files.len(), before - 1);
    let mut found = named(&files, ONLY_IN_HOST_CALLS);
    // Its trait is unsafe to implement.
    found.retain(|found| !(found.contains("src/allocator.rs") && found.contains(": unsafe:")));
    // It puts callbacks of the SDK together, which are functions of C.
    found.retain(|found| !found.contains("shell/src/end.rs"));
    assert_none(found);
}

/// The lines of a table of a `Cargo.toml`, without comments.
fn table(manifest: &str, name: &str) -> Vec<String> {
    let text = fs::read_to_string(module::repository().unwrap().join(manifest)).unwrap();
    let lines = text
        .lines()
        .skip_while(|line| *line != format!("[{name}]"))
        .skip(1);
    lines
        .take_while(|line| !line.starts_with('['))
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(str::to_owned)
        .collect()
}

#[test]
fn whatever_runs_in_a_proxy_is_denied_to_panic() {
    let denied = DENIED.map(|lint| format!("{} = \"deny\"", lint.trim_start_matches("clippy::")));
    let all = table("Cargo.toml", "workspace.lints.clippy");
    for lint in &denied {
        assert!(all.contains(lint), "{lint}: {all:?}");
    }
    for guest in [
        "filter",
        "filter/core",
        "filter/shell",
        "host-sim/calls",
        "host-sim/empty",
        "tests/trap",
    ] {
        let lints = table(&format!("{guest}/Cargo.toml"), "lints");
        assert_eq!(lints, ["workspace = true"], "{guest}");
    }
    // The native programs have the same, but for what is denied.
    for native in [
        "host-sim/Cargo.toml",
        "host-sim/release/Cargo.toml",
        "tests/Cargo.toml",
    ] {
        for tool in ["rust", "rustdoc", "clippy"] {
            let mut expected = table("Cargo.toml", &format!("workspace.lints.{tool}"));
            expected.retain(|lint| !denied.contains(lint));
            let own = table(native, &format!("lints.{tool}"));
            assert_eq!(own, expected, "{native}: {tool}");
        }
    }

    // What an attribute takes back is taken back for good. The core's first file does, for tests.
    let mut files = sources(&filter());
    let core = filter().join("core/src/lib.rs");
    let text = fs::read_to_string(&core).unwrap();
    let (_, taken_back) = text
        .split_once("#![cfg_attr(\n    test,\n    allow(")
        .unwrap();
    let (_, rest) = taken_back.split_once(")]\n").unwrap();
    assert!(!rest.contains("clippy::"), "{}", core.display());
    files.retain(|file| *file != core);
    let mut found = named(&files, &[("clippy", "says that a lint does not count")]);
    found.retain(|line| !is_with_reason(line));
    assert_none(found);
}

/// Whether a line that [`named`] found is an `expect` of [`WITH_REASONS`].
fn is_with_reason(found: &str) -> bool {
    let mut parts = found.splitn(3, ':');
    let (file, at) = (parts.next().unwrap(), parts.next().unwrap());
    let text = fs::read_to_string(file).unwrap();
    let at: usize = at.parse().unwrap();
    let lines: Vec<&str> = text.lines().collect();
    // rustfmt may put the parts of an attribute on lines of their own.
    let attribute = lines[at - 2..at + 1].concat();
    lines[at - 1].contains(WITH_REASONS)
        && attribute.contains("#[expect(")
        && attribute.contains("reason = ")
}

#[test]
fn the_module_is_small_and_asks_for_what_is_known() {
    let path = module::build().unwrap();
    let bytes = fs::read(&path).unwrap();
    let size = bytes.len() as u64;
    assert!(
        size <= LARGEST,
        "{} has {size} bytes, more than {LARGEST}",
        path.display()
    );

    let mut imports = BTreeSet::new();
    for payload in Parser::new(0).parse_all(&bytes) {
        let Payload::ImportSection(section) = payload.unwrap() else {
            continue;
        };
        for import in section.into_imports() {
            let import = import.unwrap();
            assert!(matches!(import.ty, TypeRef::Func(_)), "{import:?}");
            imports.insert(format!("{}.{}", import.module, import.name));
        }
    }
    let known = [CALLED, BROUGHT_BY_THE_SDK, BROUGHT_BY_STD].concat();
    let known: BTreeSet<_> = known.into_iter().map(str::to_owned).collect();
    let unknown: Vec<_> = imports.difference(&known).collect();
    assert!(
        unknown.is_empty(),
        "imports that nobody expects: {unknown:?}"
    );
    let gone: Vec<_> = known.difference(&imports).collect();
    assert!(
        gone.is_empty(),
        "no longer imported, take it from the list: {gone:?}"
    );
}

/// `envoy-config/hosts.md` has each function that is called, by its name or the end of one, and no
/// other.
#[test]
fn the_page_for_other_hosts_has_what_is_called_and_no_more() {
    let page = include_str!("../envoy-config/hosts.md");
    let all = CALLED.len() + BROUGHT_BY_THE_SDK.len() + BROUGHT_BY_STD.len();
    assert!(
        page.contains(&format!("It imports {all} functions")),
        "{all}"
    );
    let (_, table) = page.split_once("| called | for |\n|---|---|\n").unwrap();
    let rows = table.lines().take_while(|line| line.starts_with('|'));
    let mut left: BTreeSet<&str> = CALLED.iter().copied().collect();
    for row in rows {
        let called = row.split('|').nth(1).unwrap();
        let mut before = "";
        for word in called.split('`').skip(1).step_by(2) {
            // `proxy_define_metric`, `_increment_` and the like: a part of a name with the rest of
            // another one of its row.
            let named: Vec<&str> = CALLED
                .iter()
                .copied()
                .filter(|name| match word.starts_with('_') || word.ends_with('_') {
                    true => name.contains(word),
                    false => name.rsplit('.').next() == Some(word),
                })
                .collect();
            assert!(!named.is_empty(), "{word}, after {before}: nobody calls it");
            left.retain(|name| !named.contains(name));
            before = word;
        }
    }
    assert!(left.is_empty(), "the page lacks {left:?}");
}
