"""Docker's default seccomp profile, and profiles that users bring (`--security-opt seccomp=FILE`).

Both are in Docker's format: rules that depend on capabilities, architecture and kernel. Here they become the OCI
linux.seccomp object that `seccomp.compile` takes. The default's contents are Docker's (moby/profiles), which it must
equal for a container that expects a call to work, or not to; their form is this table's own.
"""

from __future__ import annotations

import os
import re

from .errors import RuntimeFailure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_ALWAYS = """
    _llseek _newselect accept accept4 access adjtimex alarm bind brk cachestat capget capset chdir chmod chown
    chown32 clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime clock_gettime64
    clock_nanosleep clock_nanosleep_time64 close close_range connect copy_file_range creat dup dup2 dup3
    epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old eventfd
    eventfd2 execve execveat exit exit_group faccessat faccessat2 fadvise64 fadvise64_64 fallocate fanotify_mark
    fchdir fchmod fchmodat fchmodat2 fchown fchown32 fchownat fcntl fcntl64 fdatasync fgetxattr flistxattr flock
    fork fremovexattr fsetxattr fstat fstat64 fstatat64 fstatfs fstatfs64 fsync ftruncate ftruncate64 futex
    futex_requeue futex_time64 futex_wait futex_waitv futex_wake futimesat get_robust_list get_thread_area getcpu
    getcwd getdents getdents64 getegid getegid32 geteuid geteuid32 getgid getgid32 getgroups getgroups32 getitimer
    getpeername getpgid getpgrp getpid getppid getpriority getrandom getresgid getresgid32 getresuid getresuid32
    getrlimit getrusage getsid getsockname getsockopt gettid gettimeofday getuid getuid32 getxattr getxattrat
    inotify_add_watch inotify_init inotify_init1 inotify_rm_watch io_cancel io_destroy io_getevents io_pgetevents
    io_pgetevents_time64 io_setup io_submit ioctl ioprio_get ioprio_set ipc kill landlock_add_rule
    landlock_create_ruleset landlock_restrict_self lchown lchown32 lgetxattr link linkat listen listmount listxattr
    listxattrat llistxattr lremovexattr lseek lsetxattr lstat lstat64 madvise map_shadow_stack membarrier
    memfd_create memfd_secret mincore mkdir mkdirat mknod mknodat mlock mlock2 mlockall mmap mmap2 mprotect
    mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedreceive_time64 mq_timedsend mq_timedsend_time64
    mq_unlink mremap mseal msgctl msgget msgrcv msgsnd msync munlock munlockall munmap name_to_handle_at nanosleep
    newfstatat open openat openat2 pause pidfd_open pidfd_send_signal pipe pipe2 pkey_alloc pkey_free pkey_mprotect
    poll ppoll ppoll_time64 prctl pread64 preadv preadv2 prlimit64 process_mrelease pselect6 pselect6_time64
    pwrite64 pwritev pwritev2 read readahead readlink readlinkat readv recv recvfrom recvmmsg recvmmsg_time64
    recvmsg remap_file_pages removexattr removexattrat rename renameat renameat2 restart_syscall riscv_hwprobe rmdir
    rseq rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait
    rt_sigtimedwait_time64 rt_tgsigqueueinfo sched_get_priority_max sched_get_priority_min sched_getaffinity
    sched_getattr sched_getparam sched_getscheduler sched_rr_get_interval sched_rr_get_interval_time64
    sched_setaffinity sched_setattr sched_setparam sched_setscheduler sched_yield seccomp select semctl semget semop
    semtimedop semtimedop_time64 send sendfile sendfile64 sendmmsg sendmsg sendto set_robust_list set_thread_area
    set_tid_address setfsgid setfsgid32 setfsuid setfsuid32 setgid setgid32 setgroups setgroups32 setitimer setpgid
    setpriority setregid setregid32 setresgid setresgid32 setresuid setresuid32 setreuid setreuid32 setrlimit setsid
    setsockopt setuid setuid32 setxattr setxattrat shmat shmctl shmdt shmget shutdown sigaltstack signalfd signalfd4
    sigprocmask sigreturn socketcall socketpair splice stat stat64 statfs statfs64 statmount statx symlink symlinkat
    sync sync_file_range syncfs sysinfo tee tgkill time timer_create timer_delete timer_getoverrun timer_gettime
    timer_gettime64 timer_settime timer_settime64 timerfd_create timerfd_gettime timerfd_gettime64 timerfd_settime
    timerfd_settime64 times tkill truncate truncate64 ugetrlimit umask uname unlink unlinkat uretprobe utime
    utimensat utimensat_time64 utimes vfork vmsplice wait4 waitid waitpid write writev
"""
# {capability: system calls that it opens}
_BY_CAPABILITY = {
    "CAP_BPF": "bpf",
    "CAP_DAC_READ_SEARCH": "open_by_handle_at",
    "CAP_PERFMON": "perf_event_open",
    "CAP_SYSLOG": "syslog",
    "CAP_SYS_ADMIN": """
    bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie lsm_get_self_attr lsm_list_modules
    lsm_set_self_attr mount mount_setattr move_mount open_tree perf_event_open quotactl quotactl_fd setdomainname
    sethostname setns syslog umount umount2 unshare
    """,
    "CAP_SYS_BOOT": "reboot",
    "CAP_SYS_CHROOT": "chroot",
    "CAP_SYS_MODULE": "delete_module init_module finit_module",
    "CAP_SYS_NICE": "get_mempolicy mbind set_mempolicy set_mempolicy_home_node",
    "CAP_SYS_PACCT": "acct",
    "CAP_SYS_PTRACE": "kcmp pidfd_getfd process_madvise process_vm_readv process_vm_writev ptrace",
    "CAP_SYS_RAWIO": "iopl ioperm",
    "CAP_SYS_TIME": "settimeofday stime clock_settime clock_settime64",
    "CAP_SYS_TTY_CONFIG": "vhangup",
}
# (architectures, system calls that only they have)
_BY_ARCHITECTURE = (
    (("ppc64le",), "sync_file_range2 swapcontext"),
    (("arm", "arm64"), "arm_fadvise64_64 arm_sync_file_range sync_file_range2 breakpoint cacheflush set_tls"),
    (("amd64", "x32"), "arch_prctl"),
    (("amd64", "x32", "x86"), "modify_ldt"),
    (("s390", "s390x"), "s390_pci_mmio_read s390_pci_mmio_write s390_runtime_instr"),
    (("riscv64",), "riscv_flush_icache"),
)
_PTRACE_KERNEL = (4, 8)
_AF_ALG, _AF_VSOCK = 38, 40
# PER_LINUX, PER_LINUX32, UNAME26, both, and the question for the current one.
_PERSONALITIES = (0x0, 0x0008, 0x20000, 0x20008, 0xFFFFFFFF)
# CLONE_NEWNS, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET and NEWCGROUP.
_CLONE_NAMESPACES = 0x7E020000
_ENOSYS = 38

