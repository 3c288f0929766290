{{/* What the schema cannot say in words. Rendered by the operator's Deployment, which every release has. */}}
{{- define "stillhouse.checks" -}}
{{- if and (gt (int .Values.operator.replicas) 1) (not .Values.operator.peering) -}}
{{- fail "operator.replicas is above 1 and operator.peering is empty: without peering every replica would act; name a peering or run one replica" -}}
{{- end -}}
{{- if and (gt (int .Values.operator.replicas) 1) .Values.podDisruptionBudget.enabled (ge (int .Values.podDisruptionBudget.minAvailable) (int .Values.operator.replicas)) -}}
{{- fail "podDisruptionBudget.minAvailable is not below operator.replicas: no node could ever be drained" -}}
{{- end -}}
{{- $images := dict "image" .Values.image "mlflow.image" .Values.mlflow.image "postgresql.image" .Values.postgresql.image -}}
{{- $_ := set $images "objectStore.seaweedfs.image" .Values.objectStore.seaweedfs.image -}}
{{- $_ := set $images "objectStore.minio.image" .Values.objectStore.minio.image -}}
{{- range $what, $image := $images -}}
{{- if eq $image.tag "latest" -}}
{{- fail (printf "%s.tag is latest, which changes under a running release: name a version" $what) -}}
{{- end -}}
{{- end -}}
{{- with .Values.teacher.image -}}
{{- if or (hasSuffix ":latest" .) (not (regexMatch "(:[A-Za-z0-9_][A-Za-z0-9_.-]*|@sha256:[0-9a-f]{64})$" .)) -}}
{{- fail (printf "teacher.image is %s: name a version (image:tag) or a digest (image@sha256:…), and not latest" .) -}}
{{- end -}}
{{- end -}}
{{- range $what, $env := dict "operator.env" .Values.operator.env "mlflow.env" .Values.mlflow.env -}}
{{- range $env -}}
{{- if and (hasKey . "value") (regexMatch "(?i)(PASSWORD|TOKEN|SECRET|CREDENTIALS?|(API|ACCESS|PRIVATE)_?KEY)$" .name) -}}
{{- fail (printf "%s holds %s in clear text: put it into a Secret and name that with valueFrom.secretKeyRef" $what .name) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
