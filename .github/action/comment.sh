#!/usr/bin/env bash
# Comments the summary of a validation on the pull request (action.yml sets the variables in capitals), or updates the
# comment of an earlier run of the same NAME. With PICTURE_BRANCH the picture of the worst images is pushed to that
# branch and shown. A token that may not write, as in a pull request from a fork, is a warning: the verdict stays that
# of the validation.
set -euo pipefail

NAME=${NAME//[^A-Za-z0-9._-]/-} # it becomes a part of a path, of HTML and of a filter of jq
api=repos/$GITHUB_REPOSITORY
warn() { printf '::warning::onnxcam: %s\n' "$1"; }

if [ ! -f "$OUTPUT/summary.md" ]; then
  warn "there is no summary to comment; the step Validate says why"
  exit 0
fi

# Push worst.png as a new file of the branch and print its address.
push_picture() {
  local path="$PULL_REQUEST/$NAME-$GITHUB_RUN_ID-${GITHUB_RUN_ATTEMPT:-1}.png" body=$1/picture.json
  {
    printf '{"message":"worst images of #%s","branch":"%s","content":"' "$PULL_REQUEST" "$PICTURE_BRANCH"
    base64 <"$OUTPUT/worst.png" | tr -d '\n'
    printf '"}'
  } >"$body"
  gh api --method PUT "$api/contents/$path" --input "$body" --silent || return 1
  printf '%s/%s/raw/%s/%s' "$GITHUB_SERVER_URL" "$GITHUB_REPOSITORY" "$PICTURE_BRANCH" "$path"
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mark="<!-- onnxcam validate: $NAME -->"
{
  printf '%s\n' "$mark"
  cat "$OUTPUT/summary.md"
  if [ -n "${PICTURE_BRANCH:-}" ]; then
    if address=$(push_picture "$work"); then
      printf '\n![worst images: image, reference, candidate, difference](%s)\n' "$address"
    else
      warn "the picture could not be pushed to $PICTURE_BRANCH: does the branch exist, and has the job contents: write?" >&2
    fi
  fi
  [ -z "${REPORT_URL:-}" ] || printf '\n[Report with all images](%s)\n' "$REPORT_URL"
} >"$work/comment.md"

mine=".[] | select(.body | startswith(\"$mark\")) | .id"
if ! found=$(gh api --paginate "$api/issues/$PULL_REQUEST/comments" --jq "$mine"); then
  warn "the comments of the pull request cannot be read; does the job have pull-requests: write?"
  exit 0
fi
id=${found%%$'\n'*}
if [ -n "$id" ]; then
  sent=(--method PATCH "$api/issues/comments/$id")
else
  sent=(--method POST "$api/issues/$PULL_REQUEST/comments")
fi
gh api "${sent[@]}" --field "body=@$work/comment.md" --silent ||
  warn "the comment cannot be written; does the job have pull-requests: write? Pull requests from forks never have it"
