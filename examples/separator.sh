#!/bin/sh
# A separator that stays, around a tool that is run from a shell: a query a line in, an answer a line out.
exec 3>&1 1>&2 # answers go to 3, where standard output went; what tools print goes to standard error

echo '{"ready": true}' >&3
while IFS= read -r query; do # within a text each quote has a backslash before it, so that no text looks like a field
    id=$(printf '%s\n' "$query" | sed 's/.*"id": \([0-9]*\).*/\1/')
    folder=$(printf '%s\n' "$query" | sed 's/.*"folder": "\([^"]*\)".*/\1/')
    # your tool; the text lies in "$folder/text.txt", and jq reads the rest: spans=$(printf '%s' "$query" | jq .spans)
    if cp "$folder/mixture.wav" "$folder/target.wav"; then
        echo "{\"id\": $id, \"target\": \"target.wav\"}" >&3
    else
        echo "{\"id\": $id, \"error\": \"the tool failed\"}" >&3
    fi
done
