//! Defaults and bounds of what containers and pods ask for: what a LimitRange of Kubernetes has in `spec.limits`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::quantity;

/// The annotation that tells what was filled in.
pub const LIMIT_RANGER: &str = "kubernetes.io/limit-ranger";

/// Billionths of one.
const UNIT: i128 = 1_000_000_000;

/// What an item is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LimitType {
    /// Each container by itself.
    Container,
    /// What the containers of a pod have together.
    Pod,
}

impl LimitType {
    /// As messages have it.
    pub fn as_str(self) -> &'static str {
        match self {
            LimitType::Container => "Container",
            LimitType::Pod => "Pod",
        }
    }
}

/// Resource name → quantity.
type List = BTreeMap<String, String>;

/// One item.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LimitRangeItem {
    #[serde(rename = "type")]
    pub kind: LimitType,
    /// The limits of a container that has none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub default: List,
    /// The requests of a container that has none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub default_request: List,
    /// What requests and limits must be at least.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub min: List,
    /// What they may be at most.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub max: List,
    /// How many times a request its limit may be.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub max_limit_request_ratio: List,
}

/// What is wrong with an item: the list, the resource, and why.
pub type Contradiction = (&'static str, String, String);

impl LimitRangeItem {
    /// One that says nothing.
    pub fn new(kind: LimitType) -> Self {
        Self {
            kind,
            default: List::new(),
            default_request: List::new(),
            min: List::new(),
            max: List::new(),
            max_limit_request_ratio: List::new(),
        }
    }

    /// With the defaults that follow from its bounds (`SetDefaults_LimitRangeItem` in pkg/apis/core/v1 of Kubernetes 1.36).
    #[must_use]
    pub fn filled(mut self) -> Self {
        if self.kind == LimitType::Container {
            add(&mut self.default, &self.max);
            add(&mut self.default_request, &self.default);
            add(&mut self.default_request, &self.min);
        }
        self
    }

    /// What of it contradicts itself, once it is filled: the first of each resource (`ValidateLimitRange` in
    /// pkg/apis/core/validation of Kubernetes 1.36).
    pub fn contradictions(&self) -> Vec<Contradiction> {
        let lists = [&self.default, &self.default_request, &self.min, &self.max, &self.max_limit_request_ratio];
        let mut names: Vec<&String> = lists.iter().flat_map(|list| list.keys()).collect();
        names.sort();
        names.dedup();
        names.into_iter().filter_map(|name| self.contradiction(name)).collect()
    }

    fn contradiction(&self, name: &str) -> Option<Contradiction> {
        let given = [("default", &self.default), ("defaultRequest", &self.default_request)];
        let given = given.into_iter().find(|(_, list)| self.kind == LimitType::Pod && list.contains_key(name));
        if let Some((list, _)) = given {
            return Some((list, name.to_owned(), "may not be specified when `type` is 'Pod'".to_owned()));
        }
        let greater = |(low, of_low): (&List, &str), (high, of_high): (&List, &str)| {
            let (low, high) = (low.get(name)?, high.get(name)?);
            let [a, b] = [low, high].map(|text| quantity::nanos(text));
            let [low, high] = [low, high].map(|text| quantity::shown(text).unwrap_or_else(|| text.clone()));
            (a? > b?).then(|| format!("{of_low} value {low} is greater than {of_high} value {high}"))
        };
        let (min, max) = ((&self.min, "min"), (&self.max, "max"));
        let (default, request) = ((&self.default, "default"), (&self.default_request, "default request"));
        let found = [
            ("min", greater(min, max)),
            ("default", greater(default, max)),
            ("default", greater(min, default)),
            ("defaultRequest", greater(min, request)),
            ("defaultRequest", greater(request, max)),
            ("defaultRequest", greater(request, (&self.default, "default limit"))),
            ("maxLimitRequestRatio", self.ratio(name)),
        ];
        found.into_iter().find_map(|(list, why)| Some((list, name.to_owned(), why?)))
    }

    fn ratio(&self, name: &str) -> Option<String> {
        let of = |list: &List| quantity::nanos(list.get(name)?);
        let text = self.max_limit_request_ratio.get(name)?;
        let (ratio, shown) = (quantity::nanos(text)?, quantity::shown(text)?);
        if ratio < UNIT {
            return Some(format!("ratio {shown} is less than 1"));
        }
        let (min, max) = (of(&self.min).filter(|min| *min > 0)?, of(&self.max)?);
        // max / min < ratio, in whole numbers.
        let is_beyond = max.saturating_mul(UNIT) < ratio.saturating_mul(min);
        is_beyond.then(|| format!("ratio {shown} is greater than max/min = {:.6}", max as f64 / min as f64))
    }
}

fn add(list: &mut List, more: &List) {
    for (name, amount) in more {
        list.entry(name.clone()).or_insert_with(|| amount.clone());
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn item(mut value: Value) -> LimitRangeItem {
        if value.get("type").is_none() {
            value["type"] = json!("Container");
        }
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn defaults_follow_from_bounds() {
        let given =
            json!({"default": {"cpu": "1"}, "min": {"cpu": "100m", "x/y": "1"}, "max": {"cpu": "2", "memory": "1Gi"}});
        let mut expected = given.clone();
        expected["default"] = json!({"cpu": "1", "memory": "1Gi"});
        expected["defaultRequest"] = json!({"cpu": "1", "memory": "1Gi", "x/y": "1"});
        assert_eq!(item(given).filled(), item(expected));
        let pod = json!({"type": "Pod", "max": {"cpu": "2"}});
        assert_eq!(item(pod.clone()).filled(), item(pod));
    }

    #[test]
    fn what_contradicts_itself_is_told_once() {
        for (given, list, why) in [
            (json!({"min": {"cpu": "2"}, "max": {"cpu": "1"}}), "min", "min value 2 is greater than max value 1"),
            (
                json!({"default": {"cpu": "2"}, "max": {"cpu": "1"}}),
                "default",
                "default value 2 is greater than max value 1",
            ),
            (
                json!({"default": {"cpu": "1"}, "min": {"cpu": "2"}}),
                "default",
                "min value 2 is greater than default value 1",
            ),
            (
                json!({"defaultRequest": {"cpu": "1"}, "min": {"cpu": "2"}}),
                "defaultRequest",
                "min value 2 is greater than default request value 1",
            ),
            (
                json!({"defaultRequest": {"memory": "2048Mi"}, "max": {"memory": "1Gi"}}),
                "defaultRequest",
                "default request value 2Gi is greater than max value 1Gi",
            ),
            (
                json!({"defaultRequest": {"cpu": "800m"}, "default": {"cpu": "0.5"}}),
                "defaultRequest",
                "default request value 800m is greater than default limit value 500m",
            ),
            (json!({"maxLimitRequestRatio": {"cpu": "800m"}}), "maxLimitRequestRatio", "ratio 800m is less than 1"),
            (
                json!({"maxLimitRequestRatio": {"cpu": "10"}, "min": {"cpu": "500m"}, "max": {"cpu": "2"}}),
                "maxLimitRequestRatio",
                "ratio 10 is greater than max/min = 4.000000",
            ),
            (json!({"type": "Pod", "default": {"cpu": "1"}}), "default", "may not be specified when `type` is 'Pod'"),
        ] {
            let found = item(given.clone()).filled().contradictions();
            let [(of, _, words)] = found.as_slice() else { panic!("{given}: {found:?}") };
            assert_eq!((*of, words.as_str()), (list, why), "{given}");
        }
        let all = json!({"default": {"cpu": "1"}, "defaultRequest": {"cpu": "500m"}, "min": {"cpu": "100m"},
            "max": {"cpu": "1000m"}, "maxLimitRequestRatio": {"cpu": "10"}});
        assert_eq!(item(all).filled().contradictions(), []);
        let pod = json!({"type": "Pod", "min": {"cpu": "1"}, "max": {"cpu": "2"}});
        assert_eq!(item(pod).filled().contradictions(), []);
    }
}
