//! The bytes of volumes, compared with a second implementation: over the JSON of the manifests alone, as plainly as can be.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use podwright::model::{PodAction, PodPlan, TokenFile, VolumeMaterial};
use serde_json::{Map, Value, json};

use super::world::{World, at};
use crate::admit::without_tokens::{admitted, pod_of};
use crate::dice::{Dice, fresh_seed, setting};

const PODS: usize = 200;
const KEYS: [&str; 5] = ["a", "b.txt", "C-c", "deep", ".hidden"];
const PATHS: [&str; 8] = ["a", "b.txt", "x/a", "x/./a", "x//b", "./y", "y/z/a", "deep/er/"];
const WORDS: [&str; 8] = [
    "",
    "plain",
    "two\nlines\n",
    "tab\t\"quoted\"",
    "back\\slash",
    "bell\u{7}\u{1b}\u{7f}",
    "e\u{301}\u{a0}\u{2028}",
    "日本\u{1f680}\u{e0001}",
];
const MODES: [u32; 4] = [0o400, 0o444, 0o640, 0o777];
/// What the machine has.
const ROOT_CA: &str = "-----BEGIN CERTIFICATE-----";
const ALLOCATABLE: [(&str, &str); 3] = [("cpu", "2"), ("memory", "8Gi"), ("ephemeral-storage", "10Gi")];

fn word(dice: &mut Dice) -> String {
    (0..=dice.below(2)).map(|_| dice.pick(&WORDS)).collect()
}

fn words(dice: &mut Dice, keys: &[&str]) -> Map<String, Value> {
    let mut made = Map::new();
    for key in keys {
        if dice.chance(60) {
            made.insert((*key).to_owned(), word(dice).into());
        }
    }
    made
}

/// Bytes that are seldom text, as manifests have them.
fn coded(dice: &mut Dice, keys: &[&str]) -> Map<String, Value> {
    let mut made = Map::new();
    for key in keys {
        if dice.chance(40) {
            let bytes: Vec<u8> = (0..dice.below(7)).map(|_| u8::try_from(dice.below(256)).unwrap()).collect();
            made.insert((*key).to_owned(), STANDARD.encode(bytes).into());
        }
    }
    made
}

/// Sometimes with one of these fields.
fn sometimes(object: &mut Value, field: &str, value: Value, dice: &mut Dice) {
    if dice.chance(40) {
        object[field] = value;
    }
}

fn items(dice: &mut Dice) -> Value {
    let one = |dice: &mut Dice| {
        let mut item = json!({"key": dice.pick(&KEYS), "path": dice.pick(&PATHS)});
        let mode = dice.pick(&MODES).into();
        sometimes(&mut item, "mode", mode, dice);
        item
    };
    (0..dice.below(3)).map(|_| one(dice)).collect()
}

fn downward(dice: &mut Dice) -> Value {
    const FIELDS: [&str; 9] = [
        "metadata.uid",
        "metadata.name",
        "metadata.namespace",
        "metadata.labels",
        "metadata.annotations",
        "metadata.labels['one']",
        "metadata.annotations['x.y/two']",
        "metadata.annotations['none']",
        "status.podIP",
    ];
    const RESOURCES: [&str; 7] = [
        "limits.cpu",
        "requests.cpu",
        "limits.memory",
        "requests.memory",
        "limits.ephemeral-storage",
        "requests.ephemeral-storage",
        "limits.hugepages-2Mi",
    ];
    let one = |dice: &mut Dice| {
        let mut item = json!({"path": dice.pick(&PATHS)});
        if dice.chance(60) {
            // One that no file can show comes seldom.
            let known = if dice.chance(3) { FIELDS.len() } else { FIELDS.len() - 1 };
            item["fieldRef"] = json!({"fieldPath": dice.pick(&FIELDS[..known])});
        } else {
            let resource = dice.pick(&RESOURCES);
            let divisor = if resource.ends_with("cpu") {
                dice.pick(&["1", "1m", "0"])
            } else {
                dice.pick(&["1", "1k", "1Mi", "1Gi"])
            };
            let container = if dice.chance(3) { "nobody" } else { dice.pick(&["app", "side"]) };
            item["resourceFieldRef"] = json!({"containerName": container, "resource": resource, "divisor": divisor});
        }
        let mode = dice.pick(&MODES).into();
        sometimes(&mut item, "mode", mode, dice);
        item
    };
    (0..dice.below(4)).map(|_| one(dice)).collect()
}

