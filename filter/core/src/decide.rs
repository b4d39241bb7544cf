//! A request's way: route → rate limit → sticky → balance → verdict.
//!
//! | what is missing | what happens |
//! |---|---|
//! | no route matches | `no_route` |
//! | a limit refuses | 429, with when to come back |
//! | no target takes the request (all weights 0, draining or down) | 503 |

use crate::balance::{self, Balance, Hashed, RoundRobin};
use crate::client_ip::Client;
use crate::config::{Config, NoRoute};
use crate::explain::Told;
use crate::hash::{Seed, mixed};
use crate::health::{self, Health, Probe};
use crate::in_flight::InFlight;
use crate::pool::{Pool, Target};
use crate::port::{Ending, Port};
use crate::rate_limit::{self, KeyPart, RateLimit, RateLimits, Verdict};
use crate::request::Request;
use crate::respond::Answer;
use crate::response_time::ResponseTimes;
use crate::route::index::Index;
use crate::route::{Action, Block, Route};
use crate::sticky::{self, Sessions};
use crate::verdict::{Change, Decision, Flight};
use std::borrow::Cow;
use std::net::IpAddr;
use std::rc::Rc;

/// What one worker of the proxy keeps between requests. It hangs off the root context and dies with its VM.
pub struct Worker {
    config: Rc<Config>,
    index: Index,
    limits: RateLimits,
    /// One for each pool, in the order of [`Config::pools`].
    pools: Vec<PoolState>,
    in_flight: InFlight,
    health: Health,
    response_times: ResponseTimes,
    rolls: Rolls,
    limit_events: Vec<rate_limit::Event>,
    /// How many ticks there are still to come before [`InFlight::tick`] is due.
    until_beat: u64,
}

/// Something that happened and that an operator can count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// To a rate limit.
    RateLimit(rate_limit::Event),
    /// To the health of a target.
    Health(health::Event),
}

/// What a worker keeps for one pool.
struct PoolState {
    round_robin: RoundRobin,
    hashed: Hashed,
    sessions: Sessions,
}

/// Why a decision is what it is: the words of `explain`'s `reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// `route`: the route says so.
    Route,
    /// `no_route`: no route matched.
    NoRoute,
    /// `rate_limit`: a limit refused.
    RateLimit,
    /// `balance`: a new choice by weight.
    Balance,
    /// `hash`: the pool's `ip_hash` or `consistent_hash`. (A request without its key is balanced: `balance`.)
    Hash,
    /// `sticky`: a valid session cookie.
    Sticky,
    /// `sticky_header`: the hash of `sticky.header`.
    StickyHeader,
    /// `no_target`: no target takes the request.
    NoTarget,
}

/// In a second.
const NANOSECONDS: u64 = 1_000_000_000;

/// From one [`InFlight::tick`] to the next, in nanoseconds: its rhythm.
const BEAT: u64 = NANOSECONDS;

/// What is answered where a limit refuses.
const TOO_MANY_REQUESTS: u16 = 429;

/// What is answered where no target takes the request.
const NO_TARGET: u16 = 503;

/// The random number of one request, in units of 2^−64.
#[derive(Clone, Copy)]
struct Roll {
    number: u64,
    /// Whether the request itself fixed it (see [`crate::explain`]).
    fixed: bool,
}

/// What surrounds one request.
struct Around<'a> {
    client: Client<'a>,
    port: &'a mut dyn Port,
    /// In nanoseconds since 1970.
    now: u64,
}

impl Around<'_> {
    /// The client's address, for which the proxy is asked once at most, and only where it decides something.
    fn address(&mut self) -> Option<IpAddr> {
        self.client.address(self.port)
    }
}

/// The route that a request belongs to.
#[derive(Clone, Copy)]
struct Matched<'c> {
    index: usize,
    route: &'c Route,
    block: &'c Block,
}

/// The target that a request goes to.
struct Choice<'c> {
    part: usize,
    pool: &'c Pool,
    target: usize,
    reason: Reason,
    /// Whether the client is to be given a session cookie.
    new_cookie: bool,
    /// What is left of the request's roll.
    roll: u64,
}

impl Worker {
    /// A worker that has decided nothing yet. `seed` is the secret that all workers share; `roll_seed` is this
    /// worker's own randomness; `holder` is random too, and tells this worker from all others that ever were.
    pub fn new(config: Rc<Config>, seed: Seed, roll_seed: u64, holder: u64) -> Worker {
        let mut rolls = Rolls(roll_seed);
        let pools = config.pools.iter().map(|pool| PoolState {
            round_robin: RoundRobin::new(pool, rolls.next()),
            hashed: Hashed::new(pool),
            sessions: Sessions::new(pool),
        });
        Worker {
            pools: pools.collect(),
            index: Index::new(&config.routes),
            limits: RateLimits::new(config.rate_limit_table, seed),
            in_flight: InFlight::new(&config, holder),
            health: Health::new(&config, holder),
            response_times: ResponseTimes::new(&config),
            config,
            rolls,
            limit_events: Vec::new(),
            until_beat: 0,
        }
    }

