//! Rules for the pod's own fields.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::{Subject, View, names, shape};
use crate::manifest::problem::{Finding, quoted};
use crate::model::IDS_PER_POD;

/// How many name servers and search domains a resolver takes.
const NAMESERVERS: usize = 3;
const SEARCHES: usize = 32;
/// How many characters all search domains may have, with a blank between two: Kubernetes' `MaxDNSSearchListChars`.
const SEARCH_CHARACTERS: usize = 2048;

pub(super) fn spec(subject: Subject<'_, '_>, out: &mut Vec<Finding>) {
    let Some(spec) = subject.root.get("spec") else {
        out.push(subject.root.missing("spec"));
        return;
    };
    if let Some(list) = spec.get("containers").filter(|list| list.value.as_array().is_some_and(Vec::is_empty)) {
        out.push(list.error("no-container", "a pod needs at least one container").help("add an item to `containers`"));
    }
}

pub(super) fn names(subject: Subject<'_, '_>, out: &mut Vec<Finding>) {
    let Some(spec) = subject.root.get("spec") else { return };
    let fields: [(&str, names::Shape); 7] = [
        ("priorityClassName", names::subdomain),
        ("runtimeClassName", names::subdomain),
        ("nodeName", names::subdomain),
        ("hostname", names::label),
        ("subdomain", names::label),
        ("serviceAccountName", names::subdomain),
        ("serviceAccount", names::subdomain),
    ];
    for (field, check) in fields {
        if let Some(view) = spec.get(field).filter(|view| view.text() != Some("")) {
            shape(&view, &format!("`{field}`"), check, out);
        }
    }
    for secret in spec.list("imagePullSecrets") {
        match secret.get("name").filter(|name| name.text() != Some("")) {
            Some(name) => shape(&name, "the name", names::subdomain, out),
            None => {
                let message = "a pull secret without a name says nothing";
                out.push(
                    Finding::warning("missing-field", &secret.pointer(), message).help("remove the item, or name it"),
                );
            }
        }
    }
    for gate in spec.list("readinessGates").iter().filter_map(|gate| gate.get("conditionType")) {
        shape(&gate, "the condition", names::qualified, out);
    }
    let account = spec.text_of("serviceAccountName").filter(|name| !name.is_empty());
    let old = spec.get("serviceAccount").filter(|old| old.text() != Some(""));
    if let (Some(account), Some(old)) = (account, old)
        && old.text().is_some_and(|old| old != account)
    {
        let message = format!("`serviceAccount` names another account than `serviceAccountName` {}", quoted(account));
        out.push(old.error("contradiction", message).help("remove `serviceAccount`: it is the old spelling"));
    }
}

pub(super) fn host_namespaces(subject: Subject<'_, '_>, out: &mut Vec<Finding>) {
    let Some(spec) = subject.root.get("spec") else { return };
    if spec.is_true("hostPID") && spec.is_true("shareProcessNamespace") {
        let at = spec.get("shareProcessNamespace").unwrap_or_else(|| spec.clone());
        let message = "`shareProcessNamespace` and `hostPID` cannot both be true";
        out.push(at.error("contradiction", message).help("remove one of the two"));
    }
    let users = spec.get("hostUsers").filter(|users| users.value == false);
    if let Some(users) = users
        && let Some(other) = ["hostNetwork", "hostPID", "hostIPC"].into_iter().find(|field| spec.is_true(field))
    {
        let message = format!("`hostUsers: false` and `{other}: true` cannot go together");
        out.push(users.error("contradiction", message).help("remove one of the two"));
    }
}

/// Ids that a pod with user ids of its own does not have: it would never start.
pub(super) fn own_ids(subject: Subject<'_, '_>, out: &mut Vec<Finding>) {
    let Some(spec) = subject.root.get("spec").filter(|s| s.get("hostUsers").is_some_and(|users| users.value == false))
    else {
        return;
    };
    for context in std::iter::once(&spec).chain(subject.containers()).filter_map(|holder| holder.get("securityContext"))
    {
        let ids = ["runAsUser", "runAsGroup"].into_iter().filter_map(|field| Some((field, context.get(field)?)));
        let groups = context.list("supplementalGroups").into_iter().map(|group| ("supplementalGroups", group));
        for (field, id) in ids.chain(groups) {
            // What no id can be is said already.
            let Some(number) = id.integer().filter(|n| (i64::from(IDS_PER_POD)..=i32::MAX.into()).contains(n)) else {
                continue;
            };
            let last = IDS_PER_POD - 1;
            let message =
                format!("with `hostUsers: false` user and group ids end at {last}, and `{field}` has {number}");
            let help = format!("choose one from 0 to {last}, or remove `hostUsers: false`");
            out.push(id.error("number-range", message).help(help));
        }
    }
}

