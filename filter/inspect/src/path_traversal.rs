//! `path_traversal`: ways out of a directory, and the files that attackers read first.
//!
//! The files are a part of `lfi-os-files.data` of the OWASP Core Rule Set (Apache-2.0): those that
//! no application has a reason to name.

/// What a separator costs: it may be the beginning of each of [`FILES`].
pub(super) const STEPS_PER_SEPARATOR: usize = 40;

const FILES: [&[u8]; 24] = [
    b"boot.ini",
    b"etc/group",
    b"etc/hosts",
    b"etc/issue",
    b"etc/motd",
    b"etc/mysql/my.cnf",
    b"etc/passwd",
    b"etc/shadow",
    b"etc/ssh/",
    b"etc/sudoers",
    b"meta-inf/",
    b"proc/self/",
    b"proc/version",
    b"root/.",
    b"var/log/",
    b"var/run/secrets/",
    b"web-inf/",
    b"windows/system.ini",
    b"windows/system32/",
    b"windows/win.ini",
    b"winnt/",
    b".ssh/",
    b".aws/credentials",
    b".kube/config",
];

/// Whether a value that was decoded names a file outside of where it should be.
pub(super) fn is_path_traversal(value: &[u8]) -> bool {
    if value.contains(&0) {
        return true;
    }
    let mut rest = value;
    // The segments that lie behind a separator, and the first one where a separator follows it.
    let mut is_behind = false;
    loop {
        let end = separator(rest);
        let segment = end.map_or(rest, |(at, _)| rest.get(..at).unwrap_or_default());
        if (is_behind || end.is_some()) && is_parent(segment) || is_behind && begins_file(rest) {
            return true;
        }
        let Some((at, length)) = end else {
            return false;
        };
        rest = rest.get(at + length..).unwrap_or_default();
        is_behind = true;
    }
}

/// How many separators a value has.
pub(super) fn separators(value: &[u8]) -> usize {
    let is_one = |byte: &&u8| matches!(**byte, b'/' | b'\\' | 0xc0);
    value.iter().filter(is_one).count()
}

/// The next separator, and how long it is. `0xc0 0xaf` is a slash in two bytes, which no UTF-8 has,
/// and which some programs take for one.
fn separator(value: &[u8]) -> Option<(usize, usize)> {
    value.iter().enumerate().find_map(|(at, byte)| match byte {
        b'/' | b'\\' => Some((at, 1)),
        0xc0 if value.get(at + 1) == Some(&0xaf) => Some((at, 2)),
        _ => None,
    })
}

/// `..`, also as Tomcat takes it with a parameter, and in two bytes for each dot.
fn is_parent(segment: &[u8]) -> bool {
    let mut rest = segment;
    for _ in 0..2 {
        rest = match rest {
            [b'.', rest @ ..] | [0xc0, 0xae, rest @ ..] => rest,
            _ => return false,
        };
    }
    matches!(rest, [] | [b';', ..])
}

fn begins_file(rest: &[u8]) -> bool {
    FILES.iter().any(|file| {
        rest.get(..file.len()).is_some_and(|start| {
            let same =
                |(a, b): (&u8, &u8)| a.to_ascii_lowercase() == *b || (*a, *b) == (b'\\', b'/');
            start.iter().zip(*file).all(same)
        })
    })
}
