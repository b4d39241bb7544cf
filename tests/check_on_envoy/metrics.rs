//! Metrics without labels.

use super::{EDGE, changed, start_edge};

#[test]
fn without_tags_the_names_of_pools_stand_in_those_of_metrics() {
    let (text, _) = changed(EDGE, &[]);
    let begin = text.find("stats_config:\n").unwrap();
    let tags = &text[begin..text.find("static_resources:\n").unwrap()];
    for (without, is_wrong) in [("", true), (tags, false)] {
        let site = start_edge(&[(tags, without)], "no_labels", is_wrong);
        assert_eq!(site.client().unwrap().get("h", "/").unwrap().status(), 200);
        let told = site.envoy.admin("/stats/prometheus").unwrap();
        let has = |start: &str| told.lines().any(|line| line.starts_with(start));
        assert_eq!(has("pointsman_pool_shop_target_blue_requests{"), is_wrong);
        // What the alerts and the dashboard ask for.
        assert_eq!(has("pointsman_pool_target_requests{"), !is_wrong);
    }
}
