//! The controls of the standards: one row each, in the order in which Kubernetes tells them (`policy/check_*.go` of
//! k8s.io/pod-security-admission 1.36).
//!
//! Containers that are added to a pod that runs are no part of a manifest, so the fields of ephemeral containers are missing.

use k8s_openapi::api::core::v1::PodSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::{baseline, restricted};
use crate::model::PodSecurityLevel::{self, Baseline, Restricted};
use crate::model::{PodSecurityStandard, PodSecurityVersion};

/// The newest version in which a control is another one than before: what `latest` and every later version stand for.
pub(super) const NEWEST: u32 = 35;

/// Something that pods of a level may not do.
pub struct Control {
    /// Kubernetes' own name of the check.
    pub id: &'static str,
    /// As the documentation of the standards calls it.
    pub name: &'static str,
    /// The lowest level that has it.
    pub level: PodSecurityLevel,
    /// The fields that it looks at; `@` stands for a container or an init container.
    pub fields: &'static [&'static str],
    /// What these fields may say.
    pub allowed: &'static str,
    /// The first minor version that has it.
    since: u32,
    /// The control of `baseline` in whose place it stands.
    replaces: Option<&'static str>,
    check: fn(Seen<'_>) -> Option<Violation>,
}

/// A pod as a control sees it.
#[derive(Clone, Copy)]
pub(super) struct Seen<'p> {
    pub(super) metadata: &'p ObjectMeta,
    pub(super) spec: &'p PodSpec,
    /// The minor version of the standards.
    pub(super) minor: u32,
}

/// What a pod does that a control forbids, in Kubernetes' words.
pub(super) struct Violation {
    pub(super) reason: String,
    pub(super) detail: String,
    /// Every field that is wrong or missing, as a JSON pointer: at least one.
    pub(super) at: Vec<String>,
}

impl Control {
    /// What a pod does against it under a standard, if the standard has it.
    pub(super) fn violation(
        &self,
        standard: PodSecurityStandard,
        (metadata, spec): (&ObjectMeta, &PodSpec),
    ) -> Option<Violation> {
        let minor = minor(standard);
        let is_replaced =
            || CONTROLS.iter().any(|other| other.replaces == Some(self.id) && other.is_of(standard.level, minor));
        if !self.is_of(standard.level, minor) || is_replaced() {
            return None;
        }
        (self.check)(Seen { metadata, spec, minor })
    }

    fn is_of(&self, level: PodSecurityLevel, minor: u32) -> bool {
        self.level <= level && self.since <= minor
    }
}

fn minor(standard: PodSecurityStandard) -> u32 {
    match standard.version {
        PodSecurityVersion::Minor(minor) => minor.min(NEWEST),
        PodSecurityVersion::Latest => NEWEST,
    }
}

