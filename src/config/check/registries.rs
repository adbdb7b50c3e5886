//! `registries`: where images are pulled from.

use std::path::PathBuf;

use serde_json::Value;

use super::{Check, absolute, escape, refuse, short};
use crate::model::{EVERY_REGISTRY, Mirror, RegistryEntry, host_and_port};

const REGISTRY_KEYS: [&str; 5] = ["name", "mirrors", "mirrorsOnly", "ca", "insecure"];

impl Check<'_> {
    pub(super) fn registries(&mut self, at: &str, value: &Value) -> Vec<RegistryEntry> {
        let mut entries: Vec<RegistryEntry> = Vec::new();
        for (index, item) in self.list(at, value).iter().enumerate() {
            let at = format!("{at}/{index}");
            let Some(members) = item.as_object() else {
                self.wrong_type(&at, item, "a mapping", "write `name` and what is to be known of the registry");
                continue;
            };
            let mut entry = RegistryEntry::default();
            for (key, value) in members {
                self.registry_member(&mut entry, &format!("{at}/{}", escape(key)), (key, value));
            }
            if !members.contains_key("name") {
                self.problem(&at, "missing key `name`".into(), "add the registry's `name`, or `\"*\"` for all others");
            } else if entries.iter().any(|other| other.name == entry.name && !entry.name.is_empty()) {
                let message = format!("there is another entry for `{}`", short(&entry.name));
                self.problem(&at, message, "write all of it in one entry");
            }
            if entry.name == EVERY_REGISTRY && entry.insecure {
                let message = "not every registry can be insecure".to_owned();
                self.problem(&at, message, "name the registries that speak plain HTTP one by one");
            }
            entries.push(entry);
        }
        entries
    }

    fn registry_member(&mut self, entry: &mut RegistryEntry, at: &str, (key, value): (&str, &Value)) {
        match key {
            "name" => entry.name = self.text(at, value, registry_name).unwrap_or_default(),
            "mirrors" => {
                for (index, item) in self.list(at, value).iter().enumerate() {
                    let text = self.text(&format!("{at}/{index}"), item, mirror);
                    entry.mirrors.extend(text.and_then(|text| Mirror::parse(&text).ok()));
                }
            }
            "mirrorsOnly" => entry.mirrors_only = self.boolean(at, value),
            "ca" => entry.ca = self.text(at, value, absolute).map(PathBuf::from),
            "insecure" => entry.insecure = self.boolean(at, value),
            unknown => self.unknown(at, unknown, &REGISTRY_KEYS),
        }
    }
}

fn registry_name(text: &str) -> Result<(), (String, String)> {
    if text == "index.docker.io" {
        return refuse(format!("`{text}` is called docker.io here, as in the names of images"), "write docker.io");
    }
    if text == EVERY_REGISTRY || (text == "localhost" || text.contains(['.', ':'])) && host_and_port(text).is_some() {
        return Ok(());
    }
    let help =
        "write it as in the names of images, such as docker.io or registry.example:5000, or \"*\" for all others";
    refuse(format!("`{}` is no name of a registry", short(text)), help)
}

fn mirror(text: &str) -> Result<(), (String, String)> {
    let help = "write something like https://mirror.example or http://10.0.0.5:5000/prefix";
    Mirror::parse(text).map(drop).map_err(|why| (format!("`{}` is no mirror: {why}", short(text)), help.to_owned()))
}
