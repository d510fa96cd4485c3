#!/usr/bin/env bash
# A forecasting study over plain HTTP: nothing but bash, curl and the standard tools.
#
#   study.sh [BASE_URL]              default http://127.0.0.1:5000
#
# It logs what an auto-model runner logs: an experiment, a parent run, a run per model below it, and below
# that a run per trial with hyperparameters, the loss of every step, validation and test errors, tags, the data
# sets used, and as files its fit and the data. The trials are real: awk fits two seasonal models to the
# AirPassengers series. Then it searches for the best trial and reads every stored value back. The first
# mismatch ends it with a message and exit code 1.
set -euo pipefail
export LC_ALL=C

base=${1:-http://127.0.0.1:5000}
api=${base%/}/api/2.0/mlflow
csv=$(cd "$(dirname "$0")" && pwd)/data/AirPassengers.csv
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
checks=0

# ---- HTTP and JSON ----------------------------------------------------------------------------------------

fail() { echo "study.sh: $*" >&2; exit 1; }

# call STATUS CURL_ARGUMENTS…: sends a request, expects the status, leaves the answer in $answer as one line
# per value: path, tab, value. {"run":{"info":{"run_id":"4f…"}}} becomes run.info.run_id<tab>4f…
call() {
  local wanted=$1 status
  shift
  status=$(curl --silent --show-error --max-time 60 --output "$work/body" --write-out '%{http_code}' "$@") ||
    fail "no answer from $base"
  [ "$status" = "$wanted" ] || fail "expected status $wanted, found $status for curl $*: $(cat "$work/body")"
  answer=$(flatten <"$work/body")
}

post() { call 200 --header 'Content-Type: application/json' --data "$2" "$api/$1"; }

# get PATH NAME=VALUE…
get() {
  local path=$1 query=()
  shift
  for pair in "$@"; do query+=(--data-urlencode "$pair"); done
  call 200 --get "${query[@]}" "$api/$path"
}

# refused STATUS ERROR_CODE PATH JSON
refused() {
  call "$1" --header 'Content-Type: application/json' --data "$4" "$api/$3"
  equal "error code of $3" "$(value error_code)" "$2"
  [ -n "$(value message)" ] || fail "no message with the error of $3"
}

flatten() {
  awk '
    function blank() { while (at <= size && index(" \t\r\n", substr(text, at, 1))) at++ }
    function string(   out, c) {
      for (at++; (c = substr(text, at, 1)) != "\""; at++) {
        if (c == "") exit 1
        if (c == "\\") {
          c = substr(text, ++at, 1)
          if (c == "u" || index("bfnrt", c)) c = "\\" c     # control and other characters stay escaped
        }
        out = out c
      }
      at++
      return out
    }
    function parse(path,   c, start, n) {
      blank()
      c = substr(text, at, 1)
      if (c == "{" || c == "[") {
        for (at++; ; n++) {
          blank()
          if (index("}]", substr(text, at, 1))) { at++; return }
          if (substr(text, at, 1) == ",") { at++; blank() }
          if (c == "{") { start = string(); blank(); at++ } else start = n + 0
          parse(path == "" ? start : path "." start)
        }
      }
      if (c == "\"") { print path "\t" string(); return }
      for (start = at; at <= size && !index(",]} \t\r\n", substr(text, at, 1)); at++) ;
      if (at == start) exit 1
      print path "\t" substr(text, start, at - start)
    }
    { text = text $0 "\n" }
    END { size = length(text); at = 1; parse("") }'
}

# value PATH: the value at a path of the last answer, or nothing.
value() { awk -F '\t' -v path="$1" '$1 == path { print substr($0, length(path) + 2); exit }' <<<"$answer"; }

# keyed LIST: a list of {key, value} objects as sorted lines "key value".
keyed() {
  awk -F '\t' -v list="$1." '
    index($1, list) == 1 {
      split(substr($1, length(list) + 1), part, ".")
      field[part[1], part[2]] = $2
      seen[part[1]]
    }
    END { for (n in seen) print field[n, "key"], field[n, "value"] }' <<<"$answer" | sort
}

# column LIST FIELD: that field of every element of a list, in order.
column() {
  awk -F '\t' -v list="$1." -v field=".$2" '$1 == list n + 0 field { print substr($0, length($1) + 2); n++ }' <<<"$answer"
}

equal() {
  [ "$2" = "$3" ] || fail "$1: expected '$3', found '$2'"
  checks=$((checks + 1))
}

# same_numbers WHAT FOUND_FILE EXPECTED_FILE: the same words on every line, the last of them equal as a number.
same_numbers() {
  local lines
  lines=$(awk -v what="$1" '
    NR == FNR { expected[NR] = $0; wanted = NR; next }
    {
      split(expected[FNR], e); number = e[NF]
      for (i = 1; i < NF; i++) if ($i "" != e[i] "") bad = 1
      if (bad || (number ~ /^[0-9.+-]/ ? $NF + 0 != number + 0 : $NF != number)) {
        print what ": expected \"" expected[FNR] "\", found \"" $0 "\""
        exit bad = 1
      }
      count = FNR
    }
    END {
      if (!bad && count + 0 != wanted + 0) { print what ": expected " wanted + 0 " values, found " count + 0; bad = 1 }
      if (!bad) print count + 0
      exit bad
    }' "$3" "$2") || fail "$lines"
  checks=$((checks + lines))
}

now() { echo "$(date +%s)000"; }

# ---- the models -------------------------------------------------------------------------------------------

# fit NAME=VALUE…: fits a model to the first ten years, then forecasts the eleventh (validation) and, knowing
# that one too, the twelfth (test). Prints "loss STEP VALUE" for every step and "metric NAME VALUE".
#
#   SeasonalDrift   the same month of last year plus a drift, learned by gradient descent
#   HoltWinters     exponential smoothing; its weights are improved one after the other as long as that helps
fit() {
  awk -F , -v OFMT=%.17g -v CONVFMT=%.17g -v settings="$*" '
    function drift_loss(d,   t, sum) { for (t = 13; t <= train; t++) sum += (z[t] - z[t - 12] - d) ^ 2; return sum / (train - 12) }

    # Runs through the first n months; leaves level, trend and season behind; returns the mean squared error.
    function smooth(n,   t, sum, error, before) {
      level = trend = 0
      for (t = 1; t <= 12; t++) { level += z[t] / 12; trend += (z[t + 12] - z[t]) / 144 }
      for (t = 1; t <= 12; t++) season[t] = z[t] - level
      for (t = 13; t <= n; t++) {
        error = z[t] - level - trend - season[t - 12]
        sum += error * error
        before = level
        level = weight[1] * (z[t] - season[t - 12]) + (1 - weight[1]) * (level + trend)
        trend = weight[2] * (level - before) + (1 - weight[2]) * trend
        season[t] = weight[3] * (z[t] - level) + (1 - weight[3]) * season[t - 12]
      }
      return sum / (n - 12)
    }

    function report(part, n,   h, forecast, error, absolute, square, relative) {
      if (set["model"] == "HoltWinters") smooth(n)
      for (h = 1; h <= 12; h++) {
        forecast = exp(set["model"] == "HoltWinters" ? level + h * trend + season[n - 12 + h] : z[n - 12 + h] + drift)
        error = y[n + h] - forecast; if (error < 0) error = -error
        absolute += error / 12; square += error * error / 12; relative += 200 * error / (y[n + h] + forecast) / 12
      }
      printf "metric %s_mae %.17g\nmetric %s_rmse %.17g\nmetric %s_smape %.17g\n", part, absolute, part, sqrt(square), part, relative
    }

    FNR > 1 { y[FNR - 1] = $2; z[FNR - 1] = log($2) }
    END {
      n = split(settings, pairs, " ")
      for (i = 1; i <= n; i++) { split(pairs[i], pair, "="); set[pair[1]] = pair[2] }
      train = 120
      if (set["model"] == "SeasonalDrift") {
        for (step = 0; step < set["max_steps"]; step++) {
          printf "loss %d %.17g\n", step, drift_loss(drift)
          slope = 0
          for (t = 13; t <= train; t++) slope -= 2 * (z[t] - z[t - 12] - drift) / (train - 12)
          drift -= set["learning_rate"] * slope
        }
      } else {
        weight[1] = set["alpha"]; weight[2] = set["beta"]; weight[3] = set["gamma"]
        best = smooth(train)
        for (step = 0; step < set["max_steps"]; step++) {
          printf "loss %d %.17g\n", step, best
          w = step % 3 + 1; old = weight[w]
          for (sign = -1; sign <= 1; sign += 2) {
            weight[w] = old + sign * set["width"]
            if (weight[w] > 0 && weight[w] < 1 && (now = smooth(train)) < best) { best = now; old = weight[w] }
          }
          weight[w] = old
        }
      }
      report("val", train); report("test", train + 12)
    }' "$csv"
}

# ---- logging ----------------------------------------------------------------------------------------------

user=${USER:-study}
# JSON within JSON: as it stands in a request, its quotes escaped.
colspec='{\"mlflow_colspec\": [{\"type\": \"datetime\", \"name\": \"ds\"}, {\"type\": \"long\", \"name\": \"y\"}]}'

# create_run NAME PARENT TAG=VALUE…: leaves the id in $run_id and remembers the tags.
create_run() {
  local name=$1 parent=$2 tags started
  shift 2
  set -- "mlflow.user=$user" mlflow.source.name=study.sh mlflow.source.type=LOCAL "mlflow.runName=$name" \
    ${parent:+"mlflow.parentRunId=$parent"} "$@"
  tags=$(printf '%s\n' "$@" | sed 's/\([^=]*\)=\(.*\)/{"key":"\1","value":"\2"}/' | paste -sd , -)
  started=$(now)
  post runs/create "{\"experiment_id\":\"$experiment\",\"user_id\":\"$user\",\"start_time\":$started,
    \"run_name\":\"$name\",\"tags\":[$tags]}"
  run_id=$(value run.info.run_id)
  [[ $run_id =~ ^[0-9a-f]{32}$ ]] || fail "not a run id: '$run_id'"
  equal "status of $name" "$(value run.info.status)" RUNNING
  mkdir "$work/$run_id"
  echo "$name" >"$work/$run_id/name"
  echo "$started" >"$work/$run_id/start"
  printf '%s\n' "$@" | sed 's/=/ /' >"$work/$run_id/tags"
  : >"$work/$run_id/params"
}

# log_params RUN NAME=VALUE…: the first by itself, the others as a batch.
log_params() {
  local run=$1 rest
  shift
  printf '%s\n' "$@" | sed 's/=/ /' >>"$work/$run/params"
  post runs/log-parameter "{\"run_id\":\"$run\",\"key\":\"${1%%=*}\",\"value\":\"${1#*=}\"}"
  shift
  rest=$(printf '%s\n' "$@" | sed 's/\([^=]*\)=\(.*\)/{"key":"\1","value":"\2"}/' | paste -sd , -)
  post runs/log-batch "{\"run_id\":\"$run\",\"params\":[$rest]}"
}

# log_losses RUN FILE: the first step by itself, the others as a batch. The file has lines "STEP VALUE".
log_losses() {
  local run=$1 started first batch
  started=$(now)
  # step timestamp value
  awk -v started="$started" '{ printf "%d %.0f %s\n", $1, started + 40 * $1, $2 }' "$2" >"$work/$run/losses"
  first=$(awk 'NR == 1 { printf "\"step\":%s,\"timestamp\":%s,\"value\":%s", $1, $2, $3 }' "$work/$run/losses")
  batch=$(awk 'NR > 1 { printf "{\"key\":\"train_loss\",\"step\":%s,\"timestamp\":%s,\"value\":%s}\n", $1, $2, $3 }' \
    "$work/$run/losses" | paste -sd , -)
  post runs/log-metric "{\"run_id\":\"$run\",\"key\":\"train_loss\",$first}"
  post runs/log-batch "{\"run_id\":\"$run\",\"metrics\":[$batch]}"
}

# log_metric RUN NAME VALUE
log_metric() {
  post runs/log-metric "{\"run_id\":\"$1\",\"key\":\"$2\",\"value\":$3,\"timestamp\":$(now),\"step\":0}"
  echo "$2 ${3//\"/}" >>"$work/$1/metrics"
}

set_tag() {
  post runs/set-tag "{\"run_id\":\"$1\",\"key\":\"$2\",\"value\":\"$3\"}"
  echo "$2 $3" >>"$work/$1/tags"
}

# log_input RUN NAME CONTEXT FIRST_LINE LAST_LINE: that part of the series as a data set.
log_input() {
  local digest
  digest=$(sed -n "$4,$5p" "$csv" | cksum | tr -d ' ' | cut -c 1-10)
  post runs/log-inputs "{\"run_id\":\"$1\",\"datasets\":[{
    \"dataset\":{\"name\":\"$2\",\"digest\":\"$digest\",\"source_type\":\"local\",\"source\":\"{\\\"uri\\\": \\\"AirPassengers.csv\\\"}\",
                 \"schema\":\"$colspec\",\"profile\":\"{\\\"num_rows\\\": $(($5 - $4 + 1))}\"},
    \"tags\":[{\"key\":\"mlflow.data.context\",\"value\":\"$3\"}]}]}"
  echo "$2 $digest $3 {\"num_rows\": $(($5 - $4 + 1))}" >>"$work/$1/inputs"
}

# upload RUN PATH FILE: through the server, where it serves files.
upload() {
  local root
  get runs/get "run_id=$1"
  root=$(value run.info.artifact_uri)
  [[ $root == mlflow-artifacts:/* ]] || return 0
  call 200 --upload-file "$3" "${base%/}/api/2.0/mlflow-artifacts/artifacts/${root#mlflow-artifacts:/}/$2"
  mkdir -p "$(dirname "$work/$1/files/$2")"
  cp "$3" "$work/$1/files/$2"
}

finish() {
  local ended
  ended=$(now)
  post runs/update "{\"run_id\":\"$1\",\"status\":\"FINISHED\",\"end_time\":$ended}"
  equal "status of a finished run" "$(value run_info.status)" FINISHED
  echo "$ended" >"$work/$1/end"
}

# trial NAME PARENT NAME=VALUE…: fits, and logs all there is to say about it.
trial() {
  local name=$1 parent=$2
  shift 2
  fit "$@" >"$work/fit"
  create_run "$name" "$parent" stage=trial "model=${1#model=}"
  log_params "$run_id" "$@"
  log_input "$run_id" "AirPassengers $token training" training 2 121
  log_input "$run_id" "AirPassengers $token validation" validation 122 133
  sed -n 's/^loss //p' "$work/fit" >"$work/fit.losses"
  log_losses "$run_id" "$work/fit.losses"
  while read -r _ key number; do log_metric "$run_id" "$key" "$number"; done < <(grep '^metric ' "$work/fit")
  upload "$run_id" fits/fit.txt "$work/fit"
  upload "$run_id" AirPassengers.csv "$csv"
  set_tag "$run_id" state complete
  finish "$run_id"
  echo "$(awk '$2 == "val_mae" { print $3 }' "$work/fit") $run_id ${1#model=}" >>"$work/trials"
}

# ---- the study --------------------------------------------------------------------------------------------

token=$(date +%s)-$$
post experiments/create "{\"name\":\"AirPassengers $token\",\"tags\":[{\"key\":\"freq\",\"value\":\"MS\"}]}"
experiment=$(value experiment_id)
refused 400 RESOURCE_ALREADY_EXISTS experiments/create "{\"name\":\"AirPassengers $token\"}"
get experiments/get-by-name "experiment_name=AirPassengers $token"
equal "experiment by name" "$(value experiment.experiment_id)" "$experiment"
equal "experiment's tag" "$(keyed experiment.tags)" "freq MS"

create_run "auto AirPassengers" "" stage=study
study=$run_id
log_params "$study" horizon=12 season=12 freq=MS
log_input "$study" "AirPassengers $token" full 2 145

create_run SeasonalDrift "$study" stage=model model=SeasonalDrift
drift=$run_id
trial drift-0 "$drift" model=SeasonalDrift learning_rate=0.3 max_steps=10
trial drift-1 "$drift" model=SeasonalDrift learning_rate=0.05 max_steps=10
trial drift-2 "$drift" model=SeasonalDrift learning_rate=0.1 max_steps=60
finish "$drift"

create_run HoltWinters "$study" stage=model model=HoltWinters
winters=$run_id
trial winters-0 "$winters" model=HoltWinters alpha=0.3 beta=0.05 gamma=0.3 width=0.02 max_steps=60
trial winters-1 "$winters" model=HoltWinters alpha=0.6 beta=0.01 gamma=0.6 width=0.05 max_steps=30
trial winters-2 "$winters" model=HoltWinters alpha=0.1 beta=0.2 gamma=0.1 width=0.01 max_steps=90
finish "$winters"

read -r best_mae best _ < <(sort -g "$work/trials")
set_tag "$study" best_trial "$best"
log_metric "$study" best_val_mae "$best_mae"
log_metric "$study" undefined '"NaN"'
finish "$study"

# ---- what the server refuses ------------------------------------------------------------------------------

refused 400 INVALID_PARAMETER_VALUE runs/log-parameter "{\"run_id\":\"$study\",\"key\":\"horizon\",\"value\":\"13\"}"
refused 400 INVALID_PARAMETER_VALUE runs/log-batch "{\"run_id\":\"$study\",
  \"metrics\":[{\"key\":\"lost\",\"value\":1,\"timestamp\":-1}],\"tags\":[{\"key\":\"lost\",\"value\":\"1\"}]}"
refused 400 INVALID_PARAMETER_VALUE runs/search "{\"experiment_ids\":[\"$experiment\"],
  \"filter\":\"metrics.val_mae < 1 OR metrics.val_mae > 2\"}"
refused 404 RESOURCE_DOES_NOT_EXIST runs/log-metric '{"run_id":"00000000000000000000000000000000","key":"m","value":1,"timestamp":1}'

# ---- searching --------------------------------------------------------------------------------------------

# search FILTER ORDER_BY MAX_RESULTS [PAGE_TOKEN]
search() {
  post runs/search "{\"experiment_ids\":[\"$experiment\"],\"filter\":\"$1\",\"order_by\":[\"$2\"],
    \"max_results\":$3${4:+,\"page_token\":\"$4\"}}"
}

search "tags.stage = 'trial' and attributes.status = 'FINISHED'" 'metrics.val_mae ASC' 1
equal "the best trial" "$(column runs info.run_id)" "$best"
search "tags.stage = 'trial'" 'metrics.val_mae ASC' 100
equal "all trials, best first" "$(column runs info.run_id)" "$(sort -g "$work/trials" | awk '{ print $2 }')"
search "tags.stage = 'trial' and params.model = 'HoltWinters' and params.max_steps LIKE '_0'" 'metrics.val_mae DESC' 100
equal "trials of one model, worst first" "$(column runs info.run_id)" "$(sort -gr "$work/trials" | awk '$3 == "HoltWinters" { print $2 }')"
search "tags.mlflow.parentRunId = '$study'" 'attributes.run_name ASC' 100
equal "the models below the study" "$(column runs info.run_id)" "$winters
$drift"
search "dataset.name = 'AirPassengers $token' and dataset.context = 'full'" 'attributes.start_time DESC' 100
equal "the run that used the whole series" "$(column runs info.run_id)" "$study"

page='' count=0
: >"$work/found"
while :; do
  search "" 'attributes.run_name ASC' 2 "$page"
  column runs info.run_id >>"$work/found"
  page=$(value next_page_token)
  count=$((count + 1))
  [ -n "$page" ] || break
  [ "$count" -lt 50 ] || fail "the pages never end"
done
equal "every run on exactly one page" "$(sort "$work/found")" "$(for run in "$work"/*/; do basename "$run"; done | sort)"

# ---- reading everything back ------------------------------------------------------------------------------

for folder in "$work"/*/; do
  run=$(basename "$folder")
  name=$(cat "$folder/name")
  get runs/get "run_id=$run"
  equal "$name: name" "$(value run.info.run_name)" "$name"
  equal "$name: experiment" "$(value run.info.experiment_id)" "$experiment"
  equal "$name: user" "$(value run.info.user_id)" "$user"
  equal "$name: status" "$(value run.info.status)" FINISHED
  equal "$name: start" "$(value run.info.start_time)" "$(cat "$folder/start")"
  equal "$name: end" "$(value run.info.end_time)" "$(cat "$folder/end")"
  equal "$name: params" "$(keyed run.data.params)" "$(sort "$folder/params")"
  equal "$name: tags" "$(keyed run.data.tags)" "$(sort "$folder/tags")"
  keyed run.data.metrics >"$work/found"
  {
    [ ! -e "$folder/metrics" ] || cat "$folder/metrics"
    [ ! -e "$folder/losses" ] || awk 'END { print "train_loss", $3 }' "$folder/losses"
  } | sort >"$work/expected"
  same_numbers "$name: latest metrics" "$work/found" "$work/expected"
  if [ -e "$folder/inputs" ]; then
    count=0
    while [ -n "$(value "run.inputs.dataset_inputs.$count.dataset.name")" ]; do
      input=run.inputs.dataset_inputs.$count
      equal "$name: data set's tags" "$(keyed "$input.tags" | cut -d ' ' -f 1)" mlflow.data.context
      equal "$name: data set's source type" "$(value "$input.dataset.source_type")" local
      equal "$name: data set's source" "$(value "$input.dataset.source")" '{"uri": "AirPassengers.csv"}'
      equal "$name: data set's schema" "$(value "$input.dataset.schema")" "${colspec//\\/}"
      context=$(keyed "$input.tags" | cut -d ' ' -f 2)
      echo "$(value "$input.dataset.name") $(value "$input.dataset.digest") $context $(value "$input.dataset.profile")"
      count=$((count + 1))
    done | sort >"$work/found"
    equal "$name: data sets" "$(cat "$work/found")" "$(sort "$folder/inputs")"
  fi
  if [ -e "$folder/losses" ]; then
    get metrics/get-history "run_id=$run" metric_key=train_loss max_results=25000
    paste -d ' ' <(column metrics step) <(column metrics timestamp) <(column metrics value) >"$work/found"
    same_numbers "$name: history" "$work/found" "$folder/losses"
  fi
  if [ -e "$folder/files" ]; then
    get artifacts/list "run_id=$run"
    equal "$name: files" "$(column files path)" "AirPassengers.csv
fits"
    equal "$name: which are folders" "$(column files is_dir)" "false
true"
    for file in AirPassengers.csv fits/fit.txt; do
      curl --silent --show-error --fail --max-time 60 --output "$work/file" "${base%/}/get-artifact?run_id=$run&path=$file" ||
        fail "$name: $file cannot be read"
      equal "$name: $file" "$(cksum <"$work/file")" "$(cksum <"$folder/files/$file")"
    done
  fi
done

echo "AirPassengers: experiment $experiment, best trial $(cat "$work/$best/name") with validation mae $best_mae"
echo "$checks checks passed"
