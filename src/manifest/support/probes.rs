//! The probes of a container: every field of each kind, with the test that shows it.

/// A command, requests and a port of real processes, and a sidecar that takes its time to start.
const ASKED: &str = "e2e_probes_by_command_request_and_port_decide_over_a_pod";
const LIVENESS: &str = "e2e_seed_liveness_restarts_its_container_while_the_pod_runs";
const GRPC: &str = "e2e_a_grpc_service_is_ready_when_it_says_so";
/// What is asked, field by field.
const READ: &str = "each_kind_of_handler_is_read";
/// The numbers, their defaults and zeros.
const MADE: &str = "a_probe_is_made_of_its_fields_and_the_defaults";
const TIMED: &str = "a_probe_is_asked_after_its_delay_and_then_once_in_a_period";
const COUNTED: &str = "thresholds_count_equal_answers_in_a_row";
const ENDED: &str = "what_probes_say_is_acted_upon";
/// Readiness stops nothing: this field of it is an error, as it is in Kubernetes.
const REFUSED: &str = "each_bad_manifest_is_told_as_expected";

/// Fields that do what Kubernetes says.
pub(super) const HONOURED: &[(&str, &str)] = &[
    ("@.startupProbe", ASKED),
    ("@.startupProbe.exec", ASKED),
    ("@.startupProbe.exec.command", ASKED),
    ("@.startupProbe.failureThreshold", COUNTED),
    ("@.startupProbe.grpc", READ),
    ("@.startupProbe.grpc.port", READ),
    ("@.startupProbe.grpc.service", READ),
    ("@.startupProbe.httpGet", ASKED),
    ("@.startupProbe.httpGet.host", READ),
    ("@.startupProbe.httpGet.httpHeaders", READ),
    ("@.startupProbe.httpGet.httpHeaders[].name", READ),
    ("@.startupProbe.httpGet.httpHeaders[].value", READ),
    ("@.startupProbe.httpGet.path", ASKED),
    ("@.startupProbe.httpGet.port", ASKED),
    ("@.startupProbe.httpGet.scheme", READ),
    ("@.startupProbe.initialDelaySeconds", TIMED),
    ("@.startupProbe.periodSeconds", TIMED),
    ("@.startupProbe.successThreshold", COUNTED),
    ("@.startupProbe.tcpSocket", READ),
    ("@.startupProbe.tcpSocket.host", MADE),
    ("@.startupProbe.tcpSocket.port", READ),
    ("@.startupProbe.terminationGracePeriodSeconds", "a_startup_probe_that_fails_leaves_the_grace_period_of_its_own"),
    ("@.startupProbe.timeoutSeconds", MADE),
    ("@.livenessProbe", LIVENESS),
    ("@.livenessProbe.exec", LIVENESS),
    ("@.livenessProbe.exec.command", LIVENESS),
    ("@.livenessProbe.failureThreshold", COUNTED),
    ("@.livenessProbe.grpc", READ),
    ("@.livenessProbe.grpc.port", READ),
    ("@.livenessProbe.grpc.service", READ),
    ("@.livenessProbe.httpGet", READ),
    ("@.livenessProbe.httpGet.host", READ),
    ("@.livenessProbe.httpGet.httpHeaders", READ),
    ("@.livenessProbe.httpGet.httpHeaders[].name", READ),
    ("@.livenessProbe.httpGet.httpHeaders[].value", READ),
    ("@.livenessProbe.httpGet.path", READ),
    ("@.livenessProbe.httpGet.port", READ),
    ("@.livenessProbe.httpGet.scheme", READ),
    ("@.livenessProbe.initialDelaySeconds", TIMED),
    ("@.livenessProbe.periodSeconds", TIMED),
    ("@.livenessProbe.successThreshold", COUNTED),
    ("@.livenessProbe.tcpSocket", ASKED),
    ("@.livenessProbe.tcpSocket.host", MADE),
    ("@.livenessProbe.tcpSocket.port", ASKED),
    ("@.livenessProbe.terminationGracePeriodSeconds", ENDED),
    ("@.livenessProbe.timeoutSeconds", MADE),
    ("@.readinessProbe", ASKED),
    ("@.readinessProbe.exec", READ),
    ("@.readinessProbe.exec.command", READ),
    ("@.readinessProbe.failureThreshold", COUNTED),
    ("@.readinessProbe.grpc", GRPC),
    ("@.readinessProbe.grpc.port", GRPC),
    ("@.readinessProbe.grpc.service", GRPC),
    ("@.readinessProbe.httpGet", ASKED),
    ("@.readinessProbe.httpGet.host", READ),
    ("@.readinessProbe.httpGet.httpHeaders", READ),
    ("@.readinessProbe.httpGet.httpHeaders[].name", READ),
    ("@.readinessProbe.httpGet.httpHeaders[].value", READ),
    ("@.readinessProbe.httpGet.path", ASKED),
    ("@.readinessProbe.httpGet.port", ASKED),
    ("@.readinessProbe.httpGet.scheme", READ),
    ("@.readinessProbe.initialDelaySeconds", TIMED),
    ("@.readinessProbe.periodSeconds", TIMED),
    ("@.readinessProbe.successThreshold", COUNTED),
    ("@.readinessProbe.tcpSocket", READ),
    ("@.readinessProbe.tcpSocket.host", MADE),
    ("@.readinessProbe.tcpSocket.port", READ),
    ("@.readinessProbe.terminationGracePeriodSeconds", REFUSED),
    ("@.readinessProbe.timeoutSeconds", MADE),
];