/// First those of `baseline`, then what `restricted` adds, each by its id.
pub(super) const CONTROLS: &[Control] = &[
    Control {
        id: "appArmorProfile",
        name: "AppArmor",
        level: Baseline,
        fields: &[
            "metadata.annotations[container.apparmor.security.beta.kubernetes.io/*]",
            "spec.securityContext.appArmorProfile.type",
            "@.securityContext.appArmorProfile.type",
        ],
        allowed: "RuntimeDefault, Localhost or nothing; in annotations runtime/default or localhost/*",
        since: 0,
        replaces: None,
        check: baseline::app_armor,
    },
    Control {
        id: "capabilities_baseline",
        name: "Capabilities",
        level: Baseline,
        fields: &["@.securityContext.capabilities.add"],
        allowed: "AUDIT_WRITE, CHOWN, DAC_OVERRIDE, FOWNER, FSETID, KILL, MKNOD, NET_BIND_SERVICE, SETFCAP, SETGID, SETPCAP, \
                  SETUID, SYS_CHROOT or nothing",
        since: 0,
        replaces: None,
        check: baseline::capabilities,
    },
    Control {
        id: "hostNamespaces",
        name: "Host Namespaces",
        level: Baseline,
        fields: &["spec.hostNetwork", "spec.hostPID", "spec.hostIPC"],
        allowed: "false or nothing",
        since: 0,
        replaces: None,
        check: baseline::host_namespaces,
    },
    Control {
        id: "hostPathVolumes",
        name: "HostPath Volumes",
        level: Baseline,
        fields: &["spec.volumes[].hostPath"],
        allowed: "nothing: use another type of volume",
        since: 0,
        replaces: None,
        check: baseline::host_paths,
    },
    Control {
        id: "hostPorts",
        name: "Host Ports",
        level: Baseline,
        fields: &["@.ports[].hostPort"],
        allowed: "0 or nothing",
        since: 0,
        replaces: None,
        check: baseline::host_ports,
    },
    Control {
        id: "hostProbesAndHostLifecycle",
        name: "Host Probes / Lifecycle Hooks",
        level: Baseline,
        fields: &[
            "@.livenessProbe.httpGet.host",
            "@.livenessProbe.tcpSocket.host",
            "@.readinessProbe.httpGet.host",
            "@.readinessProbe.tcpSocket.host",
            "@.startupProbe.httpGet.host",
            "@.startupProbe.tcpSocket.host",
            "@.lifecycle.postStart.httpGet.host",
            "@.lifecycle.postStart.tcpSocket.host",
            "@.lifecycle.preStop.httpGet.host",
            "@.lifecycle.preStop.tcpSocket.host",
        ],
        allowed: "nothing: the pod itself is asked then",
        since: 34,
        replaces: None,
        check: baseline::hosts,
    },
    Control {
        id: "privileged",
        name: "Privileged Containers",
        level: Baseline,
        fields: &["@.securityContext.privileged"],
        allowed: "false or nothing",
        since: 0,
        replaces: None,
        check: baseline::privileged,
    },
    Control {
        id: "procMount",
        name: "/proc Mount Type",
        level: Baseline,
        fields: &["@.securityContext.procMount"],
        allowed: "Default or nothing, and since v1.35 anything in a pod with `hostUsers: false`",
        since: 0,
        replaces: None,
        check: baseline::proc_mount,
    },
    Control {
        id: "seLinuxOptions",
        name: "SELinux",
        level: Baseline,
        fields: &[
            "spec.securityContext.seLinuxOptions.type",
            "spec.securityContext.seLinuxOptions.user",
            "spec.securityContext.seLinuxOptions.role",
            "@.securityContext.seLinuxOptions.type",
            "@.securityContext.seLinuxOptions.user",
            "@.securityContext.seLinuxOptions.role",
        ],
        allowed: "as `type` container_t, container_init_t, container_kvm_t, since v1.31 container_engine_t, or nothing; no `user` \
                  and no `role`",
        since: 0,
        replaces: None,
        check: baseline::se_linux,
    },
    Control {
        id: "seccompProfile_baseline",
        name: "Seccomp",
        level: Baseline,
        fields: &[
            "metadata.annotations[seccomp.security.alpha.kubernetes.io/pod]",
            "metadata.annotations[container.seccomp.security.alpha.kubernetes.io/*]",
            "spec.securityContext.seccompProfile.type",
            "@.securityContext.seccompProfile.type",
        ],
        allowed: "RuntimeDefault, Localhost or nothing; before v1.19 in annotations runtime/default, docker/default or localhost/*",
        since: 0,
        replaces: None,
        check: baseline::seccomp,
    },
    Control {
        id: "sysctls",
        name: "Sysctls",
        level: Baseline,
        fields: &["spec.securityContext.sysctls[].name"],
        allowed: "kernel.shm_rmid_forced, net.ipv4.ip_local_port_range, net.ipv4.tcp_syncookies, net.ipv4.ping_group_range, \
                  net.ipv4.ip_unprivileged_port_start; since v1.27 net.ipv4.ip_local_reserved_ports; since v1.29 \
                  net.ipv4.tcp_keepalive_time, net.ipv4.tcp_fin_timeout, net.ipv4.tcp_keepalive_intvl and \
                  net.ipv4.tcp_keepalive_probes; since v1.32 net.ipv4.tcp_rmem and net.ipv4.tcp_wmem",
        since: 0,
        replaces: None,
        check: baseline::sysctls,
    },
    Control {
        id: "windowsHostProcess",
        name: "HostProcess",
        level: Baseline,
        fields: &["spec.securityContext.windowsOptions.hostProcess", "@.securityContext.windowsOptions.hostProcess"],
        allowed: "false or nothing",
        since: 0,
        replaces: None,
        check: baseline::host_process,
    },
    Control {
        id: "allowPrivilegeEscalation",
        name: "Privilege Escalation",
        level: Restricted,
        fields: &["@.securityContext.allowPrivilegeEscalation"],
        allowed: "false; since v1.25 a pod whose `os` is windows need not say it",
        since: 8,
        replaces: None,
        check: restricted::escalation,
    },
    Control {
        id: "capabilities_restricted",
        name: "Capabilities",
        level: Restricted,
        fields: &["@.securityContext.capabilities.drop", "@.securityContext.capabilities.add"],
        allowed: "[\"ALL\"] in `drop`, and at most NET_BIND_SERVICE in `add`; since v1.25 a pod whose `os` is windows need not say \
                  it",
        since: 22,
        replaces: Some("capabilities_baseline"),
        check: restricted::capabilities,
    },
    Control {
        id: "procMount_restricted",
        name: "/proc Mount Type",
        level: Restricted,
        fields: &["@.securityContext.procMount"],
        allowed: "Default or nothing",
        since: 35,
        replaces: Some("procMount"),
        check: restricted::proc_mount,
    },
    Control {
        id: "restrictedVolumes",
        name: "Volume Types",
        level: Restricted,
        fields: &["spec.volumes[]"],
        allowed: "configMap, csi, downwardAPI, emptyDir, ephemeral, image, persistentVolumeClaim, projected or secret",
        since: 0,
        replaces: Some("hostPathVolumes"),
        check: restricted::volumes,
    },
    Control {
        id: "runAsNonRoot",
        name: "Running as Non-root",
        level: Restricted,
        fields: &["spec.securityContext.runAsNonRoot", "@.securityContext.runAsNonRoot"],
        allowed: "true, of the pod or of each container; since v1.35 anything in a pod with `hostUsers: false`",
        since: 0,
        replaces: None,
        check: restricted::non_root,
    },
    Control {
        id: "runAsUser",
        name: "Running as Non-root user",
        level: Restricted,
        fields: &["spec.securityContext.runAsUser", "@.securityContext.runAsUser"],
        allowed: "anything but 0; since v1.35 that too in a pod with `hostUsers: false`",
        since: 23,
        replaces: None,
        check: restricted::user,
    },
    Control {
        id: "seccompProfile_restricted",
        name: "Seccomp",
        level: Restricted,
        fields: &["spec.securityContext.seccompProfile.type", "@.securityContext.seccompProfile.type"],
        allowed: "RuntimeDefault or Localhost, of the pod or of each container; since v1.25 a pod whose `os` is windows need not \
                  say it",
        since: 19,
        replaces: Some("seccompProfile_baseline"),
        check: restricted::seccomp,
    },
];
