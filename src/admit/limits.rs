//! What the machine gives containers that say nothing of what they ask for and may use, and the bounds of what they may say: the
//! plugin LimitRanger (plugin/pkg/admission/limitranger of Kubernetes 1.36), with `limitRange` of the configuration for the
//! one LimitRange of every namespace.
//!
//! What is filled in is part of the pod that runs, not of what was written: with another `limitRange` a pod that runs stays
//! as it is, and its successor is given the new amounts. Bounds are compared with both; a pod beyond them is refused with its
//! revision, unless that was admitted before: LimitRanger never looks at pods that exist.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::chain::Subject;
use super::merge::dotted;
use crate::model::{
    AmountList, Diagnostic, LIMIT_RANGER, LimitRangeItem, LimitType, Place, Severity, pod_total, quantity,
};

/// The rule of what is out of bounds.
pub(super) const LIMIT_RANGE: &str = "limit-range";

/// Billionths of one.
const UNIT: i128 = 1_000_000_000;

/// Fills in what a pod lacks, on top of the other defaults, and says what of it is out of bounds.
pub(super) fn apply(subject: &Subject<'_, '_>, pod: &mut Pod, items: &[LimitRangeItem]) -> Vec<Diagnostic> {
    let Some(spec) = &mut pod.spec else { return Vec::new() };
    if let Some(told) = fill(spec, items) {
        pod.metadata.annotations.get_or_insert_default().insert(LIMIT_RANGER.to_owned(), told);
    }
    breaches(spec, items).into_iter().map(|breach| breach.told(subject)).collect()
}

/// Fills in what containers lack, and says what that was.
pub(super) fn fill(spec: &mut PodSpec, items: &[LimitRangeItem]) -> Option<String> {
    let given = |list: fn(&LimitRangeItem) -> &BTreeMap<String, String>| -> BTreeMap<&String, &String> {
        items.iter().filter(|item| item.kind == LimitType::Container).flat_map(list).collect()
    };
    let (limits, requests) = (given(|item| &item.default), given(|item| &item.default_request));
    let apps = spec.containers.iter_mut().map(|container| ("container", container));
    let init = spec.init_containers.iter_mut().flatten().map(|container| ("init container", container));
    let mut told = Vec::new();
    for (word, container) in apps.chain(init) {
        let resources = container.resources.get_or_insert_default();
        let set =
            [(add(&mut resources.requests, &requests), "request"), (add(&mut resources.limits, &limits), "limit")];
        for (names, list) in set.into_iter().filter(|(names, _)| !names.is_empty()) {
            told.push(format!("{} {list} for {word} {}", names.join(", "), container.name));
        }
    }
    (!told.is_empty()).then(|| format!("LimitRanger plugin set: {}", told.join("; ")))
}

fn add(list: &mut Option<BTreeMap<String, Quantity>>, given: &BTreeMap<&String, &String>) -> Vec<String> {
    let is_there = |name: &String| list.as_ref().is_some_and(|list| list.contains_key(name));
    let missing: Vec<(String, Quantity)> = given
        .iter()
        .filter(|(name, _)| !is_there(name))
        .map(|(name, amount)| ((*name).clone(), Quantity((*amount).clone())))
        .collect();
    let names = missing.iter().map(|(name, _)| name.clone()).collect();
    if !missing.is_empty() {
        list.get_or_insert_default().extend(missing);
    }
    names
}

/// What of a pod is out of bounds, and where.
struct Breach {
    /// As a JSON pointer in the pod.
    at: String,
    message: String,
    rule: &'static str,
}

impl Breach {
    fn told(self, subject: &Subject<'_, '_>) -> Diagnostic {
        Diagnostic {
            severity: Severity::Error,
            rule: self.rule,
            message: self.message,
            help: Some("keep to it, or change `limitRange` in the configuration of the machine".to_owned()),
            place: Some(Place { at: subject.at(&self.at), text: Arc::from(""), width: 1 }),
            object: Some(subject.object.key.clone()),
            field: Some(dotted(&format!("{}{}", subject.root, self.at))),
        }
    }
}

fn breaches(spec: &PodSpec, items: &[LimitRangeItem]) -> Vec<Breach> {
    let mut found = Vec::new();
    let init = spec.init_containers.iter().flatten().enumerate().map(|(i, c)| (format!("/spec/initContainers/{i}"), c));
    let apps = spec.containers.iter().enumerate().map(|(i, c)| (format!("/spec/containers/{i}"), c));
    let containers: Vec<(String, &Container)> = apps.chain(init).collect();
    for item in items {
        if item.kind == LimitType::Pod {
            let amounts = |name: &str| AmountList::BOTH.map(|list| together(spec, list, name));
            found.extend(compare(item, "/spec", amounts));
            continue;
        }
        for (at, container) in &containers {
            let amounts = |name: &str| AmountList::BOTH.map(|list| Some(list.of(container)?.get(name)?.0.clone()));
            found.extend(compare(item, at, amounts));
        }
    }
    // What was filled in beside what was written: the API refuses that.
    found.extend(containers.iter().flat_map(|(at, container)| beyond_limits(at, container)));
    found
}

