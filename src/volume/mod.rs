//! Floor 4: volumes of pods on disk and tmpfs.