pub(super) fn dns(subject: Subject<'_, '_>, out: &mut Vec<Finding>) {
    let Some(spec) = subject.root.get("spec") else { return };
    let config = spec.get("dnsConfig");
    let nameservers = config.as_ref().map_or_else(Vec::new, |config| config.list("nameservers"));
    if spec.text_of("dnsPolicy") == Some("None") && nameservers.is_empty() {
        let at = spec.get("dnsPolicy").unwrap_or_else(|| spec.clone());
        let finding = at.error("dns", "`dnsPolicy: None` needs at least one name server");
        out.push(finding.help("add `dnsConfig.nameservers`, or choose another policy"));
    }
    let Some(config) = config else { return };
    for server in &nameservers {
        if let Some(text) = server.text().filter(|text| text.parse::<IpAddr>().is_err()) {
            out.push(server.error("address", format!("{} is no IP address", quoted(text))));
        }
    }
    let searches = config.list("searches");
    for search in &searches {
        let Some(text) = search.text() else { continue };
        if text != "." && names::search_domain(text.strip_suffix('.').unwrap_or(text)).is_err() {
            out.push(search.error("name", format!("the search domain {} is no DNS name", quoted(text))));
        }
    }
    for (field, count, most) in
        [("nameservers", nameservers.len(), NAMESERVERS), ("searches", searches.len(), SEARCHES)]
    {
        if count > most {
            let at = config.get(field).unwrap_or_else(|| config.clone());
            out.push(at.error("dns", format!("`{field}` has {count} entries; a resolver takes {most}")).at_key());
        }
    }
    let texts: Vec<&str> = searches.iter().filter_map(View::text).collect();
    let length = texts.join(" ").len();
    if length > SEARCH_CHARACTERS {
        let at = config.get("searches").unwrap_or_else(|| config.clone());
        let message = format!("`searches` has {length} characters; a resolver takes {SEARCH_CHARACTERS}");
        out.push(at.error("dns", message).at_key());
    }
    for option in config.list("options").iter().filter(|option| option.text_of("name").unwrap_or("").is_empty()) {
        out.push(option.missing("name"));
    }
}

/// A negative grace period: Kubernetes takes it, and makes a second of it.
pub(super) fn grace(subject: Subject<'_, '_>, out: &mut Vec<Finding>) {
    let grace = subject.root.path(&["spec", "terminationGracePeriodSeconds"]);
    if let Some(grace) = grace.filter(|grace| grace.integer().is_some_and(|seconds| seconds < 0)) {
        let message = "a negative `terminationGracePeriodSeconds` counts as 1";
        out.push(Finding::warning("number-range", &grace.pointer(), message).help("write 1, or 0 for no grace at all"));
    }
}

pub(super) fn host_aliases(subject: Subject<'_, '_>, out: &mut Vec<Finding>) {
    let Some(spec) = subject.root.get("spec") else { return };
    let mut seen = BTreeSet::new();
    for alias in spec.list("hostAliases") {
        if let Some(ip) = alias.get("ip").filter(|ip| ip.text().is_some_and(|text| !seen.insert(text))) {
            let message = format!("the address {} has host names already", quoted(ip.text().unwrap_or_default()));
            let finding = Finding::warning("duplicate-name", &ip.pointer(), message);
            out.push(finding.help("write all host names of an address together"));
        }
        if let Some(ip) = alias.get("ip").filter(|ip| ip.text().is_some_and(|text| text.parse::<IpAddr>().is_err())) {
            let text = ip.text().unwrap_or_default();
            out.push(ip.error("address", format!("{} is no IP address", quoted(text))));
        }
        for name in alias.list("hostnames") {
            shape(&name, "the host name", names::subdomain, out);
        }
    }
}
