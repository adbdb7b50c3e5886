//! Limits and requests as cgroup settings, by the kubelet's formulas.

use k8s_openapi::api::core::v1::Container;
use serde_json::{Value, json};

use super::SpecError;
use crate::model::{Resources, quantity};
use crate::sys::limits::Limits;

/// The kernel takes no smaller quota, in microseconds.
const LEAST_QUOTA: i64 = 1_000;
const LEAST_SHARES: i64 = 2;
const MOST_SHARES: i64 = 262_144;
const NANOS_PER_MILLI: i128 = 1_000_000;
const NANO: i128 = 1_000_000_000;

/// What a container starts with.
pub(super) fn resources(container: &Container, privileged: bool) -> Result<Value, SpecError> {
    let devices = if privileged {
        json!([{ "allow": true, "access": "rwm" }])
    } else {
        json!([{ "allow": false, "access": "rwm" }])
    };
    let limits = limits(&Resources::of(container))?;
    let mut cpu = json!({ "shares": limits.shares });
    if let Some(quota) = limits.quota {
        cpu["quota"] = json!(quota);
        cpu["period"] = json!(Limits::PERIOD);
    }
    let mut out = json!({ "devices": devices, "cpu": cpu });
    if let Some(bytes) = limits.memory {
        out["memory"] = json!({ "limit": bytes });
    }
    Ok(out)
}

/// Amounts of cpu and memory in the terms of the kernel.
///
/// # Errors
/// When one of them is no quantity.
pub fn limits(resources: &Resources) -> Result<Limits, SpecError> {
    let limit_cpu = amount(resources, "limits", "cpu")?;
    let request_cpu = amount(resources, "requests", "cpu")?.or(limit_cpu);
    let limit_memory = amount(resources, "limits", "memory")?;
    // A limit of 0 is none.
    let given = |limit: Option<i128>| limit.filter(|nanos| *nanos > 0);
    Ok(Limits {
        shares: shares(milli(request_cpu.unwrap_or(0))),
        quota: given(limit_cpu).map(quota),
        memory: given(limit_memory).map(|nanos| round_up(nanos, NANO)),
    })
}

/// A resource in billionths.
fn amount(resources: &Resources, list: &'static str, resource: &str) -> Result<Option<i128>, SpecError> {
    let Some(text) = resources.list(list).get(resource) else { return Ok(None) };
    match quantity::nanos(text).filter(|n| *n >= 0) {
        Some(nanos) => Ok(Some(nanos)),
        None => Err(SpecError::Quantity(format!("resources.{list}.{resource}"), text.clone())),
    }
}

/// Rounded up and never more than an `i64` holds.
fn round_up(nanos: i128, unit: i128) -> i64 {
    i64::try_from(nanos.saturating_add(unit - 1) / unit).unwrap_or(i64::MAX)
}

fn milli(nanos: i128) -> i64 {
    round_up(nanos, NANOS_PER_MILLI)
}

/// The weight of so many thousandths of a core, by the kubelet's formula (`MilliCPUToShares`).
pub fn shares(milli: i64) -> i64 {
    (milli.saturating_mul(1024) / 1000).clamp(LEAST_SHARES, MOST_SHARES)
}

fn quota(nanos: i128) -> i64 {
    (milli(nanos).saturating_mul(Limits::PERIOD) / 1000).max(LEAST_QUOTA)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Amounts;

    #[test]
    fn cpu_is_translated_as_the_kubelet_does() {
        let cores = |milli: i128| milli * NANOS_PER_MILLI;
        for (milli, expected) in [(0, 2), (1, 2), (100, 102), (500, 512), (1000, 1024), (1_000_000, 262_144)] {
            assert_eq!(shares(milli), expected, "{milli}m");
        }
        for (milli, expected) in [(1, 1000), (10, 1000), (11, 1100), (500, 50_000), (2500, 250_000)] {
            assert_eq!(quota(cores(milli)), expected, "{milli}m");
        }
    }

    #[test]
    fn a_limit_of_nothing_is_none() {
        let none = Resources { limits: Amounts { cpu: Some("0".to_owned()), memory: None }, ..Resources::default() };
        assert_eq!(limits(&none), Ok(Limits { shares: 2, quota: None, memory: None }));
    }
}
