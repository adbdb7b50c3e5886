//! examples/pull-request against a stand-in of the forges: the scripts of the workflow, of the GitLab job and of the hook
//! as they stand in their files, with a real repository and the real program.

mod runner;
mod standin;

use std::collections::BTreeSet;
use std::process::Output;

use axum::http::StatusCode;

use runner::{Ran, World, example, has_tools, job_file, pod};

const ACTIONS: &str = "t0ken-of-actions";
const FORK: &str = "t0ken-of-a-fork";
const PROJECT: &str = "t0ken-of-the-project";
const MARK: &str = "<!-- podwright:plan target=production -->\n";
const COMMENTS: &str = "/repos/acme/fleet/issues/7/comments";
const NOTES: &str = "/api/v4/projects/42/merge_requests/7/notes";

fn went_well(ran: &Ran) {
    assert!(ran.failed.is_none(), "{ran:?}");
    for token in [ACTIONS, FORK, PROJECT] {
        assert!(!ran.log.contains(token), "a token was printed: {}", ran.log);
    }
}

#[test]
fn two_pushes_give_one_comment_that_the_second_one_updates() {
    if !has_tools() {
        return;
    }
    let world = World::new();
    let merge = world.push(&[("manifests/pod.yaml", &pod("nginx:1.28"))]);
    went_well(&world.github(&merge, ACTIONS));
    let first = world.forge.forge().comments.clone();
    assert_eq!(world.forge.forge().writes(), [format!("POST {COMMENTS}")]);
    assert!(first[0].body.starts_with(MARK) && first[0].body.contains("nginx:1.28"), "{}", first[0].body);

    let merge = world.push(&[("manifests/pod.yaml", &pod("nginx:1.29"))]);
    went_well(&world.github(&merge, ACTIONS));
    let forge = world.forge.forge();
    let update = format!("PATCH /repos/acme/fleet/issues/comments/{}", first[0].id);
    assert_eq!(forge.writes(), [format!("POST {COMMENTS}"), update]);
    assert_eq!(forge.comments.len(), 1);
    assert!(forge.comments[0].body.starts_with(MARK) && forge.comments[0].body.contains("nginx:1.29"));
    assert!(!forge.comments[0].body.contains("nginx:1.28"), "{}", forge.comments[0].body);
}

#[test]
fn a_fork_gets_the_plan_in_the_summary_of_the_job() {
    if !has_tools() {
        return;
    }
    let world = World::new();
    let merge = world.push(&[("manifests/pod.yaml", &pod("nginx:1.28"))]);
    for (token, writes) in [("", 0), (FORK, 1)] {
        let _ = std::fs::remove_file(world.path("summary"));
        world.forge.forge().log.clear();
        let ran = world.github(&merge, token);
        went_well(&ran);
        let summary = std::fs::read_to_string(world.path("summary")).unwrap();
        assert!(summary.starts_with(MARK) && summary.contains("nginx:1.28"), "{token}: {summary}");
        assert!(ran.log.contains("the plan is in the summary of this job"), "{}", ran.log);
        assert_eq!(world.forge.forge().writes().len(), writes, "{token}");
        assert!(world.forge.forge().comments.is_empty());
    }
}

#[test]
fn a_plan_with_changes_does_not_fail_the_job() {
    if !has_tools() {
        return;
    }
    let world = World::new();
    let labelled = pod("nginx:1.27").replace("  name: web\n", "  name: web\n  labels: {tier: front}\n");
    let other = pod("nginx:1.27").replace("name: web", "name: other");
    for (code, files) in [
        (0, &[("README.md", "words")][..]),
        (2, &[("manifests/pod.yaml", labelled.as_str())]),
        (3, &[("manifests/pod.yaml", other.as_str())]),
    ] {
        let merge = world.push(files);
        let mut diff = world.command("podwright");
        diff.args(["diff", "manifests", "--base", "main", "--head", "feature", "--detailed-exitcode"]);
        assert_eq!(diff.output().unwrap().status.code(), Some(code));
        let ran = world.github(&merge, ACTIONS);
        assert!(ran.failed.is_none(), "{code}: {ran:?}");
    }
    assert_eq!(world.forge.forge().comments.len(), 1);
    assert_eq!(world.forge.forge().writes().len(), 3);
}

