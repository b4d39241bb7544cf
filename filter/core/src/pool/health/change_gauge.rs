//! The gauge `health_version` of a pool, which rises with each change of the pool's record: it
//! tells the workers when to read the record again. To read a gauge costs a tenth of a read of
//! shared data.

use crate::pool::Pool;
use crate::port::{Gauge, Port};

/// How a worker learns that another one has changed the record.
#[derive(Clone, Copy, Debug, Default)]
pub(super) enum ChangeGauge {
    /// The proxy has not been asked for the gauge yet.
    #[default]
    NotAsked,
    /// The proxy has no gauges, or none that keep what is added.
    Missing,
    /// The gauge.
    Found(Gauge),
}

impl ChangeGauge {
    /// A number that is another one after each change. None: the proxy has no such gauge.
    pub(super) fn version(&mut self, port: &mut dyn Port, pool: &Pool) -> Option<i64> {
        if let ChangeGauge::NotAsked = self {
            *self = ChangeGauge::find(port, pool);
        }
        match self {
            ChangeGauge::Found(gauge) => port.value(*gauge),
            ChangeGauge::NotAsked | ChangeGauge::Missing => None,
        }
    }

    /// Tells the other workers that the record has changed.
    pub(super) fn raise(&self, port: &mut dyn Port) {
        if let ChangeGauge::Found(gauge) = self {
            port.add(*gauge, 1);
        }
    }

    fn find(port: &mut dyn Port, pool: &Pool) -> ChangeGauge {
        let name = [&pool.metric(), ".health_version"].concat();
        let Some(gauge) = port.gauge(&name) else {
            return ChangeGauge::Missing;
        };
        // A proxy that rejects the statistic by its `stats_matcher` gives a gauge that stays 0.
        port.add(gauge, 1);
        match port.value(gauge) {
            None | Some(0) => ChangeGauge::Missing,
            Some(_) => ChangeGauge::Found(gauge),
        }
    }
}
