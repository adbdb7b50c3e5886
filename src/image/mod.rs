//! Floor 4: images: references, the local store, layouts and archives.
