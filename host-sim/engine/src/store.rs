//! How a call is counted, in Redis.

use anyhow::Result;
use limitador::counter::Counter;
use limitador::limit::Limit;
use redis::Script;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How a limit's windows lie, and what is counted in them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Windows {
    /// Limitador's: a window begins with its first request, and what is refused is not counted. It
    /// is looked and counted in one step.
    FirstRequest,
    /// The same in the two steps of Limitador's own storage on Redis, which looks first and counts
    /// then: calls that cross can pass a limit together.
    TwoSteps,
    /// envoyproxy/ratelimit's: a window is a whole number of the limit's seconds of the engine's
    /// clock, what is refused is counted too, and whole seconds are told.
    Clock,
}

/// What became of a call.
pub(crate) struct Counted<'c> {
    /// Whether all counters had room for it.
    pub(crate) fits: bool,
    /// What is left of the counter with the least.
    pub(crate) left: u32,
    /// Until the window ends that admits or refuses.
    pub(crate) reset: Duration,
    /// The limit of the counter with the least left.
    pub(crate) limit: &'c Limit,
}

/// The counts.
pub(crate) struct Store {
    redis: ConnectionManager,
    windows: Windows,
    /// Milliseconds.
    clock_ahead: i64,
}

/// A time of no matter.
const LEAST: Duration = Duration::from_nanos(1);

/// How long Redis may take.
const WAIT: Duration = Duration::from_millis(500);

impl Store {
    /// Error: there is no Redis at this address.
    pub(crate) async fn connect(url: &str, windows: Windows, clock_ahead: i64) -> Result<Store> {
        let config = ConnectionManagerConfig::new()
            .set_response_timeout(Some(WAIT))
            .set_connection_timeout(Some(WAIT))
            // While there is none, a call is told so at once; the next one tries again.
            .set_number_of_retries(1)
            .set_max_delay(WAIT);
        let client = redis::Client::open(url)?;
        Ok(Store {
            redis: ConnectionManager::new_with_config(client, config).await?,
            windows,
            clock_ahead,
        })
    }

    /// Counts so many hits in all counters or in none. None: there is no counter. Error: Redis does
    /// not answer.
    pub(crate) async fn count<'c>(
        &self,
        counters: &'c [Counter],
        hits: u32,
    ) -> Result<Option<Counted<'c>>> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
        let now = i64::try_from(now)?.saturating_add(self.clock_ahead).max(0);
        let second = now.unsigned_abs() / 1000;
        let mut calls = Vec::new();
        for counter in counters {
            let seconds = counter.window().as_secs().max(1);
            let mut key = serde_json::to_string(counter)?;
            if self.windows == Windows::Clock {
                key = format!("{key}_{}", second / seconds * seconds);
            }
            calls.push((key, counter.max_value(), seconds));
        }
        let script = match self.windows {
            Windows::FirstRequest => COUNT,
            Windows::TwoSteps => LOOK,
            Windows::Clock => COUNT_ALL,
        };
        let of_all = self.run(script, &calls, hits).await?;
        let fits = of_all.iter().all(|(fits, ..)| *fits == 1);
        if fits && self.windows == Windows::TwoSteps {
            self.run(THEN_COUNT, &calls, hits).await?;
        }
        // The one that decides: of those that refuse the one whose window ends last, and otherwise
        // the one whose window ends first.
        let reset = |(_, left, until): (i64, i64, i64), seconds: u64| {
            let reset = match (self.windows, u64::try_from(until)) {
                (Windows::Clock, _) => Duration::from_secs(seconds - second % seconds),
                // No whole number of seconds: that is how engines tell that count by a clock.
                (_, Ok(until)) => Duration::from_millis(until).saturating_sub(LEAST),
                (_, Err(_)) => Duration::from_secs(seconds),
            };
            (reset, u32::try_from(left).unwrap_or_default())
        };
        let each = of_all.into_iter().zip(counters).zip(&calls);
        let each = each.map(|((of_one, counter), (.., seconds))| {
            let (reset, left) = reset(of_one, *seconds);
            let limit = counter.limit();
            (
                of_one.0 == 1,
                Counted {
                    fits,
                    left,
                    reset,
                    limit,
                },
            )
        });
        let deciding = each
            .filter(|(is_room, _)| fits || !is_room)
            .map(|(_, it)| it);
        Ok(match fits {
            true => deciding.min_by_key(|counted| counted.reset),
            false => deciding.max_by_key(|counted| counted.reset),
        })
    }

    /// Of each counter whether it has room, what is left of it, and until its key ends, in
    /// milliseconds.
    async fn run(
        &self,
        script: &str,
        calls: &[(String, u64, u64)],
        hits: u32,
    ) -> Result<Vec<(i64, i64, i64)>> {
        if calls.is_empty() {
            return Ok(Vec::new());
        }
        let script = Script::new(script);
        let mut call = script.prepare_invoke();
        for (key, most, seconds) in calls {
            call.key(key).arg(*most).arg(*seconds);
        }
        call.arg(hits);
        let mut redis = self.redis.clone();
        Ok(call.invoke_async(&mut redis).await?)
    }
}

/// Looks and counts in one step: for all keys or for none. The arguments are of each key its most
/// and its window in seconds, and then the hits.
const COUNT: &str = "
    local hits, all, fits = tonumber(ARGV[#ARGV]), {}, true
    for i, key in ipairs(KEYS) do
        local left = tonumber(ARGV[2 * i - 1]) - tonumber(redis.call('get', key) or '0')
        all[i] = { left >= hits and 1 or 0, left, 0 }
        fits = fits and left >= hits
    end
    for i, key in ipairs(KEYS) do
        if fits then
            all[i][2] = all[i][2] - hits
            if redis.call('incrby', key, hits) == hits then
                redis.call('expire', key, ARGV[2 * i])
            end
        end
        all[i][3] = redis.call('pttl', key)
    end
    return all
";

/// The first of two steps.
const LOOK: &str = "
    local hits, all = tonumber(ARGV[#ARGV]), {}
    for i, key in ipairs(KEYS) do
        local left = tonumber(ARGV[2 * i - 1]) - tonumber(redis.call('get', key) or '0')
        all[i] = { left >= hits and 1 or 0, left - (left >= hits and hits or 0),
            redis.call('pttl', key) }
    end
    return all
";

/// The second one.
const THEN_COUNT: &str = "
    local hits, all = tonumber(ARGV[#ARGV]), {}
    for i, key in ipairs(KEYS) do
        if redis.call('incrby', key, hits) == hits then
            redis.call('expire', key, ARGV[2 * i])
        end
        all[i] = { 1, 0, 0 }
    end
    return all
";

/// Counts whatever comes, and looks then.
const COUNT_ALL: &str = "
    local hits, all = tonumber(ARGV[#ARGV]), {}
    for i, key in ipairs(KEYS) do
        local left = tonumber(ARGV[2 * i - 1]) - redis.call('incrby', key, hits)
        redis.call('expire', key, ARGV[2 * i])
        all[i] = { left >= 0 and 1 or 0, math.max(left, 0), 0 }
    end
    return all
";
