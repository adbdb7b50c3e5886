//! The tree of the pods' cgroups, as the kubelet has it: guaranteed pods right below the root's own, the others below the
//! cgroup of their class. A pod weighs what it asks for, its class what its pods ask for together; a pod may use what its
//! containers may together, see [`PodAmounts`].

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};

use k8s_openapi::api::core::v1::PodSpec;

use super::observe::{self, State};
use super::paths::{InstanceName, Paths, uid_of_cgroup};
use super::records::{self, CONTAINER};
use super::{lock, spec};
use crate::model::{
    ContainerRecord, ContainerState, ObservedPod, PodAmounts, PodRecord, PodUid, ResizeOrder, Resources, qos_class,
};
use crate::port::PortError;
use crate::sys::{cgroup, limits};

/// Where a pod's cgroup stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Level {
    /// Right below the root's cgroup; there stand the pods of earlier versions, too.
    Guaranteed,
    Burstable,
    BestEffort,
}

impl Level {
    pub(super) const ALL: [Self; 3] = [Self::Guaranteed, Self::Burstable, Self::BestEffort];
    /// Those that have a cgroup of their own.
    const CLASSES: [Self; 2] = [Self::Burstable, Self::BestEffort];

    fn of(spec: &PodSpec) -> Self {
        match qos_class(spec) {
            "BestEffort" => Self::BestEffort,
            "Burstable" => Self::Burstable,
            _ => Self::Guaranteed,
        }
    }
}

/// The pods that have a cgroup, by level and uid.
///
/// # Errors
/// From the system.
pub(super) fn standing(paths: &Paths) -> io::Result<BTreeMap<PodUid, Level>> {
    let mut found = BTreeMap::new();
    for level in Level::ALL {
        for name in cgroup::children(&paths.level_cgroup(level))? {
            if let Some(uid) = uid_of_cgroup(&name) {
                found.entry(PodUid(uid.to_owned())).or_insert(level);
            }
        }
    }
    Ok(found)
}

const OPERATION: &str = "limit the cgroup of pod";

/// What the containers of a pod that run may use now, by name.
type Now = BTreeMap<String, Resources>;

/// What one pod asks for and may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Share {
    level: Level,
    amounts: PodAmounts,
    /// The generation of the record that says so; `None` when the kernel has not been told yet.
    generation: Option<i64>,
}

impl Share {
    fn new(level: Level, spec: &PodSpec, now: &Now) -> Self {
        Self { level, amounts: PodAmounts::of(spec, now), generation: None }
    }

    fn of_record(level: Level, record: &PodRecord, now: &Now) -> Self {
        Self::new(level, &record.realised.effective.open().spec.unwrap_or_default(), now)
    }
}

/// Read from the records of its containers.
fn now(paths: &Paths, uid: &PodUid) -> Result<Now, PortError> {
    let failed = observe::failed(uid);
    let one = |name: InstanceName| {
        let dir = paths.instance_dir(&name);
        let runs = matches!(observe::state(&dir).map_err(&failed)?, State::Running(_));
        let record = if runs { records::read::<ContainerRecord>(&dir, CONTAINER).map_err(&failed)?.ok() } else { None };
        Ok(record.and_then(|record| Some((record.name, record.resources?))))
    };
    observe::instances(paths, uid)?.into_iter().map(one).filter_map(Result::transpose).collect()
}

/// The pods that have a cgroup and have not come to their end. Derived from the records and the kernel. Levels are made and
/// removed while this is locked.
#[derive(Debug, Default)]
pub(super) struct Levels {
    shares: Mutex<BTreeMap<PodUid, Share>>,
}

impl Levels {
    /// Makes the cgroup of a pod, if it has none, and gives it and its level their weights. Returns its path.
    ///
    /// # Errors
    /// From the system.
    pub(super) fn enter(&self, paths: &Paths, record: &PodRecord, spec: &PodSpec) -> io::Result<String> {
        let mut shares = lock(&self.shares);
        let level = paths.level(&record.uid)?.unwrap_or_else(|| Level::of(spec));
        let path = paths.pod_cgroup_in(level, &record.uid);
        cgroup::create(&path)?;
        shares.insert(record.uid.clone(), Share::new(level, spec, &Now::new()));
        weigh(paths, &mut shares, record)?;
        Ok(path)
    }