    /// The configuration that this worker decides by.
    pub fn config(&self) -> &Rc<Config> {
        &self.config
    }

    /// What happened since this was last asked, for counters.
    pub fn take_events(&mut self) -> impl Iterator<Item = Event> + '_ {
        let limits = self.limit_events.drain(..).map(Event::RateLimit);
        limits.chain(self.health.take_events().into_iter().map(Event::Health))
    }

    /// The response's headers came. `now` is in nanoseconds since 1970, here and below.
    pub fn answered(&mut self, flight: &mut Flight, now: u64) {
        flight.answered = Some(now);
    }

    /// The end of a request that went to a target, whatever end that was. `complete`: the end of the response was seen.
    pub fn landed(&mut self, flight: Flight, _complete: bool, _ending: &mut dyn Ending, port: &mut dyn Port, now: u64) {
        let Some(pool) = self.config.pools.get(flight.pool) else {
            return;
        };
        self.in_flight.end(port, pool, flight.target, false, now);
        if let Some(answered) = flight.answered {
            let took = answered.saturating_sub(flight.started);
            self.response_times.sample(pool, flight.target, took, now);
        }
    }

    /// How long from one [`Worker::tick`] to the next, in nanoseconds. None: a configuration without pools needs none.
    pub fn tick_period(&self) -> Option<u64> {
        let any = (!self.config.pools.is_empty()).then_some(BEAT);
        any.map(|beat| self.health.tick_period().map_or(beat, |period| period.min(beat)))
    }

    /// What a worker does by itself, requests or not. The answers to the probes go to [`Worker::probed`].
    pub fn tick(&mut self, port: &mut dyn Port, now: u64) -> Vec<Probe> {
        match self.until_beat.checked_sub(1) {
            Some(left) => self.until_beat = left,
            // Ticks are counted and not timed: a clock that jumps must not make a worker look dead.
            None => {
                let ticks = BEAT / self.tick_period().unwrap_or(BEAT).max(1);
                self.until_beat = ticks.saturating_sub(1);
                self.in_flight.tick(port, now);
            }
        }
        self.health.tick(port, &self.config, now)
    }

    /// What a probe was answered: its status, None if there was no answer in time.
    pub fn probed(&mut self, probe: &Probe, status: Option<u16>, port: &mut dyn Port, now: u64) {
        self.health.probed(port, &self.config, probe, status, now);
    }

    /// Decides one request by `config`, which is this worker's. `now` is in nanoseconds since 1970.
    pub fn decide<'c>(
        &mut self,
        config: &'c Config,
        request: &Request<'_>,
        port: &mut dyn Port,
        now: u64,
    ) -> Decision<'c> {
        let asked = config.explain.as_ref().and_then(|explain| explain.asked(request));
        // Drawn for every request, so that what one request needs does not shift what the next one gets.
        let drawn = self.rolls.next();
        let fixed = asked.and_then(|asked| asked.roll);
        let roll = Roll {
            number: fixed.unwrap_or(drawn),
            fixed: fixed.is_some(),
        };
        let mut told = Told::default();

        let mut decision = self.way(config, request, port, now, roll, &mut told);
        decision.close_the_way_in(config, request);
        decision.response.explain = asked.map(|_| told.to_json());
        decision
    }

    fn way<'c>(
        &mut self,
        config: &'c Config,
        request: &Request<'_>,
        port: &mut dyn Port,
        now: u64,
        roll: Roll,
        told: &mut Told<'c>,
    ) -> Decision<'c> {
        let mut around = Around {
            client: Client::new(config.client_ip.as_ref(), request.headers),
            port,
            now,
        };
        let found = self.index.find(&config.routes, request, &mut || around.address());
        let Some(matched) = found.and_then(|found| Matched::new(config, found.route, found.block)) else {
            return no_route(&config.no_route, told);
        };
        told.route = Some(&matched.route.name);

        let mut decision = match self.refusal(&matched.route.rate_limits, request, &mut around) {
            Some((limit, answer)) => {
                told.limit = Some(limit);
                told.end("rate_limited", Reason::RateLimit, Some(answer.status));
                Decision::answer(answer)
            }
            None => self.act(config, matched, request, &mut around, roll, told),
        };
        decision.response.route = Some(matched.index);
        decision
    }

    /// The answer of the first limit that refuses, with its name.
    fn refusal<'c>(
        &mut self,
        limits: &'c [Rc<RateLimit>],
        request: &Request<'_>,
        around: &mut Around<'_>,
    ) -> Option<(&'c str, Answer)> {
        if limits.is_empty() {
            return None;
        }
        let ip = match limits.iter().any(|limit| limit.key.contains(&KeyPart::ClientIp)) {
            true => around.address(),
            false => None,
        };
        let claims: Vec<_> = limits
            .iter()
            .map(|limit| self.limits.claim(limit, request, ip))
            .collect();
        match self
            .limits
            .check(&claims, around.port, around.now, &mut self.limit_events)
        {
            Verdict::Admitted => None,
            Verdict::Refused { claim, retry_after } => {
                let limit = limits.get(claim)?;
                let headers = rate_limit::refusal_headers(limit, retry_after);
                let answer = Answer {
                    headers: headers.map(|(name, value)| (name.to_vec(), value)).into(),
                    ..Answer::of(TOO_MANY_REQUESTS)
                };
                Some((&limit.name, answer))
            }
        }
    }

    /// What a route does with a request that its limits admitted.
    fn act<'c>(
        &mut self,
        config: &'c Config,
        matched: Matched<'c>,
        request: &Request<'_>,
        around: &mut Around<'_>,
        roll: Roll,
        told: &mut Told<'c>,
    ) -> Decision<'c> {
        match &matched.route.action {
            Action::Respond(respond) => {
                told.end("respond", Reason::Route, Some(respond.status));
                Decision::answer(respond.answer())
            }
            Action::Redirect(redirect) => {
                told.end("redirect", Reason::Route, Some(redirect.status));
                Decision::answer(Answer {
                    status: redirect.status,
                    headers: vec![(b"location".to_vec(), redirect.location(request, matched.block))],
                    body: Vec::new(),
                })
            }
            Action::Pass => {
                told.end("pass", Reason::Route, None);
                Decision::forward(matched.edits(None, request))
            }
            action @ (Action::Pool(_) | Action::Split(_)) => {
                let choice = self
                    .kept(action, request, around.now, roll)
                    .or_else(|| self.chosen(action, request, around, roll));
                match choice.and_then(|choice| Some((choice.pool.targets.get(choice.target)?, choice))) {
                    Some((target, choice)) => {
                        told.end("forward", choice.reason, None);
                        told.target = Some((choice.pool, target));
                        self.forward(config, matched, choice, target, request, around)
                    }
                    None => {
                        told.end("respond", Reason::NoTarget, Some(NO_TARGET));
                        Decision::answer(Answer::of(NO_TARGET))
                    }
                }
            }
        }
    }

    /// The choice that a valid session cookie of one of the action's pools holds the client to, weights or not.
    fn kept<'c>(&self, action: &'c Action, request: &Request<'_>, now: u64, roll: Roll) -> Option<Choice<'c>> {
        action.parts().enumerate().find_map(|(part, (pool, _))| {
            let session = self
                .pools
                .get(pool.index)?
                .sessions
                .find(pool, request.cookies(), now / NANOSECONDS)?;
            Some(Choice {
                part,
                pool,
                target: session.target,
                reason: Reason::Sticky,
                new_cookie: session.renew,
                roll: roll.number,
            })
        })
    }

    /// A new choice: of the split's part by the roll, of the target by the pool's rule.
    fn chosen<'c>(
        &mut self,
        action: &'c Action,
        request: &Request<'_>,
        around: &mut Around<'_>,
        roll: Roll,
    ) -> Option<Choice<'c>> {
        // A client that is held by a header keeps its part of a split as it keeps its target.
        let held = action.parts().find_map(|(pool, _)| sticky::header_hash(pool, request));
        let roll = held.filter(|_| !roll.fixed).unwrap_or(roll.number);
        let (part, roll) = balance::pick_weighted(action.parts().map(|(_, weight)| weight), roll)?;
        let (pool, _) = action.parts().nth(part)?;
        let state = self.pools.get_mut(pool.index)?;
        let usable = |_: usize| true;
        let hash = match (sticky::header_hash(pool, request), &pool.balance) {
            (Some(hash), _) => Some((hash, Reason::StickyHeader)),
            (None, Balance::Hash(key)) => {
                balance::key_hash(pool, key, request, &mut || around.address()).map(|hash| (hash, Reason::Hash))
            }
            (None, _) => None,
        };
        let (in_flight, times, port) = (&mut self.in_flight, &mut self.response_times, &mut *around.port);
        let (target, reason) = match (hash, &pool.balance) {
            (Some((hash, reason)), _) => (state.hashed.pick(pool, &usable, hash)?, reason),
            (None, Balance::Random) => (balance::random(pool, &usable, roll)?.0, Reason::Balance),
            (None, Balance::LeastConnections) => {
                let mut load = |i: usize| f64::from(in_flight.of(port, pool, i)) + 1.0;
                (balance::least_loaded(pool, &usable, &mut load)?, Reason::Balance)
            }
            (None, Balance::LeastResponseTime) => {
                times.exchange(port, pool, around.now);
                let mut load = |i: usize| {
                    let time = times.of(pool, i, around.now).unwrap_or(1);
                    (f64::from(in_flight.of(port, pool, i)) + 1.0) * time as f64
                };
                (balance::least_loaded(pool, &usable, &mut load)?, Reason::Balance)
            }
            (None, Balance::RoundRobin | Balance::Hash(_)) => (state.round_robin.pick(pool, &usable)?, Reason::Balance),
        };
        Some(Choice {
            part,
            pool,
            target,
            reason,
            new_cookie: true,
            roll,
        })
    }

    /// The request on its way to its target.
    fn forward<'c>(
        &mut self,
        config: &'c Config,
        matched: Matched<'c>,
        choice: Choice<'c>,
        target: &'c Target,
        request: &Request<'_>,
        around: &mut Around<'_>,
    ) -> Decision<'c> {
        let now = around.now;
        let mut retries = Vec::new();
        let mut edits = matched.edits(Some(choice.part), request);
        // Last, so that no configured edit changes the choice.
        let cluster = Cow::Borrowed(target.cluster.as_bytes());
        edits.push(Change::Set(&config.upstream.cluster_header, cluster));
        if let Some(endpoint) = &target.endpoint {
            retries = balance::retries(choice.pool, &|_| true, choice.target, choice.roll);
            let others = retries
                .iter()
                .filter_map(|at| choice.pool.targets.get(*at)?.endpoint.as_deref());
            let mut list = endpoint.as_bytes().to_vec();
            for other in others {
                list.push(b',');
                list.extend_from_slice(other.as_bytes());
            }
            edits.push(Change::Set(&config.upstream.endpoint_header, Cow::Owned(list)));
        }
        let mut decision = Decision::forward(edits);
        decision.response.part = Some(choice.part);
        if choice.new_cookie {
            let sessions = self.pools.get(choice.pool.index).map(|state| &state.sessions);
            decision.response.set_cookie =
                sessions.and_then(|it| it.set_cookie(choice.pool, choice.target, now / NANOSECONDS));
        }
        self.in_flight.begin(around.port, choice.pool, choice.target);
        decision.flight = Some(Flight {
            pool: choice.pool.index,
            target: choice.target,
            retries,
            grpc: request.is_grpc(),
            started: now,
            answered: None,
        });
        decision
    }
}

