//! Whatever two revisions hold: a plan between equal ones is empty, the order and the names of files count for nothing,
//! and once a plan was performed the next one is empty.

use std::collections::BTreeMap;

use podwright::model::{Admitted, FleetAction, FleetPlan, ObservedPod, PodKey};
use podwright::plan::{converged, fleet};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::world::{World, at};
use crate::admit::{admitted, pod_of};

/// A pod of a fleet, small enough that two fleets have much in common.
#[derive(Clone, Debug)]
struct Shape {
    name: usize,
    label: usize,
    image: usize,
    variable: usize,
    /// Uses data: by nothing, a volume, a variable, every key.
    uses: usize,
    policy: &'static str,
}

fn shape() -> impl Strategy<Value = Shape> {
    let policy = prop::sample::select(vec!["Always", "Always", "Never"]);
    (0..5_usize, 0..2_usize, 0..2_usize, 0..2_usize, 0..4_usize, policy)
        .prop_map(|(name, label, image, variable, uses, policy)| Shape { name, label, image, variable, uses, policy })
}

impl Shape {
    fn value(&self) -> Value {
        let mut container = json!({
            "name": "c", "image": format!("i:{}", self.image),
            "env": [{"name": "V", "value": format!("{}", self.variable)}],
        });
        let mut spec = json!({"restartPolicy": self.policy});
        match self.uses {
            1 => spec["volumes"] = json!([{"name": "v", "configMap": {"name": "m", "optional": true}}]),
            2 => {
                let key = json!({"secretKeyRef": {"name": "s", "key": "k", "optional": true}});
                container["env"].as_array_mut().unwrap().push(json!({"name": "S", "valueFrom": key}));
            }
            3 => container["envFrom"] = json!([{"configMapRef": {"name": "m", "optional": true}}]),
            _ => {}
        }
        spec["containers"] = json!([container]);
        json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": format!("pod{}", self.name), "labels": {"app": format!("{}", self.label)}}, "spec": spec})
    }
}

/// Pods, presets and data of one revision.
fn revision() -> impl Strategy<Value = Vec<Value>> {
    let presets = prop::collection::btree_map(0..3_usize, (0..2_usize, 0..2_usize), 0..3);
    let data = (prop::option::of(0..3_usize), prop::option::of(0..3_usize));
    (prop::collection::vec(shape(), 0..6), presets, data).prop_map(|(shapes, presets, (map, secret))| {
        let pods: BTreeMap<usize, Value> = shapes.iter().map(|shape| (shape.name, shape.value())).collect();
        let mut objects: Vec<Value> = pods.into_values().collect();
        for (name, (selected, value)) in presets {
            let env = json!([{"name": format!("P{}", name % 2), "value": format!("{value}")}]);
            objects.push(json!({
                "apiVersion": "settings.k8s.io/v1alpha1", "kind": "PodPreset", "metadata": {"name": format!("preset{name}")},
                "spec": {"selector": {"matchLabels": {"app": format!("{selected}")}}, "env": env},
            }));
        }
        if let Some(value) = map {
            let data = json!({"k": format!("{value}"), "fixed": "x"});
            objects.push(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, "data": data}));
        }
        if let Some(value) = secret {
            let data = json!({"k": format!("{value}")});
            objects.push(json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": data}));
        }
        objects
    })
}

fn lines(plan: &FleetPlan) -> Vec<String> {
    let action = |action: &FleetAction| format!("{} {:?} {:?}", action.key(), action.verb(), action.reason());
    let unchanged = plan.unchanged.iter().map(|key| format!("{key} unchanged"));
    let renames = plan.renames.iter().map(|rename| format!("{rename:?}"));
    plan.actions.iter().map(action).chain(unchanged).chain(renames).collect()
}

/// The machine: every pod in a world of its own.
#[derive(Default)]
struct Machine(BTreeMap<PodKey, World>);

impl Machine {
    fn observed(&self) -> Vec<ObservedPod> {
        self.0.values().filter_map(|world| world.pod.clone()).collect()
    }

