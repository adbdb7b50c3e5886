//! `get`: objects as tables, documents or names.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};

use super::args::{GetArgs, GetFormat};
use super::error::{CliError, Ending};
use super::layout::Layout;
use super::look::{self, LastReport, Source};
use super::printer;
use crate::report::{self, Listed, TableOptions, Template, objects_table};
use crate::serve::{
    Client, ClientError, FieldSelector, LabelSelector, ListOptions, ObjectList, from_name, is_namespaced, plural,
    qualified_name,
};

/// Which objects.
struct Query {
    listed: Listed,
    /// `None` for all namespaces.
    namespace: Option<String>,
    names: Vec<String>,
    options: ListOptions,
}

/// Runs `get`.
pub fn run(args: &GetArgs, layout: &Layout) -> Result<Ending, CliError> {
    if let Some(path) = &args.raw {
        return look::block_on(raw(path, layout));
    }
    let query = query(args)?;
    look::block_on(async {
        match look::source(layout).await? {
            Source::Agent(client) => from_agent(args, &query, &client).await,
            Source::LastReport(report) => from_report(args, &query, &report, layout),
        }
    })
}

/// Prints a document of the API as it is.
async fn raw(path: &str, layout: &Layout) -> Result<Ending, CliError> {
    if !path.starts_with('/') {
        return Err(CliError::usage(format!("{path}: a path of the API begins with a slash")));
    }
    match look::source(layout).await? {
        Source::Agent(client) => printer::out(&format!("{}\n", client.json(path).await?))?,
        Source::LastReport(_) => return Err(look::unanswered("only a running agent answers for its API", layout)),
    }
    Ok(Ending::Success)
}

/// The kind and the names that `KIND NAME...` or `KIND/NAME...` mean.
pub fn kind_and_names(first: &str, rest: &[String]) -> Result<(Listed, Vec<String>), CliError> {
    let Some((kind, name)) = first.split_once('/') else {
        if let Some(stray) = rest.iter().find(|n| n.contains('/')) {
            return Err(CliError::usage(format!("{stray}: write either KIND NAME... or KIND/NAME...")));
        }
        return Ok((listed(first)?, rest.to_vec()));
    };
    let mut names = vec![name.to_owned()];
    let listed = listed(kind)?;
    for other in rest {
        match other.split_once('/') {
            Some((kind, name)) if from_name(kind) == Some(listed) => names.push(name.to_owned()),
            _ => return Err(CliError::usage(format!("{other}: all of them must be {kind}/NAME"))),
        }
    }
    if names.iter().any(String::is_empty) {
        return Err(CliError::usage(format!("{first}: the name is missing after the slash")));
    }
    Ok((listed, names))
}

fn listed(word: &str) -> Result<Listed, CliError> {
    from_name(word).ok_or_else(|| CliError::new(format!("the server doesn't have a resource type {word:?}")))
}

fn query(args: &GetArgs) -> Result<Query, CliError> {
    let (listed, names) = kind_and_names(args.kind.as_deref().unwrap_or_default(), &args.names)?;
    if !names.is_empty() && (args.selector.is_some() || args.field_selector.is_some()) {
        return Err(CliError::usage("name cannot be provided when a selector is specified"));
    }
    if !names.is_empty() && args.all_namespaces && is_namespaced(listed) {
        return Err(CliError::usage("a resource cannot be retrieved by name across all namespaces"));
    }
    if args.watch && names.len() > 1 {
        return Err(CliError::usage("you may only watch a single resource or type of resource at a time"));
    }
    // Bad selectors are told here, so that they are the same error with and without an agent.
    LabelSelector::parse(args.selector.as_deref().unwrap_or_default()).map_err(CliError::usage)?;
    FieldSelector::parse(listed, args.field_selector.as_deref().unwrap_or_default()).map_err(CliError::usage)?;
    let everywhere = args.all_namespaces || !is_namespaced(listed);
    Ok(Query {
        listed,
        namespace: (!everywhere).then(|| args.namespace.namespace.clone()),
        names,
        options: ListOptions { label_selector: args.selector.clone(), field_selector: args.field_selector.clone() },
    })
}

async fn from_agent(args: &GetArgs, query: &Query, client: &Client) -> Result<Ending, CliError> {
    if query.names.is_empty() || args.watch {
        return list(args, query, client).await;
    }
    let (mut objects, mut ending) = (Vec::new(), Ending::Success);
    for name in &query.names {
        match client.get(query.listed, query.namespace.as_deref().unwrap_or_default(), name).await {
            Ok(object) => objects.push(object),
            Err(error @ ClientError::Status { code: 404, .. }) => {
                printer::failure(&error.into());
                ending = Ending::Failed;
            }
            Err(error) => return Err(error.into()),
        }
    }
    if !objects.is_empty() {
        Printer::new(args, query).all(&objects, query.names.len() == 1)?;
    }
    Ok(ending)
}

