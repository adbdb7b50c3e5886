//! SARIF: what the standard requires, and what GitHub's code scanning takes of it.
//!
//! The second is from GitHub's page "SARIF support for code scanning": its table of supported properties, and the errors
//! that an upload is refused with.

use std::collections::BTreeSet;

use podwright::model::{Diagnostic, Diagnostics, RULES, Severity};
use podwright::report::sarif;
use serde_json::{Value, json};

use super::validation::{bare, both, hostile, misspelt, place};

/// An object with these members, of which some must be there.
fn members(properties: &[(&str, &Value)], required: &[&str]) -> Value {
    let properties: serde_json::Map<String, Value> =
        properties.iter().map(|(name, schema)| ((*name).to_owned(), (*schema).clone())).collect();
    json!({"type": "object", "properties": properties, "required": required})
}

fn list(items: &Value) -> Value {
    json!({"type": "array", "items": items})
}

/// What GitHub requires, with the forms the standard gives it. Every member that is written is named.
fn schema() -> Value {
    let closed = |mut object: Value| {
        object["additionalProperties"] = json!(false);
        object
    };
    let any = json!({});
    let from_one = json!({"type": "integer", "minimum": 1});
    let text = closed(members(&[("text", &json!({"type": "string", "minLength": 1}))], &["text"]));
    let short = closed(members(&[("text", &json!({"type": "string", "minLength": 1, "maxLength": 1024}))], &["text"]));
    let rule = closed(members(
        &[("id", &any), ("shortDescription", &short), ("fullDescription", &short), ("help", &text)],
        &["id", "shortDescription", "fullDescription", "help"],
    ));
    let driver = closed(members(
        &[("name", &any), ("informationUri", &any), ("version", &any), ("rules", &list(&rule))],
        &["name", "rules"],
    ));
    let uri = json!({"type": "string", "pattern": "^(file:///)?([A-Za-z0-9._~/-]|%[0-9A-F]{2})+$"});
    let ends = ["startLine", "startColumn", "endLine", "endColumn"];
    let mut region: Vec<(&str, &Value)> = ends.iter().map(|name| (*name, &from_one)).collect();
    region.push(("snippet", &text));
    let artifact = closed(members(&[("uri", &uri), ("uriBaseId", &json!({"const": "%SRCROOT%"}))], &["uri"]));
    let physical = closed(members(
        &[("artifactLocation", &artifact), ("region", &closed(members(&region, &ends)))],
        &["artifactLocation", "region"],
    ));
    let logical = closed(members(&[("fullyQualifiedName", &json!({"type": "string", "minLength": 1}))], &[]));
    let location = closed(members(
        &[("physicalLocation", &physical), ("logicalLocations", &list(&logical))],
        &["physicalLocation"],
    ));
    let mut locations = list(&location);
    locations["minItems"] = json!(1);
    let level = json!({"enum": ["none", "note", "warning", "error"]});
    let hash = json!({"type": "string", "pattern": "^[0-9a-f]{16}:[1-9][0-9]*$"});
    let prints = closed(members(&[("primaryLocationLineHash", &hash)], &["primaryLocationLineHash"]));
    let names = ["ruleId", "ruleIndex", "level", "message", "locations", "partialFingerprints"];
    let result = closed(members(
        &names.into_iter().zip([&any, &json!({"minimum": 0}), &level, &text, &locations, &prints]).collect::<Vec<_>>(),
        &names,
    ));
    let note = closed(members(
        &[("associatedRule", &closed(members(&[("id", &any)], &["id"]))), ("level", &level), ("message", &text)],
        &["message"],
    ));
    let invocation = closed(members(
        &[("executionSuccessful", &json!({"const": true})), ("toolExecutionNotifications", &list(&note))],
        &["executionSuccessful"],
    ));
    // Columns count characters, not the units of UTF-16 that are the default.
    let run = closed(members(
        &[
            ("tool", &closed(members(&[("driver", &driver)], &["driver"]))),
            ("columnKind", &json!({"const": "unicodeCodePoints"})),
            ("originalUriBaseIds", &any),
            ("invocations", &list(&invocation)),
            ("results", &list(&result)),
        ],
        &["tool", "columnKind", "results"],
    ));
    let schema = json!({"const": "https://json.schemastore.org/sarif-2.1.0.json"});
    closed(members(
        &[("$schema", &schema), ("version", &json!({"const": "2.1.0"})), ("runs", &list(&run))],
        &["$schema", "version", "runs"],
    ))
}

fn results(all: &[Diagnostic]) -> Vec<Value> {
    sarif(&Diagnostics(all.to_vec()), "1")["runs"][0]["results"].as_array().unwrap().clone()
}

/// Everything that may be odd about a diagnostic, one at a time.
fn odd() -> Vec<Diagnostic> {
    let at = |line, column, width, text: &str| Diagnostic {
        place: Some(place("a.yaml", (line, column, width), text)),
        ..misspelt()
    };
    let mut all = vec![
        at(0, 0, 0, ""),
        at(u32::MAX, u32::MAX, u32::MAX, "x"),
        Diagnostic { object: None, field: None, ..misspelt() },
        Diagnostic { severity: Severity::Warning, help: None, ..misspelt() },
        Diagnostic { message: "[text](https://example.com)\u{1b}".into(), ..misspelt() },
        bare(),
    ];
    all.extend(
        ["a b/ü%.yaml", "c:d.yaml", "/abs/x.yaml", "?#[]@!.yaml"].map(|path| hostile(path, "m", "l").0.remove(0)),
    );
    all
}