/// A volume, or a source of a projected one.
fn source(name: &str, dice: &mut Dice) -> Value {
    let (kind, mut source) = match dice.below(3) {
        0 => ("configMap", json!({"name": dice.pick(&["m", "n", "gone"]), "items": items(dice)})),
        1 => ("secret", json!({name: dice.pick(&["s", "t", "gone"]), "items": items(dice)})),
        _ => ("downwardAPI", json!({"items": downward(dice)})),
    };
    if kind != "downwardAPI" {
        source["optional"] = dice.chance(85).into();
    }
    json!({kind: source})
}

/// What only a projected volume has, too: a token, and the machine's certificate.
fn projection(dice: &mut Dice) -> Value {
    match dice.below(6) {
        0 => {
            let mut token = json!({"path": dice.pick(&PATHS)});
            sometimes(&mut token, "audience", "vault".into(), dice);
            let seconds = dice.pick(&[600, 7200]).into();
            sometimes(&mut token, "expirationSeconds", seconds, dice);
            json!({"serviceAccountToken": token})
        }
        1 => {
            let mut items = json!([]);
            if dice.chance(50) {
                items = json!([{"key": "ca.crt", "path": dice.pick(&PATHS)}]);
            }
            json!({"configMap": {"name": "kube-root-ca.crt", "items": items}})
        }
        _ => source("name", dice),
    }
}

fn volume(number: usize, dice: &mut Dice) -> Value {
    let mut volume = match dice.below(5) {
        0 => json!({"emptyDir": {}}),
        1 | 2 => source("secretName", dice),
        _ => json!({"projected": {"sources": (0..dice.below(4)).map(|_| projection(dice)).collect::<Value>()}}),
    };
    let kind = volume.as_object().unwrap().keys().next().unwrap().clone();
    if kind != "emptyDir" {
        let mode = dice.pick(&MODES).into();
        sometimes(&mut volume[kind], "defaultMode", mode, dice);
    }
    volume["name"] = format!("v{number}").into();
    volume
}

/// The pod and the objects of its namespace.
fn objects(dice: &mut Dice) -> Vec<Value> {
    let amounts = |dice: &mut Dice| {
        let mut list = json!({});
        let (cpu, memory) = (dice.pick(&["250m", "1", "1500m", "0"]), dice.pick(&["1Mi", "64M", "1000", "3Gi"]));
        sometimes(&mut list, "cpu", cpu.into(), dice);
        sometimes(&mut list, "memory", memory.into(), dice);
        let disk = dice.pick(&["2Gi", "500M", "0"]);
        sometimes(&mut list, "ephemeral-storage", disk.into(), dice);
        list
    };
    let container = |name: &str, dice: &mut Dice| json!({"name": name, "image": "i:1", "resources": {"limits": amounts(dice), "requests": amounts(dice)}});
    let volumes: Value = (0..=dice.below(4)).map(|number| volume(number, dice)).collect();
    let mut security = json!({});
    sometimes(&mut security, "fsGroup", 1234.into(), dice);
    sometimes(&mut security, "runAsUser", 7.into(), dice);
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "p", "namespace": "shop", "labels": {"one": "1", "b": "x.y"}, "annotations": words(dice, &["x.y/two", "Three", "four"])},
        "spec": {"containers": [container("app", dice), container("side", dice)], "volumes": volumes, "securityContext": security},
    });
    let map = |name: &str, dice: &mut Dice| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "shop"}, "data": words(dice, &KEYS[..3]), "binaryData": coded(dice, &KEYS[3..])});
    let secret = |name: &str, dice: &mut Dice| json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": "shop"}, "data": coded(dice, &KEYS), "stringData": words(dice, &KEYS[1..])});
    vec![pod, map("m", dice), map("n", dice), secret("s", dice), secret("t", dice)]
}

