//! The annotations by which PodPresets and pods know of each other.

/// A pod with this annotation set to exactly `true` gets no preset.
pub const EXCLUDE_PRESETS: &str = "podpreset.admission.kubernetes.io/exclude";
/// A pod with this annotation, whatever its value, mirrors a static pod and gets no preset.
pub const MIRROR_POD: &str = "kubernetes.io/config.mirror";
/// Put on a pod, one per preset that was merged; the preset's name follows.
pub const APPLIED_PRESET_PREFIX: &str = "podpreset.admission.kubernetes.io/podpreset-";
