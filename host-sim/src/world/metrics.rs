//! Metrics as Envoy keeps them (`source/extensions/common/wasm/context.cc`): a name that is defined
//! twice has two ids and one value, and what a VM has added stays when the VM is dead.

use std::collections::BTreeMap;

/// The metrics of one proxy.
#[derive(Debug, Default)]
pub struct Metrics {
    /// The kind and the place of the metric of each id.
    ids: Vec<(MetricKind, usize)>,
    metrics: Vec<Metric>,
    places: BTreeMap<String, usize>,
    /// The prefixes of names that are rejected.
    rejected: Vec<String>,
}

#[derive(Debug)]
struct Metric {
    value: MetricValue,
    /// Whether what is added is lost.
    is_rejected: bool,
}

/// The kind of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    /// A number that never decreases.
    Counter,
    /// A number that increases and decreases.
    Gauge,
    /// A distribution of recorded values.
    Histogram,
}

impl MetricKind {
    /// By its number in the ABI.
    pub(super) fn of(number: u32) -> Option<MetricKind> {
        match number {
            0 => Some(MetricKind::Counter),
            1 => Some(MetricKind::Gauge),
            2 => Some(MetricKind::Histogram),
            _ => None,
        }
    }
}

/// The value of a metric.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MetricValue {
    /// The value of a counter or a gauge.
    Number(u64),
    /// The samples of a histogram: each value that was recorded, with how often.
    Samples(BTreeMap<u64, u64>),
}

/// Why a call was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricError {
    /// No metric has this id.
    NotFound,
    /// The metric's kind cannot do that.
    BadArgument,
}

impl Metrics {
    /// Defines a metric, and returns its id: a new one each time.
    pub fn define(&mut self, kind: MetricKind, name: &str) -> u32 {
        let place = match self.places.get(name) {
            Some(place) => *place,
            None => {
                self.places.insert(name.to_owned(), self.metrics.len());
                self.metrics.push(Metric {
                    value: empty(kind),
                    is_rejected: self.rejected.iter().any(|prefix| name.starts_with(prefix)),
                });
                self.metrics.len() - 1
            }
        };
        self.ids.push((kind, place));
        self.ids.len() as u32 - 1
    }

    /// From now on rejects metrics whose names begin so, as `stats_matcher` does: they can be
    /// defined, and what is added to them is lost.
    pub fn reject(&mut self, prefix: &str) {
        self.rejected.push(prefix.to_owned());
        for (_, place) in self
            .places
            .iter()
            .filter(|(name, _)| name.starts_with(prefix))
        {
            self.metrics[*place].is_rejected = true;
        }
    }

    /// Adds to a counter, or adds to or subtracts from a gauge, which is unsigned and wraps around.
    pub fn increment(&mut self, id: u32, offset: i64) -> Result<(), MetricError> {
        match self.find(id)? {
            (MetricKind::Counter, _) if offset < 0 => Err(MetricError::BadArgument),
            (_, MetricValue::Number(number)) => {
                *number = number.wrapping_add_signed(offset);
                Ok(())
            }
            (_, MetricValue::Samples(_)) => Err(MetricError::BadArgument),
        }
    }

    /// Adds to a counter, sets a gauge, or records in a histogram.
    pub fn record(&mut self, id: u32, value: u64) -> Result<(), MetricError> {
        match self.find(id)? {
            (MetricKind::Counter, MetricValue::Number(number)) => *number += value,
            (_, MetricValue::Number(number)) => *number = value,
            (_, MetricValue::Samples(samples)) => *samples.entry(value).or_default() += 1,
        }
        Ok(())
    }

    /// The value of a counter or a gauge.
    pub fn get(&mut self, id: u32) -> Result<u64, MetricError> {
        match self.find(id)? {
            (_, MetricValue::Number(number)) => Ok(*number),
            (_, MetricValue::Samples(_)) => Err(MetricError::BadArgument),
        }
    }

    /// The value of the metric of a name. None: none is defined.
    pub fn named(&self, name: &str) -> Option<&MetricValue> {
        Some(&self.metrics[*self.places.get(name)?].value)
    }

    /// The names of all metrics with their values.
    pub fn all(&self) -> impl Iterator<Item = (&str, &MetricValue)> {
        self.places
            .iter()
            .map(|(name, place)| (name.as_str(), &self.metrics[*place].value))
    }

    fn find(&mut self, id: u32) -> Result<(MetricKind, &mut MetricValue), MetricError> {
        let (kind, place) = *self.ids.get(id as usize).ok_or(MetricError::NotFound)?;
        let metric = &mut self.metrics[place];
        if metric.is_rejected {
            metric.value = empty(kind);
        }
        Ok((kind, &mut metric.value))
    }
}

fn empty(kind: MetricKind) -> MetricValue {
    match kind {
        MetricKind::Histogram => MetricValue::Samples(BTreeMap::new()),
        MetricKind::Counter | MetricKind::Gauge => MetricValue::Number(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_defined_twice_has_two_ids_and_one_value() {
        let mut metrics = Metrics::default();
        let (a, b) = (
            metrics.define(MetricKind::Counter, "c"),
            metrics.define(MetricKind::Counter, "c"),
        );
        assert_ne!(a, b);
        metrics.increment(a, 1).unwrap();
        metrics.increment(b, 2).unwrap();
        assert_eq!(metrics.named("c"), Some(&MetricValue::Number(3)));
    }

    #[test]
    fn each_kind_takes_only_what_it_can() {
        let mut metrics = Metrics::default();
        let counter = metrics.define(MetricKind::Counter, "c");
        let gauge = metrics.define(MetricKind::Gauge, "g");
        let histogram = metrics.define(MetricKind::Histogram, "h");
        assert_eq!(
            metrics.increment(counter, -1),
            Err(MetricError::BadArgument)
        );
        assert_eq!(
            metrics.increment(histogram, 1),
            Err(MetricError::BadArgument)
        );
        assert_eq!(metrics.increment(99, 1), Err(MetricError::NotFound));
        metrics.increment(gauge, 5).unwrap();
        metrics.increment(gauge, -2).unwrap();
        assert_eq!(metrics.get(gauge), Ok(3));
        metrics.record(gauge, 9).unwrap();
        metrics.record(counter, 4).unwrap();
        metrics.record(histogram, 7).unwrap();
        assert_eq!((metrics.get(gauge), metrics.get(counter)), (Ok(9), Ok(4)));
        assert_eq!(
            metrics.named("h"),
            Some(&MetricValue::Samples(BTreeMap::from([(7, 1)])))
        );
        assert_eq!(metrics.get(histogram), Err(MetricError::BadArgument));
    }
}
