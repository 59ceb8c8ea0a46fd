"""``python -m bigfoot.doctor``: the same as ``bigfoot doctor``, without the command line's own packages."""

import sys

from bigfoot.doctor import examine, render_findings

if __name__ == "__main__":
    findings = examine()
    print(render_findings(findings))
    sys.exit(any(finding.state == "broken" for finding in findings))
