//! `/etc/hosts`, `/etc/hostname` and `/etc/resolv.conf` of a pod's containers, renewed whenever one of them starts.

use std::ffi::OsStr;
use std::io::{self, Read};
use std::net::IpAddr;
use std::path::Path;

use k8s_openapi::api::core::v1::PodSpec;

use super::machine;
use crate::model::{PodKey, ResolverNotes};
use crate::net::files::{self, Dns, Hosts, ResolvConf};
use crate::sys::beneath::Dir;
use crate::sys::effect;

const CLUSTER_DOMAIN: &str = "cluster.local";
/// No longer file is compared.
const LONGEST: u64 = 1 << 20;
/// For containers of any user.
const MODE: u32 = 0o644;

/// The host name a pod's processes see.
pub(super) fn hostname(spec: &PodSpec, key: &PodKey) -> String {
    if spec.host_network == Some(true) {
        return machine::hostname();
    }
    files::kernel_hostname(spec, &key.name, domain(spec, key).as_deref())
}

fn domain(spec: &PodSpec, key: &PodKey) -> Option<String> {
    files::pod_domain(spec, &key.namespace, CLUSTER_DOMAIN)
}

/// Writes the three files into `dir`.
pub(super) fn write(dir: &Path, spec: &PodSpec, key: &PodKey, ips: &[IpAddr]) -> io::Result<()> {
    let host_network = spec.host_network == Some(true);
    let name = if host_network { machine::hostname() } else { files::pod_hostname(spec, &key.name) };
    let domain = domain(spec, key);
    let node_hosts = if host_network { Some(std::fs::read_to_string("/etc/hosts").unwrap_or_default()) } else { None };
    let hosts = files::hosts_file(&Hosts {
        ips,
        hostname: &name,
        domain: domain.as_deref(),
        aliases: spec.host_aliases.as_deref().unwrap_or_default(),
        host_network: node_hosts.as_deref(),
    });
    let dir = Dir::make(dir, 0o700)?;
    put(&dir, "hosts", &hosts)?;
    put(&dir, "hostname", &files::hostname_file(&hostname(spec, key)))?;
    put(&dir, "resolv.conf", &resolver(spec).text)
}

/// What the pod does not get of what it asks of its resolver.
pub(super) fn notes(spec: &PodSpec) -> ResolverNotes {
    let ResolvConf { missing_cluster_dns, left_out, .. } = resolver(spec);
    ResolverNotes { missing_cluster_dns, left_out }
}

fn resolver(spec: &PodSpec) -> ResolvConf {
    files::resolv_conf(&Dns {
        policy: spec.dns_policy.as_deref(),
        host_network: spec.host_network == Some(true),
        config: spec.dns_config.as_ref(),
        node: &files::node_resolv_conf(),
    })
}

/// Writes a file in place: it is bound into containers that run, and they are to see the new text.
fn put(dir: &Dir, name: &str, text: &str) -> io::Result<()> {
    let mut file = dir.open_or_create(OsStr::new(name), MODE)?;
    let mut before = Vec::new();
    Read::by_ref(&mut file).take(LONGEST).read_to_end(&mut before)?;
    if before == text.as_bytes() {
        return Ok(());
    }
    effect::change_mode(&file, MODE)?;
    effect::truncate(&file, 0)?;
    io::Seek::rewind(&mut file)?;
    effect::write(&file, text.as_bytes())
}