# uname -m: (the name in profiles, libseccomp's architecture, those that run on it too)
_MACHINES = {
    "x86_64": ("amd64", "SCMP_ARCH_X86_64", ("SCMP_ARCH_X86", "SCMP_ARCH_X32")),
    "aarch64": ("arm64", "SCMP_ARCH_AARCH64", ("SCMP_ARCH_ARM",)),
    "armv7l": ("arm", "SCMP_ARCH_ARM", ()),
    "i686": ("x86", "SCMP_ARCH_X86", ()),
    "loongarch64": ("loongarch64", "SCMP_ARCH_LOONGARCH64", ()),
    "mips64": ("mips64", "SCMP_ARCH_MIPS64", ("SCMP_ARCH_MIPS", "SCMP_ARCH_MIPS64N32")),
    "ppc64le": ("ppc64le", "SCMP_ARCH_PPC64LE", ()),
    "riscv64": ("riscv64", "SCMP_ARCH_RISCV64", ()),
    "s390x": ("s390x", "SCMP_ARCH_S390X", ("SCMP_ARCH_S390",)),
}
# Docker's archMap has no entry for these, so a default filter names no architecture there: the native one.
_UNMAPPED = frozenset(("armv7l", "i686", "ppc64le"))


def default_profile(capabilities: set[str], machine: str = "") -> dict[str, Any]:
    """Return Docker's default profile for a process with this bounding set, as an OCI linux.seccomp object."""
    machine = machine or os.uname().machine
    name, native, also = _machine(machine)
    rules = [_allow(_ALWAYS.split())]
    if _kernel() >= _PTRACE_KERNEL:
        rules.append(_allow(["process_vm_readv", "process_vm_writev", "ptrace"]))
    rules += [
        _allow(["socket"], 0, "SCMP_CMP_LT", _AF_ALG),
        _allow(["socket"], 0, "SCMP_CMP_EQ", _AF_ALG + 1),
        _allow(["socket"], 0, "SCMP_CMP_GT", _AF_VSOCK),
        *(_allow(["personality"], 0, "SCMP_CMP_EQ", persona) for persona in _PERSONALITIES),
        *(_allow(names.split()) for architectures, names in _BY_ARCHITECTURE if name in architectures),
        *(_allow(names.split()) for capability, names in _BY_CAPABILITY.items() if capability in capabilities),
    ]
    if "CAP_SYS_ADMIN" not in capabilities:
        # s390's clone has its flags second. clone3's are in memory, where a filter cannot look: callers fall back.
        rules.append(_allow(["clone"], 1 if name in ("s390", "s390x") else 0, "SCMP_CMP_MASKED_EQ", _CLONE_NAMESPACES))
        rules.append({"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": _ENOSYS})
    profile: dict[str, Any] = {"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 1, "syscalls": rules}
    if machine not in _UNMAPPED:
        profile["architectures"] = [native, *also]
    return profile


def load_profile(profile: dict[str, Any], capabilities: set[str], machine: str = "") -> dict[str, Any] | None:
    """Turn a decoded profile file into an OCI linux.seccomp object; None where it asks for nothing."""
    if not profile.get("defaultAction") and not profile.get("syscalls"):
        return None
    if profile.get("architectures") and profile.get("archMap"):
        raise _invalid(
            "both 'architectures' and 'archMap' are specified in the seccomp profile, use either 'architectures' or "
            "'archMap'"
        )
    name, native, _ = _machine(machine or os.uname().machine)
    kept = ("defaultAction", "defaultErrnoRet", "architectures", "flags", "listenerPath", "listenerMetadata")
    result = {key: profile[key] for key in kept if profile.get(key) is not None}
    for entry in profile.get("archMap") or ():
        if entry.get("architecture") == native:
            result["architectures"] = [native, *(entry.get("subArchitectures") or ())]
            break
    result["syscalls"] = [_plain(rule) for rule in profile.get("syscalls") or () if _applies(rule, name, capabilities)]
    return result


def _plain(rule: dict[str, Any]) -> dict[str, Any]:
    if rule.get("name") and rule.get("names"):
        raise _invalid("both 'name' and 'names' are specified in the seccomp profile, use either 'name' or 'names'")
    names = [rule["name"]] if rule.get("name") else rule.get("names") or []
    plain = {"names": names, "action": rule.get("action", "")}
    for key in ("args", "errnoRet"):
        if rule.get(key) is not None:
            plain[key] = rule[key]
    return plain


def _applies(rule: dict[str, Any], name: str, capabilities: set[str]) -> bool:
    excludes, includes = rule.get("excludes") or {}, rule.get("includes") or {}
    if name in (excludes.get("arches") or ()) or capabilities & set(excludes.get("caps") or ()):
        return False
    if excludes.get("minKernel") and _kernel() >= _parse_kernel(excludes["minKernel"]):
        return False
    if includes.get("arches") and name not in includes["arches"]:
        return False
    if not set(includes.get("caps") or ()) <= capabilities:
        return False
    return not includes.get("minKernel") or _kernel() >= _parse_kernel(includes["minKernel"])


def _allow(names: list[str], index: int = -1, operator: str = "", value: int = 0) -> dict[str, Any]:
    rule: dict[str, Any] = {"names": names, "action": "SCMP_ACT_ALLOW"}
    if operator:
        rule["args"] = [{"index": index, "value": value, "valueTwo": 0, "op": operator}]
    return rule


def _machine(machine: str) -> tuple[str, str, tuple[str, ...]]:
    if machine not in _MACHINES:
        raise RuntimeFailure("not_implemented", f"no seccomp profile for {machine}")
    return _MACHINES[machine]


def _kernel() -> tuple[int, int]:
    return _parse_kernel(os.uname().release)


def _parse_kernel(text: str) -> tuple[int, int]:
    found = re.match(r"(\d+)\.(\d+)", text)
    if found is None:
        raise _invalid(f"invalid kernel version: {text}")
    return int(found[1]), int(found[2])


def _invalid(message: str) -> RuntimeFailure:
    return RuntimeFailure("invalid_argument", message)
