//! The power of a machine cut while its agent works: it starts again with the disk as the cut left it, the agent comes to
//! what the newest commit asks for, and everything looks as it does where nothing was cut.
//!
//! What a cut does: all that the kernel had in memory is lost, as the machine is killed. What it had written to the disk since
//! the last flush is lost, too, as a whole or in part, see [`super::log`]: a disk with a write cache of its own. The moment
//! is by turns when the machine has come to rest, right before the disk is flushed, and any request since the agent's start.
//! A machine that works writes down what it asks of its disk, which tells what a cut at each of many moments leaves: for
//! each there is a machine that starts with that, and the one for the last moment works on.
//!
//! The kernel of the machine writes nothing to the disk by itself, see [`FORGETFUL`]. After each cut the disk is looked at
//! from outside, see [`super::kept`]: what is there must be whole, and what was there at rest must still be.
//!
//! `PODWRIGHT_POWER_CUTS=500` cuts as often, `PODWRIGHT_POWER_SEED=N` throws the dice of another run again; what the machine
//! does at a moment is not the same each time.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use super::booted::Booted;
use super::log::{Log, Loss};
use super::machine::{Disk, Machine};
use super::{disk, kept};
use crate::dice::{Dice, fresh_seed, setting};
use crate::e2e::picture::{normal, of_any_instance};

/// How often the power is cut unless the environment says otherwise.
const CUTS: usize = 50;
const DISK_MEGABYTES: u32 = 48;
/// Machines that are cut side by side.
const MACHINES: usize = 2;
/// How many moments there are in the work of a machine.
const MOMENTS_OF_WORK: usize = 5;
/// A machine that works comes to rest so often, or once more, and then goes on for fewer milliseconds than these.
const RESTS: usize = 2;
const WORK: usize = 4_000;

const DATA: &str = r#"
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {key: VALUE}
---
apiVersion: v1
kind: Secret
metadata: {name: token}
stringData: {secret: hidden}
---
apiVersion: v1
kind: Pod
metadata: {name: host}
spec:
  terminationGracePeriodSeconds: 0
  volumes:
  - {name: config, configMap: {name: settings}}
  containers:
  - name: app
    image: podwright.invalid/host
    command: [sleep, "100000"]
    volumeMounts: [{name: config, mountPath: /tmp}]
"#;

const WEB: &str = r#"
---
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {label: VALUE}}
spec:
  terminationGracePeriodSeconds: 0
  volumes:
  - {name: config, configMap: {name: settings}}
  - {name: keys, secret: {secretName: token}}
  - {name: disk, emptyDir: {}}
  initContainers:
  - name: first
    image: busybox
    imagePullPolicy: Never
    command: [sh, -c, "echo made > /disk/made"]
    volumeMounts: [{name: disk, mountPath: /disk}]
  containers:
  - name: app
    image: busybox
    imagePullPolicy: Never
    command: [sleep, "COMMAND"]
    resources: {limits: {cpu: CPU, memory: 64Mi}}
    ports: [{containerPort: 8080, hostPort: 8080}]
    volumeMounts:
    - {name: config, mountPath: /config}
    - {name: keys, mountPath: /keys}
    - {name: disk, mountPath: /disk}
"#;

/// The commits, one after the other and again from the first: create, update in place, recreate, remove.
fn commits() -> Vec<String> {
    let with_web = |value: &str, command: &str, cpu: &str| {
        (DATA.to_owned() + WEB).replace("VALUE", value).replace("COMMAND", command).replace("CPU", cpu)
    };
    vec![
        with_web("one", "100000", "500m"),
        with_web("two", "100000", "250m"),
        with_web("two", "200000", "250m"),
        DATA.replace("VALUE", "three"),
    ]
}

/// Has the kernel keep in memory whatever nobody asked it to flush. By itself it would write the journal every 5 seconds and
/// a file's bytes when a rename replaces another file by it (auto_da_alloc): a flush that is missing in the agent would then
/// rarely be missed.
const FORGETFUL: &str = "\
mount -t ext4 -o remount,noauto_da_alloc,commit=100000 /dev/vdb /var
echo 0 >/proc/sys/vm/dirty_writeback_centisecs
grep -q '^/dev/vdb .*noauto_da_alloc.*commit=100000' /proc/mounts || { echo '@@ the kernel still writes by itself'; exit 1; }
";

