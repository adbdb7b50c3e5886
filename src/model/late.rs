//! Values of variables that are in files of volumes (`valueFrom.fileKeyRef`): what they are is known when their container starts.
//! Until then a mark stands for each, in its variable and wherever that is used. A mark has NULs, which nothing has that a process
//! can be started with.

use std::cell::Cell;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use super::{ContainerStart, EnvValue, Masked, MountSource, env_file};

/// The kernel takes no longer word or variable (`MAX_ARG_STRLEN`); its end is a byte of its own.
const LONGEST: usize = 128 << 10;
/// Nor more than so many bytes of all of them (three quarters of `_STK_LIM`).
const MOST: usize = 6 << 20;

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LateValue {
    /// The variable.
    pub name: String,
    /// An emptyDir of the pod, a file in it, and a key of that.
    pub volume: String,
    pub path: String,
    pub key: String,
    /// Without a value the variable is what it was before.
    pub optional: bool,
    /// What that is, if it was something; it may be a mark itself.
    pub before: Option<Masked<String>>,
}

/// The mark of a variable that has one, by its number.
pub fn mark(number: usize) -> String {
    format!("\0={number}\0")
}

/// What stands where a variable of this value is used.
pub fn used(value: &str) -> String {
    whole(value).map_or_else(|| value.to_owned(), |number| format!("\0${number}\0"))
}

/// The number of a value that is a variable's mark and nothing else.
fn whole(value: &str) -> Option<usize> {
    value.strip_prefix("\0=")?.strip_suffix('\0')?.parse().ok()
}

/// The values that the files have. `read` gives the text of a file of a volume, or why there is none; it is asked once for each.
///
/// # Errors
/// In the kubelet's words (pkg/kubelet/kubelet_pods.go, `makeEnvironmentVariables`), and what is wrong with the file.
pub fn read<'a>(
    late: &'a [LateValue],
    mut read: impl FnMut(&str, &str) -> Result<String, String>,
) -> Result<Vec<Option<String>>, String> {
    let mut texts: BTreeMap<(&str, &str), String> = BTreeMap::new();
    // One file may be told of by many paths.
    let mut kept = 0;
    let mut one = |late: &'a LateValue| -> Result<Option<String>, String> {
        let LateValue { volume, path, key, optional, .. } = late;
        let broken = |why: String| format!("couldn't parse env file {path:?} of volume {volume}: {why}");
        let place = (volume.as_str(), path.as_str());
        if let Entry::Vacant(new) = texts.entry(place) {
            let text = new.insert(read(volume, path).map_err(broken)?);
            kept += text.len();
            if kept > MOST {
                return Err(too_much());
            }
        }
        let value = env_file::value(texts.get(&place).map_or("", String::as_str), key).map_err(broken)?;
        match value {
            // Nothing can be started with it, and a mark could be made of it.
            Some(value) if value.contains('\0') => Err(broken("a value has a NUL".to_owned())),
            Some(value) if value.len() >= LONGEST => Err(broken(format!("a value has {LONGEST} bytes or more"))),
            None if !optional => Err(format!("environment variable key {key:?} not found in file {path:?}")),
            value => Ok(value),
        }
    };
    let mut sum = 0;
    let mut bounded = |late: &'a LateValue| {
        let value = one(late)?;
        sum += value.as_ref().map_or(0, String::len);
        if sum > MOST { Err(too_much()) } else { Ok(value) }
    };
    late.iter().map(&mut bounded).collect()
}

fn too_much() -> String {
    format!("values of files make a word of {LONGEST} bytes or more, or over {MOST} bytes of all together")
}

/// What the path of a part of a volume must be (pkg/kubelet/kubelet_pods.go, `makeMounts`).
///
/// # Errors
/// In the kubelet's words, with the path as it is written: the kubelet tells the values of variables there.
pub fn check_sub_path(written: &str, path: &str) -> Result<(), String> {
    if path.starts_with('/') {
        return Err(format!("error SubPath `{written}` must not be an absolute path"));
    }
    if path.split('/').any(|part| part == "..") {
        return Err(format!("unable to provision SubPath `{written}`: must not contain '..'"));
    }
    Ok(())
}

