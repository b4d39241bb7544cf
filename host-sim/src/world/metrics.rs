//! Metrics as Envoy keeps them (`source/extensions/common/wasm/context.cc`): a name defined twice
//! has two ids and one value, and nothing takes back what a VM that died had added.

use std::collections::BTreeMap;

/// The metrics of one proxy.
#[derive(Debug, Default)]
pub struct Metrics {
    /// By id: the metric's place.
    ids: Vec<(MetricKind, usize)>,
    metrics: Vec<Metric>,
    places: BTreeMap<String, usize>,
    rejected: Vec<String>,
}

#[derive(Debug)]
struct Metric {
    value: MetricValue,
    /// What is added is lost.
    is_rejected: bool,
}

/// What a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    /// Only rises.
    Counter,
    /// Rises and falls.
    Gauge,
    /// Collects values.
    Histogram,
}

/// The value of a metric.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MetricValue {
    /// Of a counter or a gauge.
    Number(u64),
    /// Of a histogram: each value recorded, with how often.
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
    /// Defines a metric: a new id each time.
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

    /// Names that begin so are rejected from now on, as by `stats_matcher`: they can be defined,
    /// and what is added is lost.
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

    /// Adds to a counter, or adds to or takes from a gauge, which has no sign and wraps around
    /// below 0.
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

    /// The value of a name.
    pub fn named(&self, name: &str) -> Option<&MetricValue> {
        Some(&self.metrics[*self.places.get(name)?].value)
    }

    /// Every name with its value.
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