#[test]
fn the_first_manifests_of_a_repository_are_all_new() {
    if !has_tools() {
        return;
    }
    let world = World::new();
    world.git(&["rm", "-q", "-r", "manifests"]);
    world.commit("nothing to run yet");
    world.git(&["branch", "-q", "-f", "feature"]);
    let merge = world.push(&[("manifests/pod.yaml", &pod("nginx:1.27"))]);
    went_well(&world.github(&merge, ACTIONS));
    let body = world.forge.forge().comments[0].body.clone();
    assert!(body.contains("| Pod | 1 | 0 |"), "{body}");
    // The other way round is refused: removing every pod is not done by removing every file.
    world.git(&["rm", "-q", "-r", "manifests"]);
    let ran = world.github(&world.push(&[("README.md", "gone")]), ACTIONS);
    assert_eq!(ran.failed.as_deref(), Some("Validate"), "{ran:?}");
}

#[test]
fn an_error_fails_the_job_and_posts_nothing() {
    if !has_tools() {
        return;
    }
    let world = World::new();
    let merge = world.push(&[("manifests/pod.yaml", &pod("nginx").replace("image:", "imagee:"))]);
    let ran = world.github(&merge, ACTIONS);
    assert_eq!(ran.failed.as_deref(), Some("Validate"), "{ran:?}");
    assert!(ran.log.contains("::error file=manifests/pod.yaml,line=9"), "{}", ran.log);
    assert!(world.forge.forge().log.is_empty());
    assert_eq!(world.gitlab(Some(PROJECT), &[]).failed.as_deref(), Some("script"));
    assert!(world.forge.forge().log.is_empty());
}

#[test]
fn a_pull_request_that_mends_its_base_gets_its_plan() {
    if !has_tools() {
        return;
    }
    let world = World::new();
    world.git(&["checkout", "-q", "main"]);
    world.write("manifests/other.yaml", "kind: [");
    world.commit("broken");
    // One that leaves it broken fails, for what is merged is wrong.
    let merge = world.push(&[("manifests/pod.yaml", &pod("nginx:1.28"))]);
    let ran = world.github(&merge, ACTIONS);
    assert_eq!(ran.failed.as_deref(), Some("Validate"), "{ran:?}");
    assert!(world.forge.forge().log.is_empty());

    world.git(&["checkout", "-q", "--detach", &merge]);
    world.git(&["rm", "-q", "manifests/other.yaml"]);
    world.git(&["commit", "-q", "--amend", "-m", "merge that mends"]);
    let ran = world.github(&world.git(&["rev-parse", "HEAD"]), ACTIONS);
    went_well(&ran);
    assert!(ran.log.contains("other.yaml:1:"), "{}", ran.log);
    let body = world.forge.forge().comments[0].body.clone();
    assert!(body.contains("**invalid base**: ") && body.contains(" at `other.yaml:1`"), "{body}");
    assert!(body.contains("nginx:1.28") && body.contains("nginx:1.27"), "what could be read is compared: {body}");
}

#[test]
fn the_comment_is_found_on_a_later_page() {
    if !has_tools() {
        return;
    }
    let world = World::new();
    for number in 0..230 {
        world.forge.forge().add("a person", &format!("comment {number}"));
    }
    let ours = world.forge.forge().add("github-actions[bot]", &format!("{MARK}old"));
    let merge = world.push(&[("manifests/pod.yaml", &pod("nginx:1.28"))]);
    went_well(&world.github(&merge, ACTIONS));
    assert_eq!(world.forge.forge().writes(), [format!("PATCH /repos/acme/fleet/issues/comments/{ours}")]);
    let pages = world.forge.forge().log.iter().filter(|request| request.starts_with("GET")).count();
    assert_eq!(pages, 3);

    world.forge.forge().log.clear();
    let ours = world.forge.forge().add("project_1_bot", &format!("{MARK}old"));
    went_well(&world.gitlab(Some(PROJECT), &[]));
    assert_eq!(world.forge.forge().writes(), [format!("PUT {NOTES}/{ours}")]);
}

