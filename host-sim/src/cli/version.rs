//! `host-sim --version`: of which commit this program is, and which module it is beside.

use host_sim::module;
use std::env;
use std::path::PathBuf;

/// What `--version` prints. The commit is known where `POINTSMAN_COMMIT` named it when this program
/// was compiled, as releases do. The module is `$POINTSMAN_WASM`, or the one beside this program,
/// or the one that `package` wrote last.
pub(crate) fn text() -> String {
    let mut lines = vec![env!("CARGO_PKG_VERSION").to_owned()];
    lines.push(match option_env!("POINTSMAN_COMMIT") {
        Some(commit) => format!("commit {commit}"),
        None => "commit unknown: not built as a release".to_owned(),
    });
    let given = env::var_os("POINTSMAN_WASM").map(PathBuf::from);
    let beside = env::current_exe().ok();
    let beside = beside.and_then(|program| Some(program.parent()?.join("pointsman.wasm")));
    let packaged = module::target_directory().ok();
    let packaged = packaged.map(|target| target.join("package/pointsman.wasm"));
    let places = [given, beside, packaged].into_iter().flatten();
    let module = places.into_iter().find_map(|path| {
        let bytes = std::fs::read(&path).ok()?;
        let digest = pointsman_release::sha256(&bytes);
        Some(format!("module sha256:{digest} ({})", path.display()))
    });
    lines.push(module.unwrap_or_else(|| "module: none is here; see `package`".to_owned()));
    lines.join("\n")
}