impl ContainerStart {
    /// The same with values in place of their marks, in the order of `late`; `None` for a variable that is not set by its file.
    ///
    /// # Errors
    /// In the kubelet's words, when a part of a volume cannot be called so; when it is more than a process can be started with.
    pub fn with_late(&self, values: &[Option<String>]) -> Result<Self, String> {
        let known = Known::new(&self.late, values);
        let words = |list: &Option<Vec<Masked<String>>>| -> Option<Vec<Masked<String>>> {
            Some(list.as_ref()?.iter().map(|word| Masked::new(known.text(word.reveal()))).collect())
        };
        let variable = |variable: &EnvValue| {
            let value = variable.value.reveal();
            let value = whole(value).map_or_else(|| Some(known.text(value)), |number| known.value(number))?;
            Some(EnvValue { name: variable.name.clone(), value: Masked::new(value) })
        };
        let mut start = Self {
            command: words(&self.command),
            args: words(&self.args),
            env: self.env.iter().filter_map(variable).collect(),
            late: Vec::new(),
            ..self.clone()
        };
        for mount in &mut start.mounts {
            let (MountSource::Volume { sub_path, .. } | MountSource::Image { sub_path, .. }) = &mut mount.source;
            if let Some(part) = sub_path.as_mut().filter(|part| part.path.reveal().contains('\0')) {
                let path = known.path(part.path.reveal())?;
                check_sub_path(&part.written, &path)?;
                part.path = Masked::new(path);
            }
        }
        known.room.is_enough().then_some(start).ok_or_else(too_much)
    }
}

/// What each mark stands for.
struct Known<'a> {
    late: &'a [LateValue],
    values: Vec<Option<String>>,
    room: Room,
}

/// How much may yet be written. What does not fit is left out, and then nothing is started.
struct Room {
    left: Cell<usize>,
    is_over: Cell<bool>,
}

impl Room {
    fn is_enough(&self) -> bool {
        !self.is_over.get()
    }

    /// Adds a text to another one.
    fn add(&self, out: &mut String, text: &str) {
        let fits = out.len() + text.len() < LONGEST && text.len() <= self.left.get();
        if fits {
            out.push_str(text);
            self.left.set(self.left.get() - text.len());
        } else {
            self.is_over.set(true);
        }
    }
}

impl<'a> Known<'a> {
    fn new(late: &'a [LateValue], values: &[Option<String>]) -> Self {
        let room = Room { left: Cell::new(MOST), is_over: Cell::new(false) };
        let mut known = Self { late, values: Vec::new(), room };
        // A name that is given again and again may have its value of before each time.
        let mut sum = 0;
        for (number, one) in late.iter().enumerate() {
            let before = || {
                let before = one.before.as_ref()?.reveal();
                whole(before).map_or_else(|| Some(known.text(before)), |number| known.value(number))
            };
            let value = values.get(number).cloned().flatten().or_else(before);
            sum += value.as_ref().map_or(0, String::len);
            if sum > MOST {
                known.room.is_over.set(true);
                break;
            }
            known.values.push(value);
        }
        known
    }

    fn value(&self, number: usize) -> Option<String> {
        self.values.get(number).cloned().flatten()
    }

    /// A text with what its marks stand for. A variable that is not set is left as it was written.
    fn text(&self, text: &str) -> String {
        let name = |number: usize| self.late.get(number).map_or("", |late| late.name.as_str());
        self.replaced(text, |number| self.value(number).unwrap_or_else(|| format!("$({})", name(number))))
    }

    /// The same of a path, in which each must have a value.
    fn path(&self, text: &str) -> Result<String, String> {
        let mut missing = BTreeSet::new();
        let path = self.replaced(text, |number| {
            let value = self.value(number).unwrap_or_default();
            if value.is_empty() {
                missing.extend(self.late.get(number).map(|late| late.name.as_str()));
            }
            value
        });
        match missing.is_empty() {
            true => Ok(path),
            false => Err(format!("missing value for {}", Vec::from_iter(missing).join(", "))),
        }
    }