async fn list(args: &GetArgs, query: &Query, client: &Client) -> Result<Ending, CliError> {
    let mut options = query.options.clone();
    if let [name] = query.names.as_slice() {
        options.field_selector = Some(format!("metadata.name={name}"));
    }
    let namespace = query.namespace.as_deref();
    let list = client.list(query.listed, namespace, &options).await?;
    if let ([name], []) = (query.names.as_slice(), list.items.as_slice()) {
        return Err(CliError::not_found(plural(query.listed), name));
    }
    let mut printer = Printer::new(args, query);
    if !(args.watch && list.items.is_empty()) {
        printer.all(&list.items, false)?;
    }
    if args.watch {
        watch(query, &options, list, client, &mut printer).await?;
    }
    Ok(Ending::Success)
}

/// Prints every change from a list on, until the agent is gone.
async fn watch(
    query: &Query,
    options: &ListOptions,
    mut list: ObjectList,
    client: &Client,
    printer: &mut Printer<'_>,
) -> Result<(), CliError> {
    let namespace = query.namespace.as_deref();
    loop {
        let mut stream = match client.watch(query.listed, namespace, options, &list.resource_version).await {
            // What was missed is gone from the history: take the state as it is now.
            Err(ClientError::Status { code: 410, .. }) => {
                list = client.list(query.listed, namespace, options).await?;
                printer.each(&list.items)?;
                continue;
            }
            other => other?,
        };
        while let Some(event) = stream.next().await {
            let event = event?;
            if let Some(version) = event.object["metadata"]["resourceVersion"].as_str() {
                version.clone_into(&mut list.resource_version);
            }
            printer.each(std::slice::from_ref(&event.object))?;
        }
        // The watch ended: the agent did, or it wants a new one.
        client.version().await?;
    }
}

fn from_report(args: &GetArgs, query: &Query, report: &LastReport, layout: &Layout) -> Result<Ending, CliError> {
    look::only_pods(query.listed, layout)?;
    if args.watch {
        return Err(look::unanswered("changes are told by a running agent only", layout));
    }
    look::note_last_report(report);
    let labels = LabelSelector::parse(args.selector.as_deref().unwrap_or_default()).map_err(CliError::usage)?;
    let fields = args.field_selector.as_deref().unwrap_or_default();
    let fields = FieldSelector::parse(query.listed, fields).map_err(CliError::usage)?;
    let mut objects = report.objects();
    objects.retain(|o| {
        let namespace = o["metadata"]["namespace"].as_str().unwrap_or_default();
        let wanted = query.namespace.as_deref().is_none_or(|n| n == namespace);
        wanted && labels.matches(o) && fields.matches(o)
    });
    if query.names.is_empty() {
        Printer::new(args, query).all(&objects, false)?;
        return Ok(Ending::Success);
    }
    let (mut found, mut ending) = (Vec::new(), Ending::Success);
    for name in &query.names {
        match objects.iter().find(|o| o["metadata"]["name"] == name.as_str()) {
            Some(object) => found.push(object.clone()),
            None => {
                printer::failure(&CliError::not_found(plural(query.listed), name));
                ending = Ending::Failed;
            }
        }
    }
    if !found.is_empty() {
        Printer::new(args, query).all(&found, query.names.len() == 1)?;
    }
    Ok(ending)
}

/// Prints objects as the command line asks.
struct Printer<'a> {
    query: &'a Query,
    output: Option<&'a GetFormat>,
    options: TableOptions,
}

impl<'a> Printer<'a> {
    fn new(args: &'a GetArgs, query: &'a Query) -> Self {
        let options = TableOptions {
            wide: matches!(args.output, Some(GetFormat::Wide)),
            namespaces: args.all_namespaces && is_namespaced(query.listed),
            no_headers: args.no_headers,
        };
        Self { query, output: args.output.as_ref(), options }
    }

