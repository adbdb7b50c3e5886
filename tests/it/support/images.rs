//! Images made in memory: layers entry by entry, OCI layouts, oci- and docker-archives, right and wrong ones.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tar::{EntryType, Header};

/// `sha256:...` of some bytes.
pub fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect::<String>())
}

/// The machine's architecture as images call it.
pub fn arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// A layer's tar, entry by entry. Names are written as they are given, however wrong.
#[derive(Default)]
pub struct Layer(Vec<u8>);

impl Layer {
    pub fn new() -> Self {
        Self::default()
    }

    /// The general entry.
    pub fn entry(mut self, path: &str, kind: EntryType, edit: impl FnOnce(&mut Header), data: &[u8]) -> Self {
        let mut header = Header::new_gnu();
        header.as_gnu_mut().unwrap().name[..path.len()].copy_from_slice(path.as_bytes());
        header.set_entry_type(kind);
        header.set_size(data.len() as u64);
        header.set_mode(if kind == EntryType::Directory { 0o755 } else { 0o644 });
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1_000_000);
        edit(&mut header);
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(data);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    pub fn dir(self, path: &str) -> Self {
        self.entry(path, EntryType::Directory, |_| (), b"")
    }

    pub fn file(self, path: &str, data: &str) -> Self {
        self.entry(path, EntryType::Regular, |_| (), data.as_bytes())
    }

    pub fn link(self, kind: EntryType, path: &str, target: &str) -> Self {
        self.entry(path, kind, |h| h.set_link_name_literal(target).unwrap(), b"")
    }

    /// Extension records for the entry that follows.
    pub fn pax(self, records: &[(&str, &[u8])]) -> Self {
        let mut body = Vec::new();
        for (key, value) in records {
            let rest = key.len() + value.len() + 3;
            let length = rest + (rest + rest.to_string().len()).to_string().len();
            body.extend_from_slice(format!("{length} {key}=").as_bytes());
            body.extend_from_slice(value);
            body.push(b'\n');
        }
        self.entry("pax", EntryType::XHeader, |_| (), &body)
    }

    /// The tar, with its end mark.
    pub fn tar(&self) -> Vec<u8> {
        let mut bytes = self.0.clone();
        bytes.resize(bytes.len() + 1024, 0);
        bytes
    }
}

/// How a layer is stored.
#[derive(Clone, Copy, PartialEq)]
pub enum Packing {
    Plain,
    Gzip,
    Zstd,
}

pub fn pack(bytes: &[u8], packing: Packing) -> Vec<u8> {
    match packing {
        Packing::Plain => bytes.to_vec(),
        Packing::Gzip => {
            use std::io::Write;
            let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            gzip.write_all(bytes).unwrap();
            gzip.finish().unwrap()
        }
        Packing::Zstd => zstd::encode_all(bytes, 1).unwrap(),
    }
}

/// An OCI layout in memory: file name to bytes.
#[derive(Clone, Default)]
pub struct Layout {
    pub files: BTreeMap<String, Vec<u8>>,
    pub index: Vec<Value>,
}

impl Layout {
    pub fn new() -> Self {
        Self::default()
    }

