//! Floor 4: git, watching, and the status file.