    /// A whole answer. `single` prints a document without a list around it.
    fn all(&mut self, objects: &[Value], single: bool) -> Result<(), CliError> {
        match self.output {
            None | Some(GetFormat::Wide) if objects.is_empty() => {
                let place = self.query.namespace.as_ref().map(|n| format!(" in {n} namespace.")).unwrap_or_default();
                printer::note(&format!("No resources found{place}"));
                Ok(())
            }
            None | Some(GetFormat::Wide) => {
                printer::out(&objects_table(self.query.listed, objects, self.options, Timestamp::now()))?;
                self.options.no_headers = true;
                Ok(())
            }
            Some(GetFormat::Name) => self.each(objects),
            Some(GetFormat::Yaml | GetFormat::Json | GetFormat::Jsonpath(_)) if single => self.each(objects),
            Some(GetFormat::Jsonpath(template)) => printer::out(&executed(template, &v1_list(objects))?),
            Some(GetFormat::Yaml) => printer::out(&report::object_yaml(&v1_list(objects))),
            Some(GetFormat::Json) => printer::json(&pretty(&v1_list(objects))?),
        }
    }

    /// One object after the other.
    fn each(&mut self, objects: &[Value]) -> Result<(), CliError> {
        for object in objects {
            match self.output {
                None | Some(GetFormat::Wide) => {
                    let one = std::slice::from_ref(object);
                    printer::out(&objects_table(self.query.listed, one, self.options, Timestamp::now()))?;
                    self.options.no_headers = true;
                }
                Some(GetFormat::Name) => {
                    let name = object["metadata"]["name"].as_str().unwrap_or_default();
                    printer::out(&format!("{}/{name}\n", qualified_name(self.query.listed)))?;
                }
                Some(GetFormat::Yaml) => printer::out(&report::object_yaml(object))?,
                Some(GetFormat::Json) => printer::json(&pretty(object)?)?,
                Some(GetFormat::Jsonpath(template)) => printer::out(&executed(template, object)?)?,
            }
        }
        Ok(())
    }
}

fn executed(template: &Template, object: &Value) -> Result<String, CliError> {
    template.execute(object).map_err(|error| CliError::new(error.to_string()))
}

/// Objects of any kind in one document.
fn v1_list(objects: &[Value]) -> Value {
    json!(List::new(objects, None::<()>))
}

/// A `v1` List, with its members in order of their names.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct List<I, P> {
    api_version: &'static str,
    items: I,
    kind: &'static str,
    metadata: ListMetadata<P>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ListMetadata<P> {
    #[serde(skip_serializing_if = "Option::is_none")]
    provenance: Option<P>,
    resource_version: &'static str,
}

impl<I, P> List<I, P> {
    /// A list of items, and of where the fields of each come from if that is wanted.
    pub fn new(items: I, provenance: Option<P>) -> Self {
        let metadata = ListMetadata { provenance, resource_version: "" };
        Self { api_version: "v1", items, kind: "List", metadata }
    }
}

/// Indented JSON with the members of every object in order of their names, as kubectl prints it.
pub fn pretty(value: &Value) -> Result<String, CliError> {
    indented(&sorted(value))
}

/// Indented JSON with its members in the order they have, and a line end.
pub fn indented(value: &impl Serialize) -> Result<String, CliError> {
    let text = serde_json::to_string_pretty(value);
    text.map(|t| t + "\n").map_err(|e| CliError::new(format!("cannot print the object: {e}")))
}

/// The same value with the members of every object in order of their names.
pub fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let ordered: BTreeMap<&String, Value> = members.iter().map(|(k, v)| (k, sorted(v))).collect();
            Value::Object(ordered.into_iter().map(|(k, v)| (k.clone(), v)).collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(sorted).collect()),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Kind;

    #[test]
    fn kinds_and_names_are_read_as_kubectl_reads_them() {
        let pods = Listed::Kind(Kind::Pod);
        let names = |list: &[&str]| list.iter().map(|n| (*n).to_owned()).collect::<Vec<String>>();
        for (first, rest, expected) in
            [("po", &["a", "b"][..], &["a", "b"][..]), ("pod/a", &["pods/b"], &["a", "b"]), ("Pods", &[], &[])]
        {
            let found = kind_and_names(first, &names(rest)).unwrap();
            assert_eq!(found, (pods, names(expected)), "{first}");
        }
        for (first, rest, ending) in [
            ("deployments", &[][..], Ending::Failed),
            ("pod/", &[], Ending::Usage),
            ("pod/a", &["b"], Ending::Usage),
            ("pod/a", &["cm/b"], Ending::Usage),
            ("pod", &["pod/a"], Ending::Usage),
        ] {
            assert_eq!(kind_and_names(first, &names(rest)).unwrap_err().ending, ending, "{first} {rest:?}");
        }
    }
}
