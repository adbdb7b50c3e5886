//! Who `image pull` is to a registry: docker's configuration where docker has it, and the helpers that it names.

use serde_json::json;

use super::harness::{Place, Said};
use crate::support::images::{Layer, Layout, Packing, arch};
use crate::support::registry::{Asked, Reply, Server, right};
use crate::support::{e2e, is_root};

/// `user:hidden-word`, as it travels.
const BASIC: &str = "Basic dXNlcjpoaWRkZW4td29yZA==";
/// What a helper says that knows it.
const KNOWS: &str = "echo \"$1 $(cat)\" >>asked; echo '{\"Username\": \"user\", \"Secret\": \"hidden-word\"}'";

/// What a registry of one image answers to those who have `authorization`, and with `challenge` to others.
fn of_one_image(authorization: &'static str, challenge: String) -> impl Fn(&Asked) -> Reply + Send + Sync + 'static {
    let mut layout = Layout::new();
    let layer = Layer::new().dir("bin").file("bin/tool", "x").tar();
    let image = layout.image(&[(layer, Packing::Gzip)], json!({}), arch());
    let (files, top) = (layout.files, image["digest"].as_str().unwrap().to_owned());
    move |asked| match asked.header("authorization") == Some(authorization) {
        true => right(&files, &top, asked),
        false => Reply::status(401).with("WWW-Authenticate", challenge.clone()),
    }
}

/// One that asks for a name and a password.
fn asking() -> Server {
    Server::start(of_one_image(BASIC, "Basic realm=\"x\"".to_owned()))
}

/// The same, and a configuration that names `helper` for it.
fn guarded(place: &Place, helper: &str) -> Server {
    let server = asking();
    configure(place, &format!(r#"{{"credHelpers": {{"{}": "{helper}"}}}}"#, server.address));
    server
}

fn configure(place: &Place, docker: &str) {
    place.write("docker.json", docker);
    place.write("config.yaml", &format!("registryCredentials: {}\n", place.path("docker.json").display()));
}

/// Puts a credential helper into the directory `bin` of the place.
fn helper(place: &Place, name: &str, script: &str) {
    let path = format!("bin/docker-credential-{name}");
    place.write(&path, &format!("#!/bin/sh\n{script}\n"));
    std::fs::set_permissions(place.path(&path), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
}

fn pull(place: &Place, server: &Server) -> Said {
    pull_of(place, &format!("{}/tool", server.address))
}

/// With the helpers of the place, and its configuration.
fn pull_of(place: &Place, name: &str) -> Said {
    let path = format!("{}:{}", place.path("bin").display(), std::env::var("PATH").unwrap());
    let output =
        place.podwright(&["image", "pull", name, "--config", "config.yaml"]).env("PATH", path).output().unwrap();
    Said::from(output)
}

#[test]
fn a_credential_helper_is_asked_for_its_registry_and_believed() {
    if !is_root() {
        return;
    }
    let place = Place::new();
    helper(&place, "works", KNOWS);
    let server = guarded(&place, "works");
    let said = pull(&place, &server);
    assert_eq!(said.out, format!("Pulled image: {}/tool:latest\n", server.address), "{said:?}");
    assert_eq!(said.err, "", "no progress where there is no terminal");
    let asked = std::fs::read_to_string(place.path("asked")).unwrap();
    assert_eq!(asked, format!("get {}\n", server.address));
    let again = pull(&place, &server);
    assert_eq!(again.out, format!("Image is up to date: {}/tool:latest\n", server.address), "{again:?}");
}

#[test]
fn a_credential_helper_that_fails_is_named_and_what_it_says_is_not() {
    if !is_root() {
        return;
    }
    for (name, script, why) in [
        ("fails", "echo hidden; echo hidden >&2; exit 3", "docker-credential-fails failed"),
        ("odd", "echo hidden-nonsense", "docker-credential-odd gave an answer that is none"),
        ("endless", "yes hidden", "docker-credential-endless"),
        ("nothing", "echo 'credentials not found in native keychain'; exit 1", "no name and password for"),
    ] {
        let place = Place::new();
        helper(&place, name, script);
        let server = guarded(&place, name);
        let said = pull(&place, &server);
        assert_eq!(said.code, Some(1), "{said:?}");
        assert!(said.err.contains(why) && !said.err.contains("hidden"), "{name}: {}", said.err);
    }
}

#[test]
fn a_helper_for_every_registry_is_asked_unless_one_has_its_own() {
    if !is_root() {
        return;
    }
    let place = Place::new();
    helper(&place, "works", KNOWS);
    helper(&place, "other", "echo never >>asked; exit 3");
    let server = asking();
    let address = &server.address;
    for config in [
        json!({"credsStore": "works"}),
        json!({"credsStore": "works", "credHelpers": {"elsewhere.example": "other"}}),
        json!({"credsStore": "other", "credHelpers": {address: "works"}}),
    ] {
        configure(&place, &config.to_string());
        let said = pull(&place, &server);
        assert_eq!(said.code, Some(0), "{config}: {said:?}");
        assert_eq!(std::fs::read_to_string(place.path("asked")).unwrap(), format!("get {address}\n"), "{config}");
        std::fs::remove_file(place.path("asked")).unwrap();
        assert_eq!(place.run(&["image", "rm", &format!("{address}/tool")]).code, Some(0));
    }
}

#[test]
fn the_token_that_a_helper_has_gets_other_tokens() {
    if !is_root() {
        return;
    }
    let place = Place::new();
    helper(&place, "works", "echo '{\"Username\": \"<token>\", \"Secret\": \"hidden-identity\"}'");
    let tokens = Server::start(|asked| match asked.body.ends_with("&refresh_token=hidden-identity") {
        true => Reply::ok(r#"{"access_token": "hidden-token"}"#),
        false => Reply::status(401),
    });
    let challenge = format!("Bearer realm=\"http://{}/token\"", tokens.address);
    let server = Server::start(of_one_image("Bearer hidden-token", challenge));
    configure(&place, r#"{"credsStore": "works"}"#);
    let said = pull(&place, &server);
    assert_eq!(said.code, Some(0), "{said:?}");
    let asked = &tokens.asked()[0];
    assert_eq!((asked.method.as_str(), asked.header("authorization")), ("POST", None), "{asked:?}");
    assert!(asked.body.contains("grant_type=refresh_token"), "{}", asked.body);
}

#[test]
fn e2e_a_helper_is_asked_for_docker_io_by_the_key_that_docker_keeps_it_under() {
    if !e2e() {
        return;
    }
    use nix::mount::{MsFlags, mount};
    use nix::sched::{CloneFlags, unshare};
    // A thread may have a network of its own, in which docker.io is here.
    let work = || {
        unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET).unwrap();
        mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>).unwrap();
        let up = std::process::Command::new("ip").args(["link", "set", "lo", "up"]).status().unwrap();
        assert!(up.success());
        let place = Place::new();
        place.write("hosts", "127.0.0.1 registry-1.docker.io\n");
        mount(Some(&place.path("hosts")), "/etc/hosts", None::<&str>, MsFlags::MS_BIND, None::<&str>).unwrap();
        let server = Server::start_at("127.0.0.1:80", of_one_image(BASIC, "Basic realm=\"x\"".to_owned()));
        helper(&place, "works", KNOWS);
        for config in [json!({"credsStore": "works"}), json!({"credHelpers": {"docker.io": "works"}})] {
            configure(&place, &config.to_string());
            let settings = std::fs::read_to_string(place.path("config.yaml")).unwrap();
            place.write("config.yaml", &format!("{settings}registries: [{{name: docker.io, insecure: true}}]\n"));
            let said = pull_of(&place, "tool");
            assert_eq!(said.code, Some(0), "{config}: {said:?}");
            let asked = std::fs::read_to_string(place.path("asked")).unwrap();
            assert_eq!(asked, "get https://index.docker.io/v1/\n", "{config}");
            std::fs::remove_file(place.path("asked")).unwrap();
            assert_eq!(place.run(&["image", "rm", "tool"]).code, Some(0));
        }
        assert!(server.paths().contains(&"/v2/library/tool/manifests/latest".to_owned()));
    };
    if let Err(panic) = std::thread::spawn(work).join() {
        std::panic::resume_unwind(panic);
    }
}

#[test]
fn without_a_configuration_docker_s_own_is_read_where_docker_has_it() {
    if !is_root() {
        return;
    }
    let server = asking();
    let auths = |auth: &str| format!(r#"{{"auths": {{"{}": {{"auth": "{auth}"}}}}}}"#, server.address);
    // `user:hidden-word` and `user:wrong`
    let (good, bad) = (auths("dXNlcjpoaWRkZW4td29yZA=="), auths("dXNlcjp3cm9uZw=="));
    let name = format!("{}/tool", server.address);
    for (home, own, code) in [
        (None, None, 1),
        (Some(&good), None, 0),
        (Some(&bad), None, 1),
        (Some(&bad), Some(&good), 0),
        (None, Some(&good), 0),
        (Some(&good), Some(&bad), 1),
    ] {
        let place = Place::new();
        if let Some(home) = home {
            place.write("home/.docker/config.json", home);
        }
        let mut command = place.podwright(&["image", "pull", &name]);
        if let Some(own) = own {
            place.write("docker/config.json", own);
            command.env("DOCKER_CONFIG", place.path("docker"));
        }
        server.forget();
        let said = Said::from(command.output().unwrap());
        assert_eq!(said.code, Some(code), "{home:?} {own:?}: {said:?}");
        let told = server.asked().iter().filter_map(|a| a.header("authorization").map(str::to_owned)).next();
        assert_eq!(told.is_some(), home.is_some() || own.is_some());
        assert_eq!(told.is_some_and(|told| told == BASIC), code == 0, "the other one is not told");
    }
}
