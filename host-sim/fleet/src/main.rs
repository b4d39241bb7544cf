//! Prints the table of [`pointsman_fleet::scenarios`].

use pointsman_fleet::{HEAD, Row, play, scenarios};

fn main() {
    println!("{HEAD}");
    for scenario in scenarios() {
        println!("{}", Row(scenario, play(scenario, 7)));
    }
}
