//! Networks of client addresses.

use std::net::IpAddr;

/// A network such as `10.0.0.0/8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Network {
    address: IpAddr,
    length: u32,
}

fn parse(text: &str) -> Option<Network> {
    let (address, length) = match text.split_once('/') {
        Some((address, length)) => (address, Some(length.parse().ok()?)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().ok()?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    let length = length.unwrap_or(most);
    (length <= most).then_some(Network { address, length })
}

/// The networks of a list with commas, and what of it is none.
pub(super) fn list(text: &str) -> (Vec<String>, Vec<String>) {
    let parts = text
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty());
    let (good, bad): (Vec<_>, Vec<_>) = parts.partition(|part| parse(part).is_some());
    let owned = |parts: Vec<&str>| parts.into_iter().map(str::to_owned).collect();
    (owned(good), owned(bad))
}

/// The networks that are within both lists.
pub(super) fn both(one: &[String], other: &[String]) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut add = |text: &String| {
        if !found.contains(text) {
            found.push(text.clone());
        }
    };
    for (a, b) in one.iter().flat_map(|a| other.iter().map(move |b| (a, b))) {
        let (Some(first), Some(second)) = (parse(a), parse(b)) else {
            continue;
        };
        if is_within(first, second) {
            add(a);
        } else if is_within(second, first) {
            add(b);
        }
    }
    found
}

fn is_within(inner: Network, outer: Network) -> bool {
    let bits = |address: IpAddr| match address {
        IpAddr::V4(address) => u128::from(u32::from(address)) << 96,
        IpAddr::V6(address) => u128::from(address),
    };
    let mask = match outer.length {
        0 => 0,
        length => u128::MAX << (128 - length),
    };
    inner.address.is_ipv4() == outer.address.is_ipv4()
        && inner.length >= outer.length
        && bits(inner.address) & mask == bits(outer.address) & mask
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_told_from_other_words_and_intersected() {
        let (good, bad) = list("10.0.0.0/8, 1.2.3.4,,x,10.0.0.0/33, 2001:db8::/32");
        assert_eq!(good, ["10.0.0.0/8", "1.2.3.4", "2001:db8::/32"]);
        assert_eq!(bad, ["x", "10.0.0.0/33"]);
        let lists = [
            "10.0.0.0/8,2001:db8::/32",
            "10.1.0.0/16,11.0.0.0/8,::/0,10.0.0.0/8",
        ];
        let [one, other] = lists.map(|text| list(text).0);
        assert_eq!(
            both(&one, &other),
            ["10.1.0.0/16", "10.0.0.0/8", "2001:db8::/32"]
        );
        assert_eq!(both(&one, &[]), Vec::<String>::new());
        let [wide, narrow] = ["10.0.0.0/8", "10.0.0.0/16"].map(|text| list(text).0);
        assert_eq!(both(&wide, &narrow), narrow);
    }
}
