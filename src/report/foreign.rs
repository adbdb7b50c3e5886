//! Foreign text: which of its characters must never be shown as they are.

/// Whether a character is invisible or changes how its neighbours look: controls, line separators, directional marks,
/// zero-width and tag characters.
pub(super) fn is_special(c: char) -> bool {
    c.is_control()
        || matches!(
            u32::from(c),
            0xAD | 0x61C | 0x180E | 0x200B..=0x200F | 0x2028..=0x202E | 0x2060..=0x206F | 0xFEFF
                | 0xFFF9..=0xFFFB | 0xE0000..=0xE007F
        )
}

/// What runners of pipelines take for a command wherever it stands in a line.
pub(super) const COMMANDS: [&str; 2] = ["##[", "##vso["];
