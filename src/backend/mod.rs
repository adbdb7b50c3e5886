//! Floor 4: what runs pods.