/// Works from commit to commit and says on the serial line how the machine looks after each. After the last commit of a
/// round the image is removed, and before the first it is loaded again, at no other time. What the load has left is said
/// before any container uses it: the end of one flushes the whole file system, as the kernel does it for an overlay.
const WORK_SCRIPT: &str = r#"
. /usr/share/podwright/functions
exec >/dev/ttyS1 2>&1
FORGETFUL
holds() {
    (cd $root && find ./$1 -type f | xargs sha256sum) 2>/dev/null | sed 's/^/holds /'
}
nothing_fails=1
at=0
for commit in COMMITS; do
    [ $commit != "$(newest)" ] || break
    at=$((at + 1))
done
agent STATUS
while :; do
    settle
    [ $at != 3 ] || podwright image rm busybox || podwright image prune
    holds
    echo "@@ picture $at"
    picture
    holds
    echo "@@ pictured"
    if [ $at = 3 ]; then
        podwright image load /usr/share/podwright/busybox.tar
        holds images
        echo "@@ loaded"
        at=-1
    fi
    at=$((at + 1))
    i=0
    for commit in COMMITS; do
        [ $i != $at ] || commit $commit
        i=$((i + 1))
    done
done
"#;

/// Of one machine the status is not on the disk: it is written last, and ext4 flushes all names before it with it, which
/// hides what was to be flushed earlier.
const STATUS: [&str; MACHINES] = ["--status-file /run/status.yaml", ""];

type Pictures = BTreeMap<usize, BTreeSet<String>>;

/// A machine at rest.
struct Picture {
    commit: usize,
    lines: BTreeSet<String>,
    rest: Rest,
    /// Before that an image was loaded, and nothing had used it yet.
    loaded: Option<Rest>,
}

/// A moment at which everything that was done is to be on the disk.
struct Rest {
    kept: kept::Files,
    /// How many requests to the disk there were, if they are written down.
    requests: usize,
}

/// Waits for the next picture.
fn picture(machine: &Machine, written: Option<&Path>) -> Picture {
    let next = || machine.printed("a picture", |line| line.starts_with("@@"));
    let requests = || written.map_or(0, |log| Log::read(log).len());
    let (mut before, mut line) = next();
    let mut loaded = None;
    if line == "@@ loaded" {
        loaded = Some(Rest { kept: kept::told(&before), requests: requests() });
        (before, line) = next();
    }
    let number = line.strip_prefix("@@ picture ").unwrap_or_else(|| {
        panic!("{line}\n{}\nconsole:\n{}", before.join("\n"), machine.console());
    });
    let requests = requests();
    let (lines, _) = machine.printed("the end of a picture", |line| line == "@@ pictured");
    // What is the same before and after was at rest in between.
    let (mut kept, after) = (kept::told(&before), kept::told(&lines));
    kept.retain(|path, content| after.get(path) == Some(content));
    let instance = lines.iter().find_map(|line| line.strip_prefix("instance ")).expect("the instance's name");
    let plain = |line: &String| without_numbers(&of_any_instance(&normal(line), instance));
    // Of an instance that ended with the power the end is still told.
    let is_end = |line: &String| line.starts_with("f ./pods/UID/containers/") && line.ends_with("/exit.json");
    // What the kernel was making in the work directory of an overlay stays there until the instance is forgotten.
    // The last report is written now and then.
    let is_half_made = |line: &&String| line.contains("/work/work/#") || line.contains("snapshot.json");
    let pictured = lines.iter().filter(|line| !line.starts_with("holds ") && !is_half_made(line));
    let lines = pictured.map(plain).filter(|line| !is_end(line)).collect();
    Picture { commit: number.parse().unwrap(), lines, rest: Rest { kept, requests }, loaded }
}

/// How often something was tried, instances and pids differ, and addresses with them, whose digits of IPv6 are hexadecimal.
fn without_numbers(line: &str) -> String {
    let mut out = String::new();
    for c in line.chars() {
        let of_address = ["SUBNET#::", "SUBNET#::#"].iter().any(|before| out.ends_with(before));
        match c.is_ascii_digit() || of_address && c.is_ascii_hexdigit() {
            true if out.ends_with('#') => {}
            true => out.push('#'),
            false => out.push(c),
        }
    }
    out
}

