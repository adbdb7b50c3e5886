//! `/etc/hosts`, `/etc/hostname` and `/etc/resolv.conf`, byte for byte.

use std::net::IpAddr;

use k8s_openapi::api::core::v1::{HostAlias, PodDNSConfig, PodSpec};
use podwright::net::files::{
    Dns, Hosts, hostname_file, hosts_file, kernel_hostname, pod_domain, pod_hostname, resolv_conf,
};
use serde_json::{Value, json};

fn spec(spec: Value) -> PodSpec {
    serde_json::from_value(spec).unwrap()
}

#[test]
fn the_host_name_is_the_specs_or_the_pods_cut_to_what_linux_takes() {
    let long = "a".repeat(62) + "-b";
    for (hostname, pod, expected) in [
        (None, "web", "web".to_owned()),
        (Some(""), "web", "web".to_owned()),
        (Some("www"), "web", "www".to_owned()),
        (None, "web.example.com", "web.example.com".to_owned()),
        (None, long.as_str(), "a".repeat(62)),
        (None, &("a".repeat(60) + "-.-tail"), "a".repeat(60)),
        (None, &"a".repeat(70), "a".repeat(63)),
    ] {
        let spec = PodSpec { hostname: hostname.map(str::to_owned), ..PodSpec::default() };
        assert_eq!(pod_hostname(&spec, pod), expected);
    }
    assert_eq!(hostname_file("web"), "web\n");
}

#[test]
fn the_kernel_is_told_the_whole_name_where_the_pod_wants_it() {
    let long = "a".repeat(40);
    for (pod, name, domain) in [
        (json!({}), "web", None),
        (json!({"subdomain": "sub"}), "web", Some("sub.shop.svc.cluster.local")),
        (json!({"setHostnameAsFQDN": true}), "web", None),
        (
            json!({"setHostnameAsFQDN": true, "subdomain": "sub"}),
            "web.sub.shop.svc.cluster.local",
            Some("sub.shop.svc.cluster.local"),
        ),
        (json!({"setHostnameAsFQDN": false, "subdomain": "sub"}), "web", Some("sub.shop.svc.cluster.local")),
        // One that the kernel does not take.
        (
            json!({"setHostnameAsFQDN": true, "subdomain": "sub", "hostname": long}),
            long.as_str(),
            Some("sub.shop.svc.cluster.local"),
        ),
        // It is the whole of it, and the pod is in no domain.
        (json!({"hostnameOverride": "db.example.com", "hostname": "www", "subdomain": "sub"}), "db.example.com", None),
    ] {
        let mut whole = pod.clone();
        whole["containers"] = json!([]);
        let spec = spec(whole);
        let found = pod_domain(&spec, "shop", "cluster.local");
        assert_eq!(
            (kernel_hostname(&spec, "web", found.as_deref()).as_str(), found.as_deref()),
            (name, domain),
            "{pod}"
        );
    }
}

const HEAD: &str = "# Kubernetes-managed hosts file.\n\
127.0.0.1\tlocalhost\n\
::1\tlocalhost ip6-localhost ip6-loopback\n\
fe00::0\tip6-localnet\n\
fe00::0\tip6-mcastprefix\n\
fe00::1\tip6-allnodes\n\
fe00::2\tip6-allrouters\n";

#[test]
fn etc_hosts_is_the_kubelets() {
    let ips: [IpAddr; 2] = ["10.213.0.2".parse().unwrap(), "fd00::2".parse().unwrap()];
    let base = Hosts { ips: &ips, hostname: "web", ..Hosts::default() };
    assert_eq!(hosts_file(&base), format!("{HEAD}10.213.0.2\tweb\nfd00::2\tweb\n"));

    let domain = pod_domain(&spec(json!({"containers": [], "subdomain": "sub"})), "shop", "cluster.local");
    assert_eq!(pod_domain(&spec(json!({"containers": [], "subdomain": ""})), "shop", "cluster.local"), None);
    assert_eq!(
        hosts_file(&Hosts { ips: &ips[..1], domain: domain.as_deref(), ..base }),
        format!("{HEAD}10.213.0.2\tweb.sub.shop.svc.cluster.local\tweb\n")
    );

    let aliases: Vec<HostAlias> = serde_json::from_value(json!([
        {"ip": "192.0.2.7", "hostnames": ["db", "db.example.com"]}, {"ip": "192.0.2.8", "hostnames": ["cache"]}
    ]))
    .unwrap();
    let tail = "\n# Entries added by HostAliases.\n192.0.2.7\tdb\tdb.example.com\n192.0.2.8\tcache\n";
    assert_eq!(
        hosts_file(&Hosts { ips: &ips[..1], aliases: &aliases, ..base }),
        format!("{HEAD}10.213.0.2\tweb\n{tail}")
    );

    let node = "127.0.0.1 localhost\n192.0.2.2 machine\n";
    let host = Hosts { host_network: Some(node), ..base };
    assert_eq!(hosts_file(&host), format!("# Kubernetes-managed hosts file (host network).\n{node}"));
    assert_eq!(
        hosts_file(&Hosts { aliases: &aliases, ..host }),
        format!("# Kubernetes-managed hosts file (host network).\n{node}{tail}")
    );
}

