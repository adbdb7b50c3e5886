//! The quality-of-service class of a pod.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::PodSpec;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// `Guaranteed`, `Burstable` or `BestEffort`: only cpu and memory count, init containers included.
pub fn qos_class(spec: &PodSpec) -> &'static str {
    let mut any = false;
    let mut guaranteed = true;
    for container in spec.init_containers.iter().flatten().chain(&spec.containers) {
        let resources = container.resources.as_ref();
        let limits = resources.and_then(|r| r.limits.as_ref());
        let requests = resources.and_then(|r| r.requests.as_ref());
        for resource in ["cpu", "memory"] {
            let limit = amount(limits, resource);
            // A missing request is taken from the limit, as defaulting does.
            let request = amount(requests, resource).or(limit);
            any |= limit.is_some() || request.is_some();
            guaranteed &= limit.is_some() && limit == request;
        }
    }
    match (any, guaranteed) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}

/// A quantity that is there and not zero, in thousandths.
fn amount(list: Option<&BTreeMap<String, Quantity>>, resource: &str) -> Option<i128> {
    milli(&list?.get(resource)?.0).filter(|a| *a != 0)
}

/// The value of a quantity such as `100m`, `1.5`, `2e3` or `64Mi` in thousandths, rounded up; `None` if it is none.
fn milli(text: &str) -> Option<i128> {
    const SUFFIXES: [(&str, i32, u32); 14] = [
        ("Ki", 0, 10),
        ("Mi", 0, 20),
        ("Gi", 0, 30),
        ("Ti", 0, 40),
        ("Pi", 0, 50),
        ("Ei", 0, 60),
        ("n", -9, 0),
        ("u", -6, 0),
        ("m", -3, 0),
        ("k", 3, 0),
        ("M", 6, 0),
        ("G", 9, 0),
        ("T", 12, 0),
        ("P", 15, 0),
    ];
    let text = text.trim();
    let (number, ten, two) = SUFFIXES
        .iter()
        .find_map(|(suffix, ten, two)| text.strip_suffix(suffix).map(|n| (n, *ten, *two)))
        .or_else(|| text.strip_suffix('E').map(|n| (n, 18, 0)))
        .unwrap_or((text, 0, 0));
    let (number, exponent) = match number.split_once(['e', 'E']) {
        Some((number, exponent)) => (number, exponent.parse::<i32>().ok()?.clamp(-30, 18)),
        None => (number, 0),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits: i128 = format!("{whole}{fraction}").parse().ok()?;
    let scale = ten + exponent + 3 - i32::try_from(fraction.len()).ok()?;
    let value = digits.checked_shl(two).filter(|v| v >> two == digits)?;
    if scale >= 0 {
        value.checked_mul(10_i128.checked_pow(scale.unsigned_abs())?)
    } else {
        let divisor = 10_i128.checked_pow(scale.unsigned_abs())?;
        Some(value.div_euclid(divisor) + i128::from(value.rem_euclid(divisor) != 0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn quantities_are_compared_by_value() {
        for (text, expected) in [
            ("100m", Some(100)),
            ("0.1", Some(100)),
            ("1", Some(1000)),
            ("1.5", Some(1500)),
            ("2e3", Some(2_000_000)),
            ("64Mi", Some(64 * 1024 * 1024 * 1000)),
            ("1k", Some(1_000_000)),
            ("1E", Some(1_000_000_000_000_000_000_000)),
            ("1n", Some(1)),
            ("abc", None),
            ("", None),
        ] {
            assert_eq!(milli(text), expected, "{text}");
        }
    }

    #[test]
    fn the_class_follows_requests_and_limits() {
        for (resources, expected) in [
            (json!({}), "BestEffort"),
            (json!({"requests": {"cpu": "0"}}), "BestEffort"),
            (json!({"requests": {"cpu": "100m"}}), "Burstable"),
            (json!({"limits": {"cpu": "1"}}), "Burstable"),
            (json!({"limits": {"cpu": "1", "memory": "1Gi"}}), "Guaranteed"),
            (
                json!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "1000m", "memory": "1024Mi"}}),
                "Guaranteed",
            ),
            (json!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m"}}), "Burstable"),
            (json!({"limits": {"nvidia.com/gpu": "1"}}), "BestEffort"),
        ] {
            let spec: PodSpec =
                serde_json::from_value(json!({"containers": [{"name": "a", "resources": resources}]})).unwrap();
            assert_eq!(qos_class(&spec), expected, "{resources}");
        }
    }
}