impl<'c> Matched<'c> {
    fn new(config: &'c Config, index: usize, block: usize) -> Option<Matched<'c>> {
        let route = config.routes.get(index)?;
        let block = route.blocks.get(block)?;
        Some(Matched { index, route, block })
    }

    /// The rewrite, then the route's edits, then those of the split's part.
    fn edits(&self, part: Option<usize>, request: &Request<'_>) -> Vec<Change<'c>> {
        let mut edits = Vec::new();
        if let Some(rewrite) = &self.route.rewrite {
            let rewritten = rewrite.apply(request, self.block);
            edits.extend(rewritten.path.map(|path| Change::Set(b":path", Cow::Owned(path))));
            edits.extend(
                rewritten
                    .authority
                    .map(|host| Change::Set(b":authority", Cow::Borrowed(host))),
            );
        }
        let part = part.and_then(|part| match &self.route.action {
            Action::Split(parts) => Some(&parts.get(part)?.request_headers),
            _ => None,
        });
        for edit in [&self.route.request_headers]
            .into_iter()
            .chain(part)
            .flat_map(|edits| edits.iter())
        {
            let change = Change::from(edit);
            // To remove what is not there costs a host call.
            let there = |name: &[u8]| {
                request.headers.first(name).is_some() || edits.iter().any(|earlier: &Change| earlier.name() == name)
            };
            if !matches!(change, Change::Remove(name) if !there(name)) {
                edits.push(change);
            }
        }
        edits
    }
}

impl Action {
    /// Where the action may send a request: pools with their weights.
    fn parts(&self) -> impl Iterator<Item = (&Pool, u32)> + Clone {
        let (one, several) = match self {
            Action::Pool(pool) => (Some((&**pool, 1)), &[][..]),
            Action::Split(parts) => (None, &parts[..]),
            Action::Redirect(_) | Action::Respond(_) | Action::Pass => (None, &[][..]),
        };
        one.into_iter()
            .chain(several.iter().map(|part| (&*part.pool, part.weight)))
    }
}

fn no_route<'c>(no_route: &'c NoRoute, told: &mut Told<'c>) -> Decision<'c> {
    match no_route {
        NoRoute::Pass => {
            told.end("pass", Reason::NoRoute, None);
            Decision::forward(Vec::new())
        }
        NoRoute::Respond(respond) => {
            told.end("respond", Reason::NoRoute, Some(respond.status));
            Decision::answer(respond.answer())
        }
    }
}

/// Random numbers from a seed: SplitMix64 (see [`mixed`]). They spread load; no secret depends on them.
struct Rolls(u64);

impl Rolls {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::port::{Connection, Expected, Gauge, SetFailed, Stats, Store, StoreFailed, Version};
    use crate::request::Headers;
    use crate::shared::tests::Map;
    use crate::verdict::Outcome;

    /// Some day.
    const NOW: u64 = 1_800_000_000 * NANOSECONDS;

    #[derive(Default)]
    struct Surroundings {
        map: Map,
        /// How often the source address was asked for.
        questions: u32,
    }

    impl Stats for Surroundings {
        fn gauge(&mut self, name: &str) -> Option<Gauge> {
            self.map.gauge(name)
        }

        fn add(&mut self, gauge: Gauge, by: i64) {
            self.map.add(gauge, by);
        }

        fn value(&mut self, gauge: Gauge) -> Option<i64> {
            self.map.value(gauge)
        }
    }

    impl Store for Surroundings {
        fn get(&mut self, key: &[u8]) -> Result<Option<(Vec<u8>, Version)>, StoreFailed> {
            self.map.get(key)
        }

        fn set(&mut self, key: &[u8], value: &[u8], expected: Expected) -> Result<(), SetFailed> {
            self.map.set(key, value, expected)
        }
    }

    impl Connection for Surroundings {
        fn source_address(&mut self) -> Option<IpAddr> {
            self.questions += 1;
            Some([192, 0, 2, 1].into())
        }
    }

    /// One worker and its surroundings.
    struct Asked {
        worker: Worker,
        port: Surroundings,
    }

    /// What became of a request.
    struct Became {
        /// The headers that go upstream; None for an answer.
        upstream: Option<Vec<(String, String)>>,
        status: Option<u16>,
        response: Vec<String>,
        /// What a request with the token is told.
        told: Option<String>,
        cookie: Option<String>,
    }

    impl Asked {
        fn of(config: &str) -> Asked {
            let config = match Config::load(config.as_bytes()) {
                Ok(config) => config,
                Err(problems) => panic!("{problems}"),
            };
            Asked {
                worker: Worker::new(Rc::new(config), [7; 16], 42, 1),
                port: Surroundings::default(),
            }
        }

        fn get(&mut self, path: &str, headers: &[(&str, &str)]) -> Became {
            let mut pairs = vec![
                (":method", "GET"),
                (":scheme", "http"),
                (":authority", "h"),
                (":path", path),
            ];
            pairs.extend(headers);
            let map = Headers::from_pairs(&pairs);
            let config = self.worker.config().clone();
            let decision = self.worker.decide(&config, &Request::new(&map), &mut self.port, NOW);
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
            let status = match &decision.outcome {
                Outcome::Continue => None,
                Outcome::Answer(answer) => Some(answer.status),
            };
            let mut upstream: Vec<_> = pairs.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect();
            for change in &decision.request_edits {
                let name = text(change.name());
                if let Change::Remove(_) | Change::Set(..) = change {
                    upstream.retain(|(known, _)| *known != name);
                }
                if let Change::Set(_, value) | Change::Add(_, value) = change {
                    upstream.push((name, text(value)));
                }
            }
            Became {
                upstream: status.is_none().then_some(upstream),
                status,
                response: decision
                    .response
                    .edits(&config)
                    .map(|edit| format!("{edit:?}"))
                    .collect(),
                told: decision.response.explain.as_deref().map(text),
                cookie: decision.response.set_cookie.map(|cookie| text(&cookie)),
            }
        }
    }

    impl Became {
        fn header(&self, name: &str) -> Option<&str> {
            let mut values = self.upstream.iter().flatten().filter(|(known, _)| known == name);
            let value = values.next().map(|(_, value)| &**value);
            assert!(values.next().is_none(), "{name} goes upstream twice");
            value
        }

        fn cluster(&self) -> Option<&str> {
            self.header("x-pointsman-cluster")
        }

        /// The cookie as a client sends it back.
        fn pair(&self) -> String {
            let cookie = self.cookie.as_deref().unwrap();
            cookie.split(';').next().unwrap().to_owned()
        }
    }

    /// A canary: `STABLE` to `NEW` by weight, both sticky, in the words of a configuration.
    fn canary(stable: u32, new: u32) -> Asked {
        Asked::of(&format!(
            r#"{{
                "pools": {{
                    "stable": {{ "targets": [{{"cluster": "s1"}}, {{"cluster": "s2"}}], "sticky": {{
                        "cookie": {{"name": "pm"}}, "header": "x-session", "keys": ["MDEyMzQ1Njc4OWFiY2RlZg=="] }} }},
                    "new": {{ "targets": [{{"cluster": "n1"}}, {{"cluster": "n2"}}], "sticky": {{
                        "cookie": {{"name": "pm"}}, "header": "x-session", "keys": ["MDEyMzQ1Njc4OWFiY2RlZg=="] }} }}
                }},
                "routes": [{{ "name": "r", "split": [
                    {{"pool": "stable", "weight": {stable}}}, {{"pool": "new", "weight": {new}}}] }}]
            }}"#
        ))
    }

