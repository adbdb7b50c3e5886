//! `image ls`, `load`, `pull`, `rm` and `prune`: the local store.

use std::fs::File;
use std::io;
use std::path::Path;

use super::args::{ImageVerb, TextOrJson};
use super::error::{CliError, Ending};
use super::layout::Layout;
use super::meter::Meter;
use super::{printer, records};
use crate::config;
use crate::image::{PullOptions, PullProgress, Store};
use crate::port::PortError;
use crate::report::tabs;

/// Runs `image`. `config` is the configuration file that was named.
pub fn run(verb: &ImageVerb, layout: &Layout, config: Option<&Path>) -> Result<Ending, CliError> {
    match verb {
        ImageVerb::Ls { output } => list(layout, *output),
        ImageVerb::Load { file, name } => load(layout, file.as_deref(), name.as_deref()),
        ImageVerb::Pull { references } => pull(layout, references, config),
        ImageVerb::Rm { references } => remove(layout, references),
        ImageVerb::Prune => prune(layout),
    }
}

fn store(layout: &Layout) -> Result<Store, CliError> {
    layout.prepare()?;
    Ok(Store::open(&layout.images(), None)?)
}

fn list(layout: &Layout, output: TextOrJson) -> Result<Ending, CliError> {
    // Looking makes no directories.
    let directory = layout.images();
    match directory.try_exists() {
        Ok(true) => {}
        Ok(false) if output == TextOrJson::Json => {
            printer::json("{\n  \"images\": []\n}\n")?;
            return Ok(Ending::Success);
        }
        Ok(false) => {
            printer::note(&format!("no images in {}", directory.display()));
            return Ok(Ending::Success);
        }
        Err(e) => return Err(PortError::io("list images", directory.display().to_string(), &e).into()),
    }
    let images = store(layout)?.list()?;
    if output == TextOrJson::Json {
        let text = serde_json::to_string_pretty(&serde_json::json!({"images": images}));
        printer::json(&format!("{}\n", text.expect("invariant: what an image says has nothing that JSON cannot say")))?;
        return Ok(Ending::Success);
    }
    let mut rows = vec![["IMAGE", "IMAGE ID", "SIZE"].map(str::to_owned).to_vec()];
    for image in &images {
        let size = image.damage.as_ref().map_or_else(|| human_size(image.size), |damage| format!("damaged: {damage}"));
        let id = image.id.strip_prefix("sha256:").unwrap_or(&image.id);
        rows.push(vec![image.reference.clone(), id.get(..13).unwrap_or(id).to_owned(), size]);
    }
    printer::out(&tabs::table(&rows))?;
    Ok(Ending::Success)
}

fn load(layout: &Layout, file: Option<&Path>, name: Option<&str>) -> Result<Ending, CliError> {
    let store = store(layout)?;
    let loaded = match file {
        Some(path) if path.is_dir() => store.load_layout(path, name)?,
        Some(path) if path != Path::new("-") => {
            let file = File::open(path).map_err(|e| PortError::io("open", path.display().to_string(), &e))?;
            store.load(file, name)?
        }
        _ if io::IsTerminal::is_terminal(&io::stdin()) => {
            return Err(CliError::usage("standard input is a terminal").hint("name a file, or pipe an archive in"));
        }
        _ => store.load(io::stdin().lock(), name)?,
    };
    for image in loaded {
        printer::out(&format!("Loaded image: {}\n", image.reference))?;
    }
    Ok(Ending::Success)
}

fn pull(layout: &Layout, references: &[String], config: Option<&Path>) -> Result<Ending, CliError> {
    let settings = config::load(config)?.pull;
    let store = store(layout)?;
    let mut ending = Ending::Success;
    for reference in references {
        let meter = Meter::new();
        let tell = |progress: PullProgress| meter.show(|| how_far(reference, progress));
        let pulled =
            store.pull(reference, PullOptions { settings: &settings, secrets: &[], patience: None, tell: &tell });
        drop(meter);
        match pulled {
            Ok(pulled) => {
                let what = if pulled.up_to_date { "Image is up to date" } else { "Pulled image" };
                printer::out(&format!("{what}: {}\n", pulled.image.reference))?;
            }
            Err(error) => {
                printer::failure(&error.into());
                ending = Ending::Failed;
            }
        }
    }
    Ok(ending)
}

fn how_far(reference: &str, progress: PullProgress) -> String {
    let PullProgress { layers, bytes, total } = progress;
    let what = if bytes < total { "pulling" } else { "unpacking" };
    let percent = bytes.saturating_mul(100).checked_div(total).unwrap_or(100);
    let name: String = reference.chars().take(60).filter(|c| !c.is_control()).collect();
    let (bytes, total) = (human_size(bytes), human_size(total));
    format!("{what} {name}: {layers} layers, {bytes} of {total} ({percent} %)")
}

fn prune(layout: &Layout) -> Result<Ending, CliError> {
    let store = store(layout)?;
    let pruned = store.prune(&records::images_in_use(layout)?, &records::images_wanted(layout)?)?;
    for reference in pruned.references {
        printer::out(&format!("Removed image: {reference}\n"))?;
    }
    printer::out(&format!("Reclaimed: {}\n", human_size(pruned.bytes)))?;
    Ok(Ending::Success)
}

fn remove(layout: &Layout, references: &[String]) -> Result<Ending, CliError> {
    let store = store(layout)?;
    let in_use = records::images_in_use(layout)?;
    let mut ending = Ending::Success;
    for reference in references {
        match store.remove(reference, &in_use) {
            Ok(()) => printer::out(&format!("Removed image: {reference}\n"))?,
            Err(error) => {
                printer::failure(&error.into());
                ending = Ending::Failed;
            }
        }
    }
    Ok(ending)
}

/// Bytes as crictl writes them: three digits, decimal units.
fn human_size(bytes: u64) -> String {
    let (mut value, mut unit) = (bytes as f64, "B");
    for next in ["kB", "MB", "GB", "TB"] {
        if value < 999.5 {
            break;
        }
        (value, unit) = (value / 1000.0, next);
    }
    match value {
        v if unit == "B" => format!("{v}{unit}"),
        v if v < 9.995 => format!("{v:.2}{unit}"),
        v if v < 99.95 => format!("{v:.1}{unit}"),
        v => format!("{v:.0}{unit}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_three_digits() {
        for (bytes, expected) in [
            (0, "0B"),
            (999, "999B"),
            (1000, "1.00kB"),
            (12_345, "12.3kB"),
            (999_400, "999kB"),
            (2_100_000, "2.10MB"),
            (187_654_321, "188MB"),
        ] {
            assert_eq!(human_size(bytes), expected);
        }
    }
}
