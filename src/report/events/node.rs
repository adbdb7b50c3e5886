//! Events about the machine itself, in the kubelet's words.

use jiff::Timestamp;

use crate::model::{EventRecord, EventType, Kind, NodePressure, NodePressures, ObjectKey, Starved};

/// The conditions that came and went between two looks (pkg/kubelet/nodestatus/setters.go). That one does not hold is told of
/// a machine that had it.
pub fn pressure_events(node: &str, before: &NodePressures, after: &NodePressures, now: Timestamp) -> Vec<EventRecord> {
    let held = |pressure: &NodePressure| before.0.get(pressure).is_some_and(|state| state.holds);
    let changed = after.0.iter().filter(|(pressure, state)| state.holds != held(pressure));
    let event = |reason: &'static str| {
        let message = format!("Node {node} status is now: {reason}");
        of_node(node, (EventType::Normal, reason, message), now)
    };
    changed.map(|(pressure, state)| event(pressure.event(state.holds))).collect()
}

/// The machine begins to make good what it is low on (pkg/kubelet/eviction/eviction_manager.go).
pub fn low_event(node: &str, starved: Starved, now: Timestamp) -> EventRecord {
    let message = format!("Attempting to reclaim {}", starved.as_str());
    of_node(node, (EventType::Warning, "EvictionThresholdMet", message), now)
}

/// The kubelet has a node's name for its uid in events, too.
fn of_node(node: &str, (kind, reason, message): (EventType, &str, String), at: Timestamp) -> EventRecord {
    EventRecord {
        object: ObjectKey { kind: Kind::Node, namespace: String::new(), name: node.to_owned() },
        uid: node.to_owned(),
        field_path: None,
        kind,
        reason: reason.to_owned(),
        message,
        component: "kubelet".to_owned(),
        first: at,
        last: at,
        count: 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::PressureState;

    #[test]
    fn what_came_and_went_is_told_and_what_never_held_is_not() {
        let state = |holds| PressureState { holds, since: Timestamp::UNIX_EPOCH };
        let all = |memory, disk| {
            NodePressures([(NodePressure::Memory, state(memory)), (NodePressure::Disk, state(disk))].into())
        };
        let told = |before: &NodePressures, after: &NodePressures| -> Vec<String> {
            let events = pressure_events("edge-1", before, after, Timestamp::UNIX_EPOCH);
            events.into_iter().map(|event| event.message).collect()
        };
        let (unknown, easy, low) = (NodePressures::default(), all(false, false), all(true, false));
        assert_eq!(told(&unknown, &easy), [""; 0]);
        let begins = "Node edge-1 status is now: NodeHasInsufficientMemory";
        assert_eq!((told(&unknown, &low), told(&easy, &low)), (vec![begins.into()], vec![begins.into()]));
        assert_eq!(told(&low, &low), [""; 0]);
        let other =
            ["Node edge-1 status is now: NodeHasSufficientMemory", "Node edge-1 status is now: NodeHasDiskPressure"];
        assert_eq!(told(&low, &all(false, true)), other);
        let event = low_event("edge-1", Starved::EphemeralStorage, Timestamp::UNIX_EPOCH);
        assert_eq!((event.object.to_string().as_str(), event.uid.as_str()), ("Node edge-1", "edge-1"));
        assert_eq!(event.message, "Attempting to reclaim ephemeral-storage");
    }
}
