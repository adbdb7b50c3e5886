//! Limits and requests as cgroup settings, by the kubelet's formulas.

use k8s_openapi::api::core::v1::{Container, PodSpec};
use serde_json::{Value, json};

use super::SpecError;
use crate::model::{PodAmounts, Resources, quantity};
use crate::sys::limits::Limits;

/// The kernel takes no smaller quota, in microseconds.
const LEAST_QUOTA: i64 = 1_000;
const LEAST_SHARES: i64 = 2;
const MOST_SHARES: i64 = 262_144;
const NANOS_PER_MILLI: i128 = 1_000_000;
const NANO: i128 = 1_000_000_000;
const MILLI: i128 = 1_000;

/// What a container of a pod starts with.
pub(super) fn resources(container: &Container, spec: &PodSpec, privileged: bool) -> Result<Value, SpecError> {
    let devices = if privileged {
        json!([{ "allow": true, "access": "rwm" }])
    } else {
        json!([{ "allow": false, "access": "rwm" }])
    };
    let limits = limits(&Resources::of(container).under(spec))?;
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
        quota: given(limit_cpu).map(|nanos| quota(milli(nanos))),
        memory: given(limit_memory).map(|nanos| round_up(nanos, NANO)),
    })
}

/// What a pod has of its own beside that of its containers.
pub fn together(amounts: &PodAmounts) -> Limits {
    Limits {
        shares: shares(amounts.cpu_request),
        quota: amounts.cpu_limit.map(quota),
        memory: amounts.memory_limit.map(|milli| round_up(milli, MILLI)),
    }
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

fn milli(nanos: i128) -> i128 {
    i128::from(round_up(nanos, NANOS_PER_MILLI))
}

/// The weight of so many thousandths of a core, by the kubelet's formula (`MilliCPUToShares`).
pub fn shares(milli: i128) -> i64 {
    let shares = milli.saturating_mul(1024) / MILLI;
    i64::try_from(shares).unwrap_or(MOST_SHARES).clamp(LEAST_SHARES, MOST_SHARES)
}

/// The time of so many thousandths of a core, by the kubelet's formula (`MilliCPUToQuota`).
fn quota(milli: i128) -> i64 {
    let quota = milli.saturating_mul(i128::from(Limits::PERIOD)) / MILLI;
    i64::try_from(quota).unwrap_or(i64::MAX).max(LEAST_QUOTA)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Amounts;

    #[test]
    fn cpu_is_translated_as_the_kubelet_does() {
        for (milli, expected) in [(0, 2), (1, 2), (100, 102), (500, 512), (1000, 1024), (1_000_000, 262_144)] {
            assert_eq!(shares(milli), expected, "{milli}m");
        }
        for (milli, expected) in [(1, 1000), (10, 1000), (11, 1100), (500, 50_000), (2500, 250_000)] {
            assert_eq!(quota(milli), expected, "{milli}m");
        }
    }

    #[test]
    fn a_pod_is_limited_in_the_terms_of_the_kernel() {
        let amounts =
            PodAmounts { cpu_request: 300, cpu_limit: Some(1500), memory_limit: Some((64 << 20) * MILLI + 1) };
        let expected = Limits { shares: 307, quota: Some(150_000), memory: Some((64 << 20) + 1) };
        assert_eq!(together(&amounts), expected);
        assert_eq!(together(&PodAmounts::default()), Limits { shares: 2, quota: None, memory: None });
        let most = PodAmounts { cpu_request: i128::MAX, cpu_limit: Some(i128::MAX), memory_limit: Some(i128::MAX) };
        let expected = Limits { shares: MOST_SHARES, quota: Some(i64::MAX), memory: Some(i64::MAX) };
        assert_eq!(together(&most), expected);
    }

    #[test]
    fn a_limit_of_nothing_is_none() {
        let none = Resources { limits: Amounts { cpu: Some("0".to_owned()), memory: None }, ..Resources::default() };
        assert_eq!(limits(&none), Ok(Limits { shares: 2, quota: None, memory: None }));
    }
}
