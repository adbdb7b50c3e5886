//! Tests of report's project.
