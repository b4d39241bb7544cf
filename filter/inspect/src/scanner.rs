//! `scanner`: programs that look for weak places, by what they call themselves and by what they ask
//! for.
//!
//! Both lists are parts of those of the OWASP Core Rule Set (Apache-2.0): of
//! `scanners-user-agents.data` without the words that other programs have too, and of
//! `scanners-urls.data` and `restricted-files.data` what nobody serves on purpose.

/// What the beginning of a word in a user agent costs: it may be that of each of [`AGENTS`].
pub(super) const STEPS_PER_WORD: usize = 40;

/// What a segment of a path costs.
pub(super) const STEPS_PER_SEGMENT: usize = 200;

/// So much of a user agent is looked at.
pub(super) const MAX_USER_AGENT: usize = 512;

const AGENTS: [&[u8]; 48] = [
    b"absinthe",
    b"acunetix",
    b"arachni",
    b"bfac",
    b"brutus/aet",
    b"bsqlbf",
    b"cgichk",
    b"commix",
    b"core-project/1.0",
    b"crimscanner",
    b"datacha0s",
    b"detectify",
    b"dirbuster",
    b"dotdotpwn",
    b"feroxbuster",
    b"fhscan",
    b"fuzz faster u fool",
    b"gobuster",
    b"grendel-scan",
    b"havij",
    b"hydra",
    b"jorgee",
    b"masscan",
    b"morfeus",
    b"mysqloit",
    b"n-stealth",
    b"nessus",
    b"netsparker",
    b"nikto",
    b"nmap",
    b"nsauditor",
    b"nuclei",
    b"openvas",
    b"pangolin",
    b"sql power injector",
    b"sqlmap",
    b"sqlninja",
    b"struts-pwn",
    b"w3af",
    b"webinspect",
    b"webshag",
    b"webvulnscan",
    b"wfuzz",
    b"whatweb",
    b"whcc/",
    b"wpscan",
    b"zgrab",
    b"zmeu",
];

/// Segments of paths, and what begins one where it ends in `-`.
const SEGMENTS: [&[u8]; 30] = [
    b".aws",
    b".bash_history",
    b".ds_store",
    b".env",
    b".git",
    b".gitconfig",
    b".hg",
    b".htaccess",
    b".htpasswd",
    b".my.cnf",
    b".mysql_history",
    b".netrc",
    b".npmrc",
    b".ssh",
    b".svn",
    b"acunetix-wvs-test-for-some-inexistent-file",
    b"appscan_fingerprint",
    b"arachni-",
    b"boaform",
    b"hnap1",
    b"netsparker-",
    b"phpinfo.php",
    b"phpunit",
    b"sftp-config.json",
    b"thereisnowaythat-you-canbethere",
    b"web.config",
    b"wp-config.bak",
    b"wp-config.old",
    b"wp-config.php",
    b"wp-config.txt",
];

/// How many words a user agent has, as far as it is looked at.
pub(super) fn words(agent: &[u8]) -> usize {
    starts(agent).count()
}

/// Where words begin in what is looked at of a user agent.
fn starts(agent: &[u8]) -> impl Iterator<Item = &[u8]> {
    let agent = agent.get(..MAX_USER_AGENT).unwrap_or(agent);
    let mut before = b' ';
    (0..agent.len()).filter_map(move |at| {
        let rest = agent.get(at..)?;
        let byte = *rest.first()?;
        let is_start = byte.is_ascii_alphanumeric() && !before.is_ascii_alphanumeric();
        before = byte;
        is_start.then_some(rest)
    })
}

/// Whether a user agent is a scanner's.
pub(super) fn is_scanner(agent: &[u8]) -> bool {
    starts(agent).any(|rest| AGENTS.iter().any(|name| starts_with(rest, name)))
}

/// Whether a segment of a path, decoded, is what scanners ask for.
pub(super) fn is_probe(segment: &[u8]) -> bool {
    SEGMENTS.iter().any(|probe| {
        starts_with(segment, probe) && (segment.len() == probe.len() || probe.ends_with(b"-"))
    })
}

fn starts_with(rest: &[u8], start: &[u8]) -> bool {
    rest.get(..start.len())
        .is_some_and(|begin| begin.eq_ignore_ascii_case(start))
}
