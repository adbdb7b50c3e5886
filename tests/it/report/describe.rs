//! `describe pod`, whole.

use podwright::model::{AdmittedPod, ContainerKind, Deletion, EventRecord};
use podwright::report::{
    PodView, describe_node, describe_object, describe_pod, event_object, events_between, pod_object,
};
use serde_json::{Value, json};

use super::fixture::{admitted, at, exited, instance, node, object, observed, running};

fn description() -> String {
    let spec = json!({
        "serviceAccountName": "default",
        "nodeSelector": {"disktype": "ssd"},
        "tolerations": [{"key": "k", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}],
        "initContainers": [{"name": "war", "image": "sample:v2", "command": ["cp", "/sample.war", "/app"]}],
        "containers": [{
            "name": "website",
            "image": "nginx",
            "args": ["-c", "echo a\necho b"],
            "ports": [{"containerPort": 80, "name": "http"}, {"containerPort": 53, "hostPort": 5353, "protocol": "UDP"}],
            "resources": {"limits": {"memory": "64Mi"}},
            "env": [
                {"name": "DB_PORT", "value": "6379"},
                {"name": "PASS", "valueFrom": {"secretKeyRef": {"name": "pass", "key": "password"}}},
                {"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            ],
            "envFrom": [{"secretRef": {"name": "all"}}],
            "volumeMounts": [
                {"name": "cache-volume", "mountPath": "/cache"},
                {"name": "cfg", "mountPath": "/cfg", "readOnly": true, "subPath": "x"},
            ],
        }],
        "volumes": [
            {"name": "cache-volume", "emptyDir": {}},
            {"name": "cfg", "secret": {"secretName": "pass"}},
            {"name": "data", "hostPath": {"path": "/data"}},
        ],
    });
    let metadata = json!({"labels": {"app": "website", "role": "frontend"}});
    let mut pod = observed(admitted("website", metadata, spec));
    pod.containers = vec![
        instance("war", ContainerKind::Init, 0, exited(0, 3)),
        instance("website", ContainerKind::App, 0, exited(1, 20)),
        instance("website", ContainerKind::App, 1, running(30)),
    ];
    let events: Vec<EventRecord> = events_between(None, Some(&pod), ("edge-1", at(40))).into_iter().take(2).collect();
    describe_pod(&object(&pod, &[]), &events, at(60))
}

const EXPECTED: &str = "\
Name:             website
Namespace:        default
Service Account:  default
Node:             edge-1/192.168.7.2
Start Time:       Fri, 02 Jan 2026 03:00:00 +0000
Labels:           app=website
                  role=frontend
Annotations:      <none>
Status:           Running
IP:               10.88.0.5
IPs:
  IP:  10.88.0.5
Init Containers:
  war:
    Container ID:  podwright://war-0
    Image:         sample:v2
    Image ID:      sha256:0123
    Port:          <none>
    Host Port:     <none>
    Command:
      cp
      /sample.war
      /app
    State:          Terminated
      Reason:       Completed
      Exit Code:    0
      Started:      Fri, 02 Jan 2026 02:59:58 +0000
      Finished:     Fri, 02 Jan 2026 03:00:03 +0000
    Ready:          True
    Restart Count:  0
    Environment:    <none>
    Mounts:         <none>
Containers:
  website:
    Container ID:  podwright://website-1
    Image:         nginx
    Image ID:      sha256:0123
    Ports:         80/TCP (http), 53/UDP
    Host Ports:    0/TCP (http), 5353/UDP
    Args:
      -c
      echo a
      echo b
    State:          Running
      Started:      Fri, 02 Jan 2026 03:00:30 +0000
    Last State:     Terminated
      Reason:       Error
      Exit Code:    1
      Started:      Fri, 02 Jan 2026 03:00:15 +0000
      Finished:     Fri, 02 Jan 2026 03:00:20 +0000
    Ready:          True
    Restart Count:  1
    Limits:
      memory:  64Mi
    Environment Variables from:
      all  Secret  Optional: false
    Environment:
      DB_PORT:  6379
      PASS:     <set to the key 'password' in secret 'pass'>  Optional: false
      NAME:     website (v1:metadata.name)
    Mounts:
      /cache from cache-volume (rw)
      /cfg from cfg (ro,path=\"x\")
Conditions:
  Type                        Status
  PodReadyToStartContainers   True 
  Initialized                 True 
  Ready                       True 
  ContainersReady             True 
  PodScheduled                True 
Volumes:
  cache-volume:
    Type:       EmptyDir (a temporary directory that shares a pod's lifetime)
    Medium:     
    SizeLimit:  <unset>
  cfg:
    Type:        Secret (a volume populated by a Secret)
    SecretName:  pass
    Optional:    false
  data:
    Type:          HostPath (bare host directory volume)
    Path:          /data
    HostPathType:  
QoS Class:         Burstable
Node-Selectors:    disktype=ssd
Tolerations:       k:NoExecute op=Exists for 300s
Events:
  Type    Reason     Age   From               Message
  ----    ------     ----  ----               -------
  Normal  Scheduled  60s   default-scheduler  Successfully assigned default/website to edge-1
  Normal  Pulled     58s   kubelet            spec.initContainers{war}: Container image \"nginx\" already present on machine and can be accessed by the pod
";

#[test]
fn a_description_is_laid_out_as_kubectls() {
    assert_eq!(description(), EXPECTED);
}

const LONG: &str = "\
Annotations:       long:
                     LONG...
                     
                     end
                   one: two
";

#[test]
fn what_is_long_is_cut_and_what_has_a_name_is_sorted() {
    let applied = "kubectl.kubernetes.io/last-applied-configuration";
    let long = format!("{}\n\nend\n", "x".repeat(139));
    let pod = json!({
        "metadata": {"name": "web", "annotations": {"one": "two\n", "long": long, applied: "{}"}},
        "spec": {
            "containers": [{"name": "c", "image": "nginx"}],
            "tolerations": [{"key": "b", "operator": "Exists"}, {"key": "a", "value": "1", "effect": "NoSchedule"}, {"operator": "Exists"}],
            "volumes": [
                {"name": "v", "emptyDir": {"sizeLimit": "0"}}, {"name": "w", "emptyDir": {"sizeLimit": "1k"}},
                {"name": "i", "image": {"reference": "files:1", "pullPolicy": "Never"}},
            ],
        },
    });
    let text = describe_pod(&serde_json::from_value(pod).unwrap(), &[], at(60));
    let begin = text.find("Annotations:").unwrap();
    let shown = text[begin..text.find("Status:").unwrap()].replace(&"x".repeat(138), "LONG");
    let squeeze =
        |text: &str| text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect::<Vec<_>>();
    assert_eq!(squeeze(&shown), squeeze(LONG));
    let lines = squeeze(&text);
    let at = lines.iter().position(|line| line.starts_with("Tolerations:")).unwrap();
    assert_eq!(lines[at..at + 3], ["Tolerations: op=Exists", "a=1:NoSchedule", "b op=Exists"]);
    let limits: Vec<&String> = lines.iter().filter(|line| line.starts_with("SizeLimit:")).collect();
    assert_eq!(limits, ["SizeLimit: <unset>", "SizeLimit: 1k"]);
    let at = lines.iter().position(|line| line.starts_with("Type: Image")).unwrap();
    let image = ["Type: Image (a container image or OCI artifact)", "Reference: files:1", "PullPolicy: Never"];
    assert_eq!(lines[at..at + 3], image);
}

#[test]
fn a_pod_that_goes_lasts_since_it_was_to_be_gone() {
    let spec = json!({"containers": [{"name": "c", "image": "nginx"}]});
    let mut pod = observed(admitted("web", json!({}), spec));
    pod.record.deletion = Some(Deletion { requested_at: at(50), grace_seconds: 30, reason: "removed".into() });
    let told = |second| {
        let text = describe_pod(&object(&pod, &[]), &[], at(second));
        let lines = text.lines().filter(|line| line.starts_with("Status:") || line.starts_with("Termination"));
        lines.map(|line| line.split_once(':').unwrap().1.trim().to_owned()).collect::<Vec<_>>()
    };
    for (second, lasts) in [(60, "<invalid>"), (79, "0s"), (80, "0s"), (83, "3s"), (300, "3m40s")] {
        assert_eq!(told(second), [format!("Terminating (lasts {lasts})"), "30s".to_owned()], "{second}");
    }
}

const WAITING: &str = "\
Name:              job
Namespace:         default
Node:              <none>
Labels:            <none>
Annotations:       <none>
Status:            Pending
SeccompProfile:    Localhost
LocalhostProfile:  own.json
IP:                
IPs:               <none>
Containers:
  a:
    Container ID:        
    Image:               nginx
    Image ID:            
    Port:                <none>
    Host Port:           <none>
    SeccompProfile:      Localhost
      LocalhostProfile:  other.json
    State:               Waiting
      Reason:            ImagePullBackOff
    Ready:               False
    Restart Count:       0
    Limits:
      cpu:  1500m
    Environment:
      CPU:     2 (limits.cpu)
      MEMORY:  node allocatable (limits.memory)
    Mounts:    <none>
  b:
    Image:           nginx
    Port:            <none>
    Host Port:       <none>
    SeccompProfile:  RuntimeDefault
    Environment:     <none>
    Mounts:          <none>
Readiness Gates:
  Type     Status
  x.io/a   <none> 
Volumes:
  cfg:
    Type:        Secret (a volume populated by a Secret)
    SecretName:  pass
    Optional:    false
  map:
    Type:        ConfigMap (a volume populated by a ConfigMap)
    Name:        m
    Optional:    false
QoS Class:       <none>
Node-Selectors:  <none>
Tolerations:     <none>
Events:          <none>
";

#[test]
fn a_pod_that_waits_is_described_as_kubectl_does() {
    let env = json!([
        {"name": "CPU", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}},
        {"name": "MEMORY", "valueFrom": {"resourceFieldRef": {"resource": "limits.memory"}}},
    ]);
    let profile = |kind: &str, name: Option<&str>| json!({"seccompProfile": {"type": kind, "localhostProfile": name}});
    let items = json!([{"key": "k", "path": "p"}]);
    let pod = json!({
        "metadata": {"name": "job", "namespace": "default"},
        "spec": {
            "securityContext": profile("Localhost", Some("own.json")),
            "readinessGates": [{"conditionType": "x.io/a"}],
            "containers": [
                {"name": "a", "image": "nginx", "env": env, "securityContext": profile("Localhost", Some("other.json")),
                 "resources": {"limits": {"cpu": "1500m"}}},
                {"name": "b", "image": "nginx", "securityContext": profile("RuntimeDefault", None)},
            ],
            "volumes": [
                {"name": "cfg", "secret": {"secretName": "pass", "items": items}},
                {"name": "map", "configMap": {"name": "m", "items": items}},
            ],
        },
        "status": {"phase": "Pending", "containerStatuses": [
            {"name": "a", "image": "nginx", "imageID": "", "ready": false, "restartCount": 0,
             "state": {"waiting": {"reason": "ImagePullBackOff", "message": "Back-off pulling image"}}},
        ]},
    });
    let text = describe_pod(&serde_json::from_value(pod).unwrap(), &[], at(60));
    assert_eq!(text, WAITING);
}

const NODE: &str = "\
Name:               edge-1
Roles:              gateway
Labels:             kubernetes.io/os=linux
                    node-role.kubernetes.io/gateway=
Annotations:        <none>
CreationTimestamp:  Fri, 02 Jan 2026 03:04:05 +0000
Taints:             dedicated=video:NoSchedule
                    old:NoExecute
Unschedulable:      false
Conditions:
  Type    Status  LastHeartbeatTime  LastTransitionTime  Reason       Message
  ----    ------  -----------------  ------------------  ------       -------
  Ready   True    <unknown>          <unknown>           AgentReady   
Addresses:
  InternalIP:  192.168.7.2
  Hostname:    edge-1
Allocatable:
  cpu:             2
  memory:          4Gi
  nvidia.com/gpu:  1
  pods:            110
System Info:
  Machine ID:                 
  System UUID:                
  Boot ID:                    
  Kernel Version:             
  OS Image:                   
  Operating System:           linux
  Architecture:               
  Container Runtime Version:  
  Kubelet Version:            v0.1.0
Non-terminated Pods:          (2 in total)
  Namespace                   Name    CPU Requests  CPU Limits  Memory Requests  Memory Limits  Age
  ---------                   ----    ------------  ----------  ---------------  -------------  ---
  default                     web     650m (32%)    1 (50%)     1Gi (25%)        1536Mi (37%)   60s
  other                       idle    0 (0%)        0 (0%)      0 (0%)           0 (0%)         60s
Allocated resources:
  (Total limits may be over 100 percent, i.e., overcommitted.)
  Resource           Requests    Limits
  --------           --------    ------
  cpu                650m (32%)  1 (50%)
  memory             1Gi (25%)   1536Mi (37%)
  ephemeral-storage  0 (0%)      0 (0%)
  nvidia.com/gpu     0           0
Events:              <none>
";

#[test]
fn a_node_is_described_with_what_its_pods_ask_for() {
    let node = json!({
        "metadata": {"name": "edge-1", "creationTimestamp": "2026-01-02T03:04:05Z",
            "labels": {"kubernetes.io/os": "linux", "node-role.kubernetes.io/gateway": ""}},
        "spec": {"taints": [{"key": "dedicated", "value": "video", "effect": "NoSchedule"}, {"key": "old", "effect": "NoExecute"}]},
        "status": {
            "addresses": [{"type": "InternalIP", "address": "192.168.7.2"}, {"type": "Hostname", "address": "edge-1"}],
            "allocatable": {"cpu": "2", "memory": "4Gi", "pods": "110", "nvidia.com/gpu": "1"},
            "conditions": [{"type": "Ready", "status": "True", "reason": "AgentReady"}],
            "nodeInfo": {"kubeletVersion": "v0.1.0", "operatingSystem": "linux"},
        },
    });
    let amounts = |cpu: &str, memory: &str, cpu_limit: &str, memory_limit: &str| json!({"requests": {"cpu": cpu, "memory": memory}, "limits": {"cpu": cpu_limit, "memory": memory_limit}});
    let pod = |namespace: &str, name: &str, phase: &str, spec: serde_json::Value| {
        serde_json::from_value(json!({
            "metadata": {"namespace": namespace, "name": name, "creationTimestamp": at(0).to_string()},
            "spec": spec, "status": {"phase": phase},
        }))
        .unwrap()
    };
    // Of an init container counts what is more than what runs later; a sidecar is there all the time.
    let web = json!({
        "initContainers": [
            {"name": "side", "restartPolicy": "Always", "resources": {"requests": {"cpu": "150m"}}},
            {"name": "first", "resources": amounts("200m", "1Gi", "250m", "1Gi")},
        ],
        "containers": [
            {"name": "a", "resources": amounts("500m", "512Mi", "750m", "1Gi")},
            {"name": "b", "resources": {"limits": {"cpu": "250m", "memory": "512Mi"}}},
        ],
    });
    let idle = json!({"containers": [{"name": "a"}]});
    let pods = [
        pod("default", "web", "Running", web.clone()),
        pod("default", "done", "Succeeded", web),
        pod("other", "idle", "Pending", idle),
    ];
    assert_eq!(describe_node(&node, &pods, &[], at(60)), NODE);
}

const EVENT: &str = "\
Name:             NAME
Namespace:        default
Labels:           <none>
Annotations:      <none>
API Version:      v1
Count:            1
Event Time:       <nil>
First Timestamp:  2026-01-02T03:00:30Z
Involved Object:
  API Version:   v1
  Field Path:    spec.containers{website}
  Kind:          Pod
  Name:          website
  Namespace:     default
  UID:           0e0c9a5e-1111-4222-8333-444455556666
Kind:            Event
Last Timestamp:  2026-01-02T03:00:30Z
Message:         Container started
";

#[test]
fn an_event_is_described_by_its_fields() {
    let mut pod =
        observed(admitted("website", json!({}), json!({"containers": [{"name": "website", "image": "nginx"}]})));
    pod.containers = vec![instance("website", ContainerKind::App, 0, running(30))];
    let events = events_between(None, Some(&pod), ("edge-1", at(40)));
    let started = events.iter().find(|event| event.reason == "Started").unwrap();
    let text = describe_object(&event_object(started, 7, "edge-1"));
    let name = text.lines().next().unwrap().trim_start_matches("Name:").trim().to_owned();
    assert!(name.starts_with("website."), "{text}");
    let text = text.replace(&name, "NAME");
    assert!(text.starts_with(EVENT), "{text}");
    assert!(
        text.contains("\nSource:\n  Component:  kubelet\n")
            && text.ends_with("Type:         Normal\nEvents:       <none>\n"),
        "{text}"
    );
}

/// They are what counts when an image is pulled, whatever the pod was admitted with.
#[test]
fn the_pull_secrets_of_a_pod_are_those_that_its_account_has_by_now() {
    let bare = json!({"serviceAccountName": "robot", "containers": [{"name": "c", "image": "nginx"}]});
    let given = |names: &[&str]| {
        let mut spec = bare.clone();
        spec["imagePullSecrets"] = names.iter().map(|name| json!({"name": name})).collect::<Value>();
        let effective = admitted("web", json!({}), spec).effective;
        AdmittedPod { effective, ..admitted("web", json!({}), bare.clone()) }
    };
    let pod = observed(given(&["old"]));
    for (now, expected) in [
        (Some(given(&["a", "b"])), Some("a, b")),
        (Some(admitted("web", json!({}), bare.clone())), None),
        // The pod goes, or is to be another one.
        (None, Some("old")),
        (Some(admitted("web", json!({}), json!({"containers": []}))), Some("old")),
    ] {
        let object = pod_object(&PodView {
            admitted: now.as_ref(),
            observed: Some(&pod),
            waiting: &Default::default(),
            holds: &[],
            probed: &Default::default(),
            node: &node(),
            now: at(60),
        });
        let text = describe_pod(&object, &[], at(60));
        let line = text.lines().find_map(|line| line.strip_prefix("Image Pull Secrets:")).map(str::trim);
        assert_eq!(line, expected, "{text}");
    }
}
