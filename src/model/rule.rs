//! The rules a manifest can break: one table of the names that diagnostics carry, with what each is about.

/// One rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The stable name: a diagnostic's `rule`.
    pub name: &'static str,
    /// What is wrong, in one sentence without a final full stop.
    pub about: &'static str,
    /// The way out where nothing better is known.
    pub way_out: &'static str,
}

const fn rule(name: &'static str, about: &'static str, way_out: &'static str) -> Rule {
    Rule { name, about, way_out }
}

/// Every rule, sorted by name. A rule that is not here must not be used, and one that nobody uses must not be here.
pub const RULES: &[Rule] = &[
    rule("address", "An IP address is not well formed", "write an address such as 192.0.2.1"),
    rule("annotation", "The key of an annotation is not well formed, or the annotations are too large", "rename it"),
    rule("api-version", "The kind is known, but not in this apiVersion", "write the apiVersion that is named"),
    rule("bad-file-name", "The name of a file is not plain UTF-8 text", "rename it"),
    rule("bad-ignore-file", "A .podwrightignore cannot be read", "put a file of patterns here"),
    rule("bad-ignore-pattern", "A pattern of a .podwrightignore does not work", "write it as in .gitignore"),
    rule("base64", "A value that must be base64 is not", "encode it with `base64`"),
    rule("cannot-be-honoured", "A field that asks for what podwright cannot give", "remove it"),
    rule("choice", "A field has a word that is not among those it may have", "write one of them"),
    rule("config", "The configuration file is wrong", "correct the value"),
    rule("contradiction", "Fields that cannot go together", "remove one of the two"),
    rule("data-key", "A key of a ConfigMap or Secret is no possible file name", "rename it"),
    rule("dns", "The settings of a resolver do not work", "remove what is too much"),
    rule("duplicate-key", "A key is written twice in one mapping", "remove one of the two"),
    rule("duplicate-mount", "Two volumes are mounted at one path", "mount each volume at a path of its own"),
    rule("duplicate-name", "A name that must be unique is used twice", "use each name once"),
    rule("duplicate-object", "An object is defined twice", "remove one of the two, or rename it"),
    rule("duplicate-port", "Two containers of a pod name the same port", "choose another port: they share one network"),
    rule("duplicate-variable", "A variable is defined twice in one container", "remove one of the two"),
    rule("field-path", "A variable asks for a field that it cannot show", "choose one of the fields"),
    rule("file-too-large", "A file is larger than what is read", "split it, or exclude it with .podwrightignore"),
    rule("host-port", "A port of the machine cannot be had", "choose another port"),
    rule("ignore-annotation", "The annotation that excludes an object is neither true nor false", "write \"true\""),
    rule("image", "The name of an image is not well formed", "write it as `docker pull` takes it"),
    rule("image-tag", "An image without a tag changes without a commit", "write a tag or a digest"),
    rule("internal", "podwright itself failed", "report it"),
    rule("label", "The key or value of a label is not well formed", "rename it"),
    rule(
        "limit-below-request",
        "A limit that the machine gives is below what is asked for",
        "write a limit, or change `limitRange` in the configuration of the machine",
    ),
    rule("limit-range", "A pod asks for more or less than the machine lets it", "ask for what is allowed"),
    rule("local-object", "An object provisioned on the machine that cannot be read", "provision it anew, or remove it"),
    rule("misplaced-field", "A field stands at the wrong level", "indent it as the field it belongs to"),
    rule("missing-field", "A field that is needed is not there", "add it"),
    rule("missing-key", "A key that is needed is not in its ConfigMap or Secret", "add it, or write `optional: true`"),
    rule("missing-object", "An object that is needed is not among the manifests", "add it"),
    rule("name", "A name is not well formed", "choose another name"),
    rule("namespace", "An object that is in no namespace names one", "remove the line"),
    rule("never-ready", "A pod that waits for what nobody tells it here", "remove the gate"),
    rule("no-container", "A pod without a container", "add an item to `containers`"),
    rule("no-effect", "A field that has no effect here", "remove it"),
    rule("no-file", "What should be a file is none", "put a file here, or exclude the name in .podwrightignore"),
    rule("no-kind", "A document without `kind`", "add `kind`, or exclude the file with .podwrightignore"),
    rule("no-manifests", "There is nothing to run", "name the directory that holds the manifests"),
    rule("no-object", "A document is no mapping", "exclude the file with .podwrightignore if it is no manifest"),
    rule("not-placed", "A pod that the machine does not fit", "give the machine what it asks for, or correct the pod"),
    rule("not-readable", "An object does not have the form of its kind", "correct the value"),
    rule("not-text", "A file is no UTF-8 text, or holds control characters", "save it as UTF-8"),
    rule("number-range", "A number is out of its range", "choose a number within the range"),
    rule("one-document", "A file that must hold one document holds several", "remove what follows the first"),
    rule("one-of", "Exactly one of several fields must be there", "write exactly one of them"),
    rule("path", "A path is not what it must be", "correct the path"),
    rule("pod-security", "A pod asks for what its namespace or the machine forbids", "ask for less"),
    rule("preset", "A PodPreset gives nothing", "add what it should give to the pods it selects"),
    rule("preset-conflict", "PodPresets that match a pod are not merged into it", "make both sides equal"),
    rule("preset-name-length", "The name of a PodPreset is too long for its annotation", "give it a shorter name"),
    rule("preset-selector", "The selector of a PodPreset cannot be read", "correct the selector"),
    rule(
        "preset-volume",
        "A pod mounts a volume of a PodPreset that is not merged into it",
        "resolve what keeps the preset out, or add the volume to the pod",
    ),
    rule(
        "quantity",
        "An amount is not well formed",
        "write a number with a suffix of m, k, M, G, T or Ki, Mi, Gi, Ti, such as 500m or 1Gi",
    ),
    rule("resources", "A request is larger than its limit", "raise the limit, or lower the request"),
    rule("schema", "A value does not fit the schema of its kind", "correct the value"),
    rule("selector", "A selector does not work", "correct the values"),
    rule("server-owned", "A field that an API server writes", "remove it"),
    rule("submodule", "Another git repository within this one", "put the files themselves here"),
    rule("symbolic-link", "A symbolic link, which is not followed", "put the file itself here"),
    rule(
        "sysctl-forbidden",
        "A setting of the kernel that the machine lets no pod have",
        "allow it in the configuration of the machine, or remove it",
    ),
    rule("too-deep", "Directories are nested too deep", "move the manifests up"),
    rule("too-large", "More than what is read of one file or object", "split it"),
    rule("too-many-files", "There are more files than are read", "keep the manifests in a directory of their own"),
    rule("too-many-problems", "There are more problems than are listed", "correct the listed ones first"),
    rule(
        "too-much-for-an-agent",
        "The manifests are valid, and more than one agent reads",
        "divide them among several directories, each with an agent of its own",
    ),
    rule("unknown-container", "A file or variable shows a container that the pod does not have", "write another name"),
    rule("unknown-field", "A field that the kind does not have", "remove it, or correct its spelling"),
    rule("unknown-kind", "A kind that is not read", "exclude it with .podwrightignore"),
    rule("unknown-port", "A probe or hook names a port that its container does not have", "write its number"),
    rule("unknown-volume", "A mount of a volume that is not there", "add the volume"),
    rule("wrong-type", "A value is of another type than its field", "correct the value"),
    rule("yaml-alias", "An alias leads nowhere", "define it with an anchor before"),
    rule("yaml-key", "A key that is no name", "quote the key"),
    rule("yaml-merge", "A `<<` that merges no mapping", "write `<<: *anchor` with the anchor at a mapping"),
    rule("yaml-number", "A number that JSON cannot hold", "quote it if it is meant as text"),
    rule("yaml-syntax", "The file is no YAML", "check the indentation and the quotes"),
    rule("yaml-tag", "A YAML tag that has no meaning here", "remove the tag"),
];

impl Rule {
    /// The rule of a name.
    pub fn named(name: &str) -> Option<&'static Rule> {
        RULES.binary_search_by(|rule| rule.name.cmp(name)).ok().map(|at| &RULES[at])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_rule_is_found_by_its_name() {
        assert!(RULES.windows(2).all(|pair| pair[0].name < pair[1].name), "sorted, each once");
        for rule in RULES {
            assert_eq!(Rule::named(rule.name), Some(rule));
            let sentence = !rule.about.is_empty() && !rule.way_out.is_empty() && !rule.about.ends_with('.');
            assert!(sentence, "{}", rule.name);
        }
        assert_eq!(Rule::named("no-such-rule"), None);
    }
}
