//! `create`: the output of kubectl 1.32 and ours side by side, and everything that is refused.
//!
//! fixtures/create holds what kubectl v1.32.4 printed for each case with `--dry-run=client`. It is recorded anew with
//! `UPDATE_KUBECTL=/path/to/kubectl cargo test --test it cli::create`. The keys in its folder `input` protect nothing.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::harness::{Place, Said};

/// A name, and what follows `create`.
const CASES: &[(&str, &str)] = &[
    ("seed-user", "secret generic user --from-file=./username.txt"),
    ("seed-pass", "secret generic pass --from-file=./password.txt"),
    ("seed-ui-config", "configmap ui-config --from-file=ui.properties"),
    ("secret-literals", "secret generic s --from-literal=b=2 --from-literal=a=x=y --from-literal=empty="),
    (
        "secret-typed",
        "secret generic s --type=kubernetes.io/basic-auth --from-literal=username=u --from-literal=password=p -n shop",
    ),
    ("secret-empty", "secret generic s"),
    ("secret-directory", "secret generic s --from-file=dir"),
    ("secret-env", "secret generic s --from-env-file=app.env"),
    ("secret-hash", "secret generic s --from-literal=a=b --append-hash"),
    ("secret-hash-true", "secret generic s --from-literal=a=b --append-hash=true"),
    ("secret-hash-false", "secret generic s --from-literal=a=b --append-hash=false"),
    ("configmap-hash-spelled", "configmap c --append-hash=F --from-literal=a=b --append-hash=T"),
    ("configmap-hash-taken-back", "configmap c --append-hash --append-hash=0 --from-literal=a=b"),
    ("secret-json", "secret generic s --from-literal=a=<&> --from-file=binary -n shop -o json"),
    ("secret-base64-of-numbers", "secret generic s --from-file=digits --from-file=exponent"),
    (
        "configmap-files",
        "configmap c --from-file=k=long,lines --from-file=leading --from-file=trailing,crlf,tab,smile,bom,nothing",
    ),
    ("configmap-binary", "configmap c --from-file=binary --from-literal=text=ü"),
    ("configmap-directory", "cm c --from-file=dir/ -n default"),
    ("configmap-env", "configmap c --from-env-file=app.env,more.env"),
    (
        "configmap-words",
        "configmap c --from-literal=yes=no --from-literal=12=0o7 --from-literal=a1=x --from-literal=a10=x --from-literal=a2=x",
    ),
    ("configmap-scalars", "configmap c --from-file=scalars"),
    ("configmap-characters", "configmap c --from-file=characters"),
    ("configmap-json", "configmap c --from-literal=B=x --from-literal=a=<b> --from-file=binary -o json"),
    ("configmap-hash", "configmap c --from-literal=a=<b --from-file=binary --append-hash"),
    ("configmap-empty-hash", "configmap c --append-hash -o json"),
    ("configmap-quoted-path", "configmap c --from-file=\"k=a,b.txt\",lines"),
    (
        "docker",
        "secret docker-registry r --docker-server=https://registry.example/v1/ --docker-username=u --docker-password=p<&>\" --docker-email=e@example.com",
    ),
    ("docker-default-server", "secret docker-registry r --docker-username=u --docker-password=p"),
    ("docker-file", "secret docker-registry r --from-file=config.json --append-hash"),
    ("docker-keyed-file", "secret docker-registry r --from-file=.dockerconfigjson=config.json"),
    ("tls-rsa", "secret tls t --cert=rsa.crt --key=rsa.key"),
    ("tls-curve", "secret tls t --cert=ec.crt --key=ec.key"),
    ("tls-curve-pkcs8", "secret tls t --cert=ec.crt --key=ec8.key"),
    ("tls-ed25519", "secret tls t --cert=ed.crt --key=ed.key"),
];

