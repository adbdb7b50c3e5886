//! Kubernetes' Pod Security Standards by name: levels, versions, and the labels of a namespace that ask for them.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What every label that speaks of Pod Security begins with.
pub const POD_SECURITY: &str = "pod-security.kubernetes.io/";

/// How much pods may ask of the machine, from everything to least.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PodSecurityLevel {
    #[default]
    Privileged,
    Baseline,
    Restricted,
}

impl PodSecurityLevel {
    pub const ALL: [Self; 3] = [Self::Privileged, Self::Baseline, Self::Restricted];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Privileged => "privileged",
            Self::Baseline => "baseline",
            Self::Restricted => "restricted",
        }
    }

    /// The level of this name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|level| level.as_str() == text)
    }
}

/// A level as a version of Kubernetes has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PodSecurityStandard {
    pub level: PodSecurityLevel,
    pub version: PodSecurityVersion,
}

impl fmt::Display for PodSecurityStandard {
    /// `restricted:v1.35`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.level.as_str())?;
        match self.version {
            PodSecurityVersion::Latest => f.write_str("latest"),
            PodSecurityVersion::Minor(minor) => write!(f, "v1.{minor}"),
        }
    }
}

/// Which version of the standards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum PodSecurityVersion {
    /// `v1.N`
    Minor(u32),
    #[default]
    Latest,
}

impl PodSecurityVersion {
    /// `latest` or `v1.N`, as `api.ParseVersion` of Kubernetes reads it.
    pub fn parse(text: &str) -> Option<Self> {
        if text == "latest" {
            return Some(Self::Latest);
        }
        let digits = text.strip_prefix("v1.")?;
        let is_plain = digits.bytes().all(|b| b.is_ascii_digit()) && (digits == "0" || !digits.starts_with('0'));
        digits.parse().ok().filter(|_| is_plain).map(Self::Minor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_kubernetes_reads_them() {
        for (text, shown) in [("latest", "latest"), ("v1.0", "v1.0"), ("v1.35", "v1.35"), ("v1.99", "v1.99")] {
            let version = PodSecurityVersion::parse(text).unwrap();
            let standard = PodSecurityStandard { level: PodSecurityLevel::Baseline, version };
            assert_eq!(standard.to_string(), format!("baseline:{shown}"));
        }
        for text in ["", "Latest", "1.25", "v1", "v1.", "v1.05", "v1.x", "v2.0", "v1.+3", "v1.99999999999"] {
            assert_eq!(PodSecurityVersion::parse(text), None, "{text}");
        }
        assert!(PodSecurityVersion::Minor(99) < PodSecurityVersion::Latest);
    }

    #[test]
    fn levels_are_in_the_order_of_what_they_forbid() {
        let [privileged, baseline, restricted] = ["privileged", "baseline", "restricted"].map(PodSecurityLevel::parse);
        assert!(privileged < baseline && baseline < restricted && privileged.is_some());
        assert_eq!(PodSecurityLevel::parse("Baseline"), None);
    }
}