#[test]
fn a_comment_that_is_not_ours_is_left_alone() {
    if !has_tools() {
        return;
    }
    let world = World::new();
    let others = [
        ("a person", format!("{MARK}forged")),
        ("github-actions[bot]", "<!-- podwright:plan target=other -->\nanother machine".to_owned()),
        ("github-actions[bot]", format!("quoted:\n{MARK}")),
        ("project_1_bot", "a note".to_owned()),
    ];
    for (author, body) in &others {
        world.forge.forge().add(author, body);
    }
    let before = world.forge.forge().comments.clone();
    let merge = world.push(&[("manifests/pod.yaml", &pod("nginx:1.28"))]);
    for _ in 0..2 {
        went_well(&world.github(&merge, ACTIONS));
        went_well(&world.gitlab(Some(PROJECT), &[]));
    }
    let forge = world.forge.forge();
    assert_eq!(forge.comments[..before.len()], before);
    assert_eq!(forge.comments.len(), before.len() + 2);
    let names: Vec<&str> = forge.comments[before.len()..].iter().map(|c| c.author.as_str()).collect();
    assert_eq!(names, ["github-actions[bot]", "project_1_bot"]);
}

#[test]
fn a_comment_that_was_deleted_meanwhile_is_posted_again() {
    if !has_tools() {
        return;
    }
    let world = World::new();
    world.forge.forge().add("github-actions[bot]", &format!("{MARK}old"));
    world.forge.forge().gone = true;
    let merge = world.push(&[("manifests/pod.yaml", &pod("nginx:1.28"))]);
    went_well(&world.github(&merge, ACTIONS));
    let writes: Vec<String> = world.forge.forge().writes().into_iter().map(str::to_owned).collect();
    assert_eq!(writes, ["PATCH /repos/acme/fleet/issues/comments/1".to_owned(), format!("POST {COMMENTS}")]);
}

#[test]
fn a_forge_that_does_not_work_fails_the_job_and_is_asked_once() {
    if !has_tools() {
        return;
    }
    let world = World::new();
    world.forge.forge().broken = Some(StatusCode::BAD_GATEWAY);
    let merge = world.push(&[("manifests/pod.yaml", &pod("nginx:1.28"))]);
    let ran = world.github(&merge, ACTIONS);
    assert_eq!(ran.failed.as_deref(), Some("Comment"), "{ran:?}");
    assert!(ran.log.contains("status 502"), "{}", ran.log);
    assert_eq!(world.forge.forge().writes().len(), 1, "a post that is repeated may arrive twice");
}

#[test]
fn gitlab_gets_a_note_and_then_its_update() {
    if !has_tools() {
        return;
    }
    let world = World::new();
    world.push(&[("manifests/pod.yaml", &pod("nginx:1.28"))]);
    went_well(&world.gitlab(Some(PROJECT), &[]));
    world.push(&[("manifests/pod.yaml", &pod("nginx:1.29"))]);
    went_well(&world.gitlab(Some(PROJECT), &[]));
    {
        let forge = world.forge.forge();
        assert_eq!(forge.writes(), [format!("POST {NOTES}"), format!("PUT {NOTES}/1")]);
        assert!(forge.comments[0].body.starts_with(MARK) && forge.comments[0].body.contains("nginx:1.29"));
    }
    // Without a token the plan is the artifact.
    world.forge.forge().log.clear();
    let ran = world.gitlab(None, &[]);
    went_well(&ran);
    assert!(ran.log.contains("the plan is in plan.md"), "{}", ran.log);
    let plan = std::fs::read_to_string(world.path("workspace/plan.md")).unwrap();
    assert!(plan.starts_with(MARK) && world.forge.forge().log.is_empty());
}

#[test]
fn a_pipeline_for_merged_results_compares_with_the_tip_of_the_target() {
    if !has_tools() {
        return;
    }
    let world = World::new();
    let fork_point = world.git(&["rev-parse", "main"]);
    world.git(&["checkout", "-q", "main"]);
    world.write("manifests/second.yaml", &pod("nginx:1.27").replace("name: web", "name: second"));
    let tip = world.commit("somebody else's");
    let merge = world.push(&[("manifests/pod.yaml", &pod("nginx:1.28"))]);
    world.git(&["reset", "-q", "--hard", &merge]);
    let variables = [("CI_MERGE_REQUEST_TARGET_BRANCH_SHA", &*tip), ("CI_MERGE_REQUEST_DIFF_BASE_SHA", &*fork_point)];
    went_well(&world.gitlab(Some(PROJECT), &variables));
    let body = world.forge.forge().comments[0].body.clone();
    assert!(body.contains("nginx:1.28") && !body.contains("second"), "{body}");
}

