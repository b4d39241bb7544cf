//! A worker that sleeps: its configuration is not the newest and nobody asks for it
//! ([`crate::generation`] says when), so it keeps no more than what the ends of its requests need.

use super::common::Common;
use super::{PoolState, Purchases, SplitMix64, Worker};
use crate::config::Config;
use crate::entropy::Entropy;
use crate::pool::candidates::Candidates;
use crate::pool::sticky::VerifiedCookies;
use crate::port::Port;
use crate::rate_limit::RateLimits;
use crate::route::index::Index;
use crate::siphash::Seed;
use crate::time::Nanos;
use std::rc::Rc;

impl Worker {
    /// Gives up everything but the pools with a request under way. What is left must not be asked
    /// to decide: it has no routes.
    pub fn sleep(&mut self, port: &mut dyn Port) {
        self.health.withdraw(port);
        // What is shared by the pace has to be before the names of its targets are forgotten.
        self.in_flight.share(port);
        let busy = self.in_flight.busy_pools();
        let config = self.config.only_pools(|pool| busy.contains(&pool));
        self.config = Rc::new(config);
        self.index = Index::new(&[]);
        self.limits = RateLimits::new(
            self.config.rate_limit_table,
            Seed::default(),
            self.config.scope.key(),
        );
        self.pools = Vec::new();
        self.common = Common::default();
        self.verified = VerifiedCookies::default();
        self.purchases = Purchases::default();
        self.candidates = Candidates::default();
        self.in_flight.set_pools(&self.config.pools);
        self.health.forget(|pool| busy.contains(&pool));
        self.response_times.forget(|pool| busy.contains(&pool));
    }

    /// Decides again, by the configuration that it had before: `config` was loaded from the same
    /// bytes.
    pub fn wake(&mut self, config: Rc<Config>, entropy: Entropy) {
        self.random = SplitMix64(entropy.rolls);
        self.index = Index::new(&config.routes);
        self.limits = RateLimits::new(config.rate_limit_table, entropy.seed, config.scope.key());
        self.pools = PoolState::of(&config, &mut self.random);
        self.common = Common::new(&config);
        self.in_flight.set_pools(&config.pools);
        self.health.recall(&config.pools);
        self.response_times.recall(&config.pools);
        self.config = config;
    }

    /// One second of a worker that sleeps while requests of it are in flight. Returns whether none
    /// is any more, so that nothing of it is needed.
    pub fn tick_asleep(&mut self, port: &mut dyn Port, now: Nanos) -> bool {
        self.clock.see(now);
        self.health.write_clients(port, now);
        self.in_flight.tick_asleep(port, now)
    }

    /// The configuration is over, and no request will come or end any more: its slot is free for
    /// another one at once. Without this it would be in three seconds, and out of quarantine in half
    /// a minute, in which a proxy of many workers may reload more often than there are slots.
    pub fn finish(&mut self, port: &mut dyn Port) {
        self.health.withdraw(port);
        self.in_flight.finish(port);
    }
}
