//! Random pods, and what commits make of them.

use podwright::model::ProbeKind;
use serde_json::{Value, json};

use super::super::rig::pod_with;
use crate::dice::Dice;

/// Exit codes that rules are for: all that there are in a world.
const CODES: [i32; 5] = [0, 1, 128, 137, 143];

/// Images that are there, and one that never is.
pub(super) const IMAGES: [&str; 4] = ["i:1", "i:2", "i:3", "r:1"];
pub(super) const GONE: &str = "gone:1";
/// What has to be pulled.
pub(super) const REMOTE: &str = "r:1";

/// A volume that may take no more than [`ROOM`] of the disk.
pub(super) const DISK: &str = "disk";
pub(super) const ROOM: u64 = 1 << 20;

/// A volume with a token that is good for less than any of Kubernetes, so that it is made anew in a life as short as these.
pub(super) const TOKEN: &str = "token";
const GOOD_FOR: u64 = 30;

/// A pod of a directory.
#[derive(Clone, Debug)]
pub(super) struct Pod {
    pub(super) name: String,
    pub(super) spec: Value,
    label: usize,
    is_there: bool,
}

/// What a commit holds.
pub(super) fn objects(pods: &[Pod], data: usize) -> Vec<Value> {
    let object = |pod: &Pod| {
        let mut object = pod_with(&pod.name, pod.spec.clone());
        object["metadata"]["labels"]["label"] = json!(format!("{}", pod.label));
        object
    };
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "map"}, "data": {"key": data.to_string()}});
    pods.iter().filter(|pod| pod.is_there).map(object).chain([map]).collect()
}

pub(super) fn container_names(pod: &Pod) -> Vec<String> {
    let lists = ["initContainers", "containers"].map(|list| pod.spec[list].as_array().cloned().unwrap_or_default());
    lists.concat().iter().map(|c| c["name"].as_str().unwrap().to_owned()).collect()
}

impl Pod {
    pub(super) fn random(name: &str, dice: &mut Dice) -> Self {
        Self { name: name.to_owned(), spec: spec(name, dice), label: 0, is_there: true }
    }

    /// The images of its containers, by name; none when it is not there.
    pub(super) fn images(&self) -> Option<Vec<(String, String)>> {
        let image = |c: &Value| (c["name"].as_str().unwrap().to_owned(), c["image"].as_str().unwrap().to_owned());
        self.is_there.then(|| self.spec["containers"].as_array().unwrap().iter().map(image).collect())
    }

    /// Another version of it.
    pub(super) fn change(&mut self, dice: &mut Dice) {
        if !self.is_there {
            *self = Self { is_there: dice.chance(60), ..Self::random(&self.name, dice) };
            return;
        }
        let count = self.spec["containers"].as_array().unwrap().len();
        let container = &mut self.spec["containers"][dice.below(count)];
        match dice.below(10) {
            0..=2 => container["image"] = json!(image(dice)),
            3 => self.label += 1,
            // Where there are none, they would make another pod of it.
            4 | 5 if container.get("resources").is_some() => container["resources"] = resources(dice),
            4 | 5 => container["env"] = json!([{"name": "V", "value": dice.below(1000).to_string()}]),
            6 => self.spec["terminationGracePeriodSeconds"] = json!(grace(dice)),
            7 => self.spec["activeDeadlineSeconds"] = json!(10 + dice.below(100)),
            8 => self.is_there = false,
            _ => *self = Self::random(&self.name, dice),
        }
    }
}

fn image(dice: &mut Dice) -> &'static str {
    if dice.chance(4) { GONE } else { dice.pick(&IMAGES) }
}

fn grace(dice: &mut Dice) -> i64 {
    dice.pick(&[-1, 0, 1, 2, 5, 10, 30])
}

fn resources(dice: &mut Dice) -> Value {
    json!({"limits": {"cpu": (1 + dice.below(3)).to_string(), "memory": format!("{}Mi", 16 << dice.below(3))}})
}

