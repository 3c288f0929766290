{{/* What several objects must agree on: namespaces, addresses, credentials. */}}

{{/* Namespaces that the operator serves, as a YAML list; empty when it serves all. */}}
{{- define "stillhouse.watchNamespaces" -}}
{{- if .Values.rbac.clusterWide -}}
{{- if .Values.operator.watchNamespaces -}}
{{- fail "rbac.clusterWide serves every namespace, and operator.watchNamespaces names some: set one of the two" -}}
{{- end -}}
[]
{{- else -}}
{{- toYaml (default (list .Release.Namespace) .Values.operator.watchNamespaces | uniq) -}}
{{- end -}}
{{- end -}}

{{/* Namespaces of the runs, as a YAML list; never empty. */}}
{{- define "stillhouse.runNamespaces" -}}
{{- $watched := include "stillhouse.watchNamespaces" . | fromYamlArray -}}
{{- toYaml (default (default (list .Release.Namespace) $watched) .Values.runs.namespaces | uniq) -}}
{{- end -}}

{{/* Peers of a NetworkPolicy: every pod of the runs' namespaces. Unknown ones are all namespaces. */}}
{{- define "stillhouse.runPeers" -}}
{{- if and .Values.rbac.clusterWide (not .Values.runs.namespaces) -}}
- namespaceSelector: {}
{{- else -}}
- namespaceSelector:
    matchExpressions:
      - key: kubernetes.io/metadata.name
        operator: In
        values:
          {{- include "stillhouse.runNamespaces" . | nindent 10 }}
{{- end -}}
{{- end -}}

{{- define "stillhouse.mlflowHost" -}}
{{ include "stillhouse.fullname" . }}-mlflow
{{- end -}}

{{/* Address of MLflow for the operator and the runs, which may be in other namespaces; empty where there is none. */}}
{{- define "stillhouse.mlflowUri" -}}
{{- if and .Values.mlflow.enabled .Values.mlflow.trackingUri -}}
{{- fail "mlflow.enabled runs an MLflow, and mlflow.trackingUri names another: set one of the two" -}}
{{- end -}}
{{- if .Values.mlflow.enabled -}}
http://{{ include "stillhouse.mlflowHost" . }}.{{ .Release.Namespace }}.svc:5000
{{- else -}}
{{ .Values.mlflow.trackingUri }}
{{- end -}}
{{- end -}}

{{- define "stillhouse.bundledStore" -}}
{{- if ne .Values.objectStore.provider "external" }}true{{ end -}}
{{- end -}}

{{/* Address of the object store; empty is Amazon's. */}}
{{- define "stillhouse.s3Endpoint" -}}
{{- if include "stillhouse.bundledStore" . -}}
{{- if .Values.objectStore.endpoint -}}
{{- fail (printf "objectStore.provider is %s, and objectStore.endpoint names another store: set provider to external, or leave the endpoint out" .Values.objectStore.provider) -}}
{{- end -}}
http://{{ include "stillhouse.fullname" . }}-objectstore.{{ .Release.Namespace }}.svc:9000
{{- else -}}
{{ .Values.objectStore.endpoint }}
{{- end -}}
{{- end -}}

{{- define "stillhouse.s3Secret" -}}
{{- required (printf "objectStore.existingSecret is empty: name the Secret with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in namespace %s" .Release.Namespace) .Values.objectStore.existingSecret -}}
{{- end -}}

{{/* Environment of a container that uses the object store. */}}
{{- define "stillhouse.s3Env" -}}
- name: AWS_ACCESS_KEY_ID
  valueFrom:
    secretKeyRef: {name: {{ include "stillhouse.s3Secret" . }}, key: AWS_ACCESS_KEY_ID}
- name: AWS_SECRET_ACCESS_KEY
  valueFrom:
    secretKeyRef: {name: {{ include "stillhouse.s3Secret" . }}, key: AWS_SECRET_ACCESS_KEY}
- name: AWS_REGION
  value: {{ .Values.objectStore.region | quote }}
- name: AWS_DEFAULT_REGION
  value: {{ .Values.objectStore.region | quote }}
{{- with include "stillhouse.s3Endpoint" . }}
- name: MLFLOW_S3_ENDPOINT_URL
  value: {{ . | quote }}
{{- end }}
{{- end -}}

{{/* Which database MLflow uses: bundled, uri or host. Exactly one. */}}
{{- define "stillhouse.database" -}}
{{- $found := list -}}
{{- if .Values.postgresql.enabled }}{{ $found = append $found "bundled" }}{{ end -}}
{{- if .Values.mlflow.backendStore.existingSecret }}{{ $found = append $found "uri" }}{{ end -}}
{{- if .Values.postgresql.external.host }}{{ $found = append $found "host" }}{{ end -}}
{{- if ne (len $found) 1 -}}
{{- fail (printf "mlflow.enabled needs exactly one database, and %d are set: postgresql.enabled, postgresql.external.host, or mlflow.backendStore.existingSecret" (len $found)) -}}
{{- end -}}
{{- first $found -}}
{{- end -}}

{{- define "stillhouse.postgresqlSecret" -}}
{{- required (printf "postgresql.existingSecret is empty: name the Secret with the password of user %q in namespace %s" .Values.postgresql.username .Release.Namespace) .Values.postgresql.existingSecret -}}
{{- end -}}

{{/* Environment by which MLflow finds its database. libpq reads the password, so no address ever holds it. */}}
{{- define "stillhouse.databaseEnv" -}}
{{- $database := include "stillhouse.database" . -}}
{{- $postgresql := .Values.postgresql -}}
{{- if eq $database "uri" -}}
- name: MLFLOW_BACKEND_STORE_URI
  valueFrom:
    secretKeyRef: {name: {{ .Values.mlflow.backendStore.existingSecret }}, key: {{ .Values.mlflow.backendStore.key }}}
{{- else -}}
- name: PGPASSWORD
  valueFrom:
    secretKeyRef: {name: {{ include "stillhouse.postgresqlSecret" . }}, key: {{ $postgresql.secretKey }}}
- name: MLFLOW_BACKEND_STORE_URI
  {{- if eq $database "bundled" }}
  value: postgresql://{{ $postgresql.username }}@{{ include "stillhouse.fullname" . }}-postgresql:5432/{{ $postgresql.database }}
  {{- else }}
  value: postgresql://{{ $postgresql.username }}@{{ $postgresql.external.host }}:{{ $postgresql.external.port }}/{{ $postgresql.database }}
- name: PGSSLMODE
  value: {{ $postgresql.external.sslmode }}
  {{- if $postgresql.external.caSecret.name }}
- name: PGSSLROOTCERT
  value: /etc/stillhouse/ca/postgresql/ca.crt
  {{- else if hasPrefix "verify" $postgresql.external.sslmode }}
- name: PGSSLROOTCERT
  value: system
  {{- end }}
  {{- end }}
{{- end }}
{{- end -}}

{{/* Volume of a CA certificate; nothing where none is named. Argument: dict name, secret. */}}
{{- define "stillhouse.caVolume" -}}
{{- if .secret.name }}
- name: {{ .name }}-ca
  secret:
    secretName: {{ .secret.name }}
    items: [{key: {{ .secret.key }}, path: ca.crt}]
{{- end }}
{{- end -}}

{{- define "stillhouse.caMount" -}}
{{- if .secret.name }}
- {name: {{ .name }}-ca, mountPath: /etc/stillhouse/ca/{{ .name }}, readOnly: true}
{{- end }}
{{- end -}}
