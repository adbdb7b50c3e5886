//! Tests of `volume`.
