//! What the schemas cannot say: names, ranges, choices, and how fields go together.
//!
//! Each rule is a function from a view of the object to findings; [`RULES`] says which kinds it looks at. Whatever it
//! does not find is not its business: the schema has already spoken.

mod choices;
mod container;
mod data;
mod env;
mod image;
mod metadata;
mod mounts;
pub(super) mod names;
mod namespace;
mod place;
mod placement;
mod pod;
mod ports;
mod preset;
mod probe;
mod projected;
mod quantity;
mod selector;
mod sysctls;
mod together;
mod view;
mod volumes;
mod whole;

use serde_json::Value;

use super::problem::{Finding, alternatives, quoted};
use crate::model::Kind;

pub(super) use ports::{HostPort, Taken, host_ports};
pub(super) use selector::selects;
pub(super) use view::View;

/// What a rule looks at.
#[derive(Clone, Copy)]
struct Subject<'a, 'v> {
    kind: Kind,
    root: &'a View<'v>,
    /// The containers of a pod, init containers first, or the one place where a preset has their fields.
    containers: &'a [View<'v>],
    volumes: &'a [View<'v>],
}

type Check = fn(Subject<'_, '_>, &mut Vec<Finding>);

const EVERY: &[Kind] = &Kind::ALL;
const POD: &[Kind] = &[Kind::Pod];
const PRESET: &[Kind] = &[Kind::PodPreset];
/// Kinds with containers' fields: a preset's spec has those of every container it is merged into.
const BOTH: &[Kind] = &[Kind::Pod, Kind::PodPreset];

/// Every rule and the kinds it is for.
const RULES: &[(&[Kind], Check)] = &[
    (EVERY, metadata::name),
    (EVERY, metadata::namespace),
    (EVERY, metadata::labels),
    (EVERY, metadata::annotations),
    (BOTH, choices::words),
    (BOTH, choices::ranges),
    (POD, pod::spec),
    (POD, pod::names),
    (POD, pod::grace),
    (POD, pod::host_namespaces),
    (POD, pod::own_ids),
    (POD, sysctls::settings),
    (POD, pod::dns),
    (POD, pod::host_aliases),
    (POD, container::names),
    (POD, image::reference),
    (BOTH, image::volumes),
    (POD, container::restart_rules),
    (POD, container::termination),
    (POD, container::privileges),
    (POD, container::resources),
    (POD, container::resize_policy),
    (POD, whole::resources),
    (POD, ports::names),
    (POD, ports::named_twice),
    (POD, ports::in_one_pod),
    (POD, ports::on_the_host_network),
    (BOTH, env::variables),
    (BOTH, env::twice),
    (BOTH, env::sources),
    (POD, env::named_containers),
    (POD, env::files),
    (BOTH, volumes::names),
    (BOTH, volumes::one_source),
    (BOTH, volumes::empty_dir),
    (BOTH, volumes::host_path),
    (BOTH, volumes::data),
    (BOTH, projected::sources),
    (BOTH, projected::downward),
    (BOTH, mounts::paths),
    (BOTH, mounts::sub_paths),
    (BOTH, together::mounts),
    (POD, together::profiles),
    (POD, together::host_names),
    (POD, placement::node_selector),
    (POD, placement::node_affinity),
    (POD, placement::tolerations),
    (POD, together::standard_input),
    (POD, together::proc_mount),
    (POD, probe::probes),
    (POD, probe::hooks),
    (PRESET, preset::something_to_add),
    (PRESET, preset::own_volumes),
    (PRESET, selector::well_formed),
    (&[Kind::ConfigMap], data::config_map),
    (&[Kind::Secret], data::secret),
    (&[Kind::Namespace], namespace::pod_security),
];

/// Everything the rules have against an object.
pub(super) fn check(kind: Kind, object: &Value) -> Vec<Finding> {
    let root = View::root(object);
    let spec = root.get("spec");
    let containers = match (kind, &spec) {
        (Kind::Pod, Some(spec)) => containers(spec),
        (Kind::PodPreset, Some(spec)) => vec![spec.clone()],
        _ => vec![],
    };
    let volumes = spec.map_or_else(Vec::new, |spec| spec.list("volumes"));
    let subject = Subject { kind, root: &root, containers: &containers, volumes: &volumes };
    let mut out = Vec::new();
    for (_, rule) in RULES.iter().filter(|(kinds, _)| kinds.contains(&kind)) {
        rule(subject, &mut out);
    }
    out
}

impl<'a, 'v> Subject<'a, 'v> {
    fn containers(self) -> &'a [View<'v>] {
        self.containers
    }

    fn volumes(self) -> &'a [View<'v>] {
        self.volumes
    }
}

/// Init containers and containers, in the order they start.
pub(super) fn containers<'v>(spec: &View<'v>) -> Vec<View<'v>> {
    let mut all = spec.list("initContainers");
    all.extend(spec.list("containers"));
    all
}

/// A value that must have the shape of a name.
fn shape(view: &View<'_>, what: &str, check: names::Shape, out: &mut Vec<Finding>) {
    if let Some(text) = view.text()
        && let Err(wrong) = check(text)
    {
        let finding = view.error("name", format!("{what} {} must {wrong}", quoted(text)));
        let near = nearest(text);
        let good = near != text && check(&near).is_ok();
        out.push(if good { finding.help(format!("write for example `{near}`")) } else { finding });
    }
}

/// The nearest text that has the shape of most names.
fn nearest(text: &str) -> String {
    let fold = |c: char| if c.is_ascii_alphanumeric() || c == '.' { c.to_ascii_lowercase() } else { '-' };
    let folded: String = text.chars().map(fold).collect();
    folded.trim_matches(['-', '.']).to_owned()
}

/// A value that must be one of some words.
fn choice(view: &View<'_>, what: &str, words: &[&str], out: &mut Vec<Finding>) {
    let Some(text) = view.text() else { return };
    if words.contains(&text) {
        return;
    }
    let shown: Vec<&str> = words.iter().copied().filter(|word| !word.is_empty()).collect();
    let finding = view.error("choice", format!("`{what}` must be {}, not {}", alternatives(&shown), quoted(text)));
    let near = words.iter().map(|word| (strsim::damerau_levenshtein(&word.to_lowercase(), &text.to_lowercase()), word));
    let slips = (text.chars().count() / 3).max(1);
    let near =
        near.filter(|(distance, word)| *distance <= slips && !word.is_empty()).min_by_key(|(distance, _)| *distance);
    out.push(match near {
        Some((_, word)) => finding.help(format!("did you mean `{word}`?")),
        None => finding,
    });
}
