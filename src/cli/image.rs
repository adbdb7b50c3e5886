//! `image ls`, `load`, `pull`, `rm` and `prune`: the local store.

use std::fs::File;
use std::io;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;

use serde_json::json;
use tokio::sync::oneshot;

use super::args::{ImageFormat, ImageVerb};
use super::error::{CliError, Ending};
use super::layout::Layout;
use super::meter::{self, Meter};
use super::{get, look, printer, records};
use crate::config;
use crate::image::{LayerProgress, LayerStage, ListedImage, PullOptions, Store};
use crate::model::PullSettings;
use crate::port::PortError;
use crate::report::{self, tabs};

/// Digits of a layer's digest that are shown, as docker and podman have it.
const SHORT: usize = 12;
/// Columns of a bar.
const BAR: std::ops::RangeInclusive<usize> = 10..=40;

/// Runs `image`. `config` is the configuration file that was named.
pub fn run(verb: &ImageVerb, layout: &Layout, config: Option<&Path>) -> Result<Ending, CliError> {
    match verb {
        ImageVerb::Ls { references, output } => list(layout, references, *output),
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

fn list(layout: &Layout, references: &[String], output: ImageFormat) -> Result<Ending, CliError> {
    // Looking makes no directories.
    let directory = layout.images();
    let there = directory.try_exists();
    let there = there.map_err(|e| PortError::io("list images", directory.display().to_string(), &e))?;
    if !there && output == ImageFormat::Text && references.is_empty() {
        printer::note(&format!("no images in {}", directory.display()));
        return Ok(Ending::Success);
    }
    let (mut images, mut ending) = (Vec::new(), Ending::Success);
    match there.then(|| store(layout)).transpose()? {
        Some(store) if references.is_empty() => images = store.list()?,
        Some(store) => {
            for reference in references {
                match store.listed_as(reference) {
                    Ok(image) => images.push(image),
                    Err(error) => {
                        printer::failure(&error.into());
                        ending = Ending::Failed;
                    }
                }
            }
        }
        None if references.is_empty() => {}
        None => return Err(CliError::new(format!("there are no images in {}", directory.display()))),
    }
    if !images.is_empty() || ending == Ending::Success {
        print(&images, output)?;
    }
    Ok(ending)
}

fn print(images: &[ListedImage], output: ImageFormat) -> Result<(), CliError> {
    match output {
        ImageFormat::Json => printer::json(&get::indented(&json!({"images": images}))?),
        ImageFormat::Yaml => printer::out(&report::object_yaml(&json!({"images": images}))),
        ImageFormat::Text => {
            let mut rows = vec![["IMAGE", "IMAGE ID", "SIZE"].map(str::to_owned).to_vec()];
            for image in images {
                let damaged = |damage: &String| format!("damaged: {damage}");
                let size = image.damage.as_ref().map_or_else(|| human_size(image.size), damaged);
                let id = image.id.strip_prefix("sha256:").unwrap_or(&image.id);
                rows.push(vec![image.reference.clone(), id.get(..13).unwrap_or(id).to_owned(), size]);
            }
            printer::out(&tabs::table(&rows))
        }
    }
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

/// An image that is pulled, and its layers that were not here.
type Pulling = (String, Vec<LayerProgress>);

/// Pulls on a thread of its own: Ctrl-C ends the command at once, and what it has got so far is gone on with the next time.
fn pull(layout: &Layout, references: &[String], config: Option<&Path>) -> Result<Ending, CliError> {
    let settings = config::load(config)?.pull;
    let (store, references) = (store(layout)?, references.to_vec());
    let meter = Arc::new(Meter::new(how_far));
    look::block_on(async {
        let (told, mut outcome) = oneshot::channel();
        let noting = Arc::clone(&meter);
        std::thread::spawn(move || {
            // Nobody waits any more after Ctrl-C.
            let _ = told.send(pull_each(&store, &references, &settings, &noting));
        });
        let mut looks = tokio::time::interval(meter::PAUSE);
        // One for all rounds: what was pressed during one of them is not lost.
        let mut pressed = pin!(tokio::signal::ctrl_c());
        loop {
            // Cancel-safe: what is waited for outlives a round, and a look that was missed is made up for by the next one.
            tokio::select! {
                outcome = &mut outcome => {
                    break outcome.expect("invariant: the thread does not end before it has told");
                }
                pressed = &mut pressed => {
                    meter.clear();
                    pressed.map_err(|e| CliError::new(format!("cannot wait for Ctrl-C: {e}")))?;
                    break Err(CliError::silent(Ending::Interrupted));
                }
                _ = looks.tick() => meter.draw(),
            }
        }
    })
}

fn pull_each(
    store: &Store,
    references: &[String],
    settings: &PullSettings,
    meter: &Meter<Pulling>,
) -> Result<Ending, CliError> {
    let mut ending = Ending::Success;
    for reference in references {
        let tell = |layers: &[LayerProgress]| {
            meter.note(|now| {
                let (_, known) = now.get_or_insert_with(|| (reference.clone(), Vec::new()));
                layers.clone_into(known);
            });
        };
        let pulled = store.pull(reference, PullOptions { settings, secrets: &[], patience: None, tell: &tell });
        meter.clear();
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

/// A line for the image, and one for each layer that is worked on.
fn how_far((reference, layers): &Pulling, columns: usize) -> Vec<String> {
    let sum = |number: fn(&LayerProgress) -> u64| layers.iter().map(number).fold(0, u64::saturating_add);
    let (bytes, total) = (sum(|layer| layer.bytes), sum(|layer| layer.size));
    let percent = bytes.saturating_mul(100).checked_div(total).unwrap_or(100);
    let (count, done) = (layers.len(), layers.iter().filter(|layer| layer.stage == LayerStage::Unpacked).count());
    let (bytes, total) = (human_size(bytes), human_size(total));
    let mut lines = vec![format!("pulling {percent} %, {bytes} of {total}, {done} of {count} layers: {reference}")];
    for layer in layers {
        let short = layer.hex.get(..SHORT).unwrap_or(&layer.hex);
        let size = human_size(layer.size);
        match layer.stage {
            LayerStage::Downloading => {
                let said = format!("{:>6} of {size}", human_size(layer.bytes));
                // Two blanks before, between and after, and the ends of the bar.
                let room = columns.saturating_sub(short.len() + said.len() + 8).min(*BAR.end());
                let bar = if room < *BAR.start() { String::new() } else { bar(layer, room) };
                lines.push(format!("  {short}  {bar}{said}"));
            }
            LayerStage::Unpacking => lines.push(format!("  {short}  unpacking {size}")),
            LayerStage::Waiting | LayerStage::Downloaded | LayerStage::Unpacked => {}
        }
    }
    lines
}

fn bar(layer: &LayerProgress, room: usize) -> String {
    let share = u128::from(layer.bytes.min(layer.size)) * room as u128 / u128::from(layer.size.max(1));
    let done = usize::try_from(share).unwrap_or(room);
    format!("[{:<room$}]  ", "=".repeat(done))
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