#[test]
fn the_number_of_an_address_is_no_difference() {
    for address in ["9", "a", "1f", "a2"] {
        let line = format!("rule elements = {{ udp . 8 : SUBNET6::{address} . 53 }}");
        assert_eq!(without_numbers(&line), "rule elements = { udp . # : SUBNET#::# . # }", "{address}");
    }
}

/// How the machine looks after each commit where nothing is cut.
fn undisturbed(world: &World<'_>, dir: &Path) -> Pictures {
    let image = dir.join("undisturbed.img");
    std::fs::copy(world.first, &image).unwrap();
    let mut machine = world.booted.go_on(Disk::Plain(&image), &dir.join("undisturbed.console"));
    machine.begin(world.script);
    let mut pictures = Pictures::new();
    for _ in 0..=commits().len() {
        let picture = picture(&machine, None);
        pictures.insert(picture.commit, picture.lines);
    }
    pictures
}

#[test]
fn e2e_vm_power_cuts_change_nothing_but_the_time_it_takes() {
    if !disk::can_run() {
        return;
    }
    let seed = setting("PODWRIGHT_POWER_SEED").unwrap_or_else(fresh_seed);
    let cuts = setting("PODWRIGHT_POWER_CUTS").map_or(CUTS, |n| usize::try_from(n).unwrap());
    println!(
        "again with: PODWRIGHT_E2E=1 PODWRIGHT_POWER_SEED={seed} PODWRIGHT_POWER_CUTS={cuts} cargo test --test it -- \
         e2e_vm_power --nocapture"
    );
    let temp = tempfile::Builder::new().prefix("podwright-power-").tempdir().unwrap();
    let dir = temp.path();
    let root = disk::root(dir);
    // The last commit of a round is the first one here: the image is not there yet.
    let (first, ids) = disk::var(dir, &commits(), DISK_MEGABYTES);
    let script = WORK_SCRIPT.replace("COMMITS", &ids.join(" ")).replace("FORGETFUL", FORGETFUL);
    let scripts = STATUS.map(|status| script.replace("STATUS", status));
    let booted = Booted::new(&root, &first, dir);
    let worlds = scripts.each_ref().map(|script| World { booted: &booted, first: &first, script });
    std::thread::scope(|scope| {
        let peaceful = scope.spawn(|| undisturbed(&worlds[0], dir));
        let cut = |number: usize| {
            let (world, own, cuts) = (&worlds[number], dir.join(number.to_string()), (cuts + number) / MACHINES);
            std::fs::create_dir(&own).unwrap();
            scope.spawn(move || disturbed(world, &own, cuts, &mut Dice::new(seed + number as u64)))
        };
        let cut: Vec<_> = (0..MACHINES).map(cut).collect();
        let expected = peaceful.join().unwrap();
        cut.into_iter().for_each(|machine| compare(&expected, machine.join().unwrap()));
    });
}

/// What all machines have.
struct World<'a> {
    booted: &'a Booted<'a>,
    first: &'a Path,
    script: &'a str,
}

