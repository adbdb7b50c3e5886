//! The comment on a pull request: its layout, its budget, and hostile text that stays text.

use podwright::model::{Diagnostic, ObjectKey, Severity, SourceRef};
use podwright::report::{DiffReport, MarkdownOptions, diff_markdown};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{between, compare, data, golden, pod, preset};
use crate::admit::admitted;

fn options(max_bytes: usize) -> MarkdownOptions {
    MarkdownOptions { target: "factory-a".into(), max_bytes }
}

fn markdown(report: &DiffReport) -> String {
    diff_markdown(report, &options(MarkdownOptions::DEFAULT_BYTES))
}

/// The comment, which must be sound.
pub fn comment(report: &DiffReport) -> String {
    let text = markdown(report);
    sound(&text, MarkdownOptions::DEFAULT_BYTES);
    text
}

/// Whether a character moves the cursor, reorders its neighbours or cannot be seen.
fn deceives(c: char) -> bool {
    c.is_control() && !matches!(c, '\n' | '\t')
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

#[test]
fn the_layout_is_the_documented_one() {
    let mut user = pod("web", "nginx:1");
    user["spec"]["containers"][0]["envFrom"] = json!([{"secretRef": {"name": "db"}}]);
    let base = [
        user.clone(),
        pod("legacy", "x"),
        pod("same", "x"),
        data("Secret", "db", json!({"password": "b2xk", "user": "eA==", "host": "eQ=="})),
    ];
    let mut probed = user;
    probed["spec"]["hostname"] = json!("web");
    let same = pod("same", "x");
    let head = [probed, same, data("Secret", "db", json!({"password": "bmV3", "user": "eA==", "host": "eQ=="}))];
    let report = between(&base, &head);
    golden("layout.md", &comment(&report));
}

#[test]
fn a_comment_about_no_change_says_so_and_is_stable() {
    let all = [pod("a", "x"), preset("p", "1")];
    let text = markdown(&between(&all, &all));
    golden("nothing.md", &text);
}

#[test]
fn folds_that_do_not_fit_are_left_out_and_counted_and_the_rest_stands() {
    let big = |n: usize| "x".repeat(n);
    let maps: Vec<Value> =
        (0..9).map(|i| data("ConfigMap", &format!("m{i}"), json!({"k": big(500 + 1_000 * i)}))).collect();
    let head: Vec<Value> = maps.into_iter().chain([pod("web", "x")]).collect();
    let report = between(&[], &head);
    let text = diff_markdown(&report, &options(8_000));
    sound(&text, 8_000);
    assert!(text.contains("**6 of 10 objects are not shown here**, the largest ones"), "{text}");
    assert!(text.contains("| ConfigMap | 9 | 0 | 0 | 0 | 0 | 0 |\n") && text.contains("<code>default/web</code>"));
    assert!(text.contains("<code>default/m2</code>") && !text.contains("<code>default/m3</code>"), "{text}");
    // One giant does not push the others out.
    let giant = [data("ConfigMap", "giant", json!({"k": big(300_000)})), pod("web", "x")];
    let text = markdown(&between(&[], &giant));
    assert!(text.contains("<code>default/web</code>") && text.contains("**1 of 2 objects are not"), "{text}");
}

#[test]
fn attention_gives_way_step_by_step_and_is_never_cut() {
    let fleet = |count: usize, image: &str, host: &str| -> Vec<Value> {
        let one = |i: usize| {
            let mut pod = pod(&format!("pod-with-a-rather-long-name-{i}"), image);
            for field in ["hostname", "subdomain", "nodeName", "dnsPolicy", "serviceAccountName"] {
                pod["spec"][field] = json!(host);
            }
            pod
        };
        (0..count).map(one).collect()
    };
    // How many pods, what the line of one looks like, and how many lines the part has.
    let short =
        "- **recreate** Pod `default/pod-with-a-rather-long-name-7`: `spec.dnsPolicy`, `spec.hostname` and 3 more\n";
    for (count, words, lines) in [
        (100, "`spec.dnsPolicy`, `spec.hostname`, `spec.nodeName`, `spec.serviceAccountName`, `spec.subdomain`\n", 100),
        (500, short, 500),
        (1_500, "- **recreate**: 1500: Pod `default/pod-with-a-rather-long-name-0`, ", 1),
    ] {
        let report = between(&fleet(count, "x", "a"), &fleet(count, "x", "b"));
        let text = markdown(&report);
        sound(&text, MarkdownOptions::DEFAULT_BYTES);
        assert!(text.contains(words), "{count}: {}", &text[..4_000]);
        assert_eq!(text.lines().filter(|line| line.starts_with("- **recreate**")).count(), lines, "{count}");
        assert!(text.contains(&format!("> ⚠️ {count} pods recreated (downtime)\n")), "{count}");
        assert!(text.contains(&format!("| Pod | 0 | 0 | 0 | {count} | 0 | 0 |\n")), "{count}");
    }
    let report = between(&fleet(500, "x", "a"), &fleet(500, "x", "b"));
    let least = diff_markdown(&report, &options(0));
    sound(&least, MarkdownOptions::LEAST_BYTES);
    assert!(least.contains("- **recreate**: 500"), "{least}");
}

#[test]
fn what_is_wrong_stays_whole_while_what_changes_is_counted() {
    let fleet = |count: usize, image: &str| -> Vec<Value> {
        (0..count).map(|i| pod(&format!("pod-with-a-rather-long-name-{i}"), image)).collect()
    };
    let mut lonely = pod("lonely", "i:1");
    let before = [fleet(1_500, "i:1"), vec![lonely.clone()]].concat();
    lonely["spec"]["containers"][0]["envFrom"] = json!([{"secretRef": {"name": "nosuch"}}]);
    let mut report = between(&before, &[fleet(1_500, "i:2"), vec![lonely]].concat());
    let mut warning = report.attention[0].clone();
    warning.concern = podwright::report::Concern::Warning;
    warning.message = Some("Secret default/nosuch is not among the manifests".to_owned());
    report.attention.push(warning);
    let text = markdown(&report);
    sound(&text, MarkdownOptions::DEFAULT_BYTES);
    assert!(text.contains("- **restart container**: 1500"), "{}", &text[..4_000]);
    let whole = "- **warning** Pod `default/lonely`: `Secret default/nosuch is not among the manifests`\n";
    assert!(text.contains(whole), "{}", &text[..4_000]);
    // What is said of the change does not stand below the warning.
    let report = DiffReport { attention: report.attention.split_off(report.attention.len() - 1), ..report };
    let text = markdown(&report);
    assert!(text.contains(whole) && !text.contains("  - note:"), "{}", &text[..4_000]);
}

#[test]
fn only_harmless_names_are_targets() {
    for good in ["default", "factory-a", "a.b_c"] {
        assert!(MarkdownOptions::is_target(good), "{good}");
    }
    for bad in ["", "a b", "-->", "a--b", "é", "@x", &"x".repeat(64)] {
        assert!(!MarkdownOptions::is_target(bad), "{bad}");
    }
}

/// What a forge makes of a comment, read line by line: outside of fences only our own tags, no mention, no reference, no
/// link; fences hold diff lines only and end where they should.
fn sound(text: &str, budget: usize) {
    assert!(text.len() <= budget, "{} of {budget}", text.len());
    assert!(text.starts_with("<!-- podwright:plan target=factory-a -->\n## podwright plan — `factory-a` · "), "{text}");
    assert!(text.ends_with("values of Secrets are masked</sub>\n"), "{text}");
    assert!(!text.contains(deceives), "{text:?}");
    let (mut fence, mut open) = (0, 0_i32);
    for line in text.lines() {
        let bare = line.trim_start_matches(' ');
        let ticks = bare.len() - bare.trim_start_matches('`').len();
        if fence > 0 {
            if line.len() - bare.len() <= 3 && ticks >= fence && bare.trim_end().len() == ticks {
                fence = 0;
            } else {
                assert!(line.starts_with([' ', '+', '-']) || line.starts_with("@@ -"), "in a fence: {line:?}");
            }
            continue;
        }
        if ticks >= 3 {
            assert_eq!((line.len() - bare.len(), &bare[ticks..]), (0, "diff"), "{line:?}");
            fence = ticks;
            continue;
        }
        open += i32::try_from(line.matches("<details>").count()).unwrap();
        open -= i32::try_from(line.matches("</details>").count()).unwrap();
        assert!((0..=1).contains(&open), "{text}");
        outside(line);
    }
    assert_eq!((fence, open), (0, 0), "{text}");
}

fn outside(line: &str) {
    let tags = ["<!-- podwright:plan target=factory-a -->", "<details>", "</details>", "<summary>", "</summary>"];
    let tags = tags.into_iter().chain(["<code>", "</code>", "<sub>", "</sub>"]);
    let bare = tags.fold(line.to_owned(), |line, tag| line.replace(tag, ""));
    assert!(!bare.contains(['<', '@']), "{line:?}");
    // Code spans are `...` on one line, and what is in them is only text.
    assert_eq!(bare.matches('`').count() % 2, 0, "{line:?}");
    let prose: String = bare.split('`').step_by(2).collect();
    let summary = line.contains("<summary>");
    for sign in ["http", "www.", "](", "![", "&", "\\", "~~", "__", "*/"] {
        assert!(summary || !prose.contains(sign), "{sign}: {line:?}");
    }
    let reference = prose.match_indices('#').any(|(at, _)| prose[at + 1..].starts_with(|c: char| c.is_ascii_digit()));
    assert!(summary || !reference, "{line:?}");
    assert!(!line.starts_with(['/', '\t']) && !line.starts_with("    "), "{line:?}");
}

/// Text that tries to get out.
fn hostile() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        prop::sample::select(vec![
            "```",
            "````",
            "~~~",
            "`",
            "@team",
            "@org/all",
            "<script>",
            "</details>",
            "</summary>",
            "<!--",
            "-->",
            "<b",
            "#123",
            "owner/repo#1",
            "GH-7",
            "https://evil.example",
            "www.evil.example",
            "[a](b)",
            "![i](u)",
            "|",
            "||",
            "\n",
            "\r\n",
            "\r",
            "\n\n",
            "\t",
            "    ",
            "\n/close\n",
            "# h",
            "> q",
            "- x",
            "&lt;",
            "&#64;x",
            "\\",
            "\\`",
            "\u{1b}[31m",
            "\u{202e}",
            "\u{200b}",
            "\u{2028}",
            "\u{0}",
            "\u{85}",
            "é",
            "日本",
            "\u{1f600}",
            "$(X)",
            "***",
            "</code>",
            "\"",
            "'",
            ": ",
            " #",
            "++",
            "---",
            "@@ -1 +1 @@",
            "\n```\n@team\n",
            "\n ```` \n<img src=x>\n",
        ])
        .prop_map(str::to_owned),
        any::<String>(),
    ];
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