    /// A text with something in place of each mark in it. One without any is as it was, however long.
    fn replaced(&self, text: &str, mut by: impl FnMut(usize) -> String) -> String {
        if !text.contains('\0') {
            return text.to_owned();
        }
        let mut out = String::new();
        // Between two NULs each: what is marked is at odd places.
        for (place, part) in text.split('\0').enumerate() {
            let number = part.strip_prefix('$').and_then(|number| number.parse::<usize>().ok());
            match number.filter(|_| place % 2 == 1) {
                Some(number) => self.room.add(&mut out, &by(number)),
                None => self.room.add(&mut out, part),
            }
            if !self.room.is_enough() {
                break;
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;
    use crate::model::{ContainerKind, ImageSource, MountMode, SubPath, VolumeMountPlan};

    fn late(name: &str, before: Option<String>) -> LateValue {
        let (volume, path, key) = ("v".to_owned(), "f".to_owned(), name.to_owned());
        LateValue { name: name.to_owned(), volume, path, key, optional: true, before: before.map(Masked::new) }
    }

    /// A start whose variables, words and parts of volumes are these.
    fn start(late: Vec<LateValue>, env: &[(&str, String)], words: &[String], part: Option<String>) -> ContainerStart {
        let env = env.iter().map(|(name, value)| EnvValue { name: (*name).into(), value: Masked::new(value.clone()) });
        let sub_path = part.map(|path| SubPath { written: "a/$(A)".into(), path: Masked::new(path) });
        let source = MountSource::Volume { name: "v".into(), sub_path };
        ContainerStart {
            name: "c".into(),
            kind: ContainerKind::App,
            attempt: 0,
            backoff: SignedDuration::ZERO,
            command: Some(words.iter().cloned().map(Masked::new).collect()),
            args: None,
            env: env.collect(),
            late,
            mounts: vec![VolumeMountPlan { source, mount_path: "/v".into(), mode: MountMode::default() }],
            data: None,
            image_source: ImageSource::Present,
        }
    }

    fn told(start: &ContainerStart) -> (Vec<String>, Vec<String>) {
        let env = start.env.iter().map(|one| format!("{}={}", one.name, one.value.reveal())).collect();
        (env, start.command.iter().flatten().map(|word| word.reveal().clone()).collect())
    }

    #[test]
    fn values_take_the_place_of_their_marks_and_what_is_not_set_is_what_it_was() {
        let (a, b) = (used(&mark(0)), used(&mark(1)));
        let late = vec![late("A", None), late("B", Some("old".into()))];
        let env = [("A", mark(0)), ("B", mark(1)), ("C", format!("<{a}{b}>")), ("D", a.clone()), ("E", "$(A)".into())];
        let start = start(late, &env, &["sh".into(), format!("{a}-{b}-{a}")], None);
        for (values, env, word) in [
            ([Some("x"), Some("y")], &["A=x", "B=y", "C=<xy>", "D=x", "E=$(A)"][..], "x-y-x"),
            ([Some("$(B)"), Some("$1")], &["A=$(B)", "B=$1", "C=<$(B)$1>", "D=$(B)", "E=$(A)"], "$(B)-$1-$(B)"),
            ([None, None], &["B=old", "C=<$(A)old>", "D=$(A)", "E=$(A)"], "$(A)-old-$(A)"),
        ] {
            let bound = start.with_late(&values.map(|value| value.map(str::to_owned))).unwrap();
            let expected = (env.iter().map(|one| (*one).to_owned()).collect(), vec!["sh".to_owned(), word.to_owned()]);
            assert_eq!(told(&bound), expected, "{values:?}");
            assert!(bound.late.is_empty() && !format!("{bound:?}").contains('\0'));
        }
    }

    #[test]
    fn a_variable_that_is_taken_from_two_files_has_the_later_value_that_there_is() {
        let late = vec![late("A", Some("old".into())), late("A", Some(mark(0)))];
        let start = start(late, &[("A", mark(1))], &[used(&mark(1))], None);
        for (values, expected) in
            [([Some("x"), Some("y")], "y"), ([Some("x"), None], "x"), ([None, Some("y")], "y"), ([None, None], "old")]
        {
            let bound = start.with_late(&values.map(|value| value.map(str::to_owned))).unwrap();
            assert_eq!(told(&bound), (vec![format!("A={expected}")], vec![expected.to_owned()]), "{values:?}");
        }
    }

    #[test]
    fn a_part_of_a_volume_is_checked_when_it_is_known() {
        let of_volume = start(vec![late("A", None)], &[], &[], Some(format!("a/{}", used(&mark(0)))));
        let mut of_image = of_volume.clone();
        let MountSource::Volume { name, sub_path } = of_volume.mounts[0].source.clone() else { unreachable!() };
        of_image.mounts[0].source = MountSource::Image { volume: name, image: "i:1".into(), sub_path };
        for start in [of_volume, of_image] {
            let bound = |value: Option<&str>| {
                let bound = start.with_late(&[value.map(str::to_owned)])?;
                assert!(!format!("{bound:?}").contains("hunter2"));
                match &bound.mounts[0].source {
                    MountSource::Volume { sub_path, .. } | MountSource::Image { sub_path, .. } => {
                        Ok(sub_path.as_ref().unwrap().path.reveal().clone())
                    }
                }
            };
            assert_eq!(bound(Some("hunter2")), Ok("a/hunter2".to_owned()));
            assert_eq!(bound(None), Err("missing value for A".to_owned()));
            let climbs = "unable to provision SubPath `a/$(A)`: must not contain '..'";
            assert_eq!(bound(Some("../hunter2")), Err(climbs.to_owned()));
        }
    }

    #[test]
    fn no_more_is_made_of_a_value_than_a_process_can_be_started_with() {
        let (a, value) = (used(&mark(0)), "x".repeat(LONGEST / 2));
        let bound = |words: &[String], before: Option<String>| {
            let start = start(vec![late("A", None), late("B", before)], &[("A", mark(0))], words, None);
            start.with_late(&[Some(value.clone()), None]).map(|bound| told(&bound).1.concat().len())
        };
        let fits = (MOST / value.len()) - 1;
        assert_eq!(bound(&vec![a.clone(); fits], None), Ok(fits * value.len()));
        // Of what is no value of a file the kernel says it.
        assert_eq!(bound(&["y".repeat(LONGEST)], None), Ok(LONGEST));
        for (words, before) in [
            (vec![a.clone(); fits + 2], None),
            (vec![a.clone(); 1_000_000], None),
            (vec![a.repeat(2)], None),
            (vec![a.repeat(1_000_000)], None),
            (vec![], Some(a.repeat(2))),
        ] {
            assert!(bound(&words, before).unwrap_err().contains("131072 bytes"));
        }
    }

    #[test]
    fn a_file_is_read_once_whatever_is_taken_from_it() {
        let mut other = late("C", None);
        other.path = "g".into();
        let all = [late("A", None), late("B", None), other, late("A", None)];
        let mut asked = Vec::new();
        let values = read(&all, |_, path| {
            asked.push(path.to_owned());
            Ok("A='a'\nB='b'\nC='c'".to_owned())
        });
        assert_eq!(values.unwrap().into_iter().flatten().collect::<String>(), "abca");
        assert_eq!(asked, ["f", "g"]);
        let long = format!("A='{}'", "x".repeat(60 << 10));
        let many = |count: usize| read(&vec![late("A", None); count], |_, _| Ok(long.clone())).map(|all| all.len());
        assert_eq!(many(100), Ok(100));
        assert_eq!(many(200), Err(too_much()));
        // Nor is a file kept more often than there is room for, whatever it is called.
        let at = |number: usize| LateValue { path: format!("{}f", "./".repeat(number)), ..late("B", None) };
        let paths = |count: usize| {
            let all: Vec<_> = (0..count).map(at).collect();
            read(&all, |_, _| Ok(long.clone())).map(|all| all.len())
        };
        assert_eq!((paths(100), paths(200)), (Ok(100), Err(too_much())));
    }

    #[test]
    fn a_value_of_before_is_not_kept_without_end() {
        let kept = |count: usize| {
            let before = |number: usize| number.checked_sub(1).map(mark);
            let all: Vec<_> = (0..count).map(|number| late("A", before(number))).collect();
            start(all, &[], &[], None).with_late(&[Some("x".repeat(60 << 10))]).map(|_| ())
        };
        assert_eq!((kept(100), kept(200)), (Ok(()), Err(too_much())));
    }

    #[test]
    fn what_is_wrong_with_a_file_is_told_without_its_values() {
        let needed = LateValue { optional: false, ..late("A", None) };
        let said = |late: &LateValue, text: Result<&str, &str>| {
            let text = text.map(str::to_owned).map_err(str::to_owned);
            read(std::slice::from_ref(late), |volume, path| {
                assert_eq!((volume, path), ("v", "f"));
                text.clone()
            })
        };
        assert_eq!(said(&needed, Ok("A='x'")), Ok(vec![Some("x".to_owned())]));
        assert_eq!(said(&late("A", None), Ok("B='x'")), Ok(vec![None]));
        let absent = "environment variable key \"A\" not found in file \"f\"";
        let broken = |why: &str| Err(format!("couldn't parse env file \"f\" of volume v: {why}"));
        assert_eq!(said(&needed, Ok("B='x'")), Err(absent.to_owned()));
        assert_eq!(said(&needed, Ok("A=''")), Err(absent.to_owned()));
        // As with the kubelet a file has to be there, optional or not.
        for one in [&needed, &late("A", None)] {
            assert_eq!(said(one, Err("why")), broken("why"));
            let line = "invalid environment variable format at line 1: value must be enclosed in single quotes";
            assert_eq!(said(one, Ok("A=hunter2")), broken(line));
            assert_eq!(said(one, Ok("A='\0$0\0'")), broken("a value has a NUL"));
            let long = format!("A='{}'", format!("{}\n", "x".repeat(1023)).repeat(LONGEST >> 10));
            assert_eq!(said(one, Ok(&long)), broken("a value has 131072 bytes or more"));
        }
    }
}
