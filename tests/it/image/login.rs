//! Who we are to a registry: names and passwords, tokens, helpers; and that nobody else hears of it.

use std::collections::BTreeMap;

use podwright::model::{PullSettings, RegistryEntry};
use podwright::port::{ErrorKind, PortError};

use super::pull::{Place, image, settings};
use crate::support::is_root;
use crate::support::registry::{Asked, Reply, Server, right};

/// `user:hidden-word`, as it travels.
const BASIC: &str = "Basic dXNlcjpoaWRkZW4td29yZA==";
const WORD: &str = "hidden-word";
const TOKEN: &str = "hidden-token";

/// Settings with this docker configuration.
fn with_config(place: &Place, config: &str) -> PullSettings {
    let settings = settings(place.dir.path());
    std::fs::write(settings.credentials.as_ref().unwrap(), config).unwrap();
    settings
}

fn auths(host: &str) -> String {
    format!(r#"{{"auths": {{"{host}": {{"auth": "dXNlcjpoaWRkZW4td29yZA=="}}}}}}"#)
}

/// A registry of [`image`] that answers only who has `authorization`, and tells others with `challenge` how to get it.
fn guarded(authorization: &'static str, challenge: impl Fn(&Asked) -> String + Send + Sync + 'static) -> Server {
    let (layout, image) = image();
    Server::of(&layout, &image, move |asked| {
        let known = asked.header("authorization") == Some(authorization);
        (!known).then(|| Reply::status(401).with("WWW-Authenticate", challenge(asked)))
    })
}

/// No error shows anything that authorizes.
fn tells_nothing(error: &PortError) {
    let text = format!("{error} {error:?}");
    for secret in [WORD, TOKEN, &BASIC[6..], "hidden"] {
        assert!(!text.contains(secret), "{text}");
    }
}

#[test]
fn a_registry_that_asks_gets_the_name_and_password_of_its_entry() {
    if !is_root() {
        return;
    }
    let place = Place::new();
    let server = guarded(BASIC, |_| "Basic realm=\"x\"".to_owned());
    let name = format!("{}/app", server.address);
    place.pull_with(&name, &with_config(&place, &auths(&server.address))).unwrap();
    assert_eq!(server.asked()[0].header("authorization"), None, "nobody is told before asking");

    let other = Place::new();
    let error = other.pull_with(&name, &with_config(&other, &auths("elsewhere.example"))).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Denied);
    assert!(error.message.contains(&format!("no name and password for {}", server.address)), "{error}");
    tells_nothing(&error);
    let strict = guarded("Basic other", |_| "Basic realm=\"x\"".to_owned());
    let error =
        other.pull_with(&format!("{}/app", strict.address), &with_config(&other, &auths(&strict.address))).unwrap_err();
    assert!(error.kind == ErrorKind::Denied && error.message.contains("access denied (401)"), "{error}");
    assert_eq!(strict.asked().len(), 2, "a wrong password is not tried again and again");
    tells_nothing(&error);
}