    #[test]
    fn a_session_stays_whatever_becomes_of_the_weights() {
        for (before, after) in [((1, 0), (0, 1)), ((0, 1), (1, 0)), ((1, 1), (0, 0))] {
            let first = canary(before.0, before.1).get("/", &[]);
            let mut shifted = canary(after.0, after.1);
            for _ in 0..5 {
                let again = shifted.get("/", &[("cookie", &first.pair())]);
                assert_eq!(again.cluster(), first.cluster());
                assert_eq!(again.cookie, None, "nothing new to tell the client");
            }
        }
    }

    #[test]
    fn a_header_holds_a_client_to_its_part_and_target() {
        let (mut asked, mut other_worker) = (canary(1, 1), canary(1, 1));
        let mut seen = std::collections::BTreeSet::new();
        for client in 0..50 {
            let session = [("x-session", &*client.to_string())];
            let home = asked.get("/", &session).cluster().map(str::to_owned);
            assert_eq!(other_worker.get("/", &session).cluster(), home.as_deref());
            assert_eq!(asked.get("/", &session).cluster(), home.as_deref());
            seen.insert(home);
        }
        assert_eq!(seen.len(), 4, "clients spread over all targets");
    }

    #[test]
    fn a_canary_that_grows_moves_header_clients_one_way_only() {
        let (mut small, mut large) = (canary(90, 10), canary(50, 50));
        for client in 0..200 {
            let session = [("x-session", &*client.to_string())];
            let (before, after) = (small.get("/", &session), large.get("/", &session));
            if before.cluster() != after.cluster() {
                assert!(before.cluster().unwrap().starts_with('s') && after.cluster().unwrap().starts_with('n'));
            }
        }
    }

