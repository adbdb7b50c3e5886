//! What was typed for `image`.

use std::path::PathBuf;

use clap::{Subcommand, ValueEnum};

/// `image ...`.
#[derive(Subcommand, Debug)]
pub enum ImageVerb {
    /// List the images of the store
    #[command(visible_alias = "list")]
    Ls {
        /// Only these [default: every image]
        #[arg(value_name = "REFERENCE")]
        references: Vec<String>,
        /// How it is printed; json and yaml have all that is known: layers, platform, and what each image says of its
        /// process, its volumes and labels. Its environment is shown as it is: whoever can pull the image has it
        #[arg(short, long, value_enum, default_value_t)]
        output: ImageFormat,
    },
    /// Load an oci-archive, a docker-archive or an OCI layout directory
    Load {
        /// A file or a directory; - or nothing for standard input
        #[arg(value_name = "FILE")]
        file: Option<PathBuf>,
        /// The name it gets, when the archive does not say or says otherwise
        #[arg(long, value_name = "REFERENCE")]
        name: Option<String>,
    },
    /// Pull images from their registries, or from the mirrors that the configuration names
    Pull {
        #[arg(value_name = "REFERENCE", required = true)]
        references: Vec<String>,
    },
    /// Remove images from the store
    Rm {
        #[arg(value_name = "REFERENCE", required = true)]
        references: Vec<String>,
    },
    /// Remove the images that were pulled and that no pod uses or is to use; what was loaded stays
    Prune,
}

/// What `image ls` prints in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ImageFormat {
    #[default]
    Text,
    Json,
    Yaml,
}