/// What containers have together, in the notation of the first of them; `None` when none of them says anything.
fn together(spec: &PodSpec, list: AmountList, name: &str) -> Option<String> {
    let containers = spec.init_containers.iter().flatten().chain(&spec.containers);
    let whole = list.of_pod(spec).into_iter();
    let mut texts = whole.chain(containers.filter_map(|c| list.of(c))).filter_map(|amounts| amounts.get(name));
    let first = texts.next()?;
    Some(quantity::written(pod_total(spec, list, name), quantity::is_binary(&first.0)))
}

/// The bounds of an item against a request and a limit of each resource.
fn compare(item: &LimitRangeItem, at: &str, amounts: impl Fn(&str) -> [Option<String>; 2]) -> Vec<Breach> {
    let of = item.kind.as_str();
    let shown = |text: &str| quantity::shown(text).unwrap_or_else(|| text.to_owned());
    let is_less = |a: &str, b: &str| quantity::nanos(a) < quantity::nanos(b);
    let mut found = Vec::new();
    let mut note = |list: &str, name: &str, message: String| {
        let at = format!("{at}/resources/{list}/{}", escape(name));
        found.push(Breach { at, message, rule: "limit-range" });
    };
    for (name, min) in &item.min {
        let usage = format!("minimum {name} usage per {of} is {}", shown(min));
        match amounts(name) {
            [None, _] => note("requests", name, format!("{usage}.  No request is specified")),
            [Some(request), _] if is_less(&request, min) => {
                note("requests", name, format!("{usage}, but request is {}", shown(&request)));
            }
            [_, Some(limit)] if is_less(&limit, min) => {
                note("limits", name, format!("{usage}, but limit is {}", shown(&limit)));
            }
            _ => {}
        }
    }
    for (name, max) in &item.max {
        let usage = format!("maximum {name} usage per {of} is {}", shown(max));
        match amounts(name) {
            [_, None] => note("limits", name, format!("{usage}.  No limit is specified")),
            [_, Some(limit)] if is_less(max, &limit) => {
                note("limits", name, format!("{usage}, but limit is {}", shown(&limit)));
            }
            [Some(request), _] if is_less(max, &request) => {
                note("requests", name, format!("{usage}, but request is {}", shown(&request)));
            }
            _ => {}
        }
    }
    for (name, ratio) in &item.max_limit_request_ratio {
        let usage = format!("{name} max limit to request ratio per {of} is {}", shown(ratio));
        let [request, limit] = amounts(name).map(|text| text.and_then(|text| quantity::nanos(&text)).unwrap_or(0));
        match (request, limit, quantity::nanos(ratio).unwrap_or(0)) {
            (0, _, _) => note("requests", name, format!("{usage}, but no request is specified or request is 0")),
            (_, 0, _) => note("limits", name, format!("{usage}, but no limit is specified or limit is 0")),
            (request, limit, most) if limit.saturating_mul(UNIT) > request.saturating_mul(most) => {
                let provided = limit as f64 / request as f64;
                note("limits", name, format!("{usage}, but provided ratio is {provided:.6}"));
            }
            _ => {}
        }
    }
    found
}

/// Requests above their limits.
fn beyond_limits(at: &str, container: &Container) -> Vec<Breach> {
    let resources = container.resources.as_ref();
    let lists = resources.and_then(|all| Some((all.requests.as_ref()?, all.limits.as_ref()?)));
    let Some((requests, limits)) = lists else { return Vec::new() };
    let beyond = |(name, request): (&String, &Quantity)| {
        let limit = limits.get(name)?;
        let is_beyond = quantity::nanos(&request.0)? > quantity::nanos(&limit.0)?;
        let [request, limit] = [request, limit].map(|amount| quantity::shown(&amount.0).unwrap_or_default());
        is_beyond.then(|| Breach {
            at: format!("{at}/resources/requests/{}", escape(name)),
            message: format!("Invalid value: {request:?}: must be less than or equal to {name} limit of {limit}"),
            // Not of LimitRanger, but of the API, which takes no such pod: none is begun.
            rule: "limit-below-request",
        })
    };
    requests.iter().filter_map(beyond).collect()
}

fn escape(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}
