//! From values to values along a path.

use std::borrow::Cow;

use serde_json::Value;

use super::{Slice, Step};

/// The values of a step. They are parts of the object, but for literals of the template.
pub(super) type Values<'a> = Vec<Cow<'a, Value>>;

/// Takes the steps one after the other.
pub(super) fn walk<'a>(steps: &[Step], mut values: Values<'a>) -> Result<Values<'a>, String> {
    for step in steps {
        values = take(step, values)?;
    }
    Ok(values)
}

fn take<'a>(step: &Step, values: Values<'a>) -> Result<Values<'a>, String> {
    match step {
        Step::Literal(value) => Ok(vec![Cow::Owned(value.clone())]),
        Step::Field(name) => Ok(values.into_iter().filter_map(|value| field(value, name)).collect()),
        Step::Wildcard => Ok(values.into_iter().flat_map(children).collect()),
        Step::Recursive => Ok(values.into_iter().flat_map(all_below).collect()),
        Step::Slice(slice) => each_list(values, |list| part(*slice, list)),
        Step::Filter(filter) => each_list(values, |list| {
            let kept = list.into_iter().map(|element| Ok(filter.keeps(&element)?.then_some(element)));
            kept.filter_map(Result::transpose).collect()
        }),
        Step::Union(paths) => {
            let found = paths.iter().map(|path| walk(path, values.clone()));
            Ok(found.collect::<Result<Vec<_>, _>>()?.concat())
        }
    }
}

fn field<'a>(value: Cow<'a, Value>, name: &str) -> Option<Cow<'a, Value>> {
    match value {
        Cow::Borrowed(value) => value.as_object()?.get(name).map(Cow::Borrowed),
        Cow::Owned(value) => value.as_object()?.get(name).cloned().map(Cow::Owned),
    }
}

/// What is in an object or a list.
fn children(value: Cow<'_, Value>) -> Values<'_> {
    match value {
        Cow::Borrowed(Value::Array(list)) => list.iter().map(Cow::Borrowed).collect(),
        Cow::Borrowed(Value::Object(members)) => members.values().map(Cow::Borrowed).collect(),
        Cow::Owned(Value::Array(list)) => list.into_iter().map(Cow::Owned).collect(),
        Cow::Owned(Value::Object(members)) => members.into_iter().map(|(_, value)| Cow::Owned(value)).collect(),
        Cow::Borrowed(_) | Cow::Owned(_) => Vec::new(),
    }
}

/// A value and all below it that have something in them, each before what is in it.
fn all_below(value: Cow<'_, Value>) -> Values<'_> {
    let within = children(value.clone());
    if within.is_empty() {
        return Vec::new();
    }
    std::iter::once(value).chain(within.into_iter().flat_map(all_below)).collect()
}

/// Takes a step that only a list has. What is not there (`null`) has no elements.
fn each_list<'a>(
    values: Values<'a>,
    mut step: impl FnMut(Values<'a>) -> Result<Values<'a>, String>,
) -> Result<Values<'a>, String> {
    let mut out = Vec::new();
    for value in values {
        match &*value {
            Value::Null => {}
            Value::Array(_) => out.extend(step(children(value))?),
            Value::Object(_) => return Err("an object is not a list".to_owned()),
            other => return Err(format!("{other} is not a list")),
        }
    }
    Ok(out)
}

fn part<'a>(slice: Slice, list: Values<'a>) -> Result<Values<'a>, String> {
    let length = i64::try_from(list.len()).unwrap_or(i64::MAX);
    let from_end = |at: i64| if at < 0 { at.saturating_add(length) } else { at };
    let from = from_end(slice.from.unwrap_or(0));
    let to = match slice.to {
        _ if slice.is_index => from.saturating_add(1),
        Some(to) => from_end(to),
        None => length,
    };
    if from == to {
        return Ok(Vec::new());
    }
    let outside = |at: i64| Err(format!("array index out of bounds: index {at}, length {length}"));
    if !(0..length).contains(&from) {
        return outside(from);
    }
    if !(0..=length).contains(&to) {
        return outside(to.saturating_sub(1));
    }
    if from > to {
        return Err(format!("starting index {from} is greater than ending index {to}"));
    }
    let step = slice.step.unwrap_or(1);
    let step = usize::try_from(step).ok().filter(|step| *step > 0).ok_or("step must be > 0")?;
    let (skipped, taken) = (usize::try_from(from).unwrap_or(0), usize::try_from(to - from).unwrap_or(0));
    Ok(list.into_iter().skip(skipped).take(taken).step_by(step).collect())
}
