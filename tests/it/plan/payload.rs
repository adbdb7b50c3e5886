//! The bytes of volumes, compared with a second implementation: over the JSON of the manifests alone, as plainly as can be.

use std::collections::{BTreeMap, BTreeSet};

use podwright::model::{PodAction, VolumeMaterial};
use serde_json::{Map, Value, json};

use super::world::World;
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
    const FIELDS: [&str; 8] = [
        "metadata.name",
        "metadata.namespace",
        "metadata.labels",
        "metadata.annotations",
        "metadata.labels['one']",
        "metadata.annotations['x.y/two']",
        "metadata.annotations['none']",
        "status.podIP",
    ];
    const RESOURCES: [&str; 5] =
        ["limits.cpu", "requests.cpu", "limits.memory", "requests.memory", "limits.hugepages-2Mi"];
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

fn volume(number: usize, dice: &mut Dice) -> Value {
    let mut volume = match dice.below(5) {
        0 => json!({"emptyDir": {}}),
        1 | 2 => source("secretName", dice),
        _ => json!({"projected": {"sources": (0..dice.below(4)).map(|_| source("name", dice)).collect::<Value>()}}),
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
        list
    };
    let container = |name: &str, dice: &mut Dice| json!({"name": name, "image": "i:1", "resources": {"limits": amounts(dice), "requests": amounts(dice)}});
    let volumes: Value = (0..=dice.below(4)).map(|number| volume(number, dice)).collect();
    let group = if dice.chance(50) { json!({"fsGroup": 1234}) } else { json!({}) };
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "p", "namespace": "shop", "labels": {"one": "1", "b": "x.y"}, "annotations": words(dice, &["x.y/two", "Three", "four"])},
        "spec": {"containers": [container("app", dice), container("side", dice)], "volumes": volumes, "securityContext": group},
    });
    let map = |name: &str, dice: &mut Dice| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "shop"}, "data": words(dice, &KEYS[..3]), "binaryData": {"deep": "AP8="}});
    let secret = |name: &str, dice: &mut Dice| json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": "shop"}, "stringData": words(dice, &KEYS)});
    vec![pod, map("m", dice), map("n", dice), secret("s", dice), secret("t", dice)]
}

/// Path → bytes and mode.
type Files = BTreeMap<String, (Vec<u8>, u32)>;

/// What the second implementation knows.
struct Second<'a> {
    pod: &'a Value,
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
            files.insert(path.join("/"), (bytes, mode));
        };
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
            // What the world of the tests offers.
            amount = if name == "cpu" { 2000 } else { 0 };
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
    let texts = object.get("data").or(object.get("stringData")).unwrap().as_object().unwrap();
    let mut all: BTreeMap<String, Vec<u8>> =
        texts.iter().map(|(key, text)| (key.clone(), text.as_str().unwrap().as_bytes().to_vec())).collect();
    if object.get("binaryData").is_some() {
        all.insert("deep".to_owned(), vec![0, 255]);
    }
    all
}

#[test]
fn the_bytes_of_random_pods_are_those_of_a_second_implementation() {
    let seed = setting("PODWRIGHT_PAYLOAD_SEED").unwrap_or_else(fresh_seed);
    let (mut with_files, mut refused) = (0, 0);
    for number in 0..PODS {
        let mut dice = Dice::of(seed, &number.to_string());
        let objects = objects(&mut dice);
        let admitted = admitted(&objects);
        let plan = World::new(&pod_of(&admitted, "shop", "p"), &admitted.data).plan();
        let made = plan.steps.into_iter().find_map(|step| match step.action {
            PodAction::SyncVolumes { volumes, .. } => Some(volumes),
            _ => None,
        });
        let second = Second { pod: &objects[0], objects: &objects[1..] };
        let wanted: Result<Vec<Option<Files>>, ()> =
            objects[0]["spec"]["volumes"].as_array().unwrap().iter().map(|volume| second.volume(volume)).collect();
        let found = made.ok_or(()).map(|volumes| {
            let files = volumes.into_iter().map(|volume| match volume.material {
                VolumeMaterial::Files { files, .. } => {
                    Some(files.into_iter().map(|file| (file.path, (file.bytes.reveal().to_vec(), file.mode))).collect())
                }
                _ => None,
            });
            files.collect::<Vec<Option<Files>>>()
        });
        assert_eq!(found, wanted, "pod {number} of PODWRIGHT_PAYLOAD_SEED={seed}: {:#}", objects[0]);
        refused += usize::from(found.is_err());
        with_files += found.into_iter().flatten().flatten().filter(|files| !files.is_empty()).count();
    }
    assert!(with_files > PODS / 2 && refused > 5 && refused < PODS / 2, "{with_files} {refused}");
}
