"""What a process can do no more that confined itself: each in one of its own, since that cannot be taken back."""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from cdmd.kit.confinement import _version

ROOT = Path(__file__).parents[2]
TRIES = """
    import ctypes, errno, os, socket, sys
    from pathlib import Path
    from cdmd.kit import confinement

    def tried(what):
        try:
            what()
        except OSError as error:
            return errno.errorcode[error.errno]
        return "done"
"""


def said(script: str, *arguments: object) -> list[str]:
    code = textwrap.dedent(TRIES) + textwrap.dedent(script)
    run = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_nobody_is_reached_by_a_local_socket_but_the_other_of_a_stream_pair() -> None:
    assert (
        said(
            """
        assert confinement.refuse_calls()
        for kind in (socket.SOCK_DGRAM, socket.SOCK_RAW, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK):
            print(tried(lambda: socket.socketpair(socket.AF_UNIX, kind)))
        print(tried(lambda: socket.socket(socket.AF_UNIX)))
        for kind in (socket.SOCK_STREAM, socket.SOCK_SEQPACKET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK):
            print(tried(lambda: socket.socketpair(socket.AF_UNIX, kind)))
        print(tried(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)))
        """
        )
        == ["EAFNOSUPPORT"] * 4 + ["done"] * 4
    )


def test_no_files_mode_owner_or_attributes_can_be_changed_and_files_are_written_as_before(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    found = said(
        """
        folder, file = sys.argv[1], sys.argv[1] + "/file"
        opened, mine = os.open(folder, os.O_RDONLY), (os.getuid(), os.getgid())
        def numbered(number, *arguments):
            if ctypes.CDLL(None, use_errno=True).syscall(number, *arguments) < 0:
                raise OSError(ctypes.get_errno(), "refused")
        assert confinement.refuse_calls()
        for change in (
            lambda: os.chmod(folder, 0o777),
            lambda: os.fchmod(opened, 0o777),
            lambda: os.chmod("file", 0o777, dir_fd=opened),
            lambda: os.chown(file, *mine),
            lambda: os.lchown(file, *mine),
            lambda: os.fchown(opened, *mine),
            lambda: os.chown("file", *mine, dir_fd=opened),
            lambda: os.setxattr(file, "user.x", b"x"),
            lambda: os.setxattr(opened, "user.x", b"x"),
            lambda: os.setxattr(file, "user.x", b"x", follow_symlinks=False),
            lambda: os.removexattr(file, "user.x"),
            lambda: numbered(452, opened, b"file", 0o777, 0),
        ):
            print(tried(change))
        Path(file).write_bytes(b"yy")
        Path(folder, "other").mkdir(mode=0o700)
        os.rename(file, folder + "/other/file")
        print("written")
        """,
        tmp_path,
    )
    assert found == ["EPERM"] * 12 + ["written"]
    assert (tmp_path / "other" / "file").read_bytes() == b"yy"


@pytest.mark.parametrize("version", [1, 2, 3, 5, 6])
def test_what_an_older_kernel_does_not_hold_is_not_said_to_be_held(tmp_path: Path, version: int) -> None:
    """A file is not cut on any; signals are free before the sixth version of Landlock's interface (Linux 6.12)."""
    if _version() < version:
        pytest.skip("this kernel knows less than that itself")
    (tmp_path / "store.db").write_bytes(b"private")
    held = version >= 6
    assert said(
        """
        file = sys.argv[1] + "/store.db"
        confinement._version = lambda: int(sys.argv[2])
        kept = confinement.keep_from([Path(sys.argv[1])], writable=[])
        assert confinement.refuse_calls()
        print(kept.files, kept.signals, tried(lambda: open(file)), tried(lambda: os.truncate(file, 0)) != "done")
        print(tried(lambda: os.kill(os.getppid(), 0)))
        """,
        tmp_path,
        version,
    ) == ["True", str(held), "EACCES", "True", "EPERM" if held else "done"]
    assert (tmp_path / "store.db").read_bytes() == b"private"
