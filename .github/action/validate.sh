#!/usr/bin/env bash
# Runs `onnxcam validate` for the action (action.yml), which sets the variables in capitals. Writes the summary of the
# step and the outputs verdict, exit-code and report. The exit code is that of onnxcam: 0 passed, 1 failed, 2 an error,
# 3 undecided.
set -euo pipefail

arguments=("$REFERENCE" "$CANDIDATE")
while IFS= read -r line; do
  line=${line%$'\r'}
  [ -z "$line" ] || arguments+=("$line")
done <<<"$IMAGES"
while IFS= read -r line; do
  line=${line%$'\r'}
  [ -z "$line" ] || arguments+=("$line")
done <<<"${ARGUMENTS:-}"
[ -z "${REQUIRE:-}" ] || arguments+=("--require=$REQUIRE")

said=$(mktemp)
trap 'rm -f "$said"' EXIT
code=0
{ onnxcam validate "${arguments[@]}" --output "$OUTPUT" 2>&1 >&3 | tee "$said" >&2; } 3>&1 || code=$?
case $code in
  0) verdict=passed ;;
  1) verdict=failed ;;
  3) verdict=undecided ;;
  *) verdict=error ;;
esac

{
  printf 'verdict=%s\n' "$verdict"
  printf 'exit-code=%s\n' "$code"
  printf 'report=%s\n' "$OUTPUT"
} >>"$GITHUB_OUTPUT"
if [ "$verdict" != error ]; then
  cat "$OUTPUT/summary.md" >>"$GITHUB_STEP_SUMMARY"
else # as a block of code, so that nothing in the message is read as Markdown
  printf '### ❌ onnxcam: error\n\n' >>"$GITHUB_STEP_SUMMARY"
  tail -n 20 "$said" | sed 's/^/    /' >>"$GITHUB_STEP_SUMMARY"
fi
exit "$code"
