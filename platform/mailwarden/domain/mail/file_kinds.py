"""Content types sorted by what a file of them can do."""

from __future__ import annotations

EXECUTABLE_TYPES = frozenset(
    """
    application/vnd.microsoft.portable-executable application/x-elf application/x-mach-binary application/java-vm
    application/java-archive application/x-msi application/x-ms-shortcut application/x-ms-wsf application/hta
    application/x-bat text/javascript text/vbscript text/x-powershell text/x-shellscript
    application/vnd.android.package-archive application/appx application/vnd.ms-htmlhelp application/x-mswinurl
    application/windows-library+xml application/x-ms-settingcontent
    """.split()  # noqa: SIM905
)
"""What runs, or leads to what runs, on a click."""

SCRIPT_TYPES = frozenset(
    """
    application/x-ms-wsf application/hta application/x-bat text/javascript text/vbscript text/x-powershell
    text/x-shellscript
    """.split()  # noqa: SIM905
)
SHORTCUT_TYPES = frozenset(
    """
    application/x-ms-shortcut application/x-mswinurl application/windows-library+xml application/x-ms-settingcontent
    """.split()  # noqa: SIM905
)
SCRIPT_NAMES = frozenset("js jse vbs vbe wsf wsh wsc sct hta bat cmd ps1 psm1 pyw".split())  # noqa: SIM905
SHORTCUT_NAMES = frozenset(
    "lnk url website scf library-ms search-ms searchconnector-ms settingcontent-ms rdp iqy appref-ms".split()  # noqa: SIM905
)

ARCHIVE_TYPES = frozenset(
    """
    application/zip application/x-rar application/x-7z-compressed application/gzip application/x-bzip2
    application/x-xz application/zstd application/vnd.ms-cab-compressed application/x-arj application/x-ace
    application/x-compress application/x-lzip application/x-lzma application/x-lz4 application/x-ms-wim
    application/x-xar application/x-vmdk application/x-rpm application/x-lha application/x-tar
    application/x-iso9660-image application/x-vhd application/x-vhdx
    """.split()  # noqa: SIM905
)
"""Archives and disk images."""