/// Path → bytes, mode and user.
type Files = BTreeMap<String, (Vec<u8>, u32, Option<u32>)>;

/// What the second implementation knows.
struct Second<'a> {
    pod: &'a Value,
    uid: String,
    objects: &'a [Value],
}

impl Second<'_> {
    /// The files of a volume; `None` for one that has none, and no more than that it cannot be made.
    fn volume(&self, volume: &Value) -> Result<Option<Files>, ()> {
        if let Some(projected) = volume.get("projected") {
            let mut all = Files::new();
            for source in projected["sources"].as_array().unwrap() {
                all.extend(self.source(source, projected)?);
            }
            return Ok(Some(all));
        }
        if volume.get("emptyDir").is_some() {
            return Ok(None);
        }
        let inner = volume.get("configMap").or(volume.get("secret")).or(volume.get("downwardAPI")).unwrap();
        self.source(volume, inner).map(Some)
    }

    fn source(&self, source: &Value, modes: &Value) -> Result<Files, ()> {
        let default = modes["defaultMode"].as_u64().unwrap_or(420);
        let (kind, inner) = source.as_object().unwrap().iter().find(|(key, _)| *key != "name").unwrap();
        let mut files = Files::new();
        let mut add = |item: &Value, bytes: Vec<u8>| {
            let path = item["path"].as_str().unwrap();
            let path: Vec<&str> = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
            let mut mode = u32::try_from(item["mode"].as_u64().unwrap_or(default)).unwrap();
            if self.pod["spec"]["securityContext"]["fsGroup"].is_number() {
                mode |= 0o440;
            }
            files.insert(path.join("/"), (bytes, mode, None));
        };
        if kind == "serviceAccountToken" {
            let security = &self.pod["spec"]["securityContext"];
            let is_of_one = security["runAsUser"].is_number() || security["fsGroup"].is_number();
            let mode = if is_of_one { json!(0o600) } else { Value::Null };
            let audience = inner["audience"].as_str().unwrap_or("https://kubernetes.default.svc.cluster.local");
            let end = at(inner["expirationSeconds"].as_i64().unwrap_or(3600)).as_second();
            add(&json!({"path": inner["path"], "mode": mode}), token(audience, end));
            let user = security["runAsUser"].as_u64().map(|user| u32::try_from(user).unwrap());
            files.values_mut().for_each(|file| file.2 = user);
            return Ok(files);
        }
        let items = inner["items"].as_array().unwrap();
        if kind == "downwardAPI" {
            for item in items {
                add(item, self.shown(item)?.into_bytes());
            }
            return Ok(files);
        }
        let name = inner.get("name").or(inner.get("secretName")).unwrap();
        let optional = inner["optional"] == true;
        let content =
            match self.objects.iter().find(|object| object["kind"] != "Pod" && object["metadata"]["name"] == *name) {
                Some(object) => content(object),
                None if optional => BTreeMap::new(),
                None => return Err(()),
            };
        if items.is_empty() {
            for (key, bytes) in content {
                add(&json!({"path": key}), bytes);
            }
            return Ok(files);
        }
        for item in items {
            match content.get(item["key"].as_str().unwrap()) {
                Some(bytes) => add(item, bytes.clone()),
                None if optional => {}
                None => return Err(()),
            }
        }
        Ok(files)
    }

    fn shown(&self, item: &Value) -> Result<String, ()> {
        let metadata = &self.pod["metadata"];
        let Some(path) = item["fieldRef"]["fieldPath"].as_str() else { return self.amount(&item["resourceFieldRef"]) };
        let all = |map: &Value| {
            let lines = map
                .as_object()
                .unwrap()
                .iter()
                .map(|(key, value)| format!("{key}={}", quoted(value.as_str().unwrap())));
            lines.collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>().join("\n")
        };
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        match path {
            "metadata.uid" => Ok(self.uid.clone()),
            "metadata.name" | "metadata.namespace" => Ok(text(&metadata[&path[9..]])),
            "metadata.labels" | "metadata.annotations" => Ok(all(&metadata[&path[9..]])),
            "metadata.labels['one']" => Ok(text(&metadata["labels"]["one"])),
            "metadata.annotations['x.y/two']" => Ok(text(&metadata["annotations"]["x.y/two"])),
            "metadata.annotations['none']" => Ok(String::new()),
            _ => Err(()),
        }
    }

    /// Rounded up, in units of the divisor.
    fn amount(&self, reference: &Value) -> Result<String, ()> {
        let containers = self.pod["spec"]["containers"].as_array().unwrap();
        let container = containers.iter().find(|c| c["name"] == reference["containerName"]).ok_or(())?;
        let (list, name) = reference["resource"].as_str().unwrap().split_once('.').unwrap();
        let resources = &container["resources"];
        let thousandths = |value: &Value| value.as_str().map_or(0, thousandths);
        let limit = &resources["limits"][name];
        let mut amount = thousandths(if list == "requests" { &resources["requests"][name] } else { limit });
        if list == "requests" && resources["requests"].get(name).is_none() {
            amount = thousandths(limit);
        }
        if list == "limits" && amount == 0 {
            amount =
                ALLOCATABLE.iter().find(|(known, _)| *known == name).map_or(0, |(_, amount)| self::thousandths(amount));
        }
        let divisor = match thousandths(&reference["divisor"]) {
            0 => 1000,
            divisor => divisor,
        };
        Ok((amount / divisor + u64::from(amount % divisor != 0)).to_string())
    }
}

