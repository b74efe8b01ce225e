"""Batch files: an audience, or what happened since the last file, written at set times to a folder or an sftp area."""

from cdmd.targets.files.target import FolderFileTarget, SftpFileTarget

__all__ = ["FolderFileTarget", "SftpFileTarget"]
