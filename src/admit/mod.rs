//! Floor 2: admission. Presets and defaults make `Admitted` out of `Desired`.
