"""Find what is broken on this machine, and the cure.

At import, nothing in this room asks for more than Python's own library: it must speak where a package cannot be loaded.
Where even ``bigfoot`` does not start, ``python -m bigfoot.doctor`` does.
"""

from bigfoot.doctor.diagnosis import examine
from bigfoot.doctor.findings import Finding, findings_to_dict, render_findings

__all__ = ["Finding", "examine", "findings_to_dict", "render_findings"]