/// Texts that YAML could take for something else, each a file of the directory `scalars`.
const SCALARS: &[&str] = &[
    "yes",
    "yEs",
    "No",
    "on",
    "y",
    "~",
    "null",
    "True",
    ".inf",
    "-.INF",
    ".nan",
    "<<",
    "---",
    "--- a",
    "- a",
    "-",
    "-a",
    "?",
    "? a",
    "?a",
    ":",
    "a:",
    "a: b",
    "a:b",
    "a #b",
    "a#b",
    "#a",
    "*a",
    "&a",
    "!a",
    "|",
    ">",
    "%a",
    "@a",
    "`a",
    "'a'",
    "\"a\"",
    "{a}",
    "[a]",
    ",a",
    "a, b",
    "a\\b",
    "0x1F",
    "0xfffffffffffffffffff",
    "0o17",
    "0o8",
    "0b101",
    "0b2",
    "017",
    "08",
    "1_000",
    "_1",
    "1_",
    "+1",
    "+-1",
    "1.5",
    "1.",
    ".5",
    ".1_0",
    "._1",
    "1e3",
    "1e",
    "1e999",
    "12:30",
    "12:60",
    "1:2:3.4",
    "-0",
    "99999999999999999999",
    "2026-11-25",
    "2026-2-30",
    "2026-1-2T3:4:5.6+07:00",
    "2026-1-2 3:4:5",
    "2026-1-2 3:4",
    "2026-1-2T3:4:5",
    " a",
    "a ",
    "\ta",
    "a\nb",
    "a\n",
    "\n",
    "\n\n",
    " a\nb\n",
    "a \nb",
    "a\n b",
    "a\nb ",
    "\r",
    "\u{0}",
    "\u{7}",
    "\u{1b}[0m",
    "\u{e9}",
    "\u{a0}",
    "\u{d7ff}",
];

/// Characters on either side of each border that go-yaml draws: what it takes for printable, for a line break, for a
/// byte-order mark, and what UTF-8 takes more bytes for.
const BORDERS: &[u32] = &[
    0x0, 0x1, 0x8, 0x9, 0xa, 0xb, 0xc, 0xd, 0xe, 0x1a, 0x1b, 0x1f, 0x20, 0x7e, 0xa0, 0xff, 0x100, 0x7ff, 0x800, 0x2027,
    0x202a, 0xd7ff, 0xe000, 0xfdd0, 0xfefe, 0xfeff, 0xff00, 0xfffc, 0xfffd, 0x1_0000, 0x1_fffe, 0x10_ffff,
];

/// Those that kubectl 1.32.4 gives up on ("yaml: control characters are not allowed"), that it prints as a space (U+0085),
/// and that it prints as a bare line break, which a reader of YAML 1.2 takes for text (U+2028, U+2029). Here they are
/// escaped, and kubectl reads that as what it stands for.
const ESCAPED: &[(u32, &str)] = &[
    (0x7f, "\\x7F"),
    (0x80, "\\x80"),
    (0x84, "\\x84"),
    (0x85, "\\N"),
    (0x86, "\\x86"),
    (0x9f, "\\x9F"),
    (0x2028, "\\L"),
    (0x2029, "\\P"),
    (0xfffe, "\\uFFFE"),
    (0xffff, "\\uFFFF"),
];

/// A character in all places that make a difference.
fn around(code: u32) -> [String; 10] {
    let c = char::from_u32(code).unwrap();
    [
        format!("{c}"),
        format!("a{c}b"),
        format!(" {c}"),
        format!("{c} "),
        format!("{c}{c}"),
        format!("a\n{c}"),
        format!("{c}\na\n"),
        format!("a{c}\n"),
        format!("a\n{c}b\nc"),
        format!("12: {c}"),
    ]
}

fn fixtures() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures")
}

