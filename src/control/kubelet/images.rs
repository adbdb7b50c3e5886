//! How the images that a worker made present came to be here, until the record of an instance tells it: a start that fails
//! may leave none.

use std::collections::BTreeMap;

use crate::model::{ImageNeed, ImageSource, ObservedPod};

/// By container.
#[derive(Default)]
pub(super) struct Images {
    /// The image, and how it came to be here; only where there is something to tell.
    sources: BTreeMap<String, (String, ImageSource)>,
}

impl Images {
    /// An image is here. One that was made present earlier, and is found to be here now, still has its story to tell. That of a
    /// volume is told at once, and no instance is made of it.
    pub(super) fn note(&mut self, need: &ImageNeed, source: ImageSource) {
        if need.volume.is_some() {
            return;
        }
        if !source.is_present() {
            self.sources.insert(need.container.clone(), (need.image.clone(), source));
        } else if self.sources.get(&need.container).is_some_and(|(image, _)| *image != need.image) {
            self.sources.remove(&need.container);
        }
    }

    /// What is to be told of the image of a container, unless its newest instance does.
    pub(super) fn of(&self, container: &str, pod: Option<&ObservedPod>) -> Option<&ImageSource> {
        let (_, source) = self.sources.get(container)?;
        let newest = pod.and_then(|pod| pod.latest(container));
        Some(source).filter(|source| newest.is_none_or(|instance| instance.record.image_source != **source))
    }

    /// An instance tells it.
    pub(super) fn told(&mut self, container: &str) {
        self.sources.remove(container);
    }
}