    /// Follows a change of a pod's record: the pod is given more before its containers are, and less after them.
    ///
    /// # Errors
    /// From the system, or what keeps the pod's containers from being looked at.
    pub(super) fn renew(&self, paths: &Paths, record: &PodRecord) -> Result<(), PortError> {
        let failed = |e: io::Error| PortError::io(OPERATION, record.key.to_string(), &e);
        let mut shares = lock(&self.shares);
        let Some(level) = shares.get(&record.uid).map(|share| share.level) else { return Ok(()) };
        if record.terminal.is_some() {
            shares.remove(&record.uid);
            return limits::set_shares(of_level(paths, &shares, level).as_slice()).map_err(failed);
        }
        if shares.get(&record.uid).is_some_and(|share| share.generation == Some(record.generation)) {
            return Ok(());
        }
        shares.insert(record.uid.clone(), Share::of_record(level, record, &now(paths, &record.uid)?));
        weigh(paths, &mut shares, record).map_err(failed)
    }

    /// Follows a container that was given other amounts, which its record does not say yet.
    ///
    /// # Errors
    /// As [`Levels::renew`].
    pub(super) fn follow(&self, paths: &Paths, uid: &PodUid, order: &ResizeOrder) -> Result<(), PortError> {
        let Some(record) = observe::record(paths, uid)?.ok() else { return Ok(()) };
        let mut shares = lock(&self.shares);
        let Some(share) = shares.get_mut(uid) else { return Ok(()) };
        let mut now = now(paths, uid)?;
        now.insert(order.name.clone(), order.resources.clone());
        share.amounts = Share::of_record(share.level, &record, &now).amounts;
        let set = limits::set_kept(&paths.pod_cgroup_in(share.level, uid), spec::together(&share.amounts));
        set.map_err(|e| PortError::io(OPERATION, record.key.to_string(), &e))
    }

    /// Takes over the pods that have a cgroup, and removes levels without any.
    ///
    /// # Errors
    /// From the system.
    pub(super) fn adopt(&self, paths: &Paths, pods: &[Arc<ObservedPod>]) -> io::Result<()> {
        let mut shares = lock(&self.shares);
        let standing = standing(paths)?;
        let (mut all, mut levels) = (Vec::new(), Vec::new());
        for pod in pods.iter().filter(|pod| pod.record.terminal.is_none()) {
            let record = &pod.record;
            let Some(level) = standing.get(&record.uid) else { continue };
            let running = pod.containers.iter().filter(|c| matches!(c.state, ContainerState::Running { .. }));
            let now = running.filter_map(|c| Some((c.record.name.clone(), c.record.resources.clone()?))).collect();
            let share = Share { generation: Some(record.generation), ..Share::of_record(*level, record, &now) };
            all.push((paths.pod_cgroup_in(*level, &record.uid), spec::together(&share.amounts)));
            shares.insert(record.uid.clone(), share);
        }
        for level in Level::CLASSES {
            cgroup::remove_empty(&paths.level_cgroup(level))?;
            levels.extend(of_level(paths, &shares, level));
        }
        // One that the kernel refuses keeps no other from its own.
        let pods = all.iter().map(|(path, limits)| limits::set_kept(path, *limits));
        pods.fold(Ok(()), io::Result::and).and(limits::set_shares(&levels))
    }

