//! What was asked of the fake, in order.

use super::behaviour::{Call, Verb};
use crate::model::PodKey;

/// How many calls are remembered.
const CALLS: usize = 20_000;

/// The calls so far, as one text with their ends in it: as values, the calls of thousands of pods take several times the
/// memory of the pods themselves.
#[derive(Default)]
pub(super) struct Calls {
    text: String,
    calls: Vec<Noted>,
}

/// Where the words of a call end in the text; each begins where the one before ends.
struct Noted {
    verb: Verb,
    has_pod: bool,
    ends: [usize; 3],
}

impl Calls {
    /// Notes a call, unless there are too many already.
    pub(super) fn note(&mut self, call: &Call) {
        if self.calls.len() == CALLS {
            return;
        }
        let (namespace, name) = call.pod.as_ref().map_or(("", ""), |pod| (pod.namespace.as_str(), pod.name.as_str()));
        let ends = [namespace, name, call.subject.as_str()].map(|word| {
            self.text.push_str(word);
            self.text.len()
        });
        self.calls.push(Noted { verb: call.verb, has_pod: call.pod.is_some(), ends });
    }

    /// Every call.
    pub(super) fn all(&self) -> Vec<Call> {
        let mut begin = 0;
        let call = |noted: &Noted| {
            let [namespace, name, subject] =
                noted.ends.map(|end| self.text[std::mem::replace(&mut begin, end)..end].to_owned());
            Call { verb: noted.verb, pod: noted.has_pod.then(|| PodKey::new(namespace, name)), subject }
        };
        self.calls.iter().map(call).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_come_back_as_they_were() {
        let call = |verb, pod: Option<(&str, &str)>, subject: &str| Call {
            verb,
            pod: pod.map(|(namespace, name)| PodKey::new(namespace, name)),
            subject: subject.to_owned(),
        };
        let all = [
            call(Verb::List, None, ""),
            call(Verb::StartContainer, Some(("default", "web")), "app#0"),
            call(Verb::EnsureImage, None, "registry/image:1"),
            call(Verb::Observe, Some(("", "")), ""),
            call(Verb::RunSandbox, Some(("ü", "b")), "#1"),
        ];
        let mut calls = Calls::default();
        all.iter().for_each(|call| calls.note(call));
        assert_eq!(calls.all(), all);
    }

    #[test]
    fn no_more_calls_are_kept_than_the_bound() {
        let mut calls = Calls::default();
        let call = Call { verb: Verb::List, pod: None, subject: String::new() };
        (0..CALLS + 2).for_each(|_| calls.note(&call));
        assert_eq!(calls.all().len(), CALLS);
    }
}
