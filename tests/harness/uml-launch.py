"""Starts user-mode-linux (program and arguments follow) so that it works on any processor.

UML 6.1 saves a guest's floating point registers into 2.7 kB. Where the host's extended state is larger
(AMX), the host refuses to take that back: PTRACE_SETREGSET wants the whole state (EFAULT). Told that
PTRACE_GETREGSET does not exist, UML uses PTRACE_GETFPREGS, which holds the SSE registers and nothing
beyond: the guest's programs must not use more, so their glibc is told so on the kernel's command line.
"""
import ctypes
import os
import struct
import sys

PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
SYS_PTRACE, PTRACE_GETREGSET, EIO = 101, 0x4204, 5
LOAD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06
ALLOW, ERRNO = 0x7FFF0000, 0x00050000


def instruction(code, value, if_true=0, if_false=0):
    return struct.pack("HBBI", code, if_true, if_false, value)


filter_program = ctypes.create_string_buffer(
    b"".join(
        [
            instruction(LOAD, 0),  # the system call's number
            instruction(JUMP_IF_EQUAL, SYS_PTRACE, 0, 3),
            instruction(LOAD, 16),  # its first argument, lower half
            instruction(JUMP_IF_EQUAL, PTRACE_GETREGSET, 0, 1),
            instruction(RETURN, ERRNO | EIO),
            instruction(RETURN, ALLOW),
        ]
    )
)


class SockFprog(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_void_p)]


program = SockFprog(6, ctypes.addressof(filter_program))
libc = ctypes.CDLL(None, use_errno=True)
for arguments in [
    (PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0),
    (PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0),
]:
    if libc.prctl(*arguments) != 0:
        sys.exit("prctl: " + os.strerror(ctypes.get_errno()))
os.execvp(sys.argv[1], sys.argv[1:])
