//! Tests of report's diff.