    /// Performs the plan as the agent does: each pod towards its target, with the data of the revision.
    fn perform(&mut self, plan: &FleetPlan, admitted: &Admitted) {
        for action in &plan.actions {
            match action {
                FleetAction::Remove { key, .. } => self.0.get_mut(key).unwrap().target = None,
                FleetAction::Apply { pod, .. } => {
                    let new = || World::new(pod, &admitted.data);
                    self.0.entry(pod.key.clone()).or_insert_with(new).target = Some(pod.clone());
                }
            }
        }
        for world in self.0.values_mut() {
            world.data = (*admitted.data).clone();
            world.settle();
        }
        self.0.retain(|_, world| world.pod.is_some());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_plan_of_a_fleet_is_empty_after_it_was_performed(revisions in prop::collection::vec(revision(), 1..4)) {
        let mut machine = Machine::default();
        for objects in revisions {
            let admitted = admitted(&objects);
            let plan = fleet(&admitted, &machine.observed());
            machine.perform(&plan, &admitted);
            let left = fleet(&admitted, &machine.observed());
            prop_assert!(left.actions.is_empty() && left.renames.is_empty(), "{:?}", lines(&left));
            prop_assert_eq!(left.unchanged.len(), admitted.pods.len());
            // What runs is what a comparison of revisions takes for running.
            let offline = fleet(&admitted, &converged(&admitted, at(0)));
            prop_assert_eq!(lines(&left), lines(&offline));
        }
    }

    #[test]
    fn a_plan_between_revisions_is_the_same_on_paper_and_on_the_machine(before in revision(), after in revision()) {
        let [before, after] = [before, after].map(|objects| admitted(&objects));
        let mut machine = Machine::default();
        machine.perform(&fleet::<ObservedPod>(&before, &[]), &before);
        let live = fleet(&after, &machine.observed());
        let offline = fleet(&after, &converged(&before, at(0)));
        prop_assert_eq!(lines(&live), lines(&offline));
    }

    #[test]
    fn the_order_and_the_names_of_files_count_for_nothing(
        before in revision(), after in revision(), seed in any::<prop::sample::Index>(), other in any::<prop::sample::Index>(),
    ) {
        // Each object stands in a file that is called after its place in the list.
        let moved = |objects: &[Value], by: &prop::sample::Index| {
            let mut objects = objects.to_vec();
            if !objects.is_empty() {
                let by = by.index(objects.len());
                objects.rotate_left(by);
                if by.is_multiple_of(2) {
                    objects.reverse();
                }
            }
            objects
        };
        let plan = |before: &[Value], after: &[Value]| fleet(&admitted(after), &converged(&admitted(before), at(0)));
        let same = plan(&before, &moved(&before, &seed));
        prop_assert!(same.actions.is_empty() && same.renames.is_empty(), "{:?}", lines(&same));
        let expected = lines(&plan(&before, &after));
        prop_assert_eq!(lines(&plan(&moved(&before, &seed), &moved(&after, &other))), expected);
    }
}

#[test]
fn a_file_that_moves_and_gets_another_name_causes_nothing() {
    let pod = Shape { name: 0, label: 0, image: 0, variable: 0, uses: 1, policy: "Always" }.value();
    let before = admitted(std::slice::from_ref(&pod));
    let mut after = before.clone();
    for pod in after.pods.values_mut() {
        let mut moved = (**pod).clone();
        moved.source.path = "elsewhere/other.yml".into();
        moved.source.line += 40;
        moved.source.document += 1;
        *pod = moved.into();
    }
    let plan = fleet(&after, &converged(&before, at(0)));
    assert_eq!(lines(&plan), ["default/pod0 unchanged"]);
    // Nor does it give the pod's worker anything to do.
    let mut world = World::new(&pod_of(&before, "default", "pod0"), &before.data);
    world.settle();
    world.target = Some(pod_of(&after, "default", "pod0"));
    assert!(world.plan().steps.is_empty());
}
