//! A configuration out of a marked document: each key by its own rule, all problems collected.

mod eviction;
mod limit_range;
mod registries;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use super::Config;
use crate::cli::args::{LogFormat, duration};
use crate::manifest::MarkedDocument;
use crate::model::quantity::nanos;
use crate::model::sysctl::{self, Namespace};
use crate::model::{Diagnostic, Diagnostics, IDS_PER_POD, Place, PodSecurityLevel, Severity, Taint};

const KEYS: [&str; 28] = [
    "apiVersion",
    "kind",
    "nodeName",
    "labels",
    "taints",
    "allocatable",
    "subnet",
    "ipv6Subnet",
    "allowHostImage",
    "coveredPaths",
    "containerLogMaxSize",
    "containerLogMaxFiles",
    "podPidsLimit",
    "firstUserId",
    "serviceAccountIssuer",
    "evictionHard",
    "mergeDefaultEvictionSettings",
    "evictionPressureTransitionPeriod",
    "resync",
    "statusFile",
    "logFormat",
    "registries",
    "registryCredentials",
    "offlinePull",
    "placement",
    "podSecurity",
    "allowedUnsafeSysctls",
    "limitRange",
];
const TAINT_KEYS: [&str; 3] = ["key", "value", "effect"];
const EFFECTS: [&str; 3] = ["NoSchedule", "PreferNoSchedule", "NoExecute"];
const SUFFIXES: [&str; 14] = ["", "m", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
/// Bytes of one file of a log: several of the longest entries at least, and what no machine has at most.
const LOG_SIZES: RangeInclusive<u64> = 64 << 10..=1 << 40;
/// Files of a log: one that is written to and an older one, as the kubelet wants; each rotation renames them all.
const LOG_FILES: RangeInclusive<u32> = 2..=64;
/// Processes of a pod: at least what an infra process and a shell with a command take, and what the kernel counts at most.
const POD_PIDS: RangeInclusive<u32> = 16..=4 << 20;
/// The first user id of pods: above the machine's own, and so that there is a whole range of [`IDS_PER_POD`].
const USER_IDS: RangeInclusive<u32> = IDS_PER_POD..=u32::MAX - 2 * IDS_PER_POD + 1;
const NANOS: i128 = 1_000_000_000;
/// The longest path the kernel takes, without its closing zero.
const LONGEST_PATH: usize = 4095;

/// Reads all of it.
pub(super) fn config(document: &MarkedDocument) -> Result<Config, Diagnostics> {
    let mut check = Check { document, problems: Vec::new() };
    let mut config = Config::default();
    let root = document.value();
    let Some(members) = root.as_object() else {
        check.problem("", "the configuration is a mapping of keys".into(), "write lines such as `nodeName: edge-7`");
        return Err(check.done());
    };
    for (key, value) in members {
        check.member(&mut config, key, value);
    }
    check.transition_of_something(&config, members);
    if check.problems.is_empty() { Ok(config) } else { Err(check.done()) }
}

struct Check<'a> {
    document: &'a MarkedDocument,
    problems: Vec<Diagnostic>,
}

