//! One pod's next steps. A base pod and its state, one mutation per row, the whole plan compared.

mod ending;
mod failing;
mod hooks;
mod init;
mod pressure;
mod probes;
mod reasons;
mod resize;
mod rules;
mod running;

use std::collections::BTreeSet;
use std::sync::Arc;

use podwright::model::{
    AdmittedPod, ContainerState, DataObjects, HoldKind, ObservedContainer, PodPlan, ProbeKey, ProbeKind, ProbeVerdict,
    Probed, Sandbox, Stopping,
};
use podwright::plan::{Act, Why};
use serde_json::{Value, json};

use super::world::{World, at, exit, word};
use crate::admit::without_tokens::{admitted, pod_of};

/// Each step with its reason, then what is held and what waits, as lines.
fn lines(plan: &PodPlan) -> Vec<String> {
    let seconds = |t: jiff::Timestamp| t.duration_since(at(0)).as_secs();
    let mut out: Vec<String> =
        plan.steps.iter().map(|step| format!("{}: {}", word(&step.action), step.reason)).collect();
    for hold in &plan.holds {
        assert_eq!(hold.kind == HoldKind::Stopping, hold.reason == "Terminating", "{hold:?}");
        let name = if hold.container.is_empty() { "pod" } else { &hold.container };
        let until = hold.until.map_or(String::new(), |until| format!(" until {}", seconds(until)));
        out.push(format!("hold {name} {}{until}: {}", hold.reason, hold.message));
    }
    if let Some(wake) = plan.wake_at {
        out.push(format!("wake {}", seconds(wake)));
    }
    for (name, (reason, message)) in &plan.waiting {
        out.push(format!("{name} waits: {reason} {message}").trim_end().to_owned());
    }
    for run in &plan.probes {
        out.push(format!("ask {}#{} {}", run.key.container, run.key.attempt, run.key.kind));
    }
    for (name, Probed { started, ready, since }) in &plan.probed {
        let since = since.map_or(String::new(), |since| format!(" since {}", seconds(since)));
        let word = |is, word| if is { word } else { "-" };
        out.push(format!("{name}: {} {}{since}", word(*started, "started"), word(*ready, "ready")));
    }
    out
}

/// Name, mutation, plan.
type Row = (&'static str, fn(&mut World), &'static [&'static str]);

/// A base and its rows.
type Table = (fn() -> World, &'static [Row]);

/// All of them.
const TABLES: [&[Table]; 10] = [
    ending::TABLES,
    failing::TABLES,
    hooks::TABLES,
    init::TABLES,
    pressure::TABLES,
    probes::TABLES,
    reasons::TABLES,
    resize::TABLES,
    rules::TABLES,
    running::TABLES,
];

/// Compares every row and reports all that differ, each with what came instead.
fn check(base: fn() -> World, rows: &[Row]) {
    let wrong = wrong(base, rows);
    assert!(wrong.is_empty(), "{wrong}");
    let plans: BTreeSet<_> = rows.iter().map(|(name, ..)| name).collect();
    assert_eq!(plans.len(), rows.len(), "two rows of one name");
}

fn wrong(base: fn() -> World, rows: &[Row]) -> String {
    let mut wrong = String::new();
    for (name, mutate, expected) in rows {
        let mut world = base();
        mutate(&mut world);
        let uid = world.pod.as_ref().map_or(String::new(), |pod| pod.record.uid.0.clone());
        let got: Vec<String> = lines(&world.plan())
            .into_iter()
            .map(|line| if uid.is_empty() { line } else { line.replace(&uid, "UID") })
            .collect();
        if got != *expected {
            wrong.push_str(&format!("\n{name}:\n  got      {got:#?}\n  expected {expected:#?}"));
        }
    }
    wrong
}

fn pod(spec: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "labels": {"app": "x"}}, "spec": spec})
}

fn admit(objects: &[Value]) -> (Arc<AdmittedPod>, Arc<DataObjects>) {
    let admitted = admitted(objects);
    (pod_of(&admitted, "default", "p"), Arc::clone(&admitted.data))
}

/// A world where this pod has settled, at second 100.
fn settled(spec: Value, more: &[Value]) -> World {
    let mut objects = vec![pod(spec)];
    objects.extend_from_slice(more);
    let (target, data) = admit(&objects);
    let mut world = World::new(&target, &data);
    world.exits.insert("init".into(), 0);
    world.exits.insert("setup".into(), 0);
    world.settle();
    world.now = at(100);
    world.log.clear();
    world
}

