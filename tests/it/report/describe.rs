//! `describe pod`, whole.

use podwright::model::{ContainerKind, EventRecord};
use podwright::report::{describe_pod, events_between};
use serde_json::json;

use super::fixture::{admitted, at, exited, instance, object, observed, running};

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
            "ports": [{"containerPort": 80}, {"containerPort": 53, "hostPort": 5353, "protocol": "UDP"}],
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
    let events: Vec<EventRecord> = events_between(None, Some(&pod), at(40)).into_iter().take(2).collect();
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
    Ports:         80/TCP, 53/UDP
    Host Ports:    0/TCP, 5353/UDP
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
  Normal  Scheduled  60s   default-scheduler  Successfully assigned default/website to this node
  Normal  Pulled     58s   kubelet            Container image \"nginx\" already present on machine
";

#[test]
fn a_description_is_laid_out_as_kubectls() {
    assert_eq!(description(), EXPECTED);
}