impl Check<'_> {
    fn done(self) -> Diagnostics {
        let mut all = Diagnostics(self.problems);
        all.sort();
        all
    }

    /// An error about the value at a JSON pointer.
    fn problem(&mut self, pointer: &str, message: String, help: impl Into<String>) {
        self.tell(self.document.value_place(pointer), message, help.into());
    }

    /// An error about the key of one.
    fn key_problem(&mut self, pointer: &str, message: String, help: impl Into<String>) {
        self.tell(self.document.key_place(pointer), message, help.into());
    }

    fn tell(&mut self, place: Place, message: String, help: String) {
        self.problems.push(Diagnostic {
            severity: Severity::Error,
            rule: "config",
            message,
            help: Some(help),
            place: Some(place),
            object: None,
            field: None,
        });
    }

    fn member(&mut self, config: &mut Config, key: &str, value: &Value) {
        let at = format!("/{}", escape(key));
        match key {
            "apiVersion" => self.exactly(&at, value, "podwright.dev/v1alpha1"),
            "kind" => self.exactly(&at, value, "Config"),
            "nodeName" => config.node_name = self.text(&at, value, node_name),
            "labels" => config.labels = self.map(&at, value, Digits::No, label_value),
            "taints" => config.taints = self.taints(&at, value),
            "allocatable" => config.allocatable = self.map(&at, value, Digits::Yes, quantity),
            "limitRange" => config.limit_range = self.limit_range(&at, value),
            "subnet" => config.subnet = self.text(&at, value, subnet),
            "ipv6Subnet" => config.ipv6_subnet = self.text(&at, value, ipv6_subnet),
            "allowHostImage" => config.allow_host_image = self.boolean(&at, value),
            "coveredPaths" => config.covered_paths = self.paths(&at, value),
            "containerLogMaxSize" => config.container_log_max_size = self.log_size(&at, value),
            "containerLogMaxFiles" => {
                let help = "the file that is written to counts too; 5 is the default";
                config.container_log_max_files = self.number(&at, value, LOG_FILES, help);
            }
            "podPidsLimit" => {
                let help = "the infra process counts too; without the line there is no limit";
                config.pod_pids_limit = self.number(&at, value, POD_PIDS, help);
            }
            "serviceAccountIssuer" => config.service_account_issuer = self.text(&at, value, issuer),
            "firstUserId" => {
                let help = "the ids below 65536 are the machine's; without the line it is 1879048192";
                let first = self.number(&at, value, USER_IDS, help);
                if first.is_some_and(|first| !first.is_multiple_of(IDS_PER_POD)) {
                    self.problem(&at, "it must be a multiple of 65536".to_owned(), help);
                }
                config.first_user_id = first;
            }
            "evictionHard" => config.eviction_hard = self.eviction_hard(&at, value),
            "mergeDefaultEvictionSettings" => config.merge_eviction = self.boolean(&at, value),
            "evictionPressureTransitionPeriod" => config.eviction_transition = self.transition(&at, value),
            "resync" => config.resync = self.resync(&at, value),
            "statusFile" => config.status_file = self.text(&at, value, absolute).map(PathBuf::from),
            "logFormat" => {
                config.log_format = self.one_of(&at, value, [("text", LogFormat::Text), ("json", LogFormat::Json)]);
            }
            "registries" => config.pull.registries = self.registries(&at, value),
            "registryCredentials" => config.pull.credentials = self.text(&at, value, absolute).map(PathBuf::from),
            "placement" => {
                config.fleet = self.one_of(&at, value, [("pending", false), ("fleet", true)]).unwrap_or_default();
            }
            "podSecurity" => {
                let words = PodSecurityLevel::ALL.map(|level| (level.as_str(), level));
                config.pod_security = self.one_of(&at, value, words);
            }
            "allowedUnsafeSysctls" => {
                let items = self.list(&at, value).iter().enumerate();
                let read = items.filter_map(|(i, item)| self.text(&format!("{at}/{i}"), item, sysctl_pattern));
                config.allowed_unsafe_sysctls = read.collect();
            }
            "offlinePull" => {
                let words = [("present", false), ("strict", true)];
                config.pull.strict_offline = self.one_of(&at, value, words).unwrap_or_default();
            }
            "mirrors" => {
                self.key_problem(
                    &at,
                    "unknown key `mirrors`".to_owned(),
                    "name the mirrors of a registry in its entry of `registries`",
                );
            }
            unknown => self.unknown(&at, unknown, &KEYS),
        }
    }

    fn paths(&mut self, at: &str, value: &Value) -> Vec<PathBuf> {
        let paths = self.list(at, value).iter().enumerate();
        let read = paths.filter_map(|(i, path)| self.text(&format!("{at}/{i}"), path, absolute));
        read.map(PathBuf::from).collect()
    }

    fn unknown(&mut self, at: &str, key: &str, known: &[&str]) {
        let near = known.iter().map(|k| (strsim::damerau_levenshtein(&k.to_lowercase(), &key.to_lowercase()), k));
        let help = match near.min() {
            Some((distance, near)) if distance <= 3 && distance < near.len() => format!("did you mean `{near}`?"),
            _ => format!("the keys are {}", known.join(", ")),
        };
        self.key_problem(at, format!("unknown key `{}`", short(key)), help);
    }

    fn wrong_type(&mut self, at: &str, value: &Value, wanted: &str, help: &str) {
        let found = match value {
            Value::Null => "nothing",
            Value::Bool(_) => "a boolean",
            Value::Number(_) => "a number",
            Value::String(_) => "text",
            Value::Array(_) => "a list",
            Value::Object(_) => "a mapping",
        };
        self.problem(at, format!("expected {wanted}, found {found}"), help);
    }

    fn exactly(&mut self, at: &str, value: &Value, wanted: &str) {
        if value.as_str() != Some(wanted) {
            self.problem(at, format!("it must be `{wanted}`"), "write it so, or leave the line out");
        }
    }

    /// A text that `rule` accepts; the rule says what is wrong and how it should be.
    fn text(&mut self, at: &str, value: &Value, rule: Rule) -> Option<String> {
        let Some(text) = value.as_str() else {
            self.wrong_type(at, value, "text", "quote it: without quotes YAML may read a number or a boolean");
            return None;
        };
        match rule(text) {
            Ok(()) => Some(text.to_owned()),
            Err((message, help)) => {
                self.problem(at, message, help);
                None
            }
        }
    }

    fn boolean(&mut self, at: &str, value: &Value) -> bool {
        value.as_bool().unwrap_or_else(|| {
            self.wrong_type(at, value, "true or false", "write true or false, without quotes");
            false
        })
    }

    fn list<'v>(&mut self, at: &str, value: &'v Value) -> &'v [Value] {
        match value {
            Value::Array(items) => items,
            other => {
                self.wrong_type(at, other, "a list", "start each item with `- `");
                &[]
            }
        }
    }

    /// A mapping of qualified names to texts.
    fn map(&mut self, at: &str, value: &Value, digits: Digits, rule: Rule) -> BTreeMap<String, String> {
        let Some(members) = value.as_object() else {
            self.wrong_type(at, value, "a mapping", "write `key: value` lines below it");
            return BTreeMap::new();
        };
        let mut found = BTreeMap::new();
        for (key, value) in members {
            let at = format!("{at}/{}", escape(key));
            if let Err((message, help)) = qualified_name(key) {
                self.key_problem(&at, message, help);
            }
            let number = value.as_u64().filter(|_| digits == Digits::Yes).map(|n| Value::from(n.to_string()));
            if let Some(text) = self.text(&at, number.as_ref().unwrap_or(value), rule) {
                found.insert(key.clone(), text);
            }
        }
        found
    }

    fn taints(&mut self, at: &str, value: &Value) -> Vec<Taint> {
        let mut taints = Vec::new();
        for (index, item) in self.list(at, value).iter().enumerate() {
            let at = format!("{at}/{index}");
            let Some(members) = item.as_object() else {
                self.wrong_type(&at, item, "a mapping", "write `key`, `value` and `effect`");
                continue;
            };
            let mut taint = Taint { key: String::new(), value: None, effect: String::new() };
            for (key, value) in members {
                let at = format!("{at}/{}", escape(key));
                match key.as_str() {
                    "key" => taint.key = self.text(&at, value, qualified_name).unwrap_or_default(),
                    "value" => taint.value = self.text(&at, value, label_value),
                    "effect" => taint.effect = self.text(&at, value, effect).unwrap_or_default(),
                    unknown => self.unknown(&at, unknown, &TAINT_KEYS),
                }
            }
            for missing in ["key", "effect"].iter().filter(|key| !members.contains_key(**key)) {
                self.problem(&at, format!("missing key `{missing}`"), format!("add `{missing}` to the taint"));
            }
            taints.push(taint);
        }
        taints
    }

    fn resync(&mut self, at: &str, value: &Value) -> Option<Duration> {
        if let Some(seconds) = value.as_u64() {
            return Some(Duration::from_secs(seconds));
        }
        let rule: Rule = |text| duration(text).map(drop).map_err(|message| (message, "0 switches it off".to_owned()));
        self.text(at, value, rule).and_then(|text| duration(&text).ok())
    }

    fn log_size(&mut self, at: &str, value: &Value) -> Option<u64> {
        let text = value.as_u64().map_or_else(|| self.text(at, value, quantity), |number| Some(number.to_string()))?;
        let size = nanos(&text).and_then(|nanos| u64::try_from(nanos / NANOS).ok());
        if size.is_none_or(|size| !LOG_SIZES.contains(&size)) {
            let help = "write a size from 64Ki to 1Ti, such as 10Mi".to_owned();
            self.problem(at, format!("`{}` is no size for a log", short(&text)), help);
            return None;
        }
        size
    }

    fn number(&mut self, at: &str, value: &Value, range: RangeInclusive<u32>, help: &str) -> Option<u32> {
        let number = value.as_u64().and_then(|n| u32::try_from(n).ok()).filter(|n| range.contains(n));
        if number.is_none() {
            let message = format!("it must be a whole number from {} to {}", range.start(), range.end());
            self.problem(at, message, help);
        }
        number
    }

    /// One of some words: which of them.
    fn one_of<T: Clone, const N: usize>(&mut self, at: &str, value: &Value, words: [(&str, T); N]) -> Option<T> {
        let found = words.iter().find(|(word, _)| value.as_str() == Some(word));
        if found.is_none() {
            let words = words.each_ref().map(|(word, _)| format!("`{word}`"));
            let (last, others) = words.split_last().expect("invariant: there are words to choose from");
            let message = format!("it must be {} or {last}", others.join(", "));
            self.problem(at, message, if N == 2 { "write one of the two" } else { "write one of them" });
        }
        found.map(|(_, meaning)| meaning.clone())
    }
}