fn spec(pod: &str, dice: &mut Dice) -> Value {
    let policy = dice.pick(&["Always", "Always", "OnFailure", "Never"]);
    let name = |kind: &str, n: usize| format!("{pod}-{kind}{n}");
    let mut init = Vec::new();
    for n in 0..dice.pick(&[0, 0, 0, 1, 1, 2, 3]) {
        init.push(if dice.chance(35) {
            let mut sidecar = container(&name("side", n), dice);
            sidecar["restartPolicy"] = json!("Always");
            sidecar
        } else {
            json!({"name": name("init", n), "image": image(dice)})
        });
        restarts(&mut init[n], &["OnFailure", "Never"], dice);
    }
    let mut apps: Vec<Value> = (0..1 + dice.below(3)).map(|n| container(&name("app", n), dice)).collect();
    apps.iter_mut().for_each(|app| restarts(app, &["Always", "OnFailure", "Never"], dice));
    let mut spec = json!({"restartPolicy": policy, "initContainers": init, "containers": apps});
    if dice.chance(80) {
        spec["terminationGracePeriodSeconds"] = json!(grace(dice));
    }
    if dice.chance(10) {
        spec["activeDeadlineSeconds"] = json!(10 + dice.below(120));
    }
    let mut volumes = Vec::new();
    if dice.chance(15) {
        volumes.push(json!({"name": "v", "configMap": {"name": "map"}}));
    }
    if dice.chance(20) {
        volumes.push(json!({"name": DISK, "emptyDir": {"sizeLimit": "1Mi"}}));
    }
    if dice.chance(15) {
        let token = json!({"serviceAccountToken": {"path": TOKEN, "expirationSeconds": GOOD_FOR}});
        volumes.push(json!({"name": TOKEN, "projected": {"sources": [token]}}));
    }
    if dice.chance(10) {
        spec["automountServiceAccountToken"] = json!(true);
    }
    if !volumes.is_empty() {
        spec["volumes"] = json!(volumes);
    }
    spec
}

fn container(name: &str, dice: &mut Dice) -> Value {
    let mut container = json!({"name": name, "image": image(dice)});
    if dice.chance(30) {
        container["resources"] = resources(dice);
        let policy = dice.pick(&["NotRequired", "RestartContainer"]);
        container["resizePolicy"] = json!([{"resourceName": "memory", "restartPolicy": policy}]);
    }
    for (kind, field, percent) in [
        (ProbeKind::Startup, "startupProbe", 15),
        (ProbeKind::Liveness, "livenessProbe", 20),
        (ProbeKind::Readiness, "readinessProbe", 35),
    ] {
        if dice.chance(percent) {
            container[field] = probe(kind, dice);
        }
    }
    for (field, percent) in [("postStart", 8), ("preStop", 20)] {
        if dice.chance(percent) {
            container["lifecycle"][field] = hook(field, dice);
        }
    }
    container
}

/// A restart policy of a container's own, one of these unless it has one, and rules that overrule it.
fn restarts(container: &mut Value, policies: &[&str], dice: &mut Dice) {
    if container.get("restartPolicy").is_none() {
        if dice.chance(75) {
            return;
        }
        container["restartPolicy"] = json!(dice.pick(policies));
    }
    if dice.chance(50) {
        let rules: Vec<Value> = (0..1 + dice.below(2)).map(|_| rule(dice)).collect();
        container["restartPolicyRules"] = json!(rules);
    }
}

fn rule(dice: &mut Dice) -> Value {
    let action = dice.pick(&["Restart", "RestartAllContainers"]);
    let operator = dice.pick(&["In", "In", "NotIn"]);
    let from = dice.below(CODES.len());
    let values: Vec<i32> = (from..=from + dice.below(2)).map(|n| CODES[n % CODES.len()]).collect();
    json!({"action": action, "exitCodes": {"operator": operator, "values": values}})
}

fn probe(kind: ProbeKind, dice: &mut Dice) -> Value {
    let (word, port) = (kind.word(), ProbeKind::ALL.iter().position(|other| *other == kind).unwrap() + 3000);
    let mut probe = match dice.below(4) {
        0 => json!({"exec": {"command": [word]}}),
        1 => json!({"httpGet": {"port": 80, "path": format!("/{word}")}}),
        2 => json!({"tcpSocket": {"port": port}}),
        _ => json!({"grpc": {"port": 80, "service": word}}),
    };
    let successes = if kind == ProbeKind::Readiness { 1 + dice.below(3) } else { 1 };
    probe["periodSeconds"] = json!(dice.pick(&[1, 3, 5, 10, 20]));
    probe["timeoutSeconds"] = json!(1 + dice.below(3));
    probe["failureThreshold"] = json!(1 + dice.below(4));
    probe["successThreshold"] = json!(successes);
    probe["initialDelaySeconds"] = json!(dice.pick(&[0, 0, 0, 2, 15]));
    if kind != ProbeKind::Readiness && dice.chance(30) {
        probe["terminationGracePeriodSeconds"] = json!(1 + dice.below(8));
    }
    probe
}

fn hook(field: &str, dice: &mut Dice) -> Value {
    match dice.below(4) {
        0 => json!({"exec": {"command": [field]}}),
        1 => json!({"httpGet": {"port": 80, "path": format!("/{field}")}}),
        2 => json!({"httpGet": {"port": "gone"}}),
        _ => json!({"sleep": {"seconds": dice.below(12)}}),
    }
}
