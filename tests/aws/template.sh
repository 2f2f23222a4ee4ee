#!/usr/bin/env bash
# Checks infra/template.yaml with cfn-lint, checkov and SAM. The template skips a finding only with a
# reason.
set -euo pipefail
cd "$(dirname "$0")/../.."

# Separate folders, since checkov and SAM need different versions of the same libraries.
tools=target/aws-tools
install() { # folder, program, packages …
    local folder=$tools/$1 program=$2
    shift 2
    "$folder/bin/$program" --version >/dev/null 2>&1 && return
    # An incomplete installation starts over.
    rm -rf "$folder"
    python3 -m venv "$folder" && "$folder/bin/pip" install --quiet "$@"
}
if ! install sam sam cfn-lint==1.58.0 aws-sam-cli==1.170.0 || ! install checkov checkov checkov==3.3.30; then
    echo "skipped: cfn-lint, checkov and aws-sam-cli can't be installed here (needs python3 with venv)"
    exit 0
fi
PATH="$PWD/$tools/sam/bin:$PWD/$tools/checkov/bin:$PATH"
export SAM_CLI_TELEMETRY=0 AWS_DEFAULT_REGION=${AWS_DEFAULT_REGION:-eu-west-1}

cfn-lint infra/template.yaml
echo "cfn-lint: 0 findings"
checkov --file infra/template.yaml --framework cloudformation --quiet --compact --skip-download
unexplained=$(checkov --file infra/template.yaml --framework cloudformation --skip-download --output json |
    python3 -c '
import json, sys
checks = json.load(sys.stdin)["results"]["skipped_checks"]
print(sum(len((c["check_result"].get("suppress_comment") or "")) < 20 for c in checks))')
[ "$unexplained" = 0 ] || { echo "checkov: $unexplained skips without a reason" >&2; exit 1; }
sam validate --lint