/// Whether a whole number is read as the text of its digits.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Digits {
    Yes,
    No,
}

/// What is wrong with a text, and how it should be.
type Rule = fn(&str) -> Result<(), (String, String)>;

fn refuse(message: impl Into<String>, help: impl Into<String>) -> Result<(), (String, String)> {
    Err((message.into(), help.into()))
}

/// A bounded piece of foreign text.
fn short(text: &str) -> String {
    text.chars().take(60).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

fn escape(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

/// Begins and ends with a letter or a digit, `extra` characters between them.
fn word(text: &str, extra: &str, upper: bool) -> bool {
    let plain = |c: char| c.is_ascii_digit() || c.is_ascii_lowercase() || (upper && c.is_ascii_uppercase());
    text.starts_with(plain) && text.ends_with(plain) && text.chars().all(|c| plain(c) || extra.contains(c))
}

fn subdomain(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(|part| part.len() <= 63 && word(part, "-", false))
}

/// As OpenID Connect Discovery 1.0 wants it: verifiers ask there for the keys.
fn issuer(text: &str) -> Result<(), (String, String)> {
    let rest = text.strip_prefix("https://").unwrap_or_default();
    let is_plain = |c: char| c.is_ascii_graphic() && !matches!(c, '?' | '#' | '"' | '\\');
    if rest.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '[') && rest.chars().all(is_plain) {
        return Ok(());
    }
    let help = "write a URL without query and fragment, such as https://edge-7.example";
    refuse(format!("`{}` is no https:// URL", short(text)), help)
}

fn node_name(text: &str) -> Result<(), (String, String)> {
    if subdomain(text) {
        return Ok(());
    }
    let help = "use lower-case letters, digits, '-' and '.', such as edge-7";
    refuse(format!("`{}` is no name for a node", short(text)), help)
}

fn qualified_name(text: &str) -> Result<(), (String, String)> {
    let (prefix, name) = text.rsplit_once('/').map_or((None, text), |(prefix, name)| (Some(prefix), name));
    if prefix.is_none_or(subdomain) && name.len() <= 63 && word(name, "-_.", true) {
        return Ok(());
    }
    let help = "use up to 63 letters, digits, '-', '_' and '.', with a domain and '/' before them if you like";
    refuse(format!("`{}` is no name of a label", short(text)), help)
}

fn label_value(text: &str) -> Result<(), (String, String)> {
    if text.is_empty() || (text.len() <= 63 && word(text, "-_.", true)) {
        return Ok(());
    }
    let help = "use up to 63 letters, digits, '-', '_' and '.'; the first and the last a letter or a digit";
    refuse(format!("`{}` is no value of a label", short(text)), help)
}

fn effect(text: &str) -> Result<(), (String, String)> {
    if EFFECTS.contains(&text) {
        return Ok(());
    }
    refuse(format!("`{}` is no effect of a taint", short(text)), format!("the effects are {}", EFFECTS.join(", ")))
}

fn quantity(text: &str) -> Result<(), (String, String)> {
    let number = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    let (whole, fraction) = number.split_once('.').map_or((number, None), |(w, f)| (w, Some(f)));
    if digits(whole) && fraction.is_none_or(digits) && SUFFIXES.contains(&&text[number.len()..]) {
        return Ok(());
    }
    refuse(format!("`{}` is no quantity", short(text)), "write something like \"2\", 500m or 4Gi")
}

/// A sysctl that a namespace has for its own, or the beginning of some with `*`.
fn sysctl_pattern(text: &str) -> Result<(), (String, String)> {
    let (name, is_start) = text.strip_suffix('*').map_or((text, false), |start| (start, true));
    let whole = if is_start { name.trim_end_matches(['.', '/', '-', '_']) } else { name };
    let help = "write for example net.core.somaxconn or kernel.msg*";
    if !sysctl::is_name(whole) {
        return refuse(format!("`{}` is no name of a sysctl", short(text)), help);
    }
    if Namespace::of(&sysctl::with_dots(name)).is_none() {
        let help = "allow those of net., fs.mqueue., kernel.shm, kernel.msg and kernel.sem";
        return refuse(format!("`{}` is the whole machine's: no pod has one of its own", short(text)), help);
    }
    Ok(())
}

fn absolute(text: &str) -> Result<(), (String, String)> {
    if !text.starts_with('/') || text.contains('\0') {
        return refuse(format!("`{}` is no absolute path", short(text)), "begin it with `/`");
    }
    if text.len() > LONGEST_PATH {
        return refuse("the path is too long", format!("the system takes {LONGEST_PATH} bytes at most"));
    }
    Ok(())
}

fn subnet(text: &str) -> Result<(), (String, String)> {
    let help = "write the network and the length of its prefix, from /16 to /29, such as 10.88.0.0/24";
    let bad = |why: &str| refuse(format!("`{}` is no subnet: {why}", short(text)), help);
    let Some((address, length)) = text.split_once('/') else { return bad("the `/` is missing") };
    let (Ok(address), Ok(length)) = (address.parse::<Ipv4Addr>(), length.parse::<u32>()) else {
        return bad("it is no IPv4 address and prefix length");
    };
    if !(16..=29).contains(&length) {
        return bad("the prefix length is out of range");
    }
    if address.to_bits() << length != 0 {
        return bad("bits behind the prefix are set");
    }
    Ok(())
}

/// `none`, or a /64 that is unique to a site or global.
fn ipv6_subnet(text: &str) -> Result<(), (String, String)> {
    if text == "none" {
        return Ok(());
    }
    let help = "write the network and /64, such as fd3b:72c5:9e10::/64, or none";
    let bad = |why: &str| refuse(format!("`{}` is no IPv6 subnet: {why}", short(text)), help);
    let Some((address, length)) = text.split_once('/') else { return bad("the `/` is missing") };
    let (Ok(address), Ok(length)) = (address.parse::<Ipv6Addr>(), length.parse::<u32>()) else {
        return bad("it is no IPv6 address and prefix length");
    };
    if length != 64 {
        return bad("the prefix length is not 64");
    }
    if address.to_bits() << 64 != 0 {
        return bad("bits behind the prefix are set");
    }
    if !address.is_unique_local() && address.segments()[0] >> 13 != 1 {
        return bad("it is neither unique local (fd00::/8) nor global (2000::/3)");
    }
    Ok(())
}
