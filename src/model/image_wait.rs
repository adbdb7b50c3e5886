//! What a container says that waits for an image which could not be had. It has one of its own and one for each of its volumes
//! that shows one: whoever reads such a message asks here which of them it is about.

const BACK_OFF: &str = "Back-off pulling image ";
const OF_VOLUME: &str = "image of a volume ";

/// That the next pull of an image is waited for, in the kubelet's words, and why.
pub fn backing_off(image: &str, why: &str) -> String {
    format!("{BACK_OFF}\"{image}\": {why}")
}

/// What is wrong with an image that a volume shows.
pub fn of_volume(image: &str, why: &str) -> String {
    format!("{OF_VOLUME}\"{image}\": {why}")
}

/// The image that a message names. `None` where it is the container's own that is meant, or none at all.
pub fn named(message: &str) -> Option<&str> {
    let rest = message.strip_prefix(BACK_OFF).or_else(|| message.strip_prefix(OF_VOLUME))?;
    Some(rest.strip_prefix('"')?.split_once('"')?.0)
}

/// A message without the name of a volume's image.
pub fn without_name(message: &str) -> &str {
    let why = message.strip_prefix(OF_VOLUME).and_then(|rest| Some(rest.split_once("\": ")?.1));
    why.unwrap_or(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_tells_which_image_it_is_about() {
        let waits = backing_off("a:1", "ErrImagePull: why");
        let absent = of_volume("r.example:5000/b@c", "it is not here");
        assert_eq!(waits, "Back-off pulling image \"a:1\": ErrImagePull: why");
        for (message, image, why) in [
            (waits.as_str(), Some("a:1"), waits.as_str()),
            (absent.as_str(), Some("r.example:5000/b@c"), "it is not here"),
            ("image of a volume \"x\"", Some("x"), "image of a volume \"x\""),
            ("image of a volume x", None, "image of a volume x"),
            ("use image \"a:1\": why", None, "use image \"a:1\": why"),
            ("", None, ""),
        ] {
            assert_eq!((named(message), without_name(message)), (image, why), "{message}");
        }
    }
}
