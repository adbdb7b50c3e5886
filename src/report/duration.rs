//! Ages as kubectl writes them: two units at most, coarser with distance. Durations as Go prints them.

use jiff::{SignedDuration, Timestamp};

/// The time from `then` to `now`: `5s`, `3m20s`, `7h5m`, `3d4h`, `400d`, `2y30d`. `<unknown>` without `then`.
pub fn age(then: Option<Timestamp>, now: Timestamp) -> String {
    match then {
        Some(then) => human_duration(now.as_second().saturating_sub(then.as_second())),
        None => "<unknown>".into(),
    }
}

/// A duration of whole seconds. A clock up to a second behind counts as now; more is `<invalid>`.
pub fn human_duration(seconds: i64) -> String {
    let two = |major: i64, unit: &str, minor: i64, small: &str| match minor {
        0 => format!("{major}{unit}"),
        _ => format!("{major}{unit}{minor}{small}"),
    };
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    match seconds {
        i64::MIN..=-2 => "<invalid>".into(),
        -1 => "0s".into(),
        0..120 => format!("{seconds}s"),
        _ if minutes < 10 => two(minutes, "m", seconds % 60, "s"),
        _ if minutes < 180 => format!("{minutes}m"),
        _ if hours < 8 => two(hours, "h", minutes % 60, "m"),
        _ if hours < 48 => format!("{hours}h"),
        _ if hours < 192 => two(hours / 24, "d", hours % 24, "h"),
        _ if hours < 24 * 365 * 2 => format!("{}d", hours / 24),
        _ if hours < 24 * 365 * 8 => two(hours / 24 / 365, "y", (hours / 24) % 365, "d"),
        _ => format!("{}y", hours / 24 / 365),
    }
}

/// A duration as Go prints it when it was truncated to milliseconds: `0s`, `87ms`, `1.5s`, `2m3.25s`, `1h0m0s`.
pub(super) fn go(duration: SignedDuration) -> String {
    let milliseconds = duration.as_millis().max(0);
    let (seconds, rest) = (milliseconds / 1000, milliseconds % 1000);
    if seconds == 0 && rest > 0 {
        return format!("{rest}ms");
    }
    let fraction = format!("{rest:03}");
    let fraction = fraction.trim_end_matches('0');
    let point = if fraction.is_empty() { "" } else { "." };
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, s) => format!("{s}{point}{fraction}s"),
        (0, m, s) => format!("{m}m{s}{point}{fraction}s"),
        (h, m, s) => format!("{h}h{m}m{s}{point}{fraction}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pulls_took_as_long_as_go_prints_it() {
        for (milliseconds, text) in [
            (0, "0s"),
            (7, "7ms"),
            (999, "999ms"),
            (1000, "1s"),
            (1500, "1.5s"),
            (12_034, "12.034s"),
            (123_250, "2m3.25s"),
            (3_600_000, "1h0m0s"),
        ] {
            assert_eq!(go(SignedDuration::from_millis(milliseconds)), text);
        }
    }

    #[test]
    fn durations_read_as_kubectl_writes_them() {
        const H: i64 = 3600;
        const D: i64 = 24 * H;
        for (seconds, expected) in [
            (-2, "<invalid>"),
            (-1, "0s"),
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (200, "3m20s"),
            (599, "9m59s"),
            (600, "10m"),
            (179 * 60 + 59, "179m"),
            (3 * H, "3h"),
            (7 * H + 5 * 60, "7h5m"),
            (8 * H, "8h"),
            (47 * H, "47h"),
            (48 * H, "2d"),
            (3 * D + 4 * H, "3d4h"),
            (8 * D, "8d"),
            (400 * D, "400d"),
            (730 * D, "2y"),
            (760 * D, "2y30d"),
            (8 * 365 * D, "8y"),
            (i64::MAX, "292471208677y"),
        ] {
            assert_eq!(human_duration(seconds), expected, "{seconds}");
        }
    }

    #[test]
    fn a_missing_time_is_unknown() {
        assert_eq!(age(None, Timestamp::UNIX_EPOCH), "<unknown>");
    }
}
