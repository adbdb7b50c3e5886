//! Whatever the pod and whatever goes wrong: performing plans comes to an end, and the plan after that is empty.

use std::sync::Arc;

use jiff::SignedDuration;
use podwright::model::{AdmittedPod, ContainerState, DataObjects, ObservedContainer, Sandbox};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::world::World;
use crate::admit::{admitted, pod_of};

/// What goes wrong between two rounds.
#[derive(Clone, Copy, Debug)]
enum Accident {
    SandboxDies,
    MonitorDies(usize),
    StartInterrupted(usize),
    Exit(usize, i32),
    AgentRestarts,
    OtherPod(usize),
    Gone,
}

fn accident() -> impl Strategy<Value = Accident> {
    prop_oneof![
        Just(Accident::SandboxDies),
        (0..4_usize).prop_map(Accident::MonitorDies),
        (0..4_usize).prop_map(Accident::StartInterrupted),
        (0..4_usize, 0..2).prop_map(|(index, code)| Accident::Exit(index, code)),
        Just(Accident::AgentRestarts),
        (0..4_usize).prop_map(Accident::OtherPod),
        Just(Accident::Gone),
    ]
}

#[derive(Clone, Debug)]
struct Shape {
    policy: &'static str,
    init: usize,
    sidecar: bool,
    apps: usize,
    volume: bool,
}

fn shape() -> impl Strategy<Value = Shape> {
    (prop::sample::select(vec!["Always", "OnFailure", "Never"]), 0..3_usize, any::<bool>(), 1..3_usize, any::<bool>())
        .prop_map(|(policy, init, sidecar, apps, volume)| Shape { policy, init, sidecar, apps, volume })
}

/// Variant 1 has other images, variant 2 another variable, variant 3 other amounts, of which some restart.
fn build(shape: &Shape, variant: usize) -> (Arc<AdmittedPod>, Arc<DataObjects>) {
    let image = format!("i:{}", usize::from(variant == 1));
    let amounts =
        json!({"limits": {"cpu": format!("{}", 1 + variant / 3), "memory": format!("{}Mi", 1 + variant / 3)}});
    let value = usize::from(variant == 2).to_string();
    let container = |name: String| {
        let restarts = if name == "app0" { "RestartContainer" } else { "NotRequired" };
        let policy = json!([{"resourceName": "memory", "restartPolicy": restarts}]);
        json!({"name": name, "image": image, "resources": amounts, "resizePolicy": policy,
            "env": [{"name": "V", "value": value}]})
    };
    let mut init: Vec<Value> = (0..shape.init).map(|i| container(format!("init{i}"))).collect();
    if shape.sidecar {
        let mut side = container("side".into());
        side["restartPolicy"] = json!("Always");
        init.insert(0, side);
    }
    let apps: Vec<Value> = (0..shape.apps).map(|i| container(format!("app{i}"))).collect();
    let mut spec = json!({"restartPolicy": shape.policy, "initContainers": init, "containers": apps});
    if shape.volume {
        spec["volumes"] = json!([{"name": "v", "configMap": {"name": "m"}}, {"name": "e", "emptyDir": {}}]);
    }
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": spec});
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, "data": {"k": "v"}});
    let admitted = admitted(&[pod, map]);
    (pod_of(&admitted, "default", "p"), Arc::clone(&admitted.data))
}

impl World {
    fn nth(&mut self, index: usize) -> Option<&mut ObservedContainer> {
        self.pod.as_mut()?.containers.iter_mut().filter(|c| c.is_live()).nth(index)
    }

    fn suffer(&mut self, accident: Accident, shape: &Shape) {
        let now = self.now;
        match accident {
            Accident::SandboxDies => {
                if let Some(pod) = &mut self.pod
                    && let Sandbox::Ready { attempt, .. } = pod.sandbox
                {
                    pod.sandbox = Sandbox::Dead { attempt };
                }
            }
            Accident::MonitorDies(index) => {
                if let Some(container) = self.nth(index) {
                    container.state = ContainerState::Lost;
                }
            }
            Accident::StartInterrupted(index) => {
                if let Some(container) = self.nth(index) {
                    container.state = ContainerState::Created;
                }
            }
            Accident::Exit(index, code) => {
                if let Some(container) = self.nth(index) {
                    container.state = ContainerState::Exited(super::world::exit(code, now, now));
                }
            }
            Accident::AgentRestarts => self.memory = podwright::model::PodMemory::default(),
            Accident::OtherPod(variant) => self.target = Some(build(shape, variant).0),
            Accident::Gone => self.target = None,
        }
    }

    /// A few rounds, the last one cut short: an executor may die after any step.
    fn some_rounds(&mut self, rounds: usize) {
        for round in 0..rounds {
            let plan = self.plan();
            let cut = if round + 1 == rounds { plan.steps.len() / 2 } else { plan.steps.len() };
            self.perform_steps(&plan.steps[..cut]);
            if let (true, Some(wake)) = (plan.steps.is_empty(), plan.wake_at) {
                self.now = wake;
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_plan_after_its_own_execution_is_empty(
        shape in shape(),
        missing in any::<bool>(),
        story in prop::collection::vec((0..6_usize, accident()), 0..8),
    ) {
        let (pod, data) = build(&shape, 0);
        let mut world = World::new(&pod, &data);
        if missing {
            world.missing.insert("i:1".into());
        }
        world.exits.extend((0..shape.init).map(|i| (format!("init{i}"), 0)));
        for (rounds, accident) in story {
            world.some_rounds(rounds);
            world.suffer(accident, &shape);
        }
        // Longer than any back-off, and some tokens.
        let last = world.settle_until(world.now + SignedDuration::from_secs(20_000));
        prop_assert!(last.steps.is_empty());
        prop_assert!(world.plan().steps.is_empty());
        match &world.target {
            None => prop_assert!(world.pod.is_none()),
            Some(target) => {
                let pod = world.pod.as_ref().unwrap();
                prop_assert!(pod.record.deletion.is_none());
                prop_assert_eq!(&pod.record.realised.spec, &target.spec);
                let apps = target.effective.open().spec.unwrap().containers;
                let running = |name: &str| pod.latest(name).is_some_and(ObservedContainer::is_live);
                match &pod.record.terminal {
                    Some(_) => prop_assert!(shape.policy != "Always" && pod.sandbox == Sandbox::Absent),
                    None if missing && apps[0].image.as_deref() == Some("i:1") => {}
                    None => prop_assert!(apps.iter().any(|c| running(&c.name))),
                }
            }
        }
    }
}
