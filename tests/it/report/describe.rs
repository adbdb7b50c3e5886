//! Tests of report's describe.
