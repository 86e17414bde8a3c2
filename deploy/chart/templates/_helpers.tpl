{{- define "waggle.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "waggle.labels" -}}
{{ include "waggle.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- /* Where the settings lie. A file of kube-proxy names its kubeconfig where kube-proxy has it. */ -}}
{{- define "waggle.directory" -}}
{{ if .Values.kubeProxyConfigMap.name }}/var/lib/kube-proxy{{ else }}/etc/waggle{{ end }}
{{- end }}

{{- /* Not empty where sockets of pods are translated. */ -}}
{{- define "waggle.allSockets" -}}
{{ if eq (get .Values.config "socket-lb" | toString) "all" }}yes{{ end }}
{{- end }}

{{- /* Not empty where the agent enters the networks of pods. */ -}}
{{- define "waggle.entersPods" -}}
{{ if and (include "waggle.allSockets" .) .Values.enterPods }}yes{{ end }}
{{- end }}
