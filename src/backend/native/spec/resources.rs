//! Limits and requests as cgroup settings, by the kubelet's formulas.

use k8s_openapi::api::core::v1::Container;
use serde_json::{Value, json};

use super::SpecError;
use crate::model::quantity;

/// The period a CPU quota is for, in microseconds.
const PERIOD: i64 = 100_000;
/// The kernel takes no smaller quota, in microseconds.
const LEAST_QUOTA: i64 = 1_000;
const LEAST_SHARES: i64 = 2;
const MOST_SHARES: i64 = 262_144;
const NANOS_PER_MILLI: i128 = 1_000_000;

pub(super) fn resources(container: &Container, privileged: bool) -> Result<Value, SpecError> {
    let devices = if privileged {
        json!([{ "allow": true, "access": "rwm" }])
    } else {
        json!([{ "allow": false, "access": "rwm" }])
    };
    let limit_cpu = amount(container, "limits", "cpu")?;
    let request_cpu = amount(container, "requests", "cpu")?.or(limit_cpu);
    let mut cpu = json!({ "shares": shares(request_cpu.unwrap_or(0)) });
    if let Some(limit) = limit_cpu.filter(|l| *l > 0) {
        cpu["quota"] = json!(quota(limit));
        cpu["period"] = json!(PERIOD);
    }
    let mut out = json!({ "devices": devices, "cpu": cpu });
    if let Some(limit) = amount(container, "limits", "memory")?.filter(|l| *l > 0) {
        let bytes = round_up(limit, 1_000_000_000);
        out["memory"] = json!({ "limit": bytes });
    }
    Ok(out)
}

/// A resource in billionths.
fn amount(container: &Container, list: &str, resource: &str) -> Result<Option<i128>, SpecError> {
    let resources = container.resources.as_ref();
    let map = resources.and_then(|r| if list == "limits" { r.limits.as_ref() } else { r.requests.as_ref() });
    let Some(text) = map.and_then(|m| m.get(resource)) else { return Ok(None) };
    match quantity::nanos(&text.0).filter(|n| *n >= 0) {
        Some(nanos) => Ok(Some(nanos)),
        None => Err(SpecError::Quantity(format!("resources.{list}.{resource}"), text.0.clone())),
    }
}

/// Rounded up and never more than an `i64` holds.
fn round_up(nanos: i128, unit: i128) -> i64 {
    i64::try_from(nanos.saturating_add(unit - 1) / unit).unwrap_or(i64::MAX)
}

fn shares(nanos: i128) -> i64 {
    (round_up(nanos, NANOS_PER_MILLI).saturating_mul(1024) / 1000).clamp(LEAST_SHARES, MOST_SHARES)
}

fn quota(nanos: i128) -> i64 {
    (round_up(nanos, NANOS_PER_MILLI).saturating_mul(PERIOD) / 1000).max(LEAST_QUOTA)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_is_translated_as_the_kubelet_does() {
        let cores = |milli: i128| milli * NANOS_PER_MILLI;
        for (milli, expected) in [(0, 2), (1, 2), (100, 102), (500, 512), (1000, 1024), (1_000_000, 262_144)] {
            assert_eq!(shares(cores(milli)), expected, "{milli}m");
        }
        for (milli, expected) in [(1, 1000), (10, 1000), (11, 1100), (500, 50_000), (2500, 250_000)] {
            assert_eq!(quota(cores(milli)), expected, "{milli}m");
        }
    }
}
