//! Floor 2: what people read. Status, tables, events and diffs out of the same values.