#[test]
fn the_token_is_in_no_list_of_processes() {
    if !has_tools() {
        return;
    }
    let world = World::new();
    let merge = world.push(&[("manifests/pod.yaml", &pod("nginx:1.28"))]);
    std::fs::create_dir(world.path("bin")).unwrap();
    for program in ["curl", "git", "jq", "sed", "base64"] {
        let script = format!("#!/bin/sh\necho \"{program} $*\" >>\"$SPY\"\nPATH=${{PATH#*:}} exec {program} \"$@\"\n");
        std::fs::write(world.path("bin").join(program), script).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(world.path("bin").join(program), mode).unwrap();
    }
    let built = std::path::Path::new(env!("CARGO_BIN_EXE_podwright")).parent().unwrap().display().to_string();
    let path = format!("{}:{built}:/usr/local/bin:/usr/bin:/bin", world.path("bin").display());
    let spy = world.path("spy").display().to_string();
    went_well(&world.github_with(&merge, ACTIONS, &[("PATH", &path), ("SPY", &spy)]));
    let seen = std::fs::read_to_string(&spy).unwrap();
    assert!(seen.contains("curl -q") && seen.contains("git fetch"), "{seen}");
    assert!(!seen.contains(ACTIONS), "{seen}");
    assert_eq!(world.forge.forge().writes().len(), 1);
}

/// Texts that would do something if a shell, a runner or a forge took them for its own.
const HOSTILE: &str = "apiVersion: v1
kind: Pod
metadata:
  name: web
  annotations:
    a: $(touch owned) `touch owned` \"; touch owned; \" ' ; touch owned ; '
    b: |
      ::error file=x::forged
      ::set-env name=PATH::/owned
      ```
      /merge
      /close
      EOF
      @everyone <!-- podwright:plan target=other --> ${{ github.token }}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: c
    image: nginx:1.28
    args: [$(touch owned), '`touch owned`', '\\n/merge', \"\\n::warning::forged\"]
";

#[test]
fn hostile_manifests_do_not_break_out_of_the_scripts() {
    if !has_tools() {
        return;
    }
    let world = World::new();
    let name = "manifests/$(touch owned);`touch owned`'\" && touch owned #.yaml";
    let second = pod("nginx:1.27").replace("name: web", "name: second");
    let merge = world.push(&[("manifests/pod.yaml", HOSTILE), (name, &second)]);
    let ran = world.github(&merge, ACTIONS);
    went_well(&ran);
    // The runner trims a line before it looks for a command.
    let commands = ran.log.lines().filter(|line| line.trim_start().starts_with("::")).count();
    assert_eq!(commands, 0, "a runner would take these for commands: {}", ran.log);
    went_well(&world.gitlab(Some(PROJECT), &[]));
    let found = world.command("find").arg(world.dir.path()).args(["-name", "owned"]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&found.stdout), "");
    let forge = world.forge.forge();
    assert_eq!(forge.comments.len(), 2, "{:?}", forge.log);
    let note = forge.by("project_1_bot")[0];
    assert!(note.body.contains("merge"), "{}", note.body);
    let commands = ["/merge", "/close"];
    assert!(!note.body.lines().any(|line| commands.contains(&line)), "a command to GitLab: {}", note.body);
}

#[test]
fn a_line_that_is_a_command_to_gitlab_is_escaped_outside_of_code() {
    if !has_tools() {
        return;
    }
    let world = World::new();
    let plan = format!("{MARK}/merge\n  /close\n````diff\n/in code\n```\n/still\n````\n/approve\nand/or\n");
    std::fs::write(world.path("plan.md"), plan).unwrap();
    let ran = world.gitlab_script("sh ci/comment.sh ../plan.md", Some(PROJECT), &[]);
    went_well(&ran);
    let escaped = format!("{MARK}\\/merge\n  \\/close\n````diff\n/in code\n```\n/still\n````\n\\/approve\nand/or\n");
    assert_eq!(world.forge.forge().comments[0].body, escaped);
}

#[test]
fn what_is_no_plan_is_not_posted() {
    if !has_tools() {
        return;
    }
    let world = World::new();
    for text in ["", "words\n", &format!("words\n{MARK}")] {
        std::fs::write(world.path("plan.md"), text).unwrap();
        let ran = world.gitlab_script("sh ci/comment.sh ../plan.md", Some(PROJECT), &[]);
        assert!(ran.failed.is_some() && ran.log.contains("does not begin with the mark"), "{text:?}: {ran:?}");
    }
    assert!(world.forge.forge().log.is_empty());
}

