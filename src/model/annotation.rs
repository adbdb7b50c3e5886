//! Annotations of podwright's own, by which an object says how it wants to be treated.

/// What all of them begin with.
pub const ANNOTATION_PREFIX: &str = "podwright.dev/";
/// On an object of any kind, set to `"true"`: podwright leaves it alone.
pub const IGNORE: &str = "podwright.dev/ignore";
/// On an object that the API shows and that comes from no manifest, `local`: it was provisioned on the machine, or `agent`: it is
/// in every namespace. No manifest has it.
pub const ORIGIN: &str = "podwright.dev/origin";
/// On a Pod, set to `"true"`: when data of a ConfigMap or Secret changes, the containers that take it as variables or mount it
/// are restarted. Kubernetes restarts nothing, and variables keep their values until their container starts again.
pub const RESTART_ON_DATA: &str = "podwright.dev/restart-on-data-change";
