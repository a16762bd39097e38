"""The local driver: volumes on the disks of this machine, with real limits, snapshots, clones and changed blocks.

    moorage serve local --pool /var/lib/volumes

It needs no storage system and no other setting. A pool is a directory; what its file system can do decides how
volumes are kept (`facts`, `placement`), and every volume describes itself there (`records`, `layout`).
"""

from moorage.drivers.local.config import LocalConfig
from moorage.drivers.local.driver import LocalDriver

__all__ = ["LocalConfig", "LocalDriver"]
