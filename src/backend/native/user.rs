//! Who a container runs as: numbers out of the pod, or names looked up in the image's own `/etc/passwd` and
//! `/etc/group`. Both files are foreign: what cannot be read in them is skipped.

use k8s_openapi::api::core::v1::{Container, PodSpec};

/// The largest uid or gid, as runc and containerd have it.
const MOST: u32 = i32::MAX as u32;
/// A longer line of a file is no entry.
const LONGEST_LINE: usize = 1 << 16;

/// Numbers and home directory of a container's first process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    pub uid: u32,
    pub gid: u32,
    /// All groups, the first one included, in ascending order, each once.
    pub groups: Vec<u32>,
    /// From the image's `/etc/passwd`, when it has the user.
    pub home: Option<String>,
}

/// What a pod says about the user of one container, with what it says for all containers filled in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wish {
    pub user: Option<i64>,
    pub group: Option<i64>,
    pub supplemental: Vec<i64>,
    /// The group of the pod's volumes.
    pub volumes: Option<i64>,
    pub non_root: bool,
    /// `supplementalGroupsPolicy: Strict`: the image's `/etc/group` gives none.
    pub strict: bool,
}

impl Wish {
    /// The wishes of a container of a pod: its own security context before the pod's.
    pub fn of(pod: &PodSpec, container: &Container) -> Self {
        let (pod, own) = (pod.security_context.as_ref(), container.security_context.as_ref());
        Self {
            user: own.and_then(|s| s.run_as_user).or_else(|| pod.and_then(|s| s.run_as_user)),
            group: own.and_then(|s| s.run_as_group).or_else(|| pod.and_then(|s| s.run_as_group)),
            supplemental: pod.and_then(|s| s.supplemental_groups.clone()).unwrap_or_default(),
            volumes: pod.and_then(|s| s.fs_group),
            non_root: own
                .and_then(|s| s.run_as_non_root)
                .or_else(|| pod.and_then(|s| s.run_as_non_root))
                .unwrap_or(false),
            strict: pod.and_then(|s| s.supplemental_groups_policy.as_deref()) == Some("Strict"),
        }
    }
}

struct Entry<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

/// The image's account files; empty where it has none.
#[derive(Clone, Copy, Debug, Default)]
pub struct Accounts<'a> {
    pub passwd: &'a [u8],
    pub group: &'a [u8],
}

/// Lines of an account file, as fields.
fn fields(file: &[u8]) -> impl Iterator<Item = Vec<&str>> {
    file.split(|b| *b == b'\n')
        .filter(|line| line.len() <= LONGEST_LINE)
        .filter_map(|line| std::str::from_utf8(line).ok())
        .map(|line| line.trim_end_matches('\r'))
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| line.split(':').collect())
}

fn number(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if digits { text.parse().ok().filter(|n| *n <= MOST) } else { None }
}

impl<'a> Accounts<'a> {
    fn users(&self) -> impl Iterator<Item = Entry<'a>> + use<'a> {
        fields(self.passwd).filter_map(|fields| match fields[..] {
            [name, _, uid, gid, _, home, ..] if !name.is_empty() => {
                Some(Entry { name, uid: number(uid)?, gid: number(gid)?, home })
            }
            _ => None,
        })
    }

    /// Name, gid and members of each group.
    fn groups(&self) -> impl Iterator<Item = (&'a str, u32, &'a str)> + use<'a> {
        fields(self.group).filter_map(|fields| match fields[..] {
            [name, _, gid, members, ..] if !name.is_empty() => Some((name, number(gid)?, members)),
            [name, _, gid] if !name.is_empty() => Some((name, number(gid)?, "")),
            _ => None,
        })
    }

    /// The first entry with this name or, for digits, this uid.
    fn user(&self, text: &str) -> Option<Entry<'a>> {
        self.users().find(|e| e.name == text || number(text) == Some(e.uid))
    }
}

/// Resolves the user.
///
/// # Errors
/// In the kubelet's or containerd's words, for `CreateContainerConfigError`.
pub fn resolve(wish: &Wish, image_user: &str, accounts: &Accounts<'_>) -> Result<Identity, String> {
    let checked = |what: &str, value: i64| {
        u32::try_from(value).ok().filter(|n| *n <= MOST).ok_or_else(|| format!("{what} {value} is out of range"))
    };
    let (user, group) = image_user.split_once(':').map_or((image_user, None), |(u, g)| (u, Some(g)));
    let (uid, mut gid, entry) = match wish.user {
        Some(uid) => {
            let uid = checked("runAsUser", uid)?;
            let entry = accounts.users().find(|e| e.uid == uid);
            (uid, entry.as_ref().map_or(0, |e| e.gid), entry)
        }
        None => image_account(user, group, accounts)?,
    };
    if wish.non_root {
        check_non_root(wish, user, uid)?;
    }
    if let Some(group) = wish.group {
        gid = checked("runAsGroup", group)?;
    }
    let mut groups = vec![gid];
    if let Some(entry) = entry.as_ref().filter(|_| !wish.strict) {
        groups.extend(
            accounts
                .groups()
                .filter(|(_, _, members)| members.split(',').any(|m| m == entry.name))
                .map(|(_, gid, _)| gid),
        );
    }
    if let Some(group) = wish.volumes {
        groups.push(checked("fsGroup", group)?);
    }
    for group in &wish.supplemental {
        groups.push(checked("supplementalGroups", *group)?);
    }
    groups.sort_unstable();
    groups.dedup();
    let home = entry.map(|e| e.home.to_owned()).filter(|h| h.starts_with('/') && !h.contains('\0'));
    Ok(Identity { uid, gid, groups, home })
}

/// The image's own `USER`.
fn image_account<'a>(
    user: &str,
    group: Option<&str>,
    accounts: &Accounts<'a>,
) -> Result<(u32, u32, Option<Entry<'a>>), String> {
    let entry = accounts.user(if user.is_empty() { "0" } else { user });
    let uid = match (&entry, number(user)) {
        (Some(entry), _) => entry.uid,
        (None, Some(uid)) => uid,
        (None, None) if user.is_empty() => 0,
        (None, None) => return Err(format!("unable to find user {user}: no matching entries in passwd file")),
    };
    let gid = match group.filter(|g| !g.is_empty()) {
        None => entry.as_ref().map_or(0, |e| e.gid),
        Some(group) => {
            let found = accounts.groups().find(|(name, gid, _)| *name == group || number(group) == Some(*gid));
            match (found, number(group)) {
                (Some((_, gid, _)), _) => gid,
                (None, Some(gid)) => gid,
                (None, None) => {
                    return Err(format!("unable to find group {group}: no matching entries in group file"));
                }
            }
        }
    };
    Ok((uid, gid, entry))
}

/// `runAsNonRoot`, checked as the kubelet does: a name proves nothing, for the image decides what it means.
fn check_non_root(wish: &Wish, image_user: &str, uid: u32) -> Result<(), String> {
    if wish.user.is_some() {
        let broken = "container's runAsUser breaks non-root policy";
        return if uid == 0 { Err(broken.to_owned()) } else { Ok(()) };
    }
    if !image_user.is_empty() && number(image_user).is_none() {
        return Err(format!(
            "container has runAsNonRoot and image has non-numeric user ({image_user}), cannot verify user is non-root"
        ));
    }
    if uid == 0 { Err("container has runAsNonRoot and image will run as root".to_owned()) } else { Ok(()) }
}
