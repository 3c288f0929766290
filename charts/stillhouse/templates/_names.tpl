{{/* Names, labels and images. */}}

{{- define "stillhouse.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 36 | trimSuffix "-" -}}
{{- end -}}

{{/* 36 characters leave room for the longest suffix within the 63 of a label. */}}
{{- define "stillhouse.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- $own := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) -}}
{{- default $own .Values.fullnameOverride | trunc 36 | trimSuffix "-" -}}
{{- end -}}

{{/* Labels that never change: what selectors may use. Argument: dict root, component. */}}
{{- define "stillhouse.selector" -}}
app.kubernetes.io/name: {{ include "stillhouse.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "stillhouse.ownLabels" -}}
{{ include "stillhouse.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
app.kubernetes.io/part-of: stillhouse
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* Labels of an object: ours win over commonLabels. Argument: dict root, component, more (optional). */}}
{{- define "stillhouse.labels" -}}
{{- toYaml (merge (include "stillhouse.ownLabels" . | fromYaml) (default dict .more) .root.Values.commonLabels) -}}
{{- end -}}

{{- define "stillhouse.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (printf "%s-operator" (include "stillhouse.fullname" .)) .Values.serviceAccount.name -}}
{{- else -}}
{{- required "serviceAccount.create is false: name the account that exists in serviceAccount.name" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* One of the four stillhouse images. Argument: dict root, target. */}}
{{- define "stillhouse.image" -}}
{{- $image := .root.Values.image -}}
{{- $name := printf "%s/stillhouse-%s" (trimSuffix "/" $image.registry) .target -}}
{{- $digest := get $image.digests .target -}}
{{- if $digest }}{{ $name }}@{{ $digest }}{{ else }}{{ $name }}:{{ default .root.Chart.AppVersion $image.tag }}{{ end -}}
{{- end -}}

{{/* An image of somebody else: by digest, or by tag where that is allowed. Argument: dict root, image, what. */}}
{{- define "stillhouse.thirdPartyImage" -}}
{{- $image := .image -}}
{{- $name := $image.repository -}}
{{- if $image.registry }}{{ $name = printf "%s/%s" (trimSuffix "/" $image.registry) $image.repository }}{{ end -}}
{{- if $image.digest -}}
{{ $name }}@{{ $image.digest }}
{{- else if and .root.Values.thirdPartyImages.allowTags $image.tag -}}
{{ $name }}:{{ $image.tag }}
{{- else if .root.Values.thirdPartyImages.allowTags -}}
{{- fail (printf "%s.digest and %s.tag are empty: name the version of %s that this release runs" .what .what $name) -}}
{{- else -}}
{{- fail (printf "%s.digest is empty: pin %s by the digest that you have checked, or set thirdPartyImages.allowTags=true and %s.tag" .what $name .what) -}}
{{- end -}}
{{- end -}}

{{- define "stillhouse.pullSecrets" -}}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* nodeSelector, tolerations, affinity of a pod, where they say something. Argument: the component's values. */}}
{{- define "stillhouse.placement" -}}
{{- with .nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Requests and limits of small Python programs. */}}
{{- define "stillhouse.smallResources" -}}
requests: {cpu: 50m, memory: 128Mi}
limits: {cpu: "1", memory: 512Mi}
{{- end -}}
