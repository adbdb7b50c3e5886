//! Everything that reads bytes which others wrote, against bytes that nobody meant: no panic, no end that does not come, and
//! an answer whose size the input bounds. One line per reader in the table below; a new reader gets one too.

mod effects;
mod foreign;
mod http;
mod left;
mod native;
mod parsers;

use foreign::withstands;

/// `name => the reader` becomes a test for each.
macro_rules! readers {
    ($($name:ident => $reader:path;)*) => {
        $(#[test]
        fn $name() {
            withstands($reader());
        })*
    };
}

readers! {
    // What people write.
    manifests_through_every_stage => effects::manifests;
    the_configuration_file => parsers::configuration;
    podwrightignore => parsers::ignore_rules;
    environment_files_of_create => left::environment_file;
    certificates_of_create => left::certificate;
    private_keys_of_create => left::private_key;
    registry_credentials_of_create => left::docker_configuration;
    durations_of_flags => parsers::durations;
    label_selectors => parsers::label_selectors;
    field_selectors => parsers::field_selectors;
    image_references => parsers::image_references;
    quantities => parsers::quantities;
    subnets => parsers::subnets;
    ipv6_subnets => parsers::ipv6_subnets;
    // What comes over the socket.
    requests_to_the_api => http::targets;
    what_is_no_request => http::requests;
    events_from_the_api => parsers::events;
    // What images bring.
    oci_archives => parsers::oci_archives;
    docker_archives => parsers::docker_archives;
    // What containers and the machine write.
    log_lines => parsers::log_lines;
    the_machines_resolv_conf => parsers::resolv_conf;
    // What an agent left on the disk, and anything may have happened to.
    pod_and_container_records => effects::records;
    records_as_a_started_agent_finds_them => native::records;
    the_index_of_the_image_store => parsers::image_index;
    the_ledger => parsers::ledger;
    the_last_report => parsers::snapshot;
    the_events_of_an_agent_before => parsers::kept_events;
    the_status_document => parsers::status_document;
    leases_of_addresses => parsers::leases;
    pod_records_without_an_agent => left::pod_record;
    container_records_without_an_agent => left::container_record;
    the_last_report_without_an_agent => left::report;
    the_status_without_an_agent => left::status;
}
