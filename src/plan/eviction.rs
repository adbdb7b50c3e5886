//! Whether a pod is evicted for what it keeps on the disk, as by the kubelet (eviction_manager.go of 1.36,
//! `emptyDirLimitEviction`). A priority keeps no pod from it: there is none here.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{PodSpec, Volume};

use super::teardown::{Grace, passed};
use crate::model::{Eviction, TerminalCause, VolumeLimit, VolumeUse, quantity};

/// The grace period of the evicted, in seconds (`immediateEvictionGracePeriodSeconds`).
const GRACE: i64 = 1;
/// After so many seconds nobody waits for a stop any more: on a full disk none could be noted, and nothing tells when it began.
const PATIENCE: i64 = 10;
/// The kubelet's time between two looks (`evictionMonitoringPeriod`).
const PERIOD: SignedDuration = SignedDuration::from_secs(10);
/// Files and directories that are looked at in each period: a few thousandths of it. More take as many periods.
const ENTRIES: u64 = 5_000;

/// The emptyDirs on the disk that have a limit, in the pod's order.
pub(super) fn limits(spec: &PodSpec) -> Vec<VolumeLimit> {
    spec.volumes.iter().flatten().filter_map(limit).collect()
}

fn limit(volume: &Volume) -> Option<VolumeLimit> {
    let source = volume.empty_dir.as_ref().filter(|source| source.medium.as_deref().unwrap_or_default().is_empty())?;
    let text = &source.size_limit.as_ref()?.0;
    // Zero is no limit; what is no quantity keeps the pod from being started.
    let bytes = quantity::bytes(text).filter(|bytes| *bytes > 0)?;
    Some(VolumeLimit { name: volume.name.clone(), bytes, shown: quantity::shown(text)? })
}

/// Why the pod is evicted, in the kubelet's words; `None` when it is not. `used` is what the volumes take, one for each limit.
pub fn eviction(limits: &[VolumeLimit], used: &[VolumeUse]) -> Option<TerminalCause> {
    let (limit, _) = limits.iter().zip(used).find(|(limit, used)| used.bytes > limit.bytes)?;
    let message = format!("Usage of EmptyDir volume {:?} exceeds the limit {:?}. ", limit.name, limit.shown);
    Some(TerminalCause { reason: "Evicted".to_owned(), message })
}

/// The grace period of an eviction, which this agent may have begun.
pub(super) fn grace(begun: Option<&Eviction>, now: Timestamp) -> Grace {
    let is_over = begun.is_some_and(|eviction| passed(eviction.since, PATIENCE, now));
    if is_over { Grace::None } else { Grace::Seconds(GRACE) }
}

/// When to look again: the more there is to look at, the less often.
pub fn next_look(used: &[VolumeUse], now: Timestamp) -> Timestamp {
    let entries = used.iter().fold(0_u64, |sum, used| sum.saturating_add(used.entries));
    let periods = i32::try_from(entries / ENTRIES).unwrap_or(i32::MAX).saturating_add(1);
    PERIOD.checked_mul(periods).and_then(|wait| now.checked_add(wait).ok()).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn of(volumes: &Value) -> Vec<VolumeLimit> {
        let spec = json!({"containers": [], "volumes": volumes});
        limits(&serde_json::from_value(spec).unwrap())
    }

    fn used(bytes: u64) -> VolumeUse {
        VolumeUse { bytes, entries: 1, is_part: false }
    }

    #[test]
    fn directories_on_the_disk_may_have_a_limit() {
        let no_limits = json!([
            {"name": "a", "emptyDir": {}},
            {"name": "b", "emptyDir": {"sizeLimit": "0"}},
            {"name": "c", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
            {"name": "d", "hostPath": {"path": "/x"}},
            {"name": "e", "emptyDir": {"sizeLimit": "much"}},
        ]);
        assert_eq!(of(&no_limits), []);
        let limits = of(
            &json!([{"name": "b", "emptyDir": {"sizeLimit": "1024Mi", "medium": ""}}, {"name": "a", "emptyDir": {"sizeLimit": "1500"}}]),
        );
        let limit = |name: &str, bytes, shown: &str| VolumeLimit { name: name.into(), bytes, shown: shown.into() };
        assert_eq!(limits, [limit("b", 1 << 30, "1Gi"), limit("a", 1500, "1500")]);
    }

    #[test]
    fn a_pod_is_evicted_for_the_first_volume_above_its_limit() {
        let limits = of(
            &json!([{"name": "a", "emptyDir": {"sizeLimit": "1Gi"}}, {"name": "b", "emptyDir": {"sizeLimit": "1k"}}]),
        );
        let gib = 1 << 30;
        for (a, b, expected) in [
            (0, 0, None),
            (gib, 1000, None),
            (gib + 1, 0, Some("Usage of EmptyDir volume \"a\" exceeds the limit \"1Gi\". ")),
            (gib + 1, 1001, Some("Usage of EmptyDir volume \"a\" exceeds the limit \"1Gi\". ")),
            (gib, 1001, Some("Usage of EmptyDir volume \"b\" exceeds the limit \"1k\". ")),
        ] {
            let cause = eviction(&limits, &[used(a), used(b)]);
            let expected = expected.map(|m| TerminalCause { reason: "Evicted".into(), message: m.into() });
            assert_eq!(cause, expected, "{a} {b}");
        }
        assert_eq!(eviction(&limits, &[]), None, "nothing is known");
    }

    #[test]
    fn much_to_look_at_is_looked_at_less_often() {
        let wait = |entries: &[u64]| {
            let used: Vec<VolumeUse> =
                entries.iter().map(|entries| VolumeUse { entries: *entries, ..used(0) }).collect();
            next_look(&used, Timestamp::UNIX_EPOCH).as_second()
        };
        assert_eq!([wait(&[]), wait(&[1, 4_998]), wait(&[3_000, 3_000]), wait(&[1_000_000])], [10, 10, 20, 2010]);
        assert_eq!(next_look(&[used(0), VolumeUse { entries: u64::MAX, ..used(0) }], Timestamp::MAX), Timestamp::MAX);
    }
}