#[test]
fn the_workflow_runs_safely_on_pull_requests_of_strangers() {
    let workflow = job_file(".github/workflows/plan.yaml");
    let triggers: Vec<&String> = workflow["on"].as_object().unwrap().keys().collect();
    assert_eq!(triggers, ["pull_request"]);
    assert_eq!(workflow["permissions"], serde_json::json!({"contents": "read", "pull-requests": "write"}));
    for step in workflow["jobs"]["plan"]["steps"].as_array().unwrap() {
        assert!(step.get("uses").is_none(), "an action is code of somebody else: {step}");
        assert!(!step["run"].as_str().unwrap().contains("${{"), "an expression in a script is an injection: {step}");
    }
    // Numbers, and what the repository itself sets: nothing that a stranger can write.
    let text = std::fs::read_to_string(example(".github/workflows/plan.yaml")).unwrap();
    let used: BTreeSet<&str> = text.split("${{").skip(1).map(|rest| rest.split_once("}}").unwrap().0.trim()).collect();
    let known = ["github.event.pull_request.number", "github.token", "vars.PODWRIGHT_SHA256", "vars.PODWRIGHT_URL"];
    assert_eq!(used, BTreeSet::from(known));
}

#[test]
fn the_hook_judges_what_is_staged() {
    if !has_tools() {
        return;
    }
    let world = World::new();
    let entry = job_file(".pre-commit-config.yaml")["repos"][0]["hooks"][0]["entry"].as_str().unwrap().to_owned();
    let hook = |world: &World| -> Output { world.command("sh").arg("-c").arg(&entry).output().unwrap() };
    assert_eq!(hook(&world).status.code(), Some(0));
    let wrong = pod("nginx").replace("image:", "imagee:");
    world.write("manifests/pod.yaml", &wrong);
    assert_eq!(hook(&world).status.code(), Some(0), "what is not staged is not committed");
    world.git(&["add", "-A"]);
    world.write("manifests/pod.yaml", &pod("nginx"));
    let refused = hook(&world);
    let said = String::from_utf8_lossy(&refused.stdout);
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains("manifests/pod.yaml:9:5: error: "), "{said}");

    // As git's own hook.
    let hooks = world.repository().join(".git/hooks");
    std::fs::create_dir_all(&hooks).unwrap();
    std::os::unix::fs::symlink("../../ci/pre-commit", hooks.join("pre-commit")).unwrap();
    let commit = |message: &str| world.command("git").args(["commit", "-q", "-m", message]).output().unwrap().status;
    assert_eq!(commit("wrong").code(), Some(1));
    world.git(&["add", "-A"]);
    world.write("manifests/more.yaml", &wrong);
    assert_eq!(commit("right").code(), Some(0));
}

#[test]
fn podwright_is_installed_only_with_the_right_checksum() {
    if !has_tools() {
        return;
    }
    let world = World::new();
    let program = world.path("program");
    std::fs::write(&program, "#!/bin/sh\necho installed\n").unwrap();
    let sum = world.command("sha256sum").arg(&program).output().unwrap();
    let sum = String::from_utf8(sum.stdout).unwrap()[..64].to_owned();
    let install = |url: &str, sum: &str| {
        let mut command = world.command("sh");
        command.arg(example("ci/install.sh")).env("PATH", "/usr/bin:/bin").env("PODWRIGHT_BIN", world.path("out"));
        command.env("PODWRIGHT_URL", url).env("PODWRIGHT_SHA256", sum).env("GITHUB_PATH", world.path("github-path"));
        command.output().unwrap()
    };
    let url = format!("file://{}", program.display());
    for (url, sum, words) in [
        ("", "", "set PODWRIGHT_URL"),
        (&*url, "", "set PODWRIGHT_URL"),
        (&*url, &*"0".repeat(64), "has not the checksum"),
        ("file:///nowhere/podwright", &*sum, "nowhere"),
    ] {
        let said = install(url, sum);
        assert!(!said.status.success(), "{url} {sum}");
        assert!(String::from_utf8_lossy(&said.stderr).contains(words), "{words}: {said:?}");
        assert!(!world.path("out/podwright").exists());
    }
    let said = install(&url, &sum);
    assert!(said.status.success(), "{said:?}");
    let ran = world.command(world.path("out/podwright").to_str().unwrap()).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&ran.stdout), "installed\n");
    assert_eq!(std::fs::read_to_string(world.path("github-path")).unwrap().trim(), world.path("out").to_str().unwrap());
}
