{{/* Everything that the operator may do, verb by verb. One list for the Roles and the ClusterRole. */}}
{{- define "stillhouse.operatorRules" -}}
# Its own kinds: kopf writes finalizers and annotations by patch.
- apiGroups: [stillhouse.dev]
  resources: [distillationschedules, distillationruns, studentpromotions, teacherservers]
  verbs: [get, list, watch, patch]
- apiGroups: [stillhouse.dev]
  resources: [distillationschedules/status, distillationruns/status, studentpromotions/status, teacherservers/status]
  verbs: [get, patch]
# Needed to own objects where owner references are checked (OwnerReferencesPermissionEnforcement).
- apiGroups: [stillhouse.dev]
  resources: [distillationschedules/finalizers, distillationruns/finalizers, studentpromotions/finalizers, teacherservers/finalizers]
  verbs: [update]
# A schedule makes runs and removes old ones.
- apiGroups: [stillhouse.dev]
  resources: [distillationruns]
  verbs: [create, delete]
# Recipes; pods that wait for a teacher; why a pod does not start.
- apiGroups: [""]
  resources: [configmaps, pods]
  verbs: [get, list, watch]
# Why a run has no pods: a quota shows in its workflow alone.
- apiGroups: [argoproj.io]
  resources: [workflows]
  verbs: [get, list]
- apiGroups: [""]
  resources: [events]
  verbs: [create]
# What a TeacherServer consists of.
- apiGroups: [""]
  resources: [services]
  verbs: [get, list, create, patch, delete]
- apiGroups: [apps]
  resources: [deployments]
  verbs: [get, list, create, patch, delete]
- apiGroups: [apps]
  resources: [replicasets]
  verbs: [get, list]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, create, patch, delete]
- apiGroups: [autoscaling]
  resources: [horizontalpodautoscalers]
  verbs: [get, list, create, patch, delete]
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [get, list, create, patch, delete]
{{- if .Values.rbac.keda }}
- apiGroups: [keda.sh]
  resources: [scaledobjects]
  verbs: [get, list, create, patch, delete]
{{- end }}
{{- end -}}

{{/* The operator's rights on the object by which operators see each other. Argument: dict root, plural. */}}
{{- define "stillhouse.peeringRules" -}}
{{- with .root.Values.operator.peering }}
- apiGroups: [kopf.dev]
  resources: [{{ $.plural }}]
  verbs: [list, watch, create]
- apiGroups: [kopf.dev]
  resources: [{{ $.plural }}]
  resourceNames: [{{ . }}]
  verbs: [get, patch]
{{- end }}
{{- end -}}