/// A directory with everything the cases name.
fn inputs() -> Place {
    let place = Place::new();
    for entry in std::fs::read_dir(fixtures().join("create/input")).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), place.path(entry.file_name().to_str().unwrap())).unwrap();
    }
    std::fs::copy(fixtures().join("seed/ui.properties"), place.path("ui.properties")).unwrap();
    for (name, text) in [
        ("username.txt", "admin\n"),
        ("password.txt", "c1oudc0w!\n"),
        ("dir/a.conf", "one\n"),
        ("dir/b.conf", "two"),
        ("dir/below/c.conf", "not read\n"),
        ("app.env", "\u{feff}A=1\n# a comment\n\n  B=two words \nFROM_HOME\nC=a=b\r\nURL=http://x/#y\n"),
        ("more.env", "D='quotes stay'\n"),
        ("digits", "\u{d7}\u{5d0}"),
        ("exponent", "\u{d7}"),
        (
            "long",
            "some words and then some more words and then again some more, until the line is long enough to be folded",
        ),
        ("lines", "a: 1\n\nb: 2\n"),
        ("leading", "  x\ny"),
        ("trailing", "x\n\n"),
        ("crlf", "a\r\nb\r\n"),
        ("tab", "a\tb\n"),
        ("smile", "\u{1f600}"),
        ("bom", "\u{feff}a b"),
        ("nothing", ""),
        ("a,b.txt", "12:30"),
        ("config.json", "{\"auths\":{\"registry.example\":{\"auth\":\"dTpw\"}}}\n"),
    ] {
        place.write(name, text);
    }
    for (index, text) in SCALARS.iter().enumerate() {
        place.write(&format!("scalars/t{index}"), text);
    }
    for code in BORDERS {
        for (index, text) in around(*code).iter().enumerate() {
            place.write(&format!("characters/c{code}-{index}"), text);
        }
    }
    std::fs::write(place.path("binary"), b"\xff\x00\xfe").unwrap();
    #[cfg(unix)]
    std::os::unix::fs::symlink("../lines", place.path("dir/link")).unwrap();
    place
}

fn create(place: &Place, words: &[&str]) -> Said {
    let mut command = place.podwright(&[&["create"], words].concat());
    command.env("FROM_HOME", "from the environment").output().unwrap().into()
}

