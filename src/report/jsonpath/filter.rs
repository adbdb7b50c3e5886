//! `[?(@.type=="Ready")]`: what of a list is kept.

use std::borrow::Cow;
use std::cmp::Ordering;

use serde_json::Value;

use super::Step;
use super::walk::walk;

/// What an element must have, or how it must compare.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Filter {
    pub(super) left: Vec<Step>,
    /// Without one it is enough that there is something.
    pub(super) comparison: Option<(Operator, Vec<Step>)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Operator {
    pub(super) fn of(text: &str) -> Option<Self> {
        Some(match text {
            "==" => Operator::Equal,
            "!=" => Operator::NotEqual,
            "<" => Operator::Less,
            "<=" => Operator::LessOrEqual,
            ">" => Operator::Greater,
            ">=" => Operator::GreaterOrEqual,
            _ => return None,
        })
    }

    fn holds(self, order: Ordering) -> bool {
        match self {
            Operator::Equal => order.is_eq(),
            Operator::NotEqual => order.is_ne(),
            Operator::Less => order.is_lt(),
            Operator::LessOrEqual => order.is_le(),
            Operator::Greater => order.is_gt(),
            Operator::GreaterOrEqual => order.is_ge(),
        }
    }
}

impl Filter {
    /// Whether an element of a list is kept. One that lacks what is compared is not.
    pub(super) fn keeps(&self, element: &Value) -> Result<bool, String> {
        let found = |steps: &[Step]| walk(steps, vec![Cow::Borrowed(element)]);
        let left = found(&self.left)?;
        let Some((operator, right)) = &self.comparison else { return Ok(!left.is_empty()) };
        let right = found(right)?;
        match (left.as_slice(), right.as_slice()) {
            ([], _) | (_, []) => Ok(false),
            ([left], [right]) => Ok(operator.holds(compare(*operator, left, right)?)),
            _ => Err("can only compare one element at a time".to_owned()),
        }
    }
}

/// Two values of one kind. Truth values are equal or not, and have no order.
fn compare(operator: Operator, left: &Value, right: &Value) -> Result<Ordering, String> {
    let is_order = !matches!(operator, Operator::Equal | Operator::NotEqual);
    let order = match (left, right) {
        (Value::String(left), Value::String(right)) => Some(left.cmp(right)),
        (Value::Number(left), Value::Number(right)) => match (left.as_i64(), right.as_i64()) {
            (Some(left), Some(right)) => Some(left.cmp(&right)),
            _ => left.as_f64().zip(right.as_f64()).and_then(|(left, right)| left.partial_cmp(&right)),
        },
        (Value::Bool(left), Value::Bool(right)) if !is_order => Some(left.cmp(right)),
        _ => None,
    };
    order.ok_or_else(|| format!("{left} and {right} cannot be compared"))
}
