#!/bin/sh
# curl: any language that can make an HTTP request can report.
#
#   DATASET_PROGRESS_URL=http://127.0.0.1:8000 DATASET_PROGRESS_TOKEN=dp_… sh report.sh DATASET
set -eu
dataset=$1

report() {
    curl --fail --silent --show-error --output /dev/null --max-time 10 --retry 3 \
        -H "Authorization: Bearer $DATASET_PROGRESS_TOKEN" -H 'Content-Type: application/json' \
        -d "$1" "$DATASET_PROGRESS_URL/api/datasets/$dataset/progress" || true # the job goes on without reports
}

total=5
for current in 1 2 3 4 5; do
    : # the work
    report "{\"state\":\"indexing\",\"current\":$current,\"total\":$total,\"message\":\"Indexing samples... $current/$total\"}"
done
report '{"state":"ready"}'