fn thousandths(text: &str) -> u64 {
    let (digits, factor) =
        [("Gi", 1000 << 30), ("Mi", 1000 << 20), ("M", 1_000_000_000), ("k", 1_000_000), ("m", 1), ("", 1000)]
            .into_iter()
            .find_map(|(suffix, factor)| Some((text.strip_suffix(suffix)?, factor)))
            .unwrap();
    digits.parse::<u64>().unwrap() * factor
}

/// What Go's `%q` makes of the words of this test.
fn quoted(text: &str) -> String {
    let escapes = [
        ("\\", "\\\\"),
        ("\"", "\\\""),
        ("\n", "\\n"),
        ("\t", "\\t"),
        ("\u{7}", "\\a"),
        ("\u{1b}", "\\x1b"),
        ("\u{7f}", "\\x7f"),
        ("\u{a0}", "\\u00a0"),
        ("\u{2028}", "\\u2028"),
        ("\u{e0001}", "\\U000e0001"),
    ];
    format!("\"{}\"", escapes.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to)))
}

fn content(object: &Value) -> BTreeMap<String, Vec<u8>> {
    let mut all = BTreeMap::new();
    for (field, is_coded) in [("data", object["kind"] == "Secret"), ("binaryData", true), ("stringData", false)] {
        for (key, text) in object[field].as_object().into_iter().flatten() {
            let text = text.as_str().unwrap();
            all.insert(key.clone(), if is_coded { decoded(text) } else { text.as_bytes().to_vec() });
        }
    }
    all
}

