//! Whether a pod is evicted for what it keeps on the disk, as by the kubelet (eviction_manager.go of 1.36,
//! `localStorageEviction`). A priority keeps it from that only when it is the system's own.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Container, PodSpec, Volume};

use super::pressure::{PodUse, is_critical};
use super::teardown::{Grace, passed};
use crate::model::{
    AmountList, DiskPart, EVICTED, Eviction, ObservedPod, Starved, TerminalCause, VolumeLimit, VolumeUse, pod_total,
    quantity,
};

/// The grace period of the evicted, in seconds (`immediateEvictionGracePeriodSeconds`).
const GRACE: i64 = 1;
/// After so many seconds nobody waits for a stop any more: on a full disk none could be noted, and nothing tells when it began.
const PATIENCE: i64 = 10;
/// The kubelet's time between two looks (`evictionMonitoringPeriod`).
const PERIOD: SignedDuration = SignedDuration::from_secs(10);
/// So many of them pass between two looks at what rests.
const AT_REST: i32 = 3;
/// Files and directories that are looked at in each period: a few thousandths of it. More take as many periods.
const ENTRIES: u64 = 5_000;
const STORAGE: &str = "ephemeral-storage";
const NANO: i128 = 1_000_000_000;

/// What has a limit, in the order in which the kubelet looks at it: the emptyDirs on the disk, in the pod's order, all of the pod,
/// and its containers. The last two only of a pod that was begun by a version that held it to them: what runs is not ended by
/// another version.
pub(super) fn limits(spec: &PodSpec, bounds_storage: bool) -> Vec<VolumeLimit> {
    if is_critical(spec) {
        return Vec::new();
    }
    let volumes = spec.volumes.iter().flatten().filter_map(of_volume);
    let pod = of_pod(spec);
    // One that may have as much as its pod takes too much only when its pod does, which is looked at first.
    let is_bound = |limit: &VolumeLimit| pod.as_ref().is_none_or(|pod| limit.bytes < pod.bytes);
    let containers = spec.containers.iter().filter_map(of_container).filter(is_bound);
    let storage = pod.iter().cloned().chain(containers);
    volumes.chain(storage.filter(|_| bounds_storage)).collect()
}

fn of_volume(volume: &Volume) -> Option<VolumeLimit> {
    let source = volume.empty_dir.as_ref().filter(|source| source.medium.as_deref().unwrap_or_default().is_empty())?;
    let text = &source.size_limit.as_ref()?.0;
    // Zero is no limit; what is no quantity keeps the pod from being started.
    let bytes = quantity::bytes(text).filter(|bytes| *bytes > 0)?;
    Some(VolumeLimit { of: DiskPart::EmptyDir, name: volume.name.clone(), bytes, shown: quantity::shown(text)? })
}

/// What its containers may have together, as far as they have a limit (`PodLimits`), written as the first of them.
fn of_pod(spec: &PodSpec) -> Option<VolumeLimit> {
    let first = spec.containers.iter().chain(spec.init_containers.iter().flatten()).find_map(storage)?;
    let nanos = pod_total(spec, AmountList::Limits, STORAGE);
    let bytes = u64::try_from((nanos + NANO - 1).div_euclid(NANO)).ok()?;
    let shown = quantity::written(nanos, quantity::is_binary(first));
    Some(VolumeLimit { of: DiskPart::Pod, name: String::new(), bytes, shown })
}

fn of_container(container: &Container) -> Option<VolumeLimit> {
    let text = storage(container)?;
    let bytes = quantity::bytes(text).filter(|bytes| *bytes > 0)?;
    Some(VolumeLimit { of: DiskPart::Container, name: container.name.clone(), bytes, shown: quantity::shown(text)? })
}

fn storage(container: &Container) -> Option<&str> {
    AmountList::Limits.of(container)?.get(STORAGE).map(|amount| amount.0.as_str())
}

