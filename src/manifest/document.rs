//! From a document to the objects in it: lists unfolded, kinds recognised, what is excluded set aside.

use super::problem::{Problem, alternatives, quoted};
use super::yaml::{Content, Node, Span};
use crate::model::{IGNORE, Kind};

/// What a document holds.
#[derive(Debug, Default)]
pub(super) struct Found<'a> {
    pub(super) objects: Vec<(Kind, &'a Node)>,
    /// Place, what, why.
    pub(super) excluded: Vec<(Span, String, String)>,
    pub(super) problems: Vec<Problem>,
}

/// Where an object stands.
#[derive(Clone, Copy)]
enum Within {
    Document,
    /// A list, which may imply the kind.
    List(Option<Kind>),
}

/// Sorts out one document.
pub(super) fn sort_out<'a>(root: &'a Node, found: &mut Found<'a>) {
    sort_out_within(Within::Document, root, found);
}

fn sort_out_within<'a>(within: Within, root: &'a Node, found: &mut Found<'a>) {
    if !matches!(root.content, Content::Mapping(_)) {
        found.problems.push(Problem::error(
            "no-object",
            root.span,
            "a manifest is a mapping with `apiVersion` and `kind`",
            "if this file is no manifest, exclude it with .podwrightignore",
        ));
        return;
    }
    if let Some(why) = ignored(root, &mut found.problems) {
        found.excluded.push((root.span, what(root), why));
        return;
    }
    if let Within::List(Some(kind)) = within
        && ["kind", "apiVersion"].iter().all(|field| is_missing(root, field))
    {
        found.objects.push((kind, root));
        return;
    }
    let Some(kind) = name_of(root, "kind", &mut found.problems) else { return };
    if let Some(of) = list_of(kind) {
        match within {
            Within::Document => list(kind, of, root, found),
            Within::List(_) => found.problems.push(list_in_list(root, kind)),
        }
        return;
    }
    let Some(version) = name_of(root, "apiVersion", &mut found.problems) else { return };
    match Kind::from_manifest(version, kind) {
        Some(kind) => found.objects.push((kind, root)),
        None => found.problems.push(unknown_kind(root, version, kind)),
    }
}

fn is_missing(root: &Node, field: &str) -> bool {
    root.get(field).is_none_or(|node| node.content == Content::Null)
}

/// What a list holds, when `kind` is one: anything, or what it is named after, such as `ConfigMapList`.
fn list_of(kind: &str) -> Option<Option<Kind>> {
    let of = kind.strip_suffix("List")?;
    let known = Kind::ALL.into_iter().find(|known| known.as_str() == of);
    (of.is_empty() || known.is_some()).then_some(known)
}

/// The text of `kind` or `apiVersion`, or a problem.
fn name_of<'a>(root: &'a Node, field: &'static str, problems: &mut Vec<Problem>) -> Option<&'a str> {
    let Some(node) = root.get(field).filter(|node| node.content != Content::Null) else {
        problems.push(if field == "kind" { without_kind(root) } else { without_version(root) });
        return None;
    };
    let text = node.text().filter(|text| !text.is_empty());
    if text.is_none() {
        let message = format!("`{field}` must be text");
        problems.push(Problem::error("wrong-type", node.span, message, "write it as in `kind: Pod`"));
    }
    text
}

fn without_version(root: &Node) -> Problem {
    let kind = root.get("kind").and_then(Node::text).unwrap_or_default();
    let known = Kind::ALL.into_iter().find(|known| known.as_str() == kind);
    let help = known.map_or_else(
        || "add `apiVersion` to the object".to_owned(),
        |known| format!("add `apiVersion: {}`", known.api_version()),
    );
    Problem::error("missing-field", root.span.start(), "missing field `apiVersion`", help)
}

fn without_kind(root: &Node) -> Problem {
    let has = |keys: &[&str]| keys.iter().any(|key| root.get(key).is_some());
    let help = if has(&["resources", "bases", "configMapGenerator", "patches", "namePrefix", "kustomize"]) {
        "this looks like a kustomization: build it with `kustomize build` and commit the result, or exclude it with \
         .podwrightignore"
    } else if has(&["apiVersion"]) && has(&["version"]) && has(&["name"]) {
        "this looks like a Helm chart: render it with `helm template` and commit the result, or exclude it with \
         .podwrightignore"
    } else if has(&["services"]) {
        "this looks like a Compose file, which is not read: write Pods, or exclude it with .podwrightignore"
    } else {
        "add `kind`, or exclude the file with .podwrightignore if it is no manifest"
    };
    Problem::error("no-kind", root.span.start(), "a document without `kind`", help)
}

