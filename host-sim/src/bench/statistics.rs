//! Medians, and how far the rounds lie apart.

use serde::Serialize;

/// What several rounds measured.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// The middle value; of an even number of rounds the mean of the two in the middle.
    pub median: f64,
    /// The mean of the least quarter, of at least one: what other load on the machine moved least.
    pub fastest: f64,
    /// The least.
    pub least: f64,
    /// The most.
    pub most: f64,
}

impl Spread {
    /// Of these values. None where there are none.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Spread> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let (least, most) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median = match values.len() % 2 {
            0 => (values[middle - 1] + values[middle]) / 2.0,
            _ => values[middle],
        };
        let fastest = values.get(..values.len().div_ceil(4))?;
        Some(Spread {
            median,
            fastest: fastest.iter().sum::<f64>() / fastest.len() as f64,
            least,
            most,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle_whatever_the_order() {
        let spread = |values: &[f64]| Spread::of(values.iter().copied());
        let expected = |median, fastest, least, most| {
            Some(Spread {
                median,
                fastest,
                least,
                most,
            })
        };
        assert_eq!(spread(&[3.0, 1.0, 9.0]), expected(3.0, 1.0, 1.0, 9.0));
        assert_eq!(
            spread(&[4.0, 1.0, 2.0, 100.0]),
            expected(3.0, 1.0, 1.0, 100.0)
        );
        assert_eq!(spread(&[-1.0]), expected(-1.0, -1.0, -1.0, -1.0));
        let five = spread(&[5.0, 9.0, 1.0, 7.0, 2.0]);
        assert_eq!(five, expected(5.0, 1.5, 1.0, 9.0));
        assert_eq!(spread(&[]), None);
    }
}
