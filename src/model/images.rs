//! Which images a pod has to do with: whoever removes some asks here.

use k8s_openapi::api::core::v1::PodSpec;

use super::ContainerRecord;

/// The images that a pod asks for, as it names them: those that its containers are made of, and those that its volumes show.
pub fn images_of(spec: PodSpec) -> impl Iterator<Item = String> {
    let containers = spec.init_containers.into_iter().flatten().chain(spec.containers);
    let volumes = spec.volumes.into_iter().flatten().filter_map(|volume| volume.image?.reference);
    containers.filter_map(|container| container.image).chain(volumes)
}

impl ContainerRecord {
    /// The digests of the images that an instance stands on.
    pub fn image_ids(&self) -> impl Iterator<Item = &String> {
        [&self.image_id].into_iter().chain(self.volume_images.values())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_containers_are_made_of_and_what_volumes_show_is_a_pods() {
        let spec = json!({
            "initContainers": [{"name": "i", "image": "i:1"}], "containers": [{"name": "a", "image": "a:1"}, {"name": "b"}],
            "volumes": [{"name": "e", "emptyDir": {}}, {"name": "v", "image": {"reference": "v:1"}}, {"name": "w", "image": {}}],
        });
        let images: Vec<String> = images_of(serde_json::from_value(spec).unwrap()).collect();
        assert_eq!(images, ["i:1", "a:1", "v:1"]);
    }
}
