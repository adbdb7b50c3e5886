//! `limitRange`: what containers and pods are given and may ask for, as in the spec of a LimitRange.

use serde_json::Value;

use super::{Check, Digits, escape, quantity};
use crate::model::{LimitRangeItem, LimitType};

/// What containers may ask for here.
const RESOURCES: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];
const LIMIT_RANGE_KEYS: [&str; 1] = ["limits"];
const ITEM_KEYS: [&str; 6] = ["type", "default", "defaultRequest", "min", "max", "maxLimitRequestRatio"];
const TYPES: [(&str, LimitType); 2] = [("Container", LimitType::Container), ("Pod", LimitType::Pod)];

impl Check<'_> {
    pub(super) fn limit_range(&mut self, at: &str, value: &Value) -> Vec<LimitRangeItem> {
        let Some(members) = value.as_object() else {
            self.wrong_type(at, value, "a mapping", "write `limits` below it, as in the spec of a LimitRange");
            return Vec::new();
        };
        let mut items = Vec::new();
        for (key, value) in members {
            let at = format!("{at}/{}", escape(key));
            if key != "limits" {
                self.unknown(&at, key, &LIMIT_RANGE_KEYS);
                continue;
            }
            for (index, item) in self.list(&at, value).iter().enumerate() {
                items.extend(self.limit_range_item(&format!("{at}/{index}"), item));
            }
        }
        items
    }

    fn limit_range_item(&mut self, at: &str, value: &Value) -> Option<LimitRangeItem> {
        let Some(members) = value.as_object() else {
            self.wrong_type(at, value, "a mapping", "write `type` and what is to hold for it");
            return None;
        };
        let known = self.problems.len();
        let mut item = LimitRangeItem::new(LimitType::Container);
        for (key, value) in members {
            let at = format!("{at}/{}", escape(key));
            let list = match key.as_str() {
                "type" => {
                    item.kind = self.one_of(&at, value, TYPES).unwrap_or(item.kind);
                    continue;
                }
                "default" => &mut item.default,
                "defaultRequest" => &mut item.default_request,
                "min" => &mut item.min,
                "max" => &mut item.max,
                "maxLimitRequestRatio" => &mut item.max_limit_request_ratio,
                unknown => {
                    self.unknown(&at, unknown, &ITEM_KEYS);
                    continue;
                }
            };
            *list = self.map(&at, value, Digits::Yes, quantity);
            for other in list.keys().filter(|name| !RESOURCES.contains(&name.as_str())) {
                let what = format!("no container here is given `{other}`");
                self.problem(
                    &format!("{at}/{}", escape(other)),
                    what,
                    "the resources are cpu, memory, ephemeral-storage",
                );
            }
        }
        if !members.contains_key("type") {
            self.problem(at, "missing key `type`".to_owned(), "add `type: Container` or `type: Pod`");
        }
        let item = item.filled();
        // What is wrong already may be behind it.
        let contradictions = if self.problems.len() == known { item.contradictions() } else { Vec::new() };
        for (list, resource, why) in contradictions {
            let is_written = members.get(list).and_then(|list| list.get(&resource)).is_some();
            let place = if is_written { format!("{at}/{list}/{}", escape(&resource)) } else { at.to_owned() };
            self.problem(&place, format!("{resource}: {why}"), "correct one of the two");
        }
        Some(item)
    }
}