    /// One of the archives that the tests build, and the descriptor of its image.
    pub fn of_test_image(name: &str) -> (Self, Value) {
        let mut layout = Self::new();
        let mut archive = tar::Archive::new(std::fs::File::open(test_image(name)).unwrap());
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let path = entry.path().unwrap().to_str().unwrap().trim_start_matches("./").to_owned();
            let mut bytes = Vec::new();
            std::io::Read::read_to_end(&mut entry, &mut bytes).unwrap();
            if path.starts_with("blobs/") && !bytes.is_empty() {
                layout.files.insert(path, bytes);
            } else if path == "index.json" {
                let index: Value = serde_json::from_slice(&bytes).unwrap();
                layout.index = index["manifests"].as_array().unwrap().clone();
            }
        }
        let top = layout.index[0].clone();
        (layout, top)
    }

    fn blob(&mut self, bytes: Vec<u8>) -> (String, usize) {
        let (digest, size) = (digest(&bytes), bytes.len());
        self.files.insert(format!("blobs/sha256/{}", &digest[7..]), bytes);
        (digest, size)
    }

    /// Adds an image's blobs and returns its descriptor.
    pub fn image(&mut self, layers: &[(Vec<u8>, Packing)], config: Value, architecture: &str) -> Value {
        let diff_ids: Vec<String> = layers.iter().map(|(tar, _)| digest(tar)).collect();
        let config = json!({"architecture": architecture, "os": "linux", "config": config,
            "rootfs": {"type": "layers", "diff_ids": diff_ids}});
        let (config, config_size) = self.blob(serde_json::to_vec(&config).unwrap());
        let layers: Vec<Value> = layers
            .iter()
            .map(|(tar, packing)| {
                let (digest, size) = self.blob(pack(tar, *packing));
                json!({"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": digest, "size": size})
            })
            .collect();
        let manifest = json!({"schemaVersion": 2, "config": {"mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": config, "size": config_size}, "layers": layers});
        let (digest, size) = self.blob(serde_json::to_vec(&manifest).unwrap());
        json!({"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest, "size": size,
            "platform": {"os": "linux", "architecture": architecture}})
    }

    /// Adds an image with one layer more than one that is here, and returns its descriptor.
    pub fn extended(&mut self, image: &Value, layer: &Layer) -> Value {
        let (tar, size) = self.blob(layer.tar());
        self.changed(image, |manifest, config| {
            config["rootfs"]["diff_ids"].as_array_mut().unwrap().push(json!(tar));
            let media = "application/vnd.oci.image.layer.v1.tar";
            let layers = manifest["layers"].as_array_mut().unwrap();
            layers.push(json!({"mediaType": media, "digest": tar, "size": size}));
        })
    }

    /// Adds an image that differs from one that is here in its manifest or configuration, and returns its descriptor. Each
    /// blob is what its digest says.
    pub fn changed(&mut self, image: &Value, edit: impl FnOnce(&mut Value, &mut Value)) -> Value {
        let read = |files: &BTreeMap<String, Vec<u8>>, descriptor: &Value| -> Value {
            let digest = descriptor["digest"].as_str().unwrap().trim_start_matches("sha256:");
            serde_json::from_slice(&files[&format!("blobs/sha256/{digest}")]).unwrap()
        };
        let mut manifest = read(&self.files, image);
        let mut config = read(&self.files, &manifest["config"]);
        edit(&mut manifest, &mut config);
        let (digest, size) = self.blob(serde_json::to_vec(&config).unwrap());
        (manifest["config"]["digest"], manifest["config"]["size"]) = (json!(digest), json!(size));
        let (digest, size) = self.blob(serde_json::to_vec(&manifest).unwrap());
        let mut descriptor = image.clone();
        (descriptor["digest"], descriptor["size"]) = (json!(digest), json!(size));
        descriptor
    }

    /// Adds an index of several platforms and returns its descriptor.
    pub fn multi(&mut self, manifests: &[Value]) -> Value {
        let (digest, size) =
            self.blob(serde_json::to_vec(&json!({"schemaVersion": 2, "manifests": manifests})).unwrap());
        json!({"mediaType": "application/vnd.oci.image.index.v1+json", "digest": digest, "size": size})
    }

    /// Names a descriptor in index.json.
    pub fn name(mut self, mut descriptor: Value, name: Option<&str>) -> Self {
        if let Some(name) = name {
            descriptor["annotations"] = json!({"org.opencontainers.image.ref.name": name});
        }
        self.index.push(descriptor);
        self
    }

    /// All files; the blobs come before index.json, as in a stream.
    pub fn all(&self) -> Vec<(String, Vec<u8>)> {
        let mut files: Vec<(String, Vec<u8>)> = self.files.clone().into_iter().collect();
        files.push((
            "index.json".into(),
            serde_json::to_vec(&json!({"schemaVersion": 2, "manifests": self.index})).unwrap(),
        ));
        files.push(("oci-layout".into(), br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec()));
        files
    }

    pub fn archive(&self) -> Vec<u8> {
        archive(&self.all())
    }

    pub fn write(&self, dir: &Path) -> PathBuf {
        for (name, bytes) in self.all() {
            let path = dir.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
        dir.to_owned()
    }
}

/// A tar of plain files.
pub fn archive(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    files.iter().fold(Layer::new(), |tar, (name, bytes)| tar.entry(name, EntryType::Regular, |_| (), bytes)).tar()
}

/// An oci-archive of one image.
pub fn oci_archive(name: &str, layers: &[Vec<u8>], config: Value) -> Vec<u8> {
    let mut layout = Layout::new();
    let layers: Vec<(Vec<u8>, Packing)> = layers.iter().map(|l| (l.clone(), Packing::Gzip)).collect();
    let image = layout.image(&layers, config, arch());
    layout.name(image, Some(name)).archive()
}

/// A docker-archive of one image.
pub fn docker_archive(tags: &[&str], layers: &[Vec<u8>], config: Value) -> Vec<u8> {
    let diff_ids: Vec<String> = layers.iter().map(|tar| digest(tar)).collect();
    let config = serde_json::to_vec(&json!({"architecture": arch(), "os": "linux", "config": config,
        "rootfs": {"type": "layers", "diff_ids": diff_ids}}))
    .unwrap();
    let config_name = format!("{}.json", &digest(&config)[7..]);
    let names: Vec<String> = (0..layers.len()).map(|i| format!("{i}/layer.tar")).collect();
    let manifest = json!([{"Config": config_name, "RepoTags": tags, "Layers": names}]);
    let mut files: Vec<(String, Vec<u8>)> = names.into_iter().zip(layers.iter().cloned()).collect();
    files.push((config_name, config));
    files.push(("manifest.json".into(), serde_json::to_vec(&manifest).unwrap()));
    archive(&files)
}

/// The archive of an image that `tests/images/build.sh` made from Debian packages: `busybox`, `debian` or `nginx`.
pub fn test_image(name: &str) -> PathBuf {
    test_file(&format!("{name}.tar"))
}

/// A file that `tests/images/build.sh` made.
pub fn test_file(name: &str) -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target"), PathBuf::from);
    let path = target.join("test-images").join(name);
    assert!(path.exists(), "{} is missing: run tests/images/build.sh", path.display());
    path
}
