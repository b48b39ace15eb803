{{- define "callstream.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" }}
{{- end }}

{{- /* At most 40 characters: a pod's name and its labels carry suffixes and have to stay below 63. */ -}}
{{- define "callstream.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" }}
{{- else if contains (include "callstream.name" .) .Release.Name }}
{{- .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "callstream.name" .) | trunc 40 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "callstream.selectorLabels" -}}
app.kubernetes.io/name: {{ include "callstream.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "callstream.labels" -}}
{{- with .Values.commonLabels }}
{{- toYaml . }}
{{ end -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "callstream.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "callstream.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "callstream.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "callstream.image" -}}
{{- if .Values.image.digest }}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest }}
{{- else }}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) }}
{{- end }}
{{- end }}

{{- define "callstream.metricsPort" -}}
{{- dig "metrics" "port" 9464 .Values.config | int }}
{{- end }}

{{- /* The name of the secret that holds one account's credentials: of the account itself, or the common one. */ -}}
{{- define "callstream.accountSecret" -}}
{{- $own := dig "secret" "name" "" .account }}
{{- required "existingSecret is empty: name the secret with the accounts' credentials, or set accounts[].secret.name" (default .values.existingSecret $own) }}
{{- end }}

{{- /* The different secrets of all accounts, in their order, as a JSON list. */ -}}
{{- define "callstream.accountSecrets" -}}
{{- $names := list }}
{{- range .Values.accounts }}
{{- $names = append $names (include "callstream.accountSecret" (dict "account" . "values" $.Values)) }}
{{- end }}
{{- $names | uniq | toJson }}
{{- end }}

{{- /* callstream.yaml: the settings as they are, and the accounts with the files of their credentials. */ -}}
{{- define "callstream.config" -}}
{{- $accounts := list }}
{{- range .Values.accounts }}
{{- $folder := printf "/etc/callstream/credentials/%s" (include "callstream.accountSecret" (dict "account" . "values" $.Values)) }}
{{- $keyId := default (printf "%s.key-id" .id) (dig "secret" "keyIdKey" "" .) }}
{{- $apiKey := default (printf "%s.api-key" .id) (dig "secret" "apiKeyKey" "" .) }}
{{- $files := dict "key_id_file" (printf "%s/%s" $folder $keyId) "api_key_file" (printf "%s/%s" $folder $apiKey) }}
{{- $accounts = append $accounts (merge $files (omit . "secret")) }}
{{- end }}
{{- merge (dict "accounts" $accounts) .Values.config | toYaml }}
{{- end }}

{{- define "callstream.env" -}}
- name: CALLSTREAM_CONFIG
  value: /etc/callstream/config/callstream.yaml
# Stable over restarts, so that a worker ends the open transaction of its predecessor at once.
- name: CALLSTREAM_KAFKA__INSTANCE
  valueFrom:
    fieldRef:
      fieldPath: metadata.name
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "callstream.volumeMounts" -}}
- name: config
  mountPath: /etc/callstream/config
  readOnly: true
{{- range $index, $name := include "callstream.accountSecrets" . | fromJsonArray }}
- name: credentials-{{ $index }}
  mountPath: /etc/callstream/credentials/{{ $name }}
  readOnly: true
{{- end }}
{{- if .Values.kafka.existingSecret }}
- name: kafka
  mountPath: /etc/callstream/kafka
  readOnly: true
{{- end }}
- name: tmp
  mountPath: /tmp
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- /* Whole volumes, no subPath: a file behind a subPath never changes, and rotated credentials would not arrive. */ -}}
{{- define "callstream.volumes" -}}
- name: config
  configMap:
    name: {{ include "callstream.fullname" . }}
{{- range $index, $name := include "callstream.accountSecrets" . | fromJsonArray }}
- name: credentials-{{ $index }}
  secret:
    secretName: {{ $name }}
    defaultMode: 0400
{{- end }}
{{- with .Values.kafka.existingSecret }}
- name: kafka
  secret:
    secretName: {{ . }}
    defaultMode: 0400
{{- end }}
- name: tmp
  emptyDir:
    sizeLimit: 64Mi
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}
