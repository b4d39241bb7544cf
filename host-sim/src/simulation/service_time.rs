//! Service times: how long a target works on a request. They are drawn from the request's own
//! random numbers, so that the same request takes the same time whichever rule chose the target.

use super::quantity;
use pointsman_core::config::reader::{Node, Report};
use pointsman_core::time::Nanos;
use std::f64::consts::TAU;

/// A distribution of service times. Its parameters are in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ServiceTime {
    /// Always the same time.
    Constant(f64),
    /// The exponential distribution: memoryless, as the textbooks' models are.
    Exponential {
        /// The mean.
        mean: f64,
    },
    /// The log-normal distribution, which fits the latencies of most web services.
    Lognormal {
        /// Half of the requests take longer.
        median: f64,
        /// The standard deviation of the logarithm: 0.5 is even, 1 is uneven, 2 is wild.
        sigma: f64,
    },
    /// The bounded Pareto distribution: heavy-tailed, as sizes of files and jobs are
    /// (Harchol-Balter, "Task assignment with unknown duration", 2002).
    Pareto {
        /// The shortest time.
        least: f64,
        /// The longest time.
        most: f64,
        /// The tail's exponent: the smaller, the heavier.
        alpha: f64,
    },
}

impl ServiceTime {
    /// Draws a service time, at least a nanosecond.
    pub fn draw(&self, random: &mut fastrand::Rng) -> Nanos {
        // `uniform` is above 0 and at most 1, so that its logarithm is finite.
        let uniform = 1.0 - random.f64();
        let time = match *self {
            ServiceTime::Constant(time) => time,
            ServiceTime::Exponential { mean } => -mean * uniform.ln(),
            // The method of Box and Muller, 1958.
            ServiceTime::Lognormal { median, sigma } => {
                let normal = (-2.0 * uniform.ln()).sqrt() * (TAU * random.f64()).cos();
                median * (sigma * normal).exp()
            }
            ServiceTime::Pareto { least, most, alpha } => {
                let cut = 1.0 - (least / most).powf(alpha);
                least * (1.0 - (1.0 - uniform) * cut).powf(-1.0 / alpha)
            }
        };
        Nanos::new((time as u64).max(1))
    }

    /// Reads `{ constant: 5ms }`, `{ exponential: { mean: 5ms } }`, `{ lognormal: { median: 5ms,
    /// sigma: 1 } }` or `{ pareto: { least: 1ms, most: 10s, alpha: 1.1 } }`. None: the problem is
    /// noted.
    pub fn read(node: &Node<'_>, report: &mut Report) -> Option<ServiceTime> {
        const KINDS: &[&str] = &["constant", "exponential", "lognormal", "pareto"];
        let map = node.map(report, KINDS)?;
        let kind = map.exactly_one(report, KINDS)?;
        let time = |node: Option<Node<'_>>, report: &mut Report| {
            node.and_then(|node| quantity::time(&node, report))
        };
        let time = |node, report: &mut Report| time(node, report).map(|time| time.get() as f64);
        match kind.key() {
            "constant" => Some(ServiceTime::Constant(time(Some(kind), report)?)),
            "exponential" => {
                let map = kind.map(report, &["mean"])?;
                let mean = map.need(report, "mean", "a duration");
                Some(ServiceTime::Exponential {
                    mean: time(mean, report)?,
                })
            }
            "lognormal" => {
                let map = kind.map(report, &["median", "sigma"])?;
                let (median, sigma) = (
                    map.need(report, "median", "a duration"),
                    map.need(report, "sigma", "a number"),
                );
                Some(ServiceTime::Lognormal {
                    median: time(median, report)?,
                    sigma: quantity::number(&sigma?, report, 0.0, 5.0)?,
                })
            }
            _ => {
                let map = kind.map(report, &["least", "most", "alpha"])?;
                let (least, most) = (
                    map.need(report, "least", "a duration"),
                    map.need(report, "most", "a duration"),
                );
                let alpha = map.need(report, "alpha", "a number");
                let service = ServiceTime::Pareto {
                    least: time(least, report)?,
                    most: time(most, report)?,
                    alpha: quantity::number(&alpha?, report, 0.1, 10.0)?,
                };
                if matches!(service, ServiceTime::Pareto { least, most, .. } if least > most || least == 0.0)
                {
                    kind.wrong(report, "0ms < `least` <= `most`");
                    return None;
                }
                Some(service)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: f64 = 1e6;

    fn sorted(service: ServiceTime) -> Vec<u64> {
        let mut random = fastrand::Rng::with_seed(1);
        let mut drawn: Vec<_> = (0..100_001)
            .map(|_| service.draw(&mut random).get())
            .collect();
        drawn.sort_unstable();
        drawn
    }

    fn mean(drawn: &[u64]) -> f64 {
        drawn.iter().sum::<u64>() as f64 / drawn.len() as f64
    }

    #[test]
    fn a_distribution_has_its_mean_and_its_median() {
        let near = |found: f64, expected: f64| {
            assert!((found / expected - 1.0).abs() < 0.02, "{found} {expected}")
        };
        near(mean(&sorted(ServiceTime::Constant(5.0 * MS))), 5.0 * MS);
        near(
            mean(&sorted(ServiceTime::Exponential { mean: 5.0 * MS })),
            5.0 * MS,
        );
        let lognormal = sorted(ServiceTime::Lognormal {
            median: 5.0 * MS,
            sigma: 1.0,
        });
        near(lognormal[50_000] as f64, 5.0 * MS);
        near(mean(&lognormal), 5.0 * MS * 0.5f64.exp());
    }

    #[test]
    fn pareto_stays_in_its_bounds_and_has_its_median() {
        let (least, most, alpha) = (MS, 1000.0 * MS, 1.1);
        let drawn = sorted(ServiceTime::Pareto { least, most, alpha });
        assert!(drawn[0] as f64 >= least - 1.0 && drawn[100_000] as f64 <= most + 1.0);
        let cut = 1.0 - (least / most).powf(alpha);
        let median = least * (1.0 - 0.5 * cut).powf(-1.0 / alpha);
        assert!(
            (drawn[50_000] as f64 / median - 1.0).abs() < 0.02,
            "{} {median}",
            drawn[50_000]
        );
    }
}
