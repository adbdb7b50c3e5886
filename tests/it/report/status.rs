//! Tests of report's status.