const NODE: &str = "# from the router\nnameserver 192.0.2.1\nsearch old.example\nsearch example.com. lab.example\n\
                    options timeout:2 rotate\nnameserver 192.0.2.1\nsortlist 10.0.0.0\n";
const NODE_READ: &str = "search example.com lab.example\nnameserver 192.0.2.1\noptions timeout:2 rotate\n";

#[test]
fn resolv_conf_follows_the_policy() {
    let config = json!({"nameservers": ["192.0.2.1", "192.0.2.53"], "searches": ["lab.example", "svc.example"],
        "options": [{"name": "ndots", "value": "3"}, {"name": "timeout", "value": "5"}, {"name": "edns0"}, {"value": "x"}]});
    let added = "search example.com lab.example svc.example\nnameserver 192.0.2.1\nnameserver 192.0.2.53\n\
                 options timeout:5 rotate ndots:3 edns0\n";
    let alone = "search lab.example svc.example\nnameserver 192.0.2.1\nnameserver 192.0.2.53\n\
                 options ndots:3 timeout:5 edns0\n";
    for (policy, host_network, with_config, text, missing) in [
        (None, false, false, NODE_READ, true),
        (Some("ClusterFirst"), false, false, NODE_READ, true),
        (Some("ClusterFirst"), true, false, NODE_READ, false),
        (Some("ClusterFirstWithHostNet"), true, false, NODE_READ, true),
        (Some("Default"), false, false, NODE_READ, false),
        (Some("Default"), false, true, added, false),
        (None, false, true, added, true),
        (Some("None"), false, true, alone, false),
        (Some("None"), false, false, "", false),
    ] {
        let config: PodDNSConfig = serde_json::from_value(config.clone()).unwrap();
        let dns = Dns { policy, host_network, config: with_config.then_some(&config), node: NODE };
        let out = resolv_conf(&dns);
        assert_eq!(out.text, text, "{policy:?} {host_network} {with_config}");
        assert_eq!(out.missing_cluster_dns, missing, "{policy:?} {host_network}");
        assert_eq!(out.left_out, [""; 0]);
    }
}

#[test]
fn resolv_conf_is_cut_to_what_a_resolver_reads() {
    let names: Vec<String> = (0..40).map(|n| format!("n{n}.example")).collect();
    let config = PodDNSConfig {
        nameservers: Some((1..=5).map(|n| format!("192.0.2.{n}")).collect()),
        searches: Some(names.clone()),
        options: None,
    };
    let dns = Dns { policy: Some("None"), config: Some(&config), ..Dns::default() };
    let out = resolv_conf(&dns);
    let kept = names[..32].join(" ");
    assert_eq!(out.text, format!("search {kept}\nnameserver 192.0.2.1\nnameserver 192.0.2.2\nnameserver 192.0.2.3\n"));
    assert_eq!(
        out.left_out,
        [
            "Nameserver limits were exceeded, some nameservers have been omitted, the applied nameserver line is: \
             192.0.2.1 192.0.2.2 192.0.2.3"
                .to_owned(),
            format!(
                "Search Line limits were exceeded, some search paths have been omitted, the applied search line is: {kept}"
            ),
        ]
    );

    let long: Vec<String> = (0..20).map(|n| format!("{n:0200}")).collect();
    let config = PodDNSConfig { searches: Some(long.clone()), ..PodDNSConfig::default() };
    let out = resolv_conf(&Dns { config: Some(&config), ..dns });
    assert_eq!(out.text, format!("search {}\n", long[..10].join(" ")), "2048 characters in all");
}
