//! The names of the gauges: which number of the process counts the requests of which target.
//!
//! A gauge belongs to what a target *is* ([`Pool::target_identity`]). The name that operators know,
//! `pointsman.pool.<pool>.target.<target>.in_flight`, does not say that: two listeners may have a
//! target of this name each, with other clusters behind. So the name belongs to the first target
//! that claims it, for as long as the process lives; that of any other has its identity in it:
//! `….target.<target>.id.<hex>.in_flight`. Which target has the plain name stands in shared data, so
//! all workers agree, and a configuration that is alone finds its names unclaimed or its own.
//!
//! Only the configurations of one `vm_id` see each other's claims. Those of another one are of
//! another scope, whose metrics have other names ([`crate::scope`]); a scope with a name, which
//! several VMs can share, has no plain names.
//!
//! The record of a pool is at [`keys::gauge_owners`]. Each entry has 16 bytes: the hash of a name,
//! and the identity of the target that it belongs to. Once there are [`MAX_CLAIMS`] no other name is
//! claimed any more.

use crate::pool::{Pool, Target};
use crate::port::Store;
use crate::shared::record::{self, Entry, FieldReader, FieldWriter};
use crate::shared::{Update, keys, update};
use crate::siphash::SipWriter;
use fnv::FnvHashMap;

/// Whether a gauge has the plain name of its target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum GaugeName {
    #[default]
    Plain,
    /// The name has the target's identity in it.
    WithIdentity,
}

impl GaugeName {
    /// The name of the gauge of a target.
    pub(super) fn of(self, pool: &Pool, target: &Target) -> String {
        let metric = pool.target_metric(target);
        match self {
            GaugeName::Plain => [&metric, ".in_flight"].concat(),
            GaugeName::WithIdentity => {
                let identity = pool.target_identity(target) >> 32;
                format!("{metric}.id.{identity:08x}.in_flight")
            }
        }
    }
}

/// Claims the plain names for the targets of a pool. What each of them gets, in their order. One read
/// of shared data, and one write if a name is claimed for the first time.
pub(super) fn claim(store: &mut dyn Store, pool: &Pool) -> Vec<GaugeName> {
    if pool.scope.label().is_some() {
        return vec![GaugeName::WithIdentity; pool.targets.len()];
    }
    let wanted: Vec<Claim> = pool
        .targets
        .iter()
        .map(|target| Claim {
            name: name_hash(&pool.target_metric(target)),
            owner: pool.target_identity(target),
        })
        .collect();
    let key = keys::gauge_owners(pool.scope.key(), name_hash(&pool.metric()));
    let claimed = update(store, &key, &mut |bytes| {
        let mut claims: Vec<Claim> = record::decode(bytes.unwrap_or_default()).collect();
        let before = claims.len();
        let owners = claims.iter().map(|claim| (claim.name, claim.owner));
        let mut owners: FnvHashMap<u64, u64> = owners.collect();
        let names = wanted.iter().map(|wanted| {
            if !owners.contains_key(&wanted.name) && claims.len() < MAX_CLAIMS {
                claims.push(*wanted);
                owners.insert(wanted.name, wanted.owner);
            }
            match owners.get(&wanted.name) {
                Some(owner) if *owner == wanted.owner => GaugeName::Plain,
                _ => GaugeName::WithIdentity,
            }
        });
        let names = names.collect();
        match claims.len() > before {
            true => Update::Write(record::encode(&claims), names),
            false => Update::Keep(names),
        }
    });
    // Where shared data fails, nothing is shared by which targets could be mixed up for long.
    claimed.unwrap_or_else(|_| vec![GaugeName::Plain; pool.targets.len()])
}

fn name_hash(name: &str) -> u64 {
    let mut hash = SipWriter::new(*b"pointsman gauge.");
    hash.write(name.as_bytes());
    hash.finish()
}

/// To whom a name belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Claim {
    name: u64,
    owner: u64,
}

