//! Templates of `-o jsonpath`: kubectl's language.

use podwright::report::Template;
use serde_json::{Value, json};

fn pods() -> Value {
    json!({
        "kind": "List",
        "items": [
            {"metadata": {"name": "web", "annotations": {"kubernetes.io/arch": "amd64", "note": "a \"b\""}},
                "status": {"phase": "Running", "restarts": 3, "ready": true, "load": 1.5, "conditions": [
                    {"type": "Ready", "status": "True"}, {"type": "Initialized", "status": "False"}]}},
            {"metadata": {"name": "db"}, "status": {"phase": "Pending", "restarts": 0, "ready": false}},
            {"metadata": {"name": "job"}, "status": {"phase": "Failed", "restarts": 12, "ready": false, "reason": null}},
        ],
    })
}

#[test]
fn each_part_of_the_language_does_what_kubectl_does() {
    for (template, expected) in [
        // Text and paths; `$` and `@` are the object at hand.
        ("", ""),
        ("text only .kind", "text only .kind"),
        ("{.kind}", "List"),
        ("{$.kind}{@.kind}{.kind}", "ListListList"),
        ("kind={.kind};", "kind=List;"),
        ("{.no.such.field}", ""),
        ("{.items[0].no}|{.kind.no}", "|"),
        // Values: texts as they are, others as JSON, several with a blank between.
        ("{.items[0].status.restarts} {.items[0].status.ready} {.items[0].status.load}", "3 true 1.5"),
        ("{.items[*].metadata.name}", "web db job"),
        ("{.items[1].metadata}", r#"{"name":"db"}"#),
        ("{.items[0].status.conditions[*].type}", "Ready Initialized"),
        ("{.items[2].status.reason}", "<nil>"),
        // Literals.
        (r#"{"a\tb\n"}"#, "a\tb\n"),
        (r#"{'it\'s'}"#, "it's"),
        ("{3}{-1.5}{true}", "3-1.5true"),
        // Keys in brackets, keys with dots.
        ("{.items[0]['metadata'].name}", "web"),
        ("{.items[0]['metadata.name']}", "web"),
        (r"{.items[0].metadata.annotations.kubernetes\.io/arch}", "amd64"),
        (r"{.items[0].metadata.annotations['kubernetes\.io/arch']}", "amd64"),
        ("{.items[0].metadata.annotations.note}", "a \"b\""),
        // Indices and slices.
        ("{.items[-1].metadata.name}", "job"),
        ("{.items[1:].metadata.name}", "db job"),
        ("{.items[:2].metadata.name}", "web db"),
        ("{.items[0:3:2].metadata.name}", "web job"),
        ("{.items[::2].metadata.name}", "web job"),
        ("{.items[-2:].metadata.name}", "db job"),
        ("{.items[1:1].metadata.name}", ""),
        ("{.items[0,2].metadata.name}", "web job"),
        ("{.items[*]['metadata.name', 'status.phase']}", "web db job Running Pending Failed"),
        // Wildcards and descent.
        ("{.items[1].metadata.*}", "db"),
        ("{.items[0].status.conditions[0].*}", "Ready True"),
        ("{..name}", "web db job"),
        ("{.items..type}", "Ready Initialized"),
        // Filters.
        (r#"{.items[?(@.status.phase=="Running")].metadata.name}"#, "web"),
        (r#"{.items[?(@.status.phase!="Running")].metadata.name}"#, "db job"),
        ("{.items[?(@.status.restarts>0)].metadata.name}", "web job"),
        ("{.items[?(@.status.restarts>=3)].metadata.name}", "web job"),
        ("{.items[?(@.status.restarts<=3)].metadata.name}", "web db"),
        ("{.items[?(@.status.restarts<1)].metadata.name}", "db"),
        ("{.items[?(@.status.load==1.5)].metadata.name}", "web"),
        ("{.items[?(@.status.ready==true)].metadata.name}", "web"),
        ("{.items[?(@.metadata.annotations)].metadata.name}", "web"),
        (r#"{.items[?(@.metadata.annotations.kubernetes\.io/arch=="amd64")].metadata.name}"#, "web"),
        (r#"{.items[*].status.conditions[?(@.type=="Ready")].status}"#, "True"),
        (r#"{.items[?(@.metadata.name=="a)]b")].metadata.name}"#, ""),
        (r#"{.items[?(@.metadata.name == 'db')].status.phase}"#, "Pending"),
        // Ranges, within one another too; one without an end goes to the end.
        (
            r#"{range .items[*]}{.metadata.name}{"\t"}{.status.phase}{"\n"}{end}."#,
            "web\tRunning\ndb\tPending\njob\tFailed\n.",
        ),
        (
            r#"{range .items[*]}{.metadata.name}:{range .status.conditions[*]}{.type}={.status},{end};{end}"#,
            "web:Ready=True,Initialized=False,;db:;job:;",
        ),
        ("{range .none[*]}never{end}after", "after"),
        ("{range .items[*]}{.metadata.name} ", "web db job "),
    ] {
        let made = Template::parse(template).unwrap_or_else(|e| panic!("{template}: {e}")).execute(&pods());
        assert_eq!(made.as_deref(), Ok(expected), "{template}");
    }
}

#[test]
fn what_cannot_be_read_or_done_says_what_it_is() {
    for (template, why) in [
        ("{.kind", "unclosed action"),
        ("{.items[0}", "unterminated array"),
        ("{.items[x]}", "invalid array index x"),
        ("{.items[]}", "invalid array index "),
        ("{.items[1:2:3:4]}", "invalid array index 1:2:3:4"),
        ("{.items[99999999999999999999]}", "invalid array index"),
        ("{.items[?(@.a==1)}", "unclosed array expect ]"),
        ("{.items[?(@.a", "unterminated filter"),
        ("{.items[?(@.a=~1)]}", "unrecognized filter operator ="),
        ("{.items[?(@.a==)]}", "compares with nothing"),
        ("{\"open}", "unterminated quoted string"),
        ("{\"\\q\"}", "invalid escape \\q"),
        ("{unknown .a}", "unrecognized identifier unknown"),
        ("{end}", "not in range, nothing to end"),
        ("{.a ^}", "unrecognized character in action"),
        ("{1.2.3}", "cannot parse number 1.2.3"),
        ("{.items[?(range)]}", "a range is no part of a path"),
    ] {
        let error = Template::parse(template).unwrap_err().to_string();
        assert!(error.starts_with(&format!("error parsing jsonpath {template}, ")), "{error}");
        assert!(error.contains(why), "{template}: {error}");
    }
    let deep = format!("{{{}1{}}}", "[?(".repeat(40), ")]".repeat(40));
    assert!(Template::parse(&deep).unwrap_err().to_string().contains("more than 16 paths in one another"));
    for (template, why) in [
        ("{.items[3]}", "array index out of bounds: index 3, length 3"),
        ("{.items[-4]}", "array index out of bounds: index -1, length 3"),
        ("{.items[0:5]}", "array index out of bounds: index 4, length 3"),
        ("{.items[2:1]}", "starting index 2 is greater than ending index 1"),
        ("{.items[0:2:0]}", "step must be > 0"),
        ("{.kind[0]}", "\"List\" is not a list"),
        ("{.items[0][0]}", "an object is not a list"),
        ("{.kind[?(@.a)]}", "is not a list"),
        ("{.items[?(@.status.phase>1)]}", "cannot be compared"),
        ("{.items[?(@.status.ready<true)]}", "cannot be compared"),
        ("{.items[?(@.status.*==1)]}", "can only compare one element at a time"),
    ] {
        let error = Template::parse(template).unwrap().execute(&pods()).unwrap_err().to_string();
        assert!(
            error.starts_with(&format!("error executing jsonpath {template:?}: ")) && error.contains(why),
            "{error}"
        );
    }
}
