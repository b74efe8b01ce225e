"""Files that suppliers leave somewhere: watched, read once and whole, record by record. In an sftp area or a local folder."""

from cdmd.connectors.files.places import FolderFiles, SftpFiles

__all__ = ["FolderFiles", "SftpFiles"]