    #[test]
    fn nothing_new_comes_where_no_target_takes_it() {
        for target in [r#""weight": 0"#, r#""state": "draining""#, r#""state": "down""#] {
            let mut asked = Asked::of(&format!(
                r#"{{"pools": {{"p": {{"targets": [{{"cluster": "c", {target}}}]}}}}, "routes": [{{"name": "r", "pool": "p"}}]}}"#
            ));
            assert_eq!(asked.get("/", &[]).status, Some(503), "{target}");
        }
        assert_eq!(canary(0, 0).get("/", &[]).status, Some(503));
    }

    /// Every kind of way on, with edits that try to keep what a client sent.
    const EVERY_WAY: &str = r#"{
        "pools": {
            "c": {"targets": [{"cluster": "ours"}]},
            "e": {"cluster": "ours", "targets": [{"endpoint": "127.0.0.1:1"}, {"endpoint": "127.0.0.1:2"}]}
        },
        "routes": [
            {"name": "pool", "match": {"path": {"prefix": "/pool"}}, "pool": "c"},
            {"name": "endpoints", "match": {"path": {"prefix": "/endpoints"}}, "pool": "e"},
            {"name": "split", "match": {"path": {"prefix": "/split"}}, "split": [{"pool": "c", "weight": 1}]},
            {"name": "pass", "match": {"path": {"prefix": "/pass"}}, "pass": true}
        ],
        "no_route": {"pass": true},
        "explain": {"header": "x-why", "token": "secret"}
    }"#;

    #[test]
    fn upstream_headers_and_tokens_of_a_client_go_nowhere() {
        let mut asked = Asked::of(EVERY_WAY);
        let theirs = [
            ("x-pointsman-cluster", "theirs"),
            ("x-pointsman-endpoint", "127.0.0.1:3"),
            ("x-pointsman-cluster", "theirs"),
            ("x-why", "guess"),
        ];
        for (path, cluster, endpoint) in [
            ("/pool", Some("ours"), None),
            ("/endpoints", Some("ours"), Some("127.0.0.1:1,127.0.0.1:2")),
            ("/split", Some("ours"), None),
            ("/pass", None, None),
            ("/none", None, None),
        ] {
            let became = asked.get(path, &theirs);
            assert_eq!(became.cluster(), cluster, "{path}");
            let list = became
                .header("x-pointsman-endpoint")
                .map(|list| list.split(',').count());
            assert_eq!(list, endpoint.map(|list| list.split(',').count()), "{path}");
            assert_eq!(became.header("x-why"), None, "{path}");
            assert_eq!(became.response, Vec::<String>::new(), "{path}: a guess is told nothing");
        }
        let told = asked.get("/pool", &[("x-why", "secret")]);
        assert_eq!(told.response.len(), 1);
        assert_eq!(told.header("x-why"), None);
    }

    #[test]
    fn edits_come_in_order_and_the_choice_is_last() {
        let mut asked = Asked::of(
            r#"{
            "pools": {"p": {"targets": [{"cluster": "c"}]}},
            "routes": [{
                "name": "r",
                "match": {"path": {"prefix": "/a"}},
                "rewrite": {"path_prefix": "/b", "host": "inner"},
                "request_headers": {"remove": ["x-gone", "x-never"], "set": {"x-set": "route"}, "add": {"x-add": "route"}},
                "split": [{"pool": "p", "weight": 1, "request_headers": {"set": {"x-set": "part"}, "remove": ["x-add"]}}]
            }]
        }"#,
        );
        let became = asked.get("/a/1?q", &[("x-gone", "1"), ("x-set", "client")]);
        for (name, value) in [
            (":path", Some("/b/1?q")),
            (":authority", Some("inner")),
            ("x-gone", None),
            ("x-set", Some("part")),
            ("x-add", None),
            ("x-pointsman-cluster", Some("c")),
        ] {
            assert_eq!(became.header(name), value, "{name}");
        }
        assert_eq!(became.upstream.unwrap().last().unwrap().0, "x-pointsman-cluster");
    }

    #[test]
    fn a_refused_request_takes_no_turn_and_gets_no_session() {
        let mut asked = Asked::of(
            r#"{
            "pools": {"p": {"targets": [{"cluster": "a"}, {"cluster": "b"}], "sticky": {"cookie": {"name": "pm"}}}},
            "rate_limits": {"one": {"requests": 1, "per": "1h", "key": [{"header": "x-client"}]}},
            "routes": [{"name": "r", "rate_limits": ["one"], "pool": "p"}]
        }"#,
        );
        let first = asked.get("/", &[("x-client", "1")]);
        let refused = asked.get("/", &[("x-client", "1")]);
        assert_eq!((refused.status, refused.cookie), (Some(429), None));
        let second = asked.get("/", &[("x-client", "2")]);
        assert_ne!(
            first.cluster(),
            second.cluster(),
            "the turn after the first is the second's"
        );
    }

    /// A pool of endpoints with this balance, with anything beside it.
    fn balanced(balance: &str, beside: &str) -> Asked {
        Asked::of(&format!(
            r#"{{
                "pools": {{"p": {{"cluster": "c", "balance": {balance}, "targets": [
                    {{"endpoint": "127.0.0.1:1"}}, {{"endpoint": "127.0.0.1:2"}}, {{"endpoint": "127.0.0.1:3"}}] {beside} }}}},
                "client_ip": {{"header": "x-forwarded-for"}},
                "rate_limits": {{"many": {{"requests": 1000000, "per": "1s", "key": ["client_ip"]}}}},
                "routes": [{{"name": "r", "rate_limits": ["many"], "pool": "p"}}],
                "explain": {{"header": "x-why", "token": "t"}}
            }}"#
        ))
    }

    impl Became {
        /// The first endpoint, and whether others follow.
        fn endpoint(&self) -> &str {
            let list = self.header("x-pointsman-endpoint").unwrap();
            assert_eq!(list.split(',').count(), 3, "the others are there for retries");
            list.split(',').next().unwrap()
        }

        fn reason(&self) -> &str {
            let (_, after) = self.told.as_deref().unwrap().split_once(r#""reason":""#).unwrap();
            after.split('"').next().unwrap()
        }
    }

    #[test]
    fn a_key_keeps_its_target_and_keys_spread_over_all() {
        let header = |name: &'static str| move |key: &str| ("/".to_owned(), name, key.to_owned());
        type Request = Box<dyn Fn(&str) -> (String, &'static str, String)>;
        let rows: [(&str, Request); 6] = [
            (
                r#""ip_hash""#,
                Box::new(|key| ("/".to_owned(), "x-forwarded-for", format!("10.0.0.{key}"))),
            ),
            (
                r#"{"consistent_hash": {"key": "client_ip"}}"#,
                Box::new(|key| ("/".to_owned(), "x-forwarded-for", format!("::{key}"))),
            ),
            (
                r#"{"consistent_hash": {"key": {"header": "X-Tenant"}}}"#,
                Box::new(header("x-tenant")),
            ),
            (
                r#"{"consistent_hash": {"key": {"cookie": "t"}}}"#,
                Box::new(|key| ("/".to_owned(), "cookie", format!("a=b; t={key}"))),
            ),
            (
                r#"{"consistent_hash": {"key": {"query": "t"}}}"#,
                Box::new(|key| (format!("/{key}?t={key}"), "x-other", key.to_owned())),
            ),
            (
                r#"{"consistent_hash": {"key": "path"}}"#,
                Box::new(|key| (format!("/{key}?{key}"), "x-other", key.to_owned())),
            ),
        ];
        for (balance, request) in rows {
            let (mut asked, mut other) = (balanced(balance, ""), balanced(balance, ""));
            other.worker = Worker::new(other.worker.config().clone(), [8; 16], 43, 2);
            let mut seen = std::collections::BTreeSet::new();
            for key in 0..40 {
                let (path, name, value) = request(&key.to_string());
                let headers = [(name, &*value), ("x-why", "t")];
                let first = asked.get(&path, &headers);
                assert_eq!(first.reason(), "hash", "{balance}");
                for worker in [&mut asked, &mut other] {
                    assert_eq!(
                        worker.get(&path, &headers).endpoint(),
                        first.endpoint(),
                        "{balance} {key}"
                    );
                }
                seen.insert(first.endpoint().to_owned());
            }
            assert_eq!(seen.len(), 3, "{balance}");
        }
    }

    #[test]
    fn requests_without_the_key_take_turns() {
        for key in ["header", "cookie", "query"] {
            let mut asked = balanced(&format!(r#"{{"consistent_hash": {{"key": {{"{key}": "t"}}}}}}"#), "");
            let mut seen = std::collections::BTreeMap::<_, u32>::new();
            for _ in 0..30 {
                let became = asked.get("/", &[("x-why", "t")]);
                assert_eq!(became.reason(), "balance");
                *seen.entry(became.endpoint().to_owned()).or_default() += 1;
            }
            assert_eq!(seen.into_values().collect::<Vec<_>>(), [10, 10, 10], "{key}");
        }
    }

    #[test]
    fn a_session_goes_before_the_hash() {
        let sticky = r#", "sticky": {"cookie": {"name": "pm"}, "header": "x-session"}"#;
        let mut asked = balanced(r#"{"consistent_hash": {"key": {"header": "x-tenant"}}}"#, sticky);
        let mut sets_apart = false;
        for tenant in 0..20 {
            let tenant = tenant.to_string();
            let home = asked.get("/", &[("x-tenant", "home"), ("x-why", "t")]);
            let other = asked.get("/", &[("x-tenant", &tenant)]);
            sets_apart |= home.endpoint() != other.endpoint();
            let kept = asked.get("/", &[("x-tenant", &tenant), ("cookie", &home.pair()), ("x-why", "t")]);
            assert_eq!((kept.endpoint(), kept.reason()), (home.endpoint(), "sticky"));
            let by_header = |asked: &mut Asked, tenant: &str| {
                let became = asked.get("/", &[("x-tenant", tenant), ("x-session", "s"), ("x-why", "t")]);
                assert_eq!(became.reason(), "sticky_header");
                became.endpoint().to_owned()
            };
            assert_eq!(by_header(&mut asked, &tenant), by_header(&mut asked, "home"));
        }
        assert!(sets_apart);
    }

    #[test]
    fn the_source_address_is_asked_for_once_and_only_where_it_decides() {
        for (balance, client_limit, questions) in [
            (r#""ip_hash""#, false, 1),
            (r#""ip_hash""#, true, 1),
            (r#"{"consistent_hash": {"key": "path"}}"#, false, 0),
            (r#""round_robin""#, false, 0),
        ] {
            let limits = if client_limit { r#""rate_limits": ["l"], "# } else { "" };
            let mut asked = Asked::of(&format!(
                r#"{{
                    "pools": {{"p": {{"balance": {balance}, "targets": [{{"cluster": "a"}}, {{"cluster": "b"}}]}}}},
                    "rate_limits": {{"l": {{"requests": 9, "per": "1s", "key": ["client_ip"]}}}},
                    "routes": [{{"name": "r", {limits} "pool": "p"}}]
                }}"#
            ));
            asked.get("/", &[]);
            assert_eq!(asked.port.questions, questions, "{balance} {client_limit}");
        }
    }
}