fn compare(expected: &Pictures, found: Vec<Found>) {
    let mut wrong = Vec::new();
    for Found { cuts, commit, lines, console } in found {
        let gone: Vec<&String> = expected[&commit].difference(&lines).collect();
        let more: Vec<&String> = lines.difference(&expected[&commit]).collect();
        if !gone.is_empty() || !more.is_empty() {
            wrong.push(format!("after {cuts} cuts, commit {commit}: - {gone:#?} + {more:#?}\nconsole:\n{console}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// A machine that came to rest.
struct Found {
    /// How many cuts there were before.
    cuts: usize,
    commit: usize,
    lines: BTreeSet<String>,
    console: String,
}

/// When the power is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moment {
    /// The machine was at rest: nothing that matters may be lost.
    AtRest,
    /// The disk was about to be flushed: as much as ever may be lost.
    BeforeFlush,
    /// Any.
    Any,
}

const MOMENTS: [Moment; 3] = [Moment::AtRest, Moment::BeforeFlush, Moment::Any];

/// What a machine did until its power was cut.
struct Work {
    found: Vec<Found>,
    /// What it asked of its disk, and how many of these requests there were before the agent started.
    log: Log,
    before: usize,
    /// The moments at which it had come to rest after something new; after a load of the image first.
    rests: Vec<Rest>,
}

impl Work {
    /// Changes a disk as it was before the work into what a cut leaves, looks at that, and says when it was.
    fn cut(&self, moment: Moment, number: usize, image: &Path, dice: &mut Dice) {
        let (log, before, nothing) = (&self.log, self.before, kept::Files::new());
        let (at, loss, kept) = match moment {
            Moment::AtRest => {
                let rest = &self.rests[number / MOMENTS.len() % self.rests.len()];
                (rest.requests, Loss::All, &rest.kept)
            }
            Moment::BeforeFlush => {
                let flushes: Vec<usize> = log.flushes().into_iter().filter(|at| *at > before).collect();
                let loss = if dice.below(2) == 0 { Loss::All } else { Loss::Part };
                (flushes[dice.below(flushes.len())], loss, &nothing)
            }
            Moment::Any => (before + dice.below(log.len() - before) + 1, Loss::Part, &nothing),
        };
        let lost = log.cut(at, image, loss, dice);
        let what = format!("{}, {moment:?}: after {at} of {} requests", image.display(), log.len());
        println!("{what}, {lost} of them lost");
        inspect(image, kept, &what);
    }
}

/// Cuts the power of a machine again and again.
fn disturbed(world: &World<'_>, dir: &Path, cuts: usize, dice: &mut Dice) -> Vec<Found> {
    let (base, image) = (dir.join("base.img"), dir.join("cut.img"));
    std::fs::copy(world.first, &base).unwrap();
    let mut found = Vec::new();
    let mut done = 0;
    loop {
        let moments = MOMENTS_OF_WORK.min(cuts - done);
        if moments == 0 {
            found.extend(work(world, dir, &base, (1, 0), done).found);
            return found;
        }
        let until = (RESTS + dice.below(2), dice.below(WORK));
        let mut work_done = work(world, dir, &base, until, done);
        found.append(&mut work_done.found);
        for left in (0..moments).rev() {
            std::fs::copy(&base, &image).unwrap();
            work_done.cut(MOMENTS[done % MOMENTS.len()], done, &image, dice);
            done += 1;
            if left > 0 {
                found.extend(work(world, dir, &image, (1, 0), done).found);
            }
        }
        std::fs::rename(&image, &base).unwrap();
    }
}

/// Has a machine that starts with a disk come to rest so often, and go on for some milliseconds until its power is cut.
fn work(world: &World<'_>, dir: &Path, base: &Path, (rests, more): (usize, usize), cuts: usize) -> Work {
    let (running, written) = (dir.join("running.img"), dir.join("written"));
    std::fs::copy(base, &running).unwrap();
    std::fs::write(&written, "").unwrap();
    let mut machine = world.booted.go_on(Disk::Logged(&running, &written), &dir.join("console"));
    let before = Log::read(&written).len();
    machine.begin(world.script);
    let (mut found, mut at_rest) = (Vec::new(), Vec::new());
    for number in 0..rests {
        let seen = picture(&machine, Some(&written));
        found.push(Found { cuts, commit: seen.commit, lines: seen.lines, console: machine.console() });
        // The first commit is one from before: only at rest after another one there is something new to lose.
        if number > 0 {
            at_rest.push(seen.rest);
        }
        if let Some(loaded) = seen.loaded {
            at_rest.insert(0, loaded);
        }
    }
    machine.cut(Duration::from_millis(more as u64));
    Work { found, log: Log::read(&written), before, rests: at_rest }
}

/// Looks at what a cut has left on a disk, by way of a copy.
fn inspect(image: &Path, kept: &kept::Files, what: &str) {
    let temp = tempfile::Builder::new().prefix("podwright-power-").tempdir().unwrap();
    let (copy, files) = (temp.path().join("copy.img"), temp.path().join("files"));
    std::fs::copy(image, &copy).unwrap();
    std::fs::create_dir(&files).unwrap();
    disk::check(&copy);
    disk::copy_out(&copy, "/lib/podwright", &files);
    let wrong = kept::wrong(&files.join("podwright"), kept);
    assert!(wrong.is_empty(), "{what}: on the disk\n  {}", wrong.join("\n  "));
}