/// A revision with hostile text wherever a manifest can have some, and in the names of its files.
fn revision(words: &[String], presets: bool) -> podwright::model::Admitted {
    let word = |index: usize| words[index % words.len()].clone();
    let mut web = pod("web", &word(0));
    web["metadata"]["annotations"] = json!({"note": word(1)});
    web["spec"]["containers"][0]["env"] =
        json!([{"name": word(2), "value": word(3)}, {"name": "DB_PORT", "value": word(4)}]);
    web["spec"]["containers"][0]["command"] = json!([word(5), word(6)]);
    web["spec"]["containers"][0]["volumeMounts"] = json!([{"name": "v", "mountPath": word(7)}]);
    web["spec"]["volumes"] = json!([{"name": "v", "hostPath": {"path": word(8)}}]);
    let mut all = vec![web, data("ConfigMap", "m", json!({"text": word(9), "more": word(10)}))];
    if presets {
        all.push(preset("p", &word(11)));
    }
    let mut admitted = admitted(&all);
    let at =
        |index: usize| SourceRef { path: format!("f{}", word(index)).as_str().into(), document: 0, line: 1, column: 1 };
    for (index, source) in admitted.sources.values_mut().enumerate() {
        *source = at(12 + index);
    }
    for pod in admitted.pods.values_mut() {
        std::sync::Arc::make_mut(pod).source = at(20);
    }
    admitted.revision.subject = Some(word(21));
    admitted.diagnostics.0.push(Diagnostic {
        severity: Severity::Warning,
        rule: "reference",
        message: word(22),
        help: Some(word(23)),
        place: Some(podwright::model::Place { at: at(24), text: word(25).as_str().into(), width: 1 }),
        object: None::<ObjectKey>,
        field: Some(word(26)),
    });
    admitted
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(128) })]

    #[test]
    fn hostile_text_stays_text(
        base in prop::collection::vec(hostile(), 5..27),
        head in prop::collection::vec(hostile(), 5..27),
        presets in any::<[bool; 2]>(),
        budget in 4_096..20_000_usize,
    ) {
        let report = compare(&revision(&base, presets[0]), &revision(&head, presets[1]));
        sound(&diff_markdown(&report, &options(budget)), budget);
        let text = podwright::report::diff_text(&report);
        prop_assert!(!text.contains(deceives), "{:?}", text);
        super::schema::checked(&report);
    }
}