/// Why the pod is evicted, in the kubelet's words; `None` when it is not. `used` is what is taken, one for each limit.
pub fn eviction(limits: &[VolumeLimit], used: &[VolumeUse]) -> Option<TerminalCause> {
    let (limit, _) = limits.iter().zip(used).find(|(limit, used)| used.bytes > limit.bytes)?;
    let VolumeLimit { of, name, shown, .. } = limit;
    let message = match of {
        DiskPart::EmptyDir => format!("Usage of EmptyDir volume {name:?} exceeds the limit {shown:?}. "),
        DiskPart::Pod => {
            format!("Pod ephemeral local storage usage exceeds the total limit of containers {shown}. ")
        }
        DiskPart::Container => format!("Container {name} exceeded its local ephemeral storage limit {shown:?}. "),
    };
    Some(TerminalCause::new(EVICTED, message))
}

/// What to look at to find what a pod takes of the disk, without a limit: all of it, then each container.
pub fn disk_parts(pod: &ObservedPod) -> Vec<VolumeLimit> {
    let spec = pod.record.realised.effective.open().spec.unwrap_or_default();
    let part = |of, name| VolumeLimit { of, name, bytes: u64::MAX, shown: String::new() };
    let containers = spec.containers.into_iter().chain(spec.init_containers.into_iter().flatten());
    let containers = containers.map(|container| part(DiskPart::Container, container.name));
    [part(DiskPart::Pod, String::new())].into_iter().chain(containers).collect()
}

/// What was found of these parts: bytes, or files.
pub fn disk_use(parts: &[VolumeLimit], used: &[VolumeUse], starved: Starved) -> PodUse {
    let amount = |used: &VolumeUse| if starved == Starved::Inodes { used.entries } else { used.bytes };
    let mut found = PodUse::default();
    for (part, used) in parts.iter().zip(used) {
        found.is_part |= used.is_part;
        match part.of {
            DiskPart::Pod => found.total = Some(amount(used)),
            DiskPart::Container => drop(found.containers.insert(part.name.clone(), amount(used))),
            DiskPart::EmptyDir => {}
        }
    }
    found
}

/// The grace period of an eviction, which this agent may have begun.
pub(super) fn grace(begun: Option<&Eviction>, now: Timestamp) -> Grace {
    let is_over = begun.is_some_and(|eviction| passed(eviction.since, PATIENCE, now));
    if is_over { Grace::None } else { Grace::Seconds(GRACE) }
}

