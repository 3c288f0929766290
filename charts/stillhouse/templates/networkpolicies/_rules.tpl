{{/* Pieces of NetworkPolicies. */}}

{{- define "stillhouse.ports" -}}
{{- range . }}
- {protocol: TCP, port: {{ . }}}
{{- end }}
{{- end -}}

{{- define "stillhouse.dnsEgress" -}}
- ports:
    {{- range .Values.networkPolicy.dns.ports }}
    - {protocol: UDP, port: {{ . }}}
    - {protocol: TCP, port: {{ . }}}
    {{- end }}
  {{- with .Values.networkPolicy.dns.to }}
  to:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}

{{/* Addresses outside this release. Argument: values with `to` and `ports`. */}}
{{- define "stillhouse.outsideEgress" -}}
- ports:
    {{- include "stillhouse.ports" .ports | nindent 4 }}
  {{- with .to }}
  to:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}

{{/* A pod of this release. Argument: dict root, component. */}}
{{- define "stillhouse.peer" -}}
- podSelector:
    matchLabels:
      {{- include "stillhouse.selector" . | nindent 6 }}
{{- end -}}

{{/* Egress to a component of this release. Argument: dict root, component, port. */}}
{{- define "stillhouse.insideEgress" -}}
- ports:
    - {protocol: TCP, port: {{ .port }}}
  to:
    {{- include "stillhouse.peer" . | nindent 4 }}
{{- end -}}

{{- define "stillhouse.storeEgress" -}}
{{- if include "stillhouse.bundledStore" . -}}
{{- include "stillhouse.insideEgress" (dict "root" . "component" "objectstore" "port" 9000) -}}
{{- else -}}
{{- include "stillhouse.outsideEgress" .Values.networkPolicy.objectStore -}}
{{- end -}}
{{- end -}}

{{- define "stillhouse.databaseEgress" -}}
{{- if .Values.postgresql.enabled -}}
{{- include "stillhouse.insideEgress" (dict "root" . "component" "postgresql" "port" 5432) -}}
{{- else -}}
{{- include "stillhouse.outsideEgress" .Values.networkPolicy.postgresql -}}
{{- end -}}
{{- end -}}

{{/* Who outside the release's own pods calls MLflow and the object store. */}}
{{- define "stillhouse.clients" -}}
{{- include "stillhouse.runPeers" . }}
{{- with .Values.networkPolicy.kfp.to }}
{{ toYaml . }}
{{- end }}
{{- with .Values.networkPolicy.additionalIngressFrom }}
{{ toYaml . }}
{{- end }}
{{- end -}}