fn unknown_kind(root: &Node, version: &str, kind: &str) -> Problem {
    let span = |field: &str| root.get(field).map_or(root.span, |node| node.span);
    if let Some(known) = Kind::ALL.into_iter().find(|known| known.as_str() == kind) {
        return Problem::error(
            "api-version",
            span("apiVersion"),
            format!("{kind} of apiVersion {} is not read", quoted(version)),
            format!("write `apiVersion: {}`", known.api_version()),
        );
    }
    let near = Kind::ALL.into_iter().find(|known| strsim::damerau_levenshtein(known.as_str(), kind) <= 2);
    let names = Kind::ALL.map(Kind::as_str);
    let help = match (near, kind) {
        (Some(near), _) => format!("did you mean `{near}`?"),
        (_, "Kustomization") => {
            "build it with `kustomize build` and commit the result, or exclude it with .podwrightignore".to_owned()
        }
        (_, "Deployment" | "ReplicaSet" | "StatefulSet" | "DaemonSet" | "Job" | "CronJob") => {
            format!("write its pods as Pods, or exclude it with .podwrightignore or the annotation {IGNORE}: \"true\"")
        }
        (_, "LimitRange") => {
            "write its `spec` as `limitRange` in the configuration of the machine, and exclude it with .podwrightignore"
                .to_owned()
        }
        _ => format!(
            "the kinds are {}; exclude another one with the annotation {IGNORE}: \"true\" or with .podwrightignore",
            alternatives(&names).replace(" or ", " and ")
        ),
    };
    let message = format!("kind {} of apiVersion {} is not read", quoted(kind), quoted(version));
    Problem::error("unknown-kind", span("kind"), message, help)
}

/// kubectl unfolds the list of a document, and would send one that stands in it to the server as an object.
fn list_in_list(root: &Node, kind: &str) -> Problem {
    let span = root.get("kind").map_or(root.span, |node| node.span);
    let help = "put its items into the list around it, or make it a document of its own behind `---`";
    Problem::error("unknown-kind", span, format!("a {kind} within a list is not read"), help)
}

/// A list of one kind gives it to the items that have neither `kind` nor `apiVersion`, as kubectl reads it; the others
/// say for themselves what they are.
fn list<'a>(name: &str, of: Option<Kind>, root: &'a Node, found: &mut Found<'a>) {
    let version = of.map_or("v1", Kind::api_version);
    match root.get("apiVersion").map(|node| (node, node.text())) {
        Some((_, Some(text))) if text == version => {}
        Some((node, _)) => {
            let message = format!("{name} has only the apiVersion \"{version}\"");
            let help = format!("write `apiVersion: {version}`");
            found.problems.push(Problem::error("api-version", node.span, message, help));
        }
        None => found.problems.push(Problem::error(
            "missing-field",
            root.span.start(),
            "missing field `apiVersion`",
            format!("add `apiVersion: {version}`"),
        )),
    }
    match root.get("items").map(|node| (node, &node.content)) {
        None | Some((_, Content::Null)) => {}
        Some((_, Content::Sequence(items))) => {
            items.iter().for_each(|item| sort_out_within(Within::List(of), item, found))
        }
        Some((node, _)) => found.problems.push(Problem::error(
            "wrong-type",
            node.span,
            format!("`items` of a {name} must be a list"),
            "start each object with `- `",
        )),
    }
    if let Content::Mapping(entries) = &root.content {
        for entry in entries.iter().filter(|e| !["apiVersion", "kind", "items", "metadata"].contains(&&*e.key.text)) {
            let message = format!("unknown field {} in a {name}", quoted(&entry.key.text));
            let help = "a list has `apiVersion`, `kind`, `metadata` and `items`";
            found.problems.push(Problem::error("unknown-field", entry.key.span, message, help));
        }
    }
}

/// Why an object is excluded, if it is.
fn ignored(root: &Node, problems: &mut Vec<Problem>) -> Option<String> {
    let node = root.get("metadata")?.get("annotations")?.get(IGNORE)?;
    match &node.content {
        Content::String(text) if text == "true" => return Some(format!("annotation {IGNORE}: \"true\"")),
        Content::String(text) if text == "false" => {}
        _ => problems.push(Problem::error(
            "ignore-annotation",
            node.span,
            format!("the annotation {IGNORE} must be the text \"true\" or \"false\""),
            "write \"true\" in double quotes",
        )),
    }
    None
}

/// `kind name`, as far as it can be read.
fn what(root: &Node) -> String {
    let text = |node: Option<&Node>| node.and_then(Node::text).unwrap_or("?").to_owned();
    let name = root.get("metadata").and_then(|metadata| metadata.get("name"));
    format!("{} {}", text(root.get("kind")), text(name))
}
