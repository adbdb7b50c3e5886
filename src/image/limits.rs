//! How much of a foreign archive is believed before it is refused.

/// Bounds on what a load takes in. The defaults are far above any real image.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of an archive after its own decompression.
    pub archive_bytes: u64,
    /// Bytes of one layer's tar stream: what stops a compression bomb.
    pub layer_bytes: u64,
    /// Entries of one layer, and of an archive.
    pub entries: u64,
    /// Bytes of an index, manifest or configuration.
    pub document_bytes: u64,
    /// Layers of one image: overlay takes 500 lower directories.
    pub layers: usize,
    /// Bytes of one entry's extension headers: long names, extended attributes.
    pub extension_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            archive_bytes: 64 << 30,
            layer_bytes: 32 << 30,
            entries: 2_000_000,
            document_bytes: 4 << 20,
            layers: 256,
            extension_bytes: 1 << 20,
        }
    }
}