/// Base64.
fn decoded(text: &str) -> Vec<u8> {
    const LETTERS: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut bits, mut count, mut out) = (0_usize, 0, Vec::new());
    for letter in text.chars().filter(|letter| *letter != '=') {
        bits = (bits % 256) * 64 + LETTERS.find(letter).unwrap();
        count += 6;
        if count >= 8 {
            count -= 8;
            out.push(u8::try_from((bits >> count) % 256).unwrap());
        }
    }
    out
}

/// What stands for a token, which is signed elsewhere: for whom it is, and how long it is good.
fn token(audience: &str, end: i64) -> Vec<u8> {
    format!("a token for {audience} until {end}").into_bytes()
}

fn token_of(file: &TokenFile) -> Vec<u8> {
    let claims: Value = serde_json::from_str(&file.claims).unwrap();
    assert_eq!(claims["aud"].as_array().unwrap().len(), 1);
    token(claims["aud"][0].as_str().unwrap(), claims["exp"].as_i64().unwrap())
}

/// The files of each volume, tokens among them; an error when none are made.
fn planned(plan: &PodPlan) -> Result<Vec<Option<Files>>, ()> {
    let made = plan.steps.iter().find_map(|step| match &step.action {
        PodAction::SyncVolumes { volumes, tokens } => Some((volumes, tokens)),
        _ => None,
    });
    let (volumes, tokens) = made.ok_or(())?;
    let all = volumes.iter().map(|volume| {
        let VolumeMaterial::Files { files, .. } = &volume.material else { return None };
        let files = files.iter().map(|file| (file.path.clone(), (file.bytes.reveal().to_vec(), file.mode, file.owner)));
        let own = tokens.iter().filter(|token| token.volume == volume.name);
        let own = own.map(|token| (token.path.clone(), (token_of(token), token.mode, token.owner)));
        let count = files.len() + own.clone().count();
        let all: Files = files.chain(own).collect();
        assert_eq!(all.len(), count, "two files of one path");
        Some(all)
    });
    Ok(all.collect())
}

#[test]
fn the_bytes_of_random_pods_are_those_of_a_second_implementation() {
    let seed = setting("PODWRIGHT_PAYLOAD_SEED").unwrap_or_else(fresh_seed);
    let (mut with_files, mut refused, mut tokens) = (0, 0, 0);
    for number in 0..PODS {
        let mut dice = Dice::of(seed, &number.to_string());
        let mut objects = objects(&mut dice);
        let admitted = admitted(&objects);
        let mut world = World::new(&pod_of(&admitted, "shop", "p"), &admitted.data);
        world.node.root_ca = ROOT_CA.into();
        world.node.allocatable = ALLOCATABLE.map(|(name, amount)| (name.to_owned(), amount.to_owned())).into();
        let plan = world.plan();
        let uid = plan.steps.iter().find_map(|step| match &step.action {
            PodAction::CreatePod { record } => Some(record.uid.0.clone()),
            _ => None,
        });
        // Nobody writes it, and it is in every namespace.
        objects
            .push(json!({"kind": "ConfigMap", "metadata": {"name": "kube-root-ca.crt"}, "data": {"ca.crt": ROOT_CA}}));
        let second = Second { pod: &objects[0], uid: uid.unwrap_or_default(), objects: &objects[1..] };
        let wanted: Result<Vec<Option<Files>>, ()> =
            objects[0]["spec"]["volumes"].as_array().unwrap().iter().map(|volume| second.volume(volume)).collect();
        let found = planned(&plan);
        assert_eq!(found, wanted, "pod {number} of PODWRIGHT_PAYLOAD_SEED={seed}: {:#}", objects[0]);
        refused += usize::from(found.is_err());
        let files = || found.iter().flatten().flatten();
        with_files += files().filter(|files| !files.is_empty()).count();
        tokens += files().flat_map(BTreeMap::values).filter(|file| file.0.starts_with(b"a token")).count();
    }
    assert!(with_files > PODS / 2 && refused > 5 && refused < PODS / 2, "{with_files} {refused}");
    assert!(tokens > 10, "{tokens}");
}
