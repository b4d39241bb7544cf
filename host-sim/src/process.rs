//! Programs that run beside us: proxies, and what they talk to.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

/// A child process that does not outlive us.
pub struct Process {
    child: Child,
}

impl Process {
    /// A shell becomes the command, after it has left a watcher behind that reads from us: a line
    /// says that all is well and it may go, the end of the pipe that we are gone, however that came
    /// about (a killed test run too); then it removes our directory. Unlike `PR_SET_PDEATHSIG` this
    /// needs no unsafe code, and does not end with the *thread* that started it. A terminal sends its
    /// signals to the watcher too.
    const SCRIPT: &str = r#"exec 3<&0 </dev/null; directory=$1; shift
        { trap '' HUP INT TERM; read -r _ <&3 || { kill -9 $$; rm -rf "$directory"; }; } >/dev/null 2>&1 &
        exec "$0" "$@" 3<&-"#;

    /// Starts a command without its standard input. What it writes goes to `log`. `directory` is removed where this process ends and
    /// does not end the command.
    pub fn start(command: &Command, log: File, directory: &Path) -> std::io::Result<Self> {
        let variables = command.get_envs();
        let variables = variables.filter_map(|(name, value)| Some((name, value?)));
        let child = Command::new("sh")
            .args(["-c", Self::SCRIPT])
            .arg(command.get_program())
            .arg(directory)
            .args(command.get_args())
            .envs(variables)
            .stdin(Stdio::piped())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        Ok(Self { child })
    }

    /// Its number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// How it has ended. None: it has not.
    pub fn try_wait(&mut self) -> std::io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }

    /// Kills it.
    pub fn end(&mut self) {
        if let Some(mut watcher) = self.child.stdin.take() {
            let _ = watcher.write_all(b"ended\n");
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}
