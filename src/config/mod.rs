//! Floor 6: settings: the configuration file and flags over it.
