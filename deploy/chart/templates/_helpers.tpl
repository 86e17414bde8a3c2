{{- define "waggle.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "waggle.labels" -}}
{{ include "waggle.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- /* The settings of the agent: what the user wants, and what other values ask for. */ -}}
{{- define "waggle.config" -}}
{{- $own := dict }}
{{- if .Values.metrics.expose }}
{{- $_ := set $own "metrics-bind-address" (printf "0.0.0.0:%d" (int .Values.metrics.port)) }}
{{- end }}
{{- toYaml (mergeOverwrite $own (deepCopy .Values.config)) }}
{{- end }}