#[test]
fn every_case_is_printed_as_kubectl_prints_it() {
    let place = inputs();
    let mut wrong = Vec::new();
    for (name, line) in CASES {
        let words: Vec<&str> = line.split(' ').collect();
        let expected = fixtures().join("create").join(format!("{name}.txt"));
        if let Some(kubectl) = std::env::var_os("UPDATE_KUBECTL") {
            let mut command = Command::new(kubectl);
            command.arg("create").args(&words).arg("--dry-run=client").current_dir(place.path(""));
            if !words.contains(&"-o") {
                command.args(["-o", "yaml"]);
            }
            command.env("HOME", place.path("home")).env("FROM_HOME", "from the environment");
            let output = command.output().unwrap();
            assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
            std::fs::write(&expected, output.stdout).unwrap();
        }
        let said = create(&place, &words);
        let expected = std::fs::read_to_string(expected).unwrap();
        if (said.code, said.out.as_str()) != (Some(0), expected.as_str()) {
            wrong.push(format!("{name}: {line}\n{}\nkubectl:\n{expected}", said.out + &said.err));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let recorded = std::fs::read_dir(fixtures().join("create")).unwrap().count();
    assert_eq!(recorded, CASES.len() + 1, "a recording that no case names, or the other way round");
}

#[test]
fn what_is_printed_is_a_valid_manifest() {
    let place = inputs();
    for (index, (name, line)) in CASES.iter().enumerate() {
        let words: Vec<&str> = line.split(' ').collect();
        let extension = if words.contains(&"json") { "json" } else { "yaml" };
        place.write(&format!("m{index}/x.{extension}"), &create(&place, &words).out);
        let said = place.run(&["validate", &format!("m{index}")]);
        assert_eq!(said.code, Some(0), "{name}: {said:?}");
    }
}

#[test]
fn what_kubectl_cannot_print_or_would_lose_is_escaped_and_comes_back_whole() {
    let place = Place::new();
    for (code, escape) in ESCAPED {
        let texts = around(*code);
        for (index, text) in texts.iter().enumerate() {
            place.write(&format!("u{code:x}/t{index}"), text);
        }
        let said = create(&place, &["configmap", "c", &format!("--from-file=u{code:x}")]);
        assert_eq!(said.code, Some(0), "{code:x}: {said:?}");
        assert!(said.out.contains(&format!("  t1: \"a{escape}b\"\n")), "{code:x}: {}", said.out);
        place.write(&format!("m{code:x}/map.yaml"), &said.out);
        let read = place.run(&["render", &format!("m{code:x}"), "-o", "json"]);
        assert!(!read.out.contains(|c| matches!(c, '\u{7f}'..='\u{9f}')), "a terminal may obey it: {read:?}");
        let read: serde_json::Value = serde_json::from_str(&read.out).unwrap();
        for (index, text) in texts.iter().enumerate() {
            assert_eq!(read["items"][0]["data"][format!("t{index}")], **text, "{code:x}: {}", said.out);
        }
    }
}

#[test]
fn the_seeds_objects_hold_what_the_seed_shows() {
    let place = inputs();
    let user = create(&place, &["secret", "generic", "user", "--from-file=./username.txt"]);
    let pass = create(&place, &["secret", "generic", "pass", "--from-file=./password.txt"]);
    let config = create(&place, &["configmap", "ui-config", "--from-file=ui.properties"]);
    assert!(user.out.contains("data:\n  username.txt: YWRtaW4K\n"), "{}", user.out);
    assert!(pass.out.contains("data:\n  password.txt: YzFvdWRjMHchCg==\n"), "{}", pass.out);
    // As `kubectl get configmaps ui-config -o yaml` of the seed has it.
    let shown = "apiVersion: v1\ndata:\n  ui.properties: |\n    color.good=purple\n    color.bad=yellow\n    \
                 allow.textmode=true\n    how.nice.to.look=fairlyNice\nkind: ConfigMap\n";
    assert!(config.out.starts_with(shown), "{}", config.out);
    // A pod that uses them finds them: nothing is missing.
    place.write("m/user.yaml", &user.out);
    place.write("m/pass.yaml", &pass.out);
    place.write("m/config.yaml", &config.out);
    place.write(
        "m/pod.yaml",
        "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec:\n  containers:\n  - {name: c, image: busybox, \
         volumeMounts: [{name: u, mountPath: /u}, {name: w, mountPath: /w}, {name: f, mountPath: /f}]}\n  volumes:\n  \
         - {name: u, secret: {secretName: user}}\n  - {name: w, secret: {secretName: pass}}\n  \
         - {name: f, configMap: {name: ui-config}}\n",
    );
    let said = place.run(&["validate", "m", "-o", "json"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    let report: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    let about = |name: &str| report["diagnostics"].to_string().contains(name);
    assert!(!about("user") && !about("pass") && !about("ui-config"), "{said:?}");
}

#[test]
fn standard_input_is_a_file() {
    let place = inputs();
    for (words, expected) in [
        (&["configmap", "c", "--from-file=k=/dev/stdin"][..], "  k: |\n    from a pipe\n"),
        (&["secret", "generic", "s", "--from-file=/dev/stdin"], "  stdin: ZnJvbSBhIHBpcGUK\n"),
    ] {
        let mut command = place.podwright(&[&["create"], words].concat());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(b"from a pipe\n").unwrap();
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.contains(expected), "{words:?}: {text}");
    }
}

#[test]
fn dry_run_is_taken_from_kubectls_command_lines_as_far_as_it_means_anything() {
    let place = inputs();
    let plain = create(&place, &["cm", "c", "--from-literal=a=b"]);
    for flag in ["--dry-run=client", "--dry-run", "--dry-run=true", "--dry-run=1"] {
        assert_eq!(create(&place, &["cm", "c", "--from-literal=a=b", flag]), plain);
        assert_eq!(
            create(&place, &["cm", "c", "--dry-run=client", "--from-literal=a=b", flag]),
            plain,
            "the last counts"
        );
    }
    for flag in ["--dry-run=server", "--dry-run=none", "--dry-run=false"] {
        let said = create(&place, &["cm", "c", "--from-literal=a=b", flag]);
        assert_eq!((said.code, said.out.as_str()), (Some(64), ""), "{said:?}");
        assert!(said.err.contains("no API server") && said.err.contains("--dry-run=client"), "{said:?}");
    }
}

#[test]
fn a_command_line_that_makes_no_sense_is_a_usage_error() {
    let place = inputs();
    for line in [
        "configmap",
        "configmap a b",
        "secret",
        "secret opaque s",
        "secret tls t --cert=rsa.crt",
        "secret docker-registry r",
        "secret docker-registry r --docker-username=u",
        "secret docker-registry r --docker-username=u --docker-password=p --docker-server=",
        "configmap c --from-literal=a=b --from-env-file=app.env",
        "configmap c --from-file=x --from-env-file=app.env",
        "configmap c --type=Opaque",
        "configmap c --from-file=a\"b",
        "configmap c -o wide",
        "configmap c --append-hash=yes",
        "configmap c --append-hash=",
        "configmap c --append-hash true",
    ] {
        let said = create(&place, &line.split(' ').collect::<Vec<_>>());
        assert_eq!((said.code, said.out.as_str()), (Some(64), ""), "{line}: {said:?}");
    }
}

/// What is typed, and pieces of the answer: the place and the reason.
const REFUSED: &[(&str, &[&str])] = &[
    ("secret generic s --from-file=nowhere", &["nowhere", "No such file"]),
    ("secret generic s --from-file=-", &["cannot read -", "/dev/stdin"]),
    ("secret generic s --from-file==x", &["key name for file path x missing"]),
    ("secret generic s --from-file=x=", &["file path for key name x missing"]),
    ("secret generic s --from-file=a=b=c", &["key names or file paths cannot contain '='"]),
    ("configmap c --from-file=", &["a --from-file is empty"]),
    ("configmap c --from-file=k=dir", &["dir: cannot give a key name for a directory path"]),
    ("configmap c --from-file=bad", &["bad/b c", "\"b c\" is not a valid key name for a ConfigMap"]),
    ("configmap c --from-file=lines/", &["lines/", "Not a directory"]),
    ("configmap c --from-literal=x", &["--from-literal number 1: invalid literal source \"x\", expected key=value"]),
    ("configmap c --from-literal==x", &["invalid literal source \"=x\""]),
    ("configmap c --from-literal=..=x", &["\"..\" is not a valid key name for a ConfigMap"]),
    (
        "configmap c --from-literal=a=1 --from-literal=a=2",
        &["cannot add key \"a\"", "number 2", "it came from --from-literal number 1"],
    ),
    ("configmap c --from-file=lines --from-literal=lines=2", &["cannot add key \"lines\"", "it came from lines"]),
    (
        "secret generic s --from-env-file=twice.env",
        &["cannot add key \"A\" from twice.env:3", "it came from twice.env:1"],
    ),
    ("configmap c --from-env-file=wrong.env", &["wrong.env:2: ", "must not start with a digit"]),
    ("configmap c --from-env-file=binary", &["binary:1: ", "not UTF-8"]),
    ("configmap c --from-env-file=dir", &["dir is a directory"]),
    ("configmap Bad_Name", &["ConfigMap.yaml:", "Bad_Name"]),
    ("configmap c -n Bad_Space", &["Bad_Space"]),
    ("secret generic s --type=kubernetes.io/tls --from-literal=a=b", &["Secret.yaml:", "tls.crt"]),
    ("configmap c --from-file=large", &["large", "more than 1048576 bytes"]),
    ("configmap c --from-file=half,a=half,b=half", &["half", "bytes"]),
    ("configmap c --from-file=k=/dev/zero", &["/dev/zero", "more than 1048576 bytes"]),
    ("secret docker-registry r --from-file=dir", &["dir: cannot give a key name for a directory path"]),
    ("secret docker-registry r --from-file=x=lines", &[".dockerconfigjson"]),
    ("secret tls t --cert=nowhere --key=rsa.key", &["cannot read nowhere"]),
    ("secret tls t --cert=rsa.crt --key=dir", &["dir is a directory"]),
    ("secret tls t --cert=rsa.crt --key=other.key", &["other.key: tls: private key does not match public key"]),
    ("secret tls t --cert=rsa.crt --key=ec.key", &["ec.key: tls: private key type does not match public key type"]),
    ("secret tls t --cert=ec.crt --key=ec-other.key", &["ec-other.key: tls: private key does not match public key"]),
    (
        "secret tls t --cert=rsa.key --key=rsa.crt",
        &["rsa.key: tls: failed to find certificate PEM data", "have been switched"],
    ),
    ("secret tls t --cert=rsa.crt --key=rsa.crt", &["rsa.crt: tls: found a certificate rather than a key"]),
    ("secret tls t --cert=lines --key=rsa.key", &["lines: tls: failed to find any PEM data in certificate input"]),
    ("secret tls t --cert=rsa.crt --key=lines", &["lines: tls: failed to find any PEM data in key input"]),
    ("secret tls t --cert=cut.crt --key=rsa.key", &["cut.crt: tls: failed to parse the certificate"]),
    ("secret tls t --cert=rsa.crt --key=cut.key", &["cut.key: tls: failed to parse private key"]),
    ("secret tls t --cert=rsa.crt --key=encrypted.key", &["encrypted.key: ", "it is encrypted", "openssl pkey"]),
    ("secret tls t --cert=request.pem --key=rsa.key", &["request.pem: ", "[CERTIFICATE REQUEST]"]),
];

#[test]
fn what_is_wrong_is_refused_with_its_place_and_nothing_is_printed() {
    let place = inputs();
    let pem = |label: &str, body: &str| format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n");
    // A key of a curve that says another point: the last bytes of its own are changed.
    let key = std::fs::read_to_string(place.path("ec.key")).unwrap();
    let end = key.find("==\n-----END").map_or_else(|| key.find("\n-----END").unwrap() - 8, |at| at - 8);
    let other = format!("{}AAAA{}", &key[..end], &key[end + 4..]);
    place.write("ec-other.key", &other);
    place.write("bad/b c", "x");
    place.write("twice.env", "A=1\nB=1\nA=2\n");
    place.write("wrong.env", "A=1\n1B=2\n");
    place.write("large", &"x".repeat((1 << 20) + 1));
    place.write("half", &"x".repeat(400 << 10));
    place.write("cut.crt", &pem("CERTIFICATE", "MIIB"));
    place.write("cut.key", &pem("PRIVATE KEY", "MIIB"));
    place.write("encrypted.key", &pem("ENCRYPTED PRIVATE KEY", "MIIB"));
    place.write("request.pem", &pem("CERTIFICATE REQUEST", "MIIB"));
    for (line, pieces) in REFUSED {
        let said = create(&place, &line.split(' ').collect::<Vec<_>>());
        assert_eq!((said.code, said.out.as_str()), (Some(1), ""), "{line}: {said:?}");
        for piece in *pieces {
            assert!(said.err.contains(piece), "{line}: {piece}: {}", said.err);
        }
        assert!(!said.err.contains("panicked"), "{line}: {}", said.err);
    }
}

#[test]
fn no_message_repeats_what_may_be_a_secret() {
    let place = inputs();
    place.write("leak.env", "hunter2 hunter2\n");
    place.write("key", "hunter2 hunter2");
    for line in [
        "secret generic s --from-literal=hunter2?",
        "secret generic s --from-literal=hunter2?=x",
        "secret generic s --from-env-file=leak.env",
        "secret generic s --from-literal=a=hunter2 --from-literal=a=hunter2",
        "secret generic S --from-literal=a=hunter2",
        "secret tls t --cert=key --key=key",
    ] {
        let said = create(&place, &line.split(' ').collect::<Vec<_>>());
        assert_eq!(said.code, Some(1), "{line}: {said:?}");
        assert!(!said.err.contains("hunter2"), "{line}: {}", said.err);
    }
}

#[test]
fn a_variable_that_is_not_set_is_told() {
    let place = inputs();
    place.write("gone.env", "A=1\nNOT_SET\n");
    let said = create(&place, &["cm", "c", "--from-env-file=gone.env"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.out.contains("  NOT_SET: \"\"\n"), "{}", said.out);
    assert!(said.err.contains("gone.env:2: NOT_SET is not set"), "{}", said.err);
}

#[test]
fn a_key_file_that_does_not_say_its_public_key_is_taken_with_a_warning() {
    let place = inputs();
    let said = create(&place, &["secret", "tls", "t", "--cert=ed.crt", "--key=ed.key"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.err.contains("whether ed.key belongs to ed.crt was not checked"), "{}", said.err);
}
