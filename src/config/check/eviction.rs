//! `evictionHard` and `evictionPressureTransitionPeriod`: the kubelet's keys, in its notation.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, Value};

use super::{Check, Rule, escape, refuse, short};
use crate::cli::args::duration;
use crate::config::Config;
use crate::model::{EvictionSignal, ThresholdValue};

impl Check<'_> {
    /// 0% and 100% switch a signal off.
    pub(super) fn eviction_hard(
        &mut self,
        at: &str,
        value: &Value,
    ) -> BTreeMap<EvictionSignal, Option<ThresholdValue>> {
        let Some(members) = value.as_object() else {
            self.wrong_type(at, value, "a mapping", "write lines such as `memory.available: 100Mi` below it");
            return BTreeMap::new();
        };
        let mut thresholds = BTreeMap::new();
        for (key, value) in members {
            let at = format!("{at}/{}", escape(key));
            let Some(signal) = EvictionSignal::ALL.into_iter().find(|signal| signal.as_str() == key) else {
                self.unknown(&at, key, &EvictionSignal::ALL.map(EvictionSignal::as_str));
                continue;
            };
            let number = value.as_u64().map(|number| Value::from(number.to_string()));
            let text = self.text(&at, number.as_ref().unwrap_or(value), threshold);
            thresholds.extend(text.and_then(|text| Some((signal, ThresholdValue::parse(&text).ok()?))));
        }
        thresholds
    }

    /// How long a condition stays says nothing where none can hold.
    pub(super) fn transition_of_something(&mut self, config: &Config, members: &Map<String, Value>) {
        let is_of_none = !config.merge_eviction && config.eviction_hard.values().all(Option::is_none);
        // A threshold that is wrong is a problem of its own.
        if is_of_none && self.problems.is_empty() && members.contains_key("evictionPressureTransitionPeriod") {
            let message = "`evictionPressureTransitionPeriod` has no effect: no threshold is set".to_owned();
            let help = "add `mergeDefaultEvictionSettings: true`, or thresholds below `evictionHard`, or remove it";
            self.key_problem("/evictionPressureTransitionPeriod", message, help);
        }
    }

    pub(super) fn transition(&mut self, at: &str, value: &Value) -> Option<Duration> {
        if let Some(seconds) = value.as_u64() {
            return Some(Duration::from_secs(seconds));
        }
        let rule: Rule = |text| duration(text).map(drop).map_err(|message| (message, "5m is the default".to_owned()));
        self.text(at, value, rule).and_then(|text| duration(&text).ok())
    }
}

fn threshold(text: &str) -> Result<(), (String, String)> {
    match ThresholdValue::parse(text) {
        Ok(_) => Ok(()),
        Err(wanted) => refuse(format!("`{}` is no threshold", short(text)), format!("write {wanted}")),
    }
}