impl World {
    /// Changes the target's manifest and admits it.
    fn edit(&mut self, change: impl FnOnce(&mut Value)) {
        let mut value = serde_json::to_value(&self.target.as_ref().unwrap().spec).unwrap();
        change(&mut value);
        self.target = Some(admit(&[value]).0);
    }

    fn latest(&mut self, name: &str) -> &mut ObservedContainer {
        let found = self.pod.as_mut().unwrap().containers.iter_mut().filter(|c| c.record.name == name);
        found.max_by_key(|c| c.record.attempt).unwrap()
    }

    /// The newest instance ended with `code` at this second, started one second before.
    fn ended(&mut self, name: &str, code: i32, second: i64) {
        self.latest(name).state = ContainerState::Exited(exit(code, at(second - 1), at(second)));
    }

    /// The newest instance is the `attempt`th and waited `backoff` seconds.
    fn attempt(&mut self, name: &str, attempt: u32, backoff: i64) {
        let record = &mut self.latest(name).record;
        record.attempt = attempt;
        record.backoff = jiff::SignedDuration::from_secs(backoff);
    }

    fn stopping(&mut self, name: &str, since: i64, grace_seconds: i64) {
        self.latest(name).record.stopping = Some(Stopping::new(at(since), grace_seconds, ""));
    }

    fn killed(&mut self, name: &str, second: i64) {
        self.latest(name).record.stopping.as_mut().unwrap().killed_at = Some(at(second));
    }

    /// What a probe of the newest instance says since this second.
    fn says(&mut self, name: &str, kind: ProbeKind, passed: bool, second: i64) {
        let record = &self.latest(name).record;
        let key = ProbeKey { container: name.to_owned(), attempt: record.attempt, id: record.id.clone(), kind };
        self.memory.probes.insert(key, ProbeVerdict { passed, since: at(second) });
    }

    fn state(&mut self, name: &str, state: ContainerState) {
        self.latest(name).state = state;
    }

    fn sandbox(&mut self, sandbox: Sandbox) {
        self.pod.as_mut().unwrap().sandbox = sandbox;
    }

    fn fail(&mut self, name: &str, reason: &str, second: i64) {
        self.memory = podwright::plan::note_failure(&self.memory, name, reason, "why", at(second));
    }

    /// No pod at all yet.
    fn nothing(&mut self) {
        self.pod = None;
        self.memory = podwright::model::PodMemory::default();
    }

    /// The pod is on record and nothing else.
    fn bare(&mut self) {
        let pod = self.pod.as_mut().unwrap();
        pod.sandbox = Sandbox::Absent;
        pod.containers.clear();
        pod.record.sandbox_attempts = 0;
    }

    fn forget(&mut self, name: &str) {
        self.pod.as_mut().unwrap().containers.retain(|c| c.record.name != name);
    }
}

/// Each action that is planned for a row, with its reason.
fn pairs() -> BTreeSet<(Act, Why)> {
    let mut found = BTreeSet::new();
    for (base, rows) in TABLES.iter().copied().flatten() {
        for (_, mutate, _) in *rows {
            let mut world = base();
            mutate(&mut world);
            found.extend(world.plan().steps.iter().map(|step| (Act::of(&step.action), Why::of(&step.reason))));
        }
    }
    found
}

#[test]
fn each_action_has_a_row_with_each_reason_that_it_can_have() {
    let of_fleets = [Act::Apply, Act::Remove];
    let actions = Act::ALL.iter().filter(|act| !of_fleets.contains(act));
    let possible: BTreeSet<_> = actions.flat_map(|act| act.reasons().into_iter().map(|why| (*act, why))).collect();
    let found = pairs();
    let missing: Vec<_> = possible.difference(&found).collect();
    assert!(missing.is_empty(), "without a row: {missing:?}");
    let impossible: Vec<_> = found.difference(&possible).collect();
    assert!(impossible.is_empty(), "planned, and not among the reasons of its action: {impossible:?}");
    let rows: usize = TABLES.iter().copied().flatten().map(|(_, rows)| rows.len()).sum();
    assert!(rows >= 150, "{rows} rows");
}
