#!/usr/bin/env bash
# Has infra/template.yaml judged by the tools of those who deploy it: cfn-lint, checkov and SAM.
# What one of them finds and we leave is said beside it in the template, with the reason.
set -euo pipefail
cd "$(dirname "$0")/../.."

tools=target/aws-tools
if ! "$tools/bin/sam" --version >/dev/null 2>&1; then
    # A folder of its own: they want other versions of each other's libraries than other tools do.
    if ! { python3 -m venv "$tools" && "$tools/bin/pip" install --quiet cfn-lint==1.58.0 checkov==3.3.30 aws-sam-cli==1.170.0; }; then
        echo "skipped: cfn-lint, checkov and aws-sam-cli can't be installed here (needs python3 with venv)"
        exit 0
    fi
fi
PATH="$PWD/$tools/bin:$PATH"
export SAM_CLI_TELEMETRY=0 AWS_DEFAULT_REGION=${AWS_DEFAULT_REGION:-eu-west-1}

cfn-lint infra/template.yaml
echo "cfn-lint: 0 findings"
checkov --file infra/template.yaml --framework cloudformation --quiet --compact --skip-download
unexplained=$(checkov --file infra/template.yaml --framework cloudformation --skip-download --output json |
    python3 -c '
import json, sys
checks = json.load(sys.stdin)["results"]["skipped_checks"]
print(sum(len((c["check_result"].get("suppress_comment") or "")) < 20 for c in checks))')
[ "$unexplained" = 0 ] || { echo "checkov: $unexplained skips give no reason" >&2; exit 1; }
sam validate --lint