    /// Removes what a pod has of cgroups, with whoever is still in them, and its level after its last pod.
    ///
    /// # Errors
    /// From the system.
    pub(super) fn leave(&self, paths: &Paths, uid: &PodUid) -> io::Result<()> {
        // An earlier version may have made a second one.
        while let Some(level) = paths.level(uid)? {
            let path = paths.pod_cgroup_in(level, uid);
            cgroup::kill_all(&path)?;
            cgroup::remove(&path)?;
            let mut shares = lock(&self.shares);
            shares.remove(uid);
            if let Some(weight) = of_level(paths, &shares, level) {
                cgroup::remove_empty(&weight.0)?;
                limits::set_shares(&[weight])?;
            }
        }
        lock(&self.shares).remove(uid);
        Ok(())
    }
}

/// Tells the kernel what the pod of this record weighs and may use, and what its level weighs with it.
fn weigh(paths: &Paths, shares: &mut BTreeMap<PodUid, Share>, record: &PodRecord) -> io::Result<()> {
    let Some(share) = shares.get(&record.uid).copied() else { return Ok(()) };
    limits::set_kept(&paths.pod_cgroup_in(share.level, &record.uid), spec::together(&share.amounts))?;
    limits::set_shares(of_level(paths, shares, share.level).as_slice())?;
    shares.insert(record.uid.clone(), Share { generation: Some(record.generation), ..share });
    Ok(())
}

/// The weight of a level with a cgroup of its own, by the kubelet's formulas: the least for pods that ask for nothing, what
/// they ask for together for the others.
fn of_level(paths: &Paths, shares: &BTreeMap<PodUid, Share>, level: Level) -> Option<(String, i64)> {
    let milli = match level {
        Level::Guaranteed => return None,
        Level::BestEffort => 0,
        Level::Burstable => {
            let own = shares.values().filter(|share| share.level == level);
            own.map(|share| share.amounts.cpu_request).fold(0, i128::saturating_add)
        }
    };
    Some((paths.level_cgroup(level), spec::shares(milli)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn paths_and_weights_follow_the_class() {
        let paths = Paths { state: "/s".into(), run: "/r".into(), instance: "0badcafe".to_owned() };
        let mut shares = BTreeMap::new();
        for (uid, resources, path, weight, levels) in [
            ("a", json!({}), "besteffort/poda", 2, [("burstable", 2), ("besteffort", 2)]),
            (
                "b",
                json!({"requests": {"cpu": "1500m"}}),
                "burstable/podb",
                1536,
                [("burstable", 1536), ("besteffort", 2)],
            ),
            ("c", json!({"limits": {"memory": "1Gi"}}), "burstable/podc", 2, [("burstable", 1536), ("besteffort", 2)]),
            ("d", json!({"limits": {"cpu": "500m"}}), "burstable/podd", 512, [("burstable", 2048), ("besteffort", 2)]),
            (
                "e",
                json!({"limits": {"cpu": "2", "memory": "1Gi"}}),
                "pode",
                2048,
                [("burstable", 2048), ("besteffort", 2)],
            ),
            (
                "f",
                json!({"requests": {"cpu": "1E"}}),
                "burstable/podf",
                262_144,
                [("burstable", 262_144), ("besteffort", 2)],
            ),
            (
                "g",
                json!({"requests": {"cpu": "1E"}}),
                "burstable/podg",
                262_144,
                [("burstable", 262_144), ("besteffort", 2)],
            ),
        ] {
            let spec: PodSpec =
                serde_json::from_value(json!({"containers": [{"name": "a", "resources": resources}]})).unwrap();
            let (level, uid) = (Level::of(&spec), PodUid(uid.to_owned()));
            assert_eq!(paths.pod_cgroup_in(level, &uid), format!("/podwright-0badcafe/{path}"));
            let share = Share::new(level, &spec, &Now::new());
            assert_eq!(spec::together(&share.amounts).shares, weight, "{uid}");
            shares.insert(uid.clone(), share);
            let found = Level::ALL.map(|level| of_level(&paths, &shares, level));
            let expected = levels.map(|(name, weight)| Some((format!("/podwright-0badcafe/{name}"), weight)));
            assert_eq!(found[0], None);
            assert_eq!(found[1..], expected, "with {uid}");
        }
    }
}
