//! Whatever ends `demo` leaves no process and no directory behind.

use host_sim::wait;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

/// It answers like an Envoy, says in a file that it was started, and never serves.
const ENVOY: &str = r#"#!/bin/sh
if [ "$1" = --version ]; then
    echo "envoy  version: 0123456789/1.40.0/Clean/RELEASE/BoringSSL"
    exit
fi
echo $$ > "$PROCESS.new" && mv "$PROCESS.new" "$PROCESS"
exec sleep 600
"#;

#[test]
fn whatever_ends_it_leaves_nothing_behind() {
    for signal in ["INT", "TERM", "HUP", "KILL"] {
        let directory = tempfile::tempdir().unwrap();
        let [envoy, temporary, process] =
            ["envoy", "temporary", "process"].map(|name| directory.path().join(name));
        fs::write(&envoy, ENVOY).unwrap();
        fs::set_permissions(&envoy, fs::Permissions::from_mode(0o755)).unwrap();
        fs::create_dir(&temporary).unwrap();
        let mut demo = Command::new(env!("CARGO_BIN_EXE_host-sim"))
            .args(["demo", "--module", "/dev/null"])
            .env("ENVOY", &envoy)
            .env("TMPDIR", &temporary)
            .env("PROCESS", &process)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        wait::until("it starts an Envoy", || process.exists());
        assert_ne!(fs::read_dir(&temporary).unwrap().count(), 0);
        let (killed, envoy) = (demo.id().to_string(), fs::read_to_string(&process).unwrap());
        let sent = Command::new("kill").args(["-s", signal, &killed]).status();
        assert!(sent.unwrap().success());
        assert!(!demo.wait().unwrap().success(), "{signal}");
        wait::until("its directory is removed", || {
            fs::read_dir(&temporary).unwrap().count() == 0
        });
        // Of a process that nobody waited for there is a name, and no command.
        let command = Path::new("/proc").join(envoy.trim()).join("cmdline");
        wait::until("its Envoy has ended", || {
            fs::read(&command).unwrap_or_default().is_empty()
        });
    }
}
