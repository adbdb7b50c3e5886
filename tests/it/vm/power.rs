//! The power of a machine cut while its agent works: it starts again with the disk as the cut left it, the agent comes to
//! what the newest commit asks for, and everything looks as it does where nothing was cut.
//!
//! What a cut does: all that the kernel had in memory is lost, as the machine is killed. Of what it had written to the disk
//! since the last flush a random part is lost, too, see [`super::log`]: a disk with a write cache of its own. The moment is
//! a random one of all requests to the disk since the agent's start.
//!
//! `PODWRIGHT_POWER_CUTS=50` cuts as often, `PODWRIGHT_POWER_SEED=N` throws the dice of another run again; what the machine
//! does at a moment is not the same each time.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use super::disk;
use super::log::Log;
use super::machine::{Disk, Machine};
use crate::e2e::picture::normal;

/// How often the power is cut unless the environment says otherwise.
const CUTS: usize = 6;
const DISK_MEGABYTES: u32 = 48;
/// Machines that are cut side by side.
const MACHINES: usize = 2;
/// A machine goes on for fewer commits than these after it came to rest, and then for at most so many milliseconds.
const STEPS: usize = 3;
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

/// Works from commit to commit and says on the serial line how the machine looks after each. After the last commit of a
/// round the image is removed, and before the first it is loaded again, at no other time.
const WORK_SCRIPT: &str = r#"
. /usr/share/podwright/functions
exec >/dev/ttyS1 2>&1
nothing_fails=1
at=0
for commit in COMMITS; do
    [ $commit != "$(newest)" ] || break
    at=$((at + 1))
done
agent
while :; do
    settle
    [ $at != 3 ] || podwright image rm busybox || podwright image prune
    echo "@@ picture $at"
    picture
    echo "@@ pictured"
    if [ $at = 3 ]; then
        podwright image load /usr/share/podwright/busybox.tar
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

/// Small, quick, and the same numbers for the same seed (xorshift64*).
pub struct Dice(u64);

impl Dice {
    /// Dice that throw what those of the same seed throw.
    pub fn new(seed: u64) -> Dice {
        Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number below `limit`.
    pub fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16;
        usize::try_from(number % u64::try_from(limit).unwrap()).unwrap()
    }
}

type Pictures = BTreeMap<usize, BTreeSet<String>>;

/// Waits for the next picture: of which commit, and what is in it.
fn picture(machine: &Machine) -> (usize, BTreeSet<String>) {
    let (before, line) = machine.printed("a picture", |line| line.starts_with("@@"));
    let number = line.strip_prefix("@@ picture ").unwrap_or_else(|| {
        panic!("{line}\n{}\nconsole:\n{}", before.join("\n"), machine.console());
    });
    let (lines, _) = machine.printed("the end of a picture", |line| line == "@@ pictured");
    let instance = lines.iter().find_map(|line| line.strip_prefix("instance ")).expect("the instance's name");
    let plain = |line: &String| without_numbers(&normal(line).replace(instance, "INSTANCE"));
    // Of an instance that ended with the power the end is still told.
    let is_end = |line: &String| line.starts_with("f ./pods/UID/containers/") && line.ends_with("/exit.json");
    let seen: BTreeSet<String> = lines.iter().map(plain).filter(|line| !is_end(line)).collect();
    (number.parse().unwrap(), seen)
}

/// How often something was tried, instances and pids differ.
fn without_numbers(line: &str) -> String {
    let mut out = String::new();
    for c in line.chars() {
        match c.is_ascii_digit() {
            true if out.ends_with('#') => {}
            true => out.push('#'),
            false => out.push(c),
        }
    }
    out
}

/// How the machine looks after each commit where nothing is cut.
fn undisturbed(world: &World<'_>, dir: &Path) -> Pictures {
    let image = dir.join("undisturbed.img");
    std::fs::copy(world.first, &image).unwrap();
    let mut machine = Machine::boot(world.root, Disk::Plain(&image), &dir.join("undisturbed.console"));
    machine.begin(world.script);
    let mut pictures = Pictures::new();
    for _ in 0..=commits().len() {
        let (number, lines) = picture(&machine);
        pictures.insert(number, lines);
    }
    pictures
}

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|e| panic!("{name}: {e}")))
}

#[test]
fn e2e_vm_power_cuts_change_nothing_but_the_time_it_takes() {
    if !disk::can_run() {
        return;
    }
    let seed = setting("PODWRIGHT_POWER_SEED").unwrap_or_else(|| u64::from(std::process::id()) ^ now());
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
    let script = WORK_SCRIPT.replace("COMMITS", &ids.join(" "));
    let world = World { root: &root, first: &first, script: &script };
    std::thread::scope(|scope| {
        let peaceful = scope.spawn(|| undisturbed(&world, dir));
        let cut = |number: usize| {
            let (world, own, cuts) = (&world, dir.join(number.to_string()), (cuts + number) / MACHINES);
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
    root: &'a Path,
    first: &'a Path,
    script: &'a str,
}

fn compare(expected: &Pictures, found: Vec<Found>) {
    for Found { cuts, commit, lines, console } in found {
        let gone: Vec<&String> = expected[&commit].difference(&lines).collect();
        let more: Vec<&String> = lines.difference(&expected[&commit]).collect();
        assert!(
            gone.is_empty() && more.is_empty(),
            "after {cuts} cuts, commit {commit}: - {gone:#?} + {more:#?}\nconsole:\n{console}"
        );
    }
}

fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
}

/// A machine that came to rest.
struct Found {
    /// How many cuts there were before.
    cuts: usize,
    commit: usize,
    lines: BTreeSet<String>,
    console: String,
}

/// Cuts the power of a machine again and again.
fn disturbed(world: &World<'_>, dir: &Path, cuts: usize, dice: &mut Dice) -> Vec<Found> {
    let (image, running, written) = (dir.join("cut.img"), dir.join("running.img"), dir.join("written"));
    std::fs::copy(world.first, &image).unwrap();
    let mut found = Vec::new();
    for cut in 0..=cuts {
        std::fs::copy(&image, &running).unwrap();
        disk::check(&running);
        std::fs::copy(&image, &running).unwrap();
        std::fs::write(&written, "").unwrap();
        let mut machine = Machine::boot(world.root, Disk::Logged(&running, &written), &dir.join("console"));
        let before = Log::read(&written).len();
        machine.begin(world.script);
        for _ in 0..=dice.below(STEPS) {
            let (commit, lines) = picture(&machine);
            found.push(Found { cuts: cut, commit, lines, console: machine.console() });
        }
        if cut == cuts {
            break;
        }
        machine.cut(Duration::from_millis(dice.below(WORK) as u64));
        let log = Log::read(&written);
        let at = before + dice.below(log.len() - before) + 1;
        let lost = log.cut(at, &image, dice);
        println!("cut {} of {}: after {at} of {} requests, {lost} of them lost", cut + 1, dir.display(), log.len());
    }
    found
}