#[test]
fn every_report_is_what_the_standard_and_the_scanner_require() {
    let validator = jsonschema::validator_for(&schema()).unwrap();
    for diagnostics in [Diagnostics::default(), both(), Diagnostics(odd())] {
        let report = sarif(&diagnostics, "0.1.0");
        let wrong: Vec<String> =
            validator.iter_errors(&report).map(|e| format!("{}: {e}", e.instance_path())).collect();
        assert_eq!(wrong, [""; 0]);
        let run = &report["runs"][0];
        let rules = run["tool"]["driver"]["rules"].as_array().unwrap();
        let ids: BTreeSet<&str> = rules.iter().map(|rule| rule["id"].as_str().unwrap()).collect();
        assert_eq!((ids.len(), rules.len()), (RULES.len(), RULES.len()), "each rule once");
        let placed: Vec<&Diagnostic> = diagnostics.0.iter().filter(|d| d.place.is_some()).collect();
        let results = run["results"].as_array().unwrap();
        assert_eq!(results.len(), placed.len());
        for (result, diagnostic) in results.iter().zip(placed) {
            let rule = &rules[result["ruleIndex"].as_u64().unwrap() as usize];
            assert_eq!((&rule["id"], &result["ruleId"]), (&json!(diagnostic.rule), &json!(diagnostic.rule)));
            let region = &result["locations"][0]["physicalLocation"]["region"];
            assert!(region["endColumn"].as_u64() > region["startColumn"].as_u64() || region["endColumn"] == u32::MAX);
            assert!(!result["message"]["text"].as_str().unwrap().contains("]("), "a link: {result}");
        }
    }
}

#[test]
fn a_path_is_a_reference_below_the_root_of_the_repository() {
    for (path, uri, base) in [
        ("web/pod.yaml", "web/pod.yaml", Some("%SRCROOT%")),
        ("a b/ü%.yaml", "a%20b/%C3%BC%25.yaml", Some("%SRCROOT%")),
        ("c:d.yaml", "c%3Ad.yaml", Some("%SRCROOT%")),
        ("?#.yaml", "%3F%23.yaml", Some("%SRCROOT%")),
        ("/abs/x.yaml", "file:///abs/x.yaml", None),
    ] {
        let found = results(&hostile(path, "m", "line").0);
        let artifact = &found[0]["locations"][0]["physicalLocation"]["artifactLocation"];
        assert_eq!((artifact["uri"].as_str(), artifact["uriBaseId"].as_str()), (Some(uri), base));
    }
}

#[test]
fn a_place_has_both_ends_from_one_on() {
    for ((line, column, width), (start, end)) in [
        ((8, 5, 6), ((8, 5), (8, 11))),
        ((0, 0, 0), ((1, 1), (1, 2))),
        ((3, 1, 0), ((3, 1), (3, 2))),
        ((1, u32::MAX, 9), ((1, u32::MAX), (1, u32::MAX))),
    ] {
        let found = results(&[Diagnostic { place: Some(place("a", (line, column, width), " x")), ..misspelt() }]);
        let region = &found[0]["locations"][0]["physicalLocation"]["region"];
        let expected = json!({"startLine": start.0, "startColumn": start.1, "endLine": end.0, "endColumn": end.1,
            "snippet": {"text": " x"}});
        assert_eq!(*region, expected);
    }
}

#[test]
fn what_is_about_no_file_is_a_notification() {
    let run = &sarif(&both(), "1")["runs"][0];
    assert_eq!(run["results"].as_array().unwrap().len(), 1);
    let expected =
        json!([{"associatedRule": {"id": "no-manifests"}, "level": "warning", "message": {"text": "no manifests"}}]);
    assert_eq!(run["invocations"][0]["toolExecutionNotifications"], expected);
}

#[test]
fn a_finding_is_known_again_wherever_it_stands_in_its_file() {
    let print = |diagnostic: Diagnostic| results(&[diagnostic])[0]["partialFingerprints"].clone();
    let moved = Diagnostic { place: Some(place("web/pod.yaml", (80, 9, 6), "else")), ..misspelt() };
    assert_eq!(print(moved), print(misspelt()));
    let no_object = Diagnostic { object: None, ..misspelt() };
    let others = [
        misspelt(),
        Diagnostic { rule: "missing-field", ..misspelt() },
        Diagnostic { field: Some("spec.x".into()), ..misspelt() },
        Diagnostic { place: Some(place("other.yaml", (8, 5, 6), "")), ..misspelt() },
        no_object.clone(),
        Diagnostic { message: "another".into(), ..no_object },
    ];
    let different: BTreeSet<String> = others.into_iter().map(|other| print(other).to_string()).collect();
    assert_eq!(different.len(), 6, "{different:?}");
    // The same thing twice is two findings.
    let twice = results(&[misspelt(), misspelt()]);
    let [one, two] = [0, 1].map(|at| twice[at]["partialFingerprints"]["primaryLocationLineHash"].as_str().unwrap());
    assert_eq!((one.split_once(':').unwrap().1, two.split_once(':').unwrap().1), ("1", "2"));
    assert_eq!(one.split_once(':').unwrap().0, two.split_once(':').unwrap().0);
}
