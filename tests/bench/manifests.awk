# Writes pod manifests as teams write them, about 1.1 kB each, with the ConfigMap they use and a PodPreset per directory.
#
#   awk -v pods=10000 -v directories=200 -v root=DIR -f tests/bench/manifests.awk
BEGIN {
    for (d = 0; d < directories; d++) {
        place = sprintf("%s/team-%03d", root, d)
        system("mkdir -p " place)
        namespace = sprintf("team-%03d", d)
        file = place "/settings.yaml"
        printf "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: settings\n  namespace: %s\ndata:\n  log.level: info\n  service.properties: |\n    pool.size=8\n    pool.timeout=30s\n", namespace > file
        close(file)
        file = place "/preset.yaml"
        printf "apiVersion: settings.k8s.io/v1alpha1\nkind: PodPreset\nmetadata:\n  name: cache\n  namespace: %s\nspec:\n  selector:\n    matchLabels:\n      cache: shared\n  env:\n    - name: CACHE_DIR\n      value: /cache\n  volumes:\n    - name: cache\n      emptyDir: {}\n  volumeMounts:\n    - name: cache\n      mountPath: /cache\n", namespace > file
        close(file)
    }
    for (n = 0; n < pods; n++) {
        d = n % directories
        file = sprintf("%s/team-%03d/service-%06d.yaml", root, d, n)
        printf "# Service %d of team %d.\napiVersion: v1\nkind: Pod\nmetadata:\n  name: service-%06d\n  namespace: team-%03d\n  labels:\n    app: service-%06d\n    cache: %s\n  annotations:\n    example.com/owner: team-%03d@example.com\nspec:\n  automountServiceAccountToken: false\n  terminationGracePeriodSeconds: 20\n  securityContext:\n    runAsUser: 1000\n    runAsGroup: 1000\n", n, d, n, d, n, (n % 3 ? "none" : "shared"), d > file
        printf "  containers:\n    - name: service\n      image: registry.example.com/team-%03d/service:1.%d.0\n      imagePullPolicy: IfNotPresent\n      args: [--listen, \":8080\", --config=/etc/service/service.properties]\n      env:\n        - name: LOG_LEVEL\n          valueFrom:\n            configMapKeyRef:\n              name: settings\n              key: log.level\n        - name: SHARD\n          value: \"%d\"\n      ports:\n        - name: http\n          containerPort: 8080\n      resources:\n        requests: {cpu: 50m, memory: 32Mi}\n        limits: {memory: 64Mi}\n      volumeMounts:\n        - name: settings\n          mountPath: /etc/service\n          readOnly: true\n  volumes:\n    - name: settings\n      configMap:\n        name: settings\n        defaultMode: 0644\n", d, n % 40, n % 16 > file
        close(file)
    }
}
