{{/* The operator's settings, as operators/settings.py reads them. */}}
{{- define "stillhouse.operatorEnv" -}}
- name: POD_ID
  valueFrom:
    fieldRef: {fieldPath: metadata.name}
- name: STILLHOUSE_OPERATOR_NAMESPACE
  valueFrom:
    fieldRef: {fieldPath: metadata.namespace}
- name: STILLHOUSE_WATCH_NAMESPACES
  value: {{ include "stillhouse.watchNamespaces" . | fromYamlArray | join "," | quote }}
- name: STILLHOUSE_PEERING
  value: {{ .Values.operator.peering | quote }}
- name: STILLHOUSE_HEALTH_PORT
  value: "8080"
- name: STILLHOUSE_METRICS_PORT
  value: "9090"
- name: STILLHOUSE_LOG_FORMAT
  value: {{ .Values.operator.logFormat }}
- name: STILLHOUSE_LOG_LEVEL
  value: {{ .Values.operator.logLevel }}
- name: STILLHOUSE_RESYNC_S
  value: {{ .Values.operator.resyncSeconds | quote }}
- name: KF_PIPELINES_ENDPOINT
  value: {{ .Values.kfp.endpoint | quote }}
- name: KF_PIPELINES_SA_TOKEN_PATH
  value: /var/run/secrets/kubeflow/pipelines/token
- name: STILLHOUSE_KFP_NAMESPACE
  value: {{ .Values.kfp.namespace | quote }}
- name: STILLHOUSE_KFP_EXTERNAL_URL
  value: {{ .Values.kfp.externalUrl | quote }}
{{- if .Values.kfp.caSecret.name }}
- name: STILLHOUSE_KFP_CA_FILE
  value: /etc/stillhouse/ca/kfp/ca.crt
{{- end }}
{{- with include "stillhouse.mlflowUri" . }}
- name: MLFLOW_TRACKING_URI
  value: {{ . | quote }}
{{- end }}
{{- with .Values.mlflow.existingSecret }}
{{- range list "MLFLOW_TRACKING_TOKEN" "MLFLOW_TRACKING_USERNAME" "MLFLOW_TRACKING_PASSWORD" }}
- name: {{ . }}
  valueFrom:
    secretKeyRef: {name: {{ $.Values.mlflow.existingSecret }}, key: {{ . }}, optional: true}
{{- end }}
{{- end }}
{{- if .Values.mlflow.caSecret.name }}
- name: MLFLOW_TRACKING_SERVER_CERT_PATH
  value: /etc/stillhouse/ca/mlflow/ca.crt
{{- end }}
{{- if .Values.objectStore.existingSecret }}
{{ include "stillhouse.s3Env" . }}
{{- end }}
{{- if .Values.objectStore.caSecret.name }}
- name: STILLHOUSE_S3_CA_FILE
  value: /etc/stillhouse/ca/s3/ca.crt
{{- end }}
- name: STILLHOUSE_CUSTOM_IMPORTS
  value: {{ .Values.plugins.allowedImports | join "," | quote }}
- name: STILLHOUSE_IMAGE_REGISTRY
  value: {{ trimSuffix "/" .Values.image.registry | quote }}
- name: STILLHOUSE_IMAGE_TAG
  value: {{ default .Chart.AppVersion .Values.image.tag | quote }}
{{- $digests := dict }}
{{- range $target := list "generate" "train" "evaluate" }}
{{- with get $.Values.image.digests $target }}{{ $_ := set $digests $target . }}{{ end }}
{{- end }}
{{- with $digests }}
- name: STILLHOUSE_IMAGE_DIGESTS
  value: {{ toJson . | quote }}
{{- end }}
- name: STILLHOUSE_TEACHER_IMAGE
  value: {{ default (include "stillhouse.image" (dict "root" . "target" "generate")) .Values.teacher.image | quote }}
- name: HOME
  value: /tmp
{{- with .Values.operator.env }}
{{ toYaml . }}
{{- end }}
{{- end -}}