/// When to look again: the more there is to look at, the less often, and less often where all is as it was the time `before` and
/// far from its limit.
pub fn next_look(limits: &[VolumeLimit], used: &[VolumeUse], before: &[VolumeUse], now: Timestamp) -> Timestamp {
    let entries = used.iter().fold(0_u64, |sum, used| sum.saturating_add(used.entries));
    let is_far = |(limit, used): (&VolumeLimit, &VolumeUse)| !used.is_part && used.bytes <= limit.bytes / 2;
    let least = if !used.is_empty() && used == before && limits.iter().zip(used).all(is_far) { AT_REST } else { 1 };
    let periods = i32::try_from(entries / ENTRIES).unwrap_or(i32::MAX).saturating_add(1).max(least);
    PERIOD.checked_mul(periods).and_then(|wait| now.checked_add(wait).ok()).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn of(volumes: &Value) -> Vec<VolumeLimit> {
        let spec = json!({"containers": [], "volumes": volumes});
        limits(&serde_json::from_value(spec).unwrap(), true)
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
        let limit = |name: &str, bytes, shown: &str| VolumeLimit {
            of: DiskPart::EmptyDir,
            name: name.into(),
            bytes,
            shown: shown.into(),
        };
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
            let expected = expected.map(|message| TerminalCause::new("Evicted", message));
            assert_eq!(cause, expected, "{a} {b}");
        }
        assert_eq!(eviction(&limits, &[]), None, "nothing is known");
    }

    #[test]
    fn pods_and_containers_have_limits_as_their_containers_have() {
        let container = |name: &str, limit: Option<&str>| match limit {
            Some(limit) => json!({"name": name, "resources": {"limits": {"ephemeral-storage": limit}}}),
            None => json!({"name": name}),
        };
        let told = |spec: Value| -> Vec<String> {
            let limits = limits(&serde_json::from_value(spec).unwrap(), true);
            limits.iter().map(|limit| format!("{} {} {}", limit.what(), limit.bytes, limit.shown)).collect()
        };
        let none = [container("a", None), container("b", Some("0"))];
        assert_eq!(told(json!({"containers": [none[0]]})), [""; 0]);
        assert_eq!(
            told(json!({"containers": none})),
            ["the pod 0 0"],
            "as for the kubelet: nothing is allowed together"
        );
        let alone = [container("a", Some("1Gi")), container("c", None)];
        assert_eq!(told(json!({"containers": alone})), ["the pod 1073741824 1Gi"], "its container has no less");
        let some = [container("a", Some("1Gi")), container("b", Some("512Mi")), container("c", None)];
        let volumes = json!([{"name": "v", "emptyDir": {"sizeLimit": "1Ki"}}]);
        assert_eq!(
            told(json!({"containers": some, "volumes": volumes})),
            [
                "EmptyDir volume \"v\" 1024 1Ki",
                "the pod 1610612736 1536Mi",
                "container \"a\" 1073741824 1Gi",
                "container \"b\" 536870912 512Mi"
            ]
        );
        assert_eq!(told(json!({"containers": some, "volumes": volumes, "priority": 2_000_000_000})), [""; 0]);
        let spec = json!({"containers": some, "volumes": volumes});
        let earlier = limits(&serde_json::from_value(spec).unwrap(), false);
        assert_eq!(earlier.iter().map(VolumeLimit::what).collect::<Vec<_>>(), ["EmptyDir volume \"v\""]);
    }

    #[test]
    fn a_pod_and_its_containers_are_told_in_the_kubelets_words() {
        let container =
            |name: &str, limit: &str| json!({"name": name, "resources": {"limits": {"ephemeral-storage": limit}}});
        let spec = json!({"containers": [container("a", "2Ki"), container("b", "1Ki")]});
        let limits = limits(&serde_json::from_value(spec).unwrap(), true);
        let why = |pod, container| eviction(&limits, &[used(pod), used(container), used(0)]).map(|cause| cause.message);
        assert_eq!(why(3072, 2048), None);
        let pod = "Pod ephemeral local storage usage exceeds the total limit of containers 3Ki. ";
        assert_eq!(why(3073, 2049).as_deref(), Some(pod));
        let container = "Container a exceeded its local ephemeral storage limit \"2Ki\". ";
        assert_eq!(why(2048, 2049).as_deref(), Some(container));
    }

    #[test]
    fn much_to_look_at_is_looked_at_less_often() {
        let wait = |entries: &[u64]| {
            let used: Vec<VolumeUse> =
                entries.iter().map(|entries| VolumeUse { entries: *entries, ..used(0) }).collect();
            next_look(&[], &used, &[], Timestamp::UNIX_EPOCH).as_second()
        };
        assert_eq!([wait(&[]), wait(&[1, 4_998]), wait(&[3_000, 3_000]), wait(&[1_000_000])], [10, 10, 20, 2010]);
        assert_eq!(
            next_look(&[], &[used(0), VolumeUse { entries: u64::MAX, ..used(0) }], &[], Timestamp::MAX),
            Timestamp::MAX
        );
    }
    #[test]
    fn what_rests_far_from_its_limit_is_looked_at_less_often() {
        let limits = of(
            &json!([{"name": "a", "emptyDir": {"sizeLimit": "1000"}}, {"name": "b", "emptyDir": {"sizeLimit": "100"}}]),
        );
        let wait = |a, b, before: &[VolumeUse]| {
            next_look(&limits, &[used(a), used(b)], before, Timestamp::UNIX_EPOCH).as_second()
        };
        assert_eq!(wait(500, 50, &[used(500), used(50)]), 30);
        assert_eq!(wait(500, 50, &[]), 10, "nothing is known of before");
        assert_eq!(wait(500, 50, &[used(499), used(50)]), 10, "it grows");
        assert_eq!(wait(500, 51, &[used(500), used(51)]), 10, "near one limit");
        let part = VolumeUse { is_part: true, ..used(1) };
        assert_eq!(next_look(&limits, &[part, used(1)], &[part, used(1)], Timestamp::UNIX_EPOCH).as_second(), 10);
    }
}