impl Entry for Claim {
    const SIZE: usize = 16;

    fn read(fields: &mut FieldReader<'_>) -> Option<Claim> {
        Some(Claim {
            name: fields.u64()?,
            owner: fields.u64()?,
        })
    }

    fn write(&self, fields: &mut FieldWriter<'_>) {
        fields.u64(self.name);
        fields.u64(self.owner);
    }
}

/// The names in a record. More than a pool has targets; 256 kB.
const MAX_CLAIMS: usize = 1 << 14;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::port::memory::MemoryPort;
    use crate::scope::Scope;
    use crate::shared::record::tests::assert_layout;
    use GaugeName::{Plain, WithIdentity};
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn config(pool: &str, scope: &str) -> Config {
        let json = format!(r#"{{{scope} "pools": {{{pool}}}, "routes": []}}"#);
        Config::load(json.as_bytes()).unwrap()
    }

    fn claimed(port: &mut MemoryPort, pool: &str) -> Vec<GaugeName> {
        claim(port, &config(pool, "").pools[0])
    }

    #[test]
    fn a_name_belongs_to_the_first_target_of_it() {
        let mut port = MemoryPort::default();
        let one = r#""web": {"targets": [{"cluster": "a", "name": "v1"}, {"cluster": "b"}]}"#;
        let other = r#""web": {"targets": [{"cluster": "c", "name": "v1"}, {"cluster": "b"}]}"#;
        assert_eq!(claimed(&mut port, one), [Plain, Plain]);
        let writes = port.writes;
        assert_eq!(claimed(&mut port, other), [WithIdentity, Plain]);
        assert_eq!(claimed(&mut port, one), [Plain, Plain]);
        assert_eq!(port.writes, writes, "nothing new to claim");
        // Of two pools whose metrics have the same name.
        let pools = [
            r#""a.target": {"targets": [{"cluster": "c"}]}"#,
            r#""a_target": {"targets": [{"cluster": "c"}]}"#,
        ];
        assert_eq!(
            pools.map(|pool| claimed(&mut port, pool)[0]),
            [Plain, WithIdentity]
        );
    }

    #[test]
    fn names_say_what_a_target_is_where_they_have_to() {
        let pools = ["a", "b"].map(|cluster| {
            let pool =
                format!(r#""web": {{"targets": [{{"cluster": "{cluster}", "name": "v1"}}]}}"#);
            config(&pool, r#""scope": "edge","#)
        });
        let mut names = Vec::new();
        for config in &pools {
            let pool = &config.pools[0];
            assert_eq!(claim(&mut MemoryPort::default(), pool), [WithIdentity]);
            names.push(WithIdentity.of(pool, &pool.targets[0]));
        }
        let (prefix, _) = names[0].split_once(".id.").unwrap();
        assert_eq!(prefix, "pointsman.scope.edge.pool.web.target.v1");
        assert!(
            names[0].ends_with(".in_flight") && names[0] != names[1],
            "{names:?}"
        );
        assert_eq!(pools[0].scope, Scope::named("edge"));
    }

    #[test]
    fn claims_are_bounded() {
        let mut port = MemoryPort::default();
        let pool = |target: usize| format!(r#""web": {{"targets": [{{"cluster": "{target}"}}]}}"#);
        let key = {
            let web = &config(&pool(0), "").pools[0];
            keys::gauge_owners(web.scope.key(), name_hash(&web.metric()))
        };
        port.values
            .insert(key.to_vec(), (vec![7; 16 * MAX_CLAIMS], 1));
        assert_eq!(claimed(&mut port, &pool(1)), [WithIdentity]);
        assert_eq!(port.writes, 0);
    }

    #[test]
    fn an_entry_is_these_bytes() {
        let claim = Claim { name: 1, owner: 2 };
        assert_layout(claim, &[1_u64, 2].map(u64::to_le_bytes).concat());
    }
}