#[test]
fn a_token_is_asked_for_with_the_least_it_may_allow() {
    if !is_root() {
        return;
    }
    let place = Place::new();
    let tokens = Server::start(|asked| match asked.header("authorization") {
        Some(BASIC) => Reply::ok(format!(r#"{{"token": "{TOKEN}", "expires_in": 60}}"#)),
        _ => Reply::status(401),
    });
    let realm = format!("http://{}/token", tokens.address);
    let challenge =
        move |_: &Asked| format!("Bearer realm=\"{realm}\",service=\"reg\",scope=\"repository:other:pull,push\"");
    let server = guarded("Bearer hidden-token", challenge);
    let name = format!("{}/team/app", server.address);
    place.pull_with(&name, &with_config(&place, &auths(&server.address))).unwrap();
    let asked = tokens.asked();
    assert_eq!(asked[0].path, "/token?scope=repository%3Ateam%2Fapp%3Apull&service=reg");
    assert_eq!(asked.len(), 1, "one token does for manifests and layers");

    let error = Place::new().pull(&name).unwrap_err();
    assert!(error.kind == ErrorKind::Denied && error.message.contains(&tokens.address), "{error}");
    tells_nothing(&error);
}

#[test]
fn when_one_login_does_not_do_the_next_one_is_tried() {
    if !is_root() {
        return;
    }
    let right = |asked: &Asked| asked.header("authorization") == Some(BASIC);
    let tokens = Server::start(move |asked| match right(asked) {
        true => Reply::ok(format!(r#"{{"token": "{TOKEN}"}}"#)),
        false => Reply::status(400),
    });
    let realm = format!("http://{}/token", tokens.address);
    for (challenge, refusal, authorization) in [
        ("Basic realm=\"x\"".to_owned(), 401, BASIC),
        ("Basic realm=\"x\"".to_owned(), 403, BASIC),
        (format!("Bearer realm=\"{realm}\""), 401, "Bearer hidden-token"),
    ] {
        let place = Place::new();
        let (layout, image) = image();
        let server = Server::of(&layout, &image, move |asked| match asked.header("authorization") {
            Some(told) if told == authorization => None,
            Some(_) if refusal == 403 => Some(Reply::status(403)),
            _ => Some(Reply::status(401).with("WWW-Authenticate", challenge.clone())),
        });
        let word = |name: &str, word: &str| format!(r#"{{"username": "{name}", "password": "{word}"}}"#);
        let (host, port) = server.address.split_once(':').unwrap();
        let config = format!(
            r#"{{"auths": {{"{host}:{port}/team/app": {}, "{host}:{port}/team": {}, "127.0.*.?:{port}": {}}}}}"#,
            word("old", "hidden-1"),
            word("other", "hidden-2"),
            word("user", WORD),
        );
        let name = format!("{}/team/app", server.address);
        place.pull_with(&name, &with_config(&place, &config)).unwrap();
        server.forget();
        let wrong = config.replace(WORD, "hidden-3");
        let error = place.pull_with(&name, &with_config(&place, &wrong)).unwrap_err();
        assert!(matches!(error.kind, ErrorKind::Denied | ErrorKind::Corrupt), "{error}");
        assert!(server.asked().len() <= 4, "each of them once: {:?}", server.paths());
        tells_nothing(&error);
    }
}

#[test]
fn a_token_that_became_too_old_is_asked_for_again() {
    if !is_root() {
        return;
    }
    let place = Place::new();
    let given = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = std::sync::Arc::clone(&given);
    let tokens = Server::start(move |_| {
        let number = count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Reply::ok(format!(r#"{{"token": "hidden-token-{number}"}}"#))
    });
    let realm = format!("http://{}/token", tokens.address);
    let (layout, image) = image();
    let server = Server::of(&layout, &image, move |asked| {
        // The token for the documents is none for the layers.
        let wanted = usize::from(asked.path.contains("/blobs/"));
        let known = asked.header("authorization").and_then(|a| a.rsplit_once('-')?.1.parse::<usize>().ok());
        let known = known.is_some_and(|number| number >= wanted);
        (!known).then(|| Reply::status(401).with("WWW-Authenticate", format!("Bearer realm=\"{realm}\"")))
    });
    place.pull_with(&format!("{}/app", server.address), &with_config(&place, &auths(&server.address))).unwrap();
    assert!(given.load(std::sync::atomic::Ordering::Relaxed) >= 2);
}

#[test]
fn a_token_without_an_account_and_an_identity_get_tokens_too() {
    if !is_root() {
        return;
    }
    for (config, expected) in [
        ("{}", ("GET", "")),
        (
            r#"{"auths": {"HOST": {"identitytoken": "hidden-identity"}}}"#,
            ("POST", "grant_type=refresh_token&client_id=podwright&refresh_token=hidden-identity"),
        ),
    ] {
        let place = Place::new();
        let tokens = Server::start(|_| Reply::ok(format!(r#"{{"access_token": "{TOKEN}"}}"#)));
        let realm = format!("http://{}/token", tokens.address);
        let server = guarded("Bearer hidden-token", move |_| format!("Bearer realm=\"{realm}\""));
        let settings = with_config(&place, &config.replace("HOST", &server.address));
        place.pull_with(&format!("{}/app", server.address), &settings).unwrap();
        let asked = &tokens.asked()[0];
        assert_eq!(asked.method, expected.0);
        assert!(asked.body.ends_with(expected.1), "{}", asked.body);
        assert_eq!(asked.header("authorization"), None);
    }
}

#[test]
fn a_token_of_the_registry_is_sent_as_it_is() {
    if !is_root() {
        return;
    }
    let place = Place::new();
    let tokens = Server::start(|_| Reply::status(500));
    let realm = format!("http://{}/token", tokens.address);
    let server = guarded("Bearer hidden-token", move |_| format!("Bearer realm=\"{realm}\""));
    let config = |word: &str| format!(r#"{{"auths": {{"{}": {{"registrytoken": "{word}"}}}}}}"#, server.address);
    let name = format!("{}/app", server.address);
    place.pull_with(&name, &with_config(&place, &config(TOKEN))).unwrap();
    assert!(tokens.asked().is_empty(), "nobody is asked for another one");
    let other = Place::new();
    let error = other.pull_with(&name, &with_config(&other, &config("hidden-other"))).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Denied, "{error}");
    tells_nothing(&error);
}

#[test]
fn a_redirect_is_followed_without_what_authorizes_us() {
    if !is_root() {
        return;
    }
    let place = Place::new();
    let (layout, image) = image();
    let (files, top) = (layout.files.clone(), image["digest"].as_str().unwrap().to_owned());
    // The storage would see what it is sent; it has the blobs alone.
    let storage = Server::start(move |asked| right(&files, &top, asked));
    let address = storage.address.clone();
    let server = Server::of(&layout, &image, move |asked| match asked.header("authorization") {
        Some(BASIC) if asked.path.contains("/blobs/") => {
            Some(Reply::status(307).with("Location", format!("http://{address}{}?signature=hidden", asked.path)))
        }
        Some(BASIC) => None,
        _ => Some(Reply::status(401).with("WWW-Authenticate", "Basic realm=\"x\"")),
    });
    let config = auths(&server.address);
    place.pull_with(&format!("{}/app", server.address), &with_config(&place, &config)).unwrap();
    let asked = storage.asked();
    assert!(asked.len() == 3 && asked.iter().all(|a| a.header("authorization").is_none()), "{asked:?}");
    assert!(server.asked().iter().any(|a| a.header("authorization") == Some(BASIC)), "who is meant to hear it does");
}

#[test]
fn who_is_redirected_to_may_not_ask_who_we_are() {
    if !is_root() {
        return;
    }
    let place = Place::new();
    let thief = Server::start(|_| Reply::status(401).with("WWW-Authenticate", "Basic realm=\"give me\""));
    let address = thief.address.clone();
    let server = Server::start(move |asked| match asked.header("authorization") {
        Some(BASIC) => Reply::status(302).with("Location", format!("http://{address}/")),
        _ => Reply::status(401).with("WWW-Authenticate", "Basic realm=\"x\""),
    });
    // Even if there is an entry for it.
    let word = r#"{"auth": "dXNlcjpoaWRkZW4td29yZA=="}"#;
    let config = format!(r#"{{"auths": {{"{}": {word}, "{}": {word}}}}}"#, server.address, thief.address);
    let error = place.pull_with(&format!("{}/app", server.address), &with_config(&place, &config)).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Denied, "{error}");
    assert!(thief.asked().len() == 1 && thief.asked()[0].header("authorization").is_none());
    tells_nothing(&error);
}

#[test]
fn redirects_end_and_lead_to_web_addresses_only() {
    let place = Place::new();
    let rows = [
        ("/v2/again", "more than 5 redirects"),
        ("file:///etc/passwd", "an address that is none"),
        ("file://127.0.0.1/etc/passwd", "no web address"),
        ("ftp://127.0.0.1/x", "no web address"),
        ("elsewhere", "no web address"),
        ("http://[", "an address that is none"),
        ("", "an address that is none"),
    ];
    for (location, why) in rows {
        let server = Server::start(move |_| Reply::status(302).with("Location", location));
        let error = place.pull(&format!("{}/app", server.address)).unwrap_err();
        assert!(error.message.contains(why), "{location}: {error}");
        assert!(server.asked().len() <= 6, "{location}");
    }
    let server = Server::start(|_| Reply::status(302));
    assert!(place.pull(&format!("{}/app", server.address)).unwrap_err().message.contains("without an address"));
}

/// Settings with an authority for a registry.
fn trusting(place: &Place, address: &str, dir: &std::path::Path) -> PullSettings {
    // What is on this machine speaks plain HTTP unless something says otherwise.
    let entry = RegistryEntry { name: address.to_owned(), ca: Some(dir.join("ca.pem")), ..RegistryEntry::default() };
    PullSettings { registries: vec![entry], ..settings(place.dir.path()) }
}

#[test]
fn no_redirect_leads_from_tls_to_plain_http() {
    let place = Place::new();
    let plain = Server::start(|_| Reply::ok("{}"));
    let target = plain.address.clone();
    let (server, dir) = Server::start_tls(move |_| Reply::status(307).with("Location", format!("http://{target}/v2/")));
    let error = place
        .pull_with(&format!("{}/app", server.address), &trusting(&place, &server.address, dir.path()))
        .unwrap_err();
    assert!(error.message.contains("a redirect from TLS to plain HTTP is not followed"), "{error}");
    assert_eq!(error.kind, ErrorKind::Invalid);
    assert!(plain.asked().is_empty() && server.asked().len() == 1);
}

#[test]
fn a_certificate_that_is_not_trusted_is_no_registry_out_of_reach() {
    let place = Place::new();
    let (server, dir) = Server::start_tls(|_| Reply::status(404));
    let (_, other) = Server::start_tls(|_| Reply::status(404));
    let name = format!("{}/app", server.address);
    let error = place.pull_with(&name, &trusting(&place, &server.address, dir.path())).unwrap_err();
    assert_eq!(error.kind, ErrorKind::NotFound, "{error}");
    server.forget();
    let wrong = trusting(&place, &server.address, other.path());
    let error = place.pull_with(&name, &wrong).unwrap_err();
    assert_eq!((error.kind, error.waiting_reason), (ErrorKind::Denied, Some("ErrImagePull")), "{error}");
    assert!(error.message.contains(&server.address) && error.message.contains("with `ca`"), "{error}");
    assert!(server.asked().is_empty(), "nothing was asked of it");
    // Not even beside a mirror that is out of reach.
    let gone = podwright::model::Mirror::parse("http://127.0.0.1:1").unwrap();
    let entry = RegistryEntry { mirrors: vec![gone], ..wrong.registries[0].clone() };
    let error = place.pull_with(&name, &PullSettings { registries: vec![entry], ..wrong }).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Denied, "{error}");
}

#[test]
fn what_a_registry_says_back_is_in_no_error() {
    let place = Place::new();
    // It repeats what it was sent wherever an error might take words from.
    let server = Server::start(|asked| {
        let told = asked.header("authorization").unwrap_or("nothing").to_owned();
        let said = format!(r#"{{"errors": [{{"code": "{told}", "message": "{told}"}}]}}"#);
        let status = if told == "nothing" { 401 } else { 400 };
        let reply = Reply { body: said.into_bytes(), ..Reply::status(status) };
        reply.with("WWW-Authenticate", "Basic realm=\"x\"").with("Docker-Content-Digest", told)
    });
    let config = with_config(&place, &auths(&server.address));
    let error = place.pull_with(&format!("{}/app", server.address), &config).unwrap_err();
    assert!(server.asked().iter().any(|a| a.header("authorization") == Some(BASIC)), "it was told");
    tells_nothing(&error);
    let digest = Server::start(|asked| match asked.header("authorization") {
        Some(told) => Reply::ok("{}").with("Docker-Content-Digest", told).with("X", "y"),
        None => Reply::status(401).with("WWW-Authenticate", "Basic realm=\"x\""),
    });
    let config = with_config(&place, &auths(&digest.address));
    tells_nothing(&place.pull_with(&format!("{}/app", digest.address), &config).unwrap_err());
    // In documents, which errors do quote.
    for field in [r#""schemaVersion": "TOLD""#, r#""schemaVersion": 2, "config": {"digest": "TOLD"}"#] {
        let server = Server::start(move |asked| match asked.header("authorization") {
            Some(told) => Reply::ok(format!("{{{}}}", field.replace("TOLD", told))),
            None => Reply::status(401).with("WWW-Authenticate", "Basic realm=\"x\""),
        });
        let config = with_config(&place, &auths(&server.address));
        let error = place.pull_with(&format!("{}/app", server.address), &config).unwrap_err();
        assert!(error.message.contains("***"), "it would have been quoted: {error}");
        tells_nothing(&error);
    }
}

#[test]
fn a_token_service_gives_tokens_or_a_reason() {
    let place = Place::new();
    let rows: [(Reply, &str); 5] = [
        (Reply::ok("{}"), "gives no token"),
        (Reply::ok("hidden"), "gives no token"),
        (Reply::ok("{\"token\": \"hidden\\r\\nX: y\"}"), "gives no token"),
        (Reply { endless: true, ..Reply::ok(vec![b' '; 1 << 16]) }, "a token is larger than"),
        (Reply::status(302).with("Location", "http://127.0.0.1:1/"), "302"),
    ];
    for (reply, why) in rows {
        let tokens = Server::start(move |_| reply.clone());
        let realm = format!("http://{}/token", tokens.address);
        let server = guarded("Bearer x", move |_| format!("Bearer realm=\"{realm}\""));
        let error = place.pull(&format!("{}/app", server.address)).unwrap_err();
        assert!(error.message.contains(why), "expected {why}: {error}");
        tells_nothing(&error);
    }
    for realm in ["ftp://127.0.0.1/", "relative", "http://", "http://192.0.2.1/token"] {
        let server = guarded("Bearer x", move |_| format!("Bearer realm=\"{realm}\""));
        let error = place.pull(&format!("{}/app", server.address)).unwrap_err();
        assert!(matches!(error.kind, ErrorKind::Denied | ErrorKind::Invalid), "{realm}: {error}");
    }
    let server = guarded("x", |_| "Negotiate".to_owned());
    let error = place.pull(&format!("{}/app", server.address)).unwrap_err();
    assert!(error.message.contains("in a way that is not known here"), "{error}");
}

#[test]
fn credentials_of_a_registry_are_not_for_its_mirrors() {
    if !is_root() {
        return;
    }
    let place = Place::new();
    let mirror = Server::start(|_| Reply::status(401).with("WWW-Authenticate", "Basic realm=\"x\""));
    let mirrors = vec![podwright::model::Mirror::parse(&format!("http://{}", mirror.address)).unwrap()];
    let server = guarded(BASIC, |_| "Basic realm=\"x\"".to_owned());
    let name = server.address.clone();
    let entry = podwright::model::RegistryEntry { name, mirrors, ..Default::default() };
    let settings = PullSettings { registries: vec![entry], ..with_config(&place, &auths(&server.address)) };
    place.pull_with(&format!("{}/app", server.address), &settings).unwrap();
    let told: BTreeMap<_, _> = mirror.asked().into_iter().flat_map(|a| a.headers).collect();
    assert!(!told.contains_key("authorization") && !told.is_empty(), "{told:?}");
}
