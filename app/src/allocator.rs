//! Keeps glibc from giving every large tensor back to the system: without this each one is page-faulted afresh, and matrix products
//! take several times as long. Nothing happens on other systems.

/// Large blocks stay on the heap. Call first in `main`.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[allow(unsafe_code)]
pub fn keep_large_blocks() {
    // SAFETY: mallopt only sets tunables of the allocator and is called before any thread is started.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, i32::MAX);
        libc::mallopt(libc::M_TRIM_THRESHOLD, i32::MAX);
        libc::mallopt(libc::M_TOP_PAD, 64 << 20);
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}

/// Nothing to tune here.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub fn keep_large_blocks() {}
